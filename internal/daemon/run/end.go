//go:build linux

package run

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// EndTree asks the child and all that came out of it to end, with SIGTERM, waits until they have, at most for grace, and then
// kills what is left; see [Child.KillTree].
func (c *Child) EndTree(grace time.Duration) {
	if grace > 0 {
		c.askToEnd(grace)
	}
	c.KillTree()
}

func (c *Child) askToEnd(grace time.Duration) {
	owned := true
	select {
	case <-c.Done():
		owned = false
	default:
	}
	self := os.Getpid()
	var fds []unix.PollFd
	for _, p := range c.family(processes(), map[string]bool{}, owned) {
		if p.pid == self || p.zombie {
			continue
		}
		signal(p, syscall.SIGTERM)
		if fd, err := unix.PidfdOpen(p.pid, 0); err == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(int(fd.Fd))
		}
	}()
	deadline := time.Now().Add(grace)
	for left := fds; len(left) > 0; {
		wait := time.Until(deadline)
		if wait <= 0 {
			break
		}
		if _, err := unix.Poll(left, int(wait.Milliseconds())+1); err != nil && err != unix.EINTR {
			break
		}
		alive := make([]unix.PollFd, 0, len(left))
		for _, fd := range left {
			if fd.Revents == 0 {
				alive = append(alive, fd)
			}
		}
		left = alive
	}
}
