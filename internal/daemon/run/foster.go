//go:build linux

package run

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Foster takes a process into care that parent forked for the daemon and that became the daemon's child, because whoever
// forked it has ended. It gets a mark of its own, so it is no part of parent any more. From before the fork until then the
// caller holds [Runner.Expect]. A pid that is not such a process is an error: the number comes from a program that a sandbox
// can tamper with.
func (r *Runner) Foster(pid int, parent *Child) (*Child, error) {
	p, ok := stat(pid)
	if !ok || p.zombie || p.ppid != os.Getpid() || pid == parent.Pid || markOf(pid) != parent.mark {
		return nil, fmt.Errorf("process %d was not forked for the daemon", pid)
	}
	mark := r.Reserve()
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_RTTIME, nil, &old); err != nil {
		return nil, os.NewSyscallError("prlimit", err)
	}
	if old.Max >= mark {
		if err := unix.Prlimit(pid, unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: mark, Max: old.Max}, nil); err != nil {
			return nil, os.NewSyscallError("prlimit", err)
		}
	}
	return r.Adopt(pid, mark, time.Now()), nil
}
