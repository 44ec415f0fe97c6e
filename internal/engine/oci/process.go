package oci

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// startTime returns when a process started, in clock ticks since boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	fields := strings.Fields(string(b[i+1:]))
	if i < 0 || len(fields) < 20 {
		return 0, unix.ESRCH
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// openProcess returns a pidfd of the process that has this pid and started at that time; 0 takes any time and the found one
// is returned. A pidfd never comes to mean another process, however often the pid is used again.
func openProcess(pid int, started uint64) (int, uint64, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, 0, err
	}
	got, err := startTime(pid)
	if err == nil && started != 0 && got != started {
		err = unix.ESRCH
	}
	// The pid named the same process when it was opened and when its time was read only if it is alive still.
	if err == nil && pidfdExited(fd) {
		err = unix.ESRCH
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, got, nil
}

func pidfdExited(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// inCgroup reports whether a process is in the group of a sandbox.
func (c cgroups) inCgroup(pid int, id string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	want := c.parent + "/" + id
	for line := range bytes.Lines(b) {
		fields := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(fields) == 3 && (c.v2 && fields[1] == "" || strings.Contains(","+fields[1]+",", ",pids,")) {
			return fields[2] == want || strings.HasSuffix(fields[2], want)
		}
	}
	return false
}

// exitInfo returns the exit code and the fatal signal of a process that ended, where the kernel tells someone who is not
// its parent (6.15 and later).
func exitInfo(pidfd int) (code int, signal unix.Signal, ok bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(pidfd, &info) != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return -1, 0, false
	}
	ws := unix.WaitStatus(info.Exit_code)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), ws.Signal(), true
	}
	return ws.ExitStatus(), 0, true
}
