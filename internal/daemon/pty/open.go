//go:build linux

package pty

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// open returns a new pseudo-terminal: the daemon's end, which waits in the poller, and the program's end, which blocks as
// programs expect. The caller closes both.
func open(cols, rows int) (tty *os.File, slave int, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, -1, &fs.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	slave = -1
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			if slave >= 0 {
				_ = unix.Close(slave)
			}
		}
	}()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, -1, os.NewSyscallError("unlock terminal", err)
	}
	slave, err = openSlave(fd)
	if err != nil {
		return nil, -1, err
	}
	// Erasing in the line editor of the kernel takes whole characters.
	if tio, terr := unix.IoctlGetTermios(slave, unix.TCGETS); terr == nil {
		tio.Iflag |= unix.IUTF8
		_ = unix.IoctlSetTermios(slave, unix.TCSETS, tio)
	}
	if err := setSize(fd, cols, rows); err != nil {
		return nil, -1, err
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, nil
}

// openSlave opens the program's end by its master, or by name where the kernel cannot.
func openSlave(master int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	if r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags); e == 0 {
		return int(r), nil
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, os.NewSyscallError("name of terminal", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	fd, err := unix.Open(name, flags, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func setSize(fd, cols, rows int) error {
	err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(cols), Row: uint16(rows)})
	return os.NewSyscallError("size of terminal", err)
}

// startError classifies what stopped a terminal from being started.
func startError(err error, dir, shell string) error {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err
	}
	op := ""
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		op = pe.Op
	}
	switch {
	case op == "chdir" && (no == syscall.ENOENT || no == syscall.ENOTDIR):
		return errs.Wrap(err, errs.Invalid, "cwd %q is not a directory", clip(dir))
	case op == "exec" && no == syscall.EACCES:
		return errs.Wrap(err, errs.Denied, "the shell %s cannot be started in %q: permission denied", shell, clip(dir))
	case no == syscall.E2BIG:
		return errs.Wrap(err, errs.TooLarge, "the environment is too large for the system")
	case no == syscall.EAGAIN || no == syscall.ENOMEM || no == syscall.EMFILE || no == syscall.ENFILE || no == syscall.ENOSPC:
		return errs.Wrap(err, errs.Exhausted, "the sandbox has no room for another terminal: %s", no.Error())
	}
	return errs.Wrap(err, errs.Internal, "the shell %s cannot be started: %s", shell, no.Error()).WithCode("INTERNAL_SERVER_ERROR")
}
