//go:build unix

package cli

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readable reports whether f has something to read or is at its end, at the latest after patience.
func readable(f *os.File, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0 && fds[0].Revents&unix.POLLNVAL == 0
	}
}

// hasInput reports whether there is at least one byte to read; the end of a pipe is none.
func hasInput(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
}
