//go:build linux

package run

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
)

// Child is a process that was started here, and all that comes out of it. Families that keep a process for longer than one
// program (shells, terminals, interpreters, servers) use it directly; see [Runner.Start] for one that runs to its end.
type Child struct {
	*reap.Process
	mark uint64
	r    *Runner
}

// Spawn starts the program at path. attr.Dir must be given; attr.Sys should make it lead a session or a process group of
// its own. An error is that of the operating system (*fs.PathError): nothing was run.
func (r *Runner) Spawn(path string, argv []string, attr *syscall.ProcAttr) (*Child, error) {
	if st, err := os.Stat(attr.Dir); err != nil {
		return nil, &fs.PathError{Op: "chdir", Path: attr.Dir, Err: errno(err)}
	} else if !st.IsDir() {
		return nil, &fs.PathError{Op: "chdir", Path: attr.Dir, Err: syscall.ENOTDIR}
	}
	r.forking.Lock()
	r.marks++
	mark := markBase + r.marks
	setMark(mark)
	proc, err := r.reaper.Start(path, argv, attr)
	r.forking.Unlock()
	if err != nil {
		return nil, &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	r.yieldToOOM(proc.Pid)
	return &Child{Process: proc, mark: mark, r: r}, nil
}

// childOOMAdj is what children get: 500 over the daemon's own, so that the kernel takes them first.
func childOOMAdj() string {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return ""
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return ""
	}
	return strconv.Itoa(min(own+500, 1000))
}

// yieldToOOM makes a new child the kernel's choice when memory runs out, before the daemon. Its own children inherit that.
// Setting it here and not before the fork means that the daemon is never the preferred one, not for a moment.
func (r *Runner) yieldToOOM(pid int) {
	adj := r.oomAdj()
	if adj == "" {
		return
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil { // it ended, or this kernel does not let us
		return
	}
	_, _ = unix.Write(fd, []byte(adj))
	_ = unix.Close(fd)
}

func errno(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
