//go:build linux

package main

import (
	"log/slog"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// harden takes from the daemon, and from what it will start, what they must not have. Each step may be refused where the
// kernel or the engine took it already.
func harden(log *slog.Logger) {
	// Nothing that was left open reaches a child.
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := 3; fd < 256; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	// Programs in the sandbox with the daemon's user must not read its memory or trace it: it may hold a token, and more
	// rights than they have.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Debug("process stays dumpable", "error", err)
	}
	// A daemon that runs as a plain user may be given CAP_KILL, so that it can end what sudo started. It keeps it; its
	// children get nothing: capabilities reach them through the ambient set only, or, for root, through the inheritable one.
	// The sets belong to threads, so all of them are asked.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); errno != 0 {
		log.Debug("ambient capabilities could not be cleared", "error", errno)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil || data[0].Inheritable == 0 && data[1].Inheritable == 0 {
		return
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	hdr.Pid = 0
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		log.Debug("inheritable capabilities could not be cleared", "error", errno)
	}
}

// keepCaps makes the capabilities that this thread has survive an exec: harden took them from the sets by which they reach
// other programs. The function takes them back again.
func keepCaps() (undo func(), err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return nil, err
	}
	before := data
	data[0].Inheritable, data[1].Inheritable = data[0].Permitted, data[1].Permitted
	undo = func() {
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		_ = unix.Capset(&hdr, &before[0])
	}
	if os.Getuid() == 0 { // root's come back by themselves
		return func() {}, nil
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return nil, err
	}
	for c := range 64 {
		if data[c/32].Permitted&(1<<(c%32)) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			undo()
			return nil, err
		}
	}
	return undo, nil
}
