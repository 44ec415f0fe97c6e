package oci

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// meminfoFD is the descriptor of the daemon that answers for /proc/meminfo.
const meminfoFD = 4

const fuseDevice = "/dev/fuse"

// The kernel's /proc/meminfo shows the host, also inside a sandbox. So a file system of one file is mounted over it, which
// the sandbox's own daemon serves: what it tells concerns that sandbox alone, and no process of the host ever waits for the
// answer, because the mount exists in the sandbox's mount namespace only. Programs inside cannot open /dev/fuse themselves.

const noFuse = "programs in sandboxes see the host's memory in /proc/meminfo: this kernel has no /dev/fuse; run modprobe fuse"

func haveFuse() bool {
	fd, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// openFuse returns a connection to be mounted; nil where this host has none.
func (e *Engine) openFuse() (*os.File, error) {
	if !e.fuse {
		return nil, nil
	}
	fd, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errs.Wrap(err, errs.Exhausted, "cannot open %s", fuseDevice)
	}
	return os.NewFile(uintptr(fd), fuseDevice), nil
}

// mountMeminfo mounts dev in the mount namespace of the process. The first process of the sandbox must be the daemon still:
// nothing else runs there that could have changed the way to the file.
func mountMeminfo(pidfd int, dev *os.File) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it cannot be brought back, so it ends with this goroutine.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil { // a root and a working directory of this thread's own
				return err
			}
			if err := unix.Setns(pidfd, unix.CLONE_NEWNS); err != nil {
				return err
			}
			return unix.Mount("meminfo", "/proc/meminfo", "fuse", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY,
				fmt.Sprintf("fd=%d,rootmode=100444,user_id=0,group_id=0,allow_other", dev.Fd()))
		}()
	}()
	return <-done
}
