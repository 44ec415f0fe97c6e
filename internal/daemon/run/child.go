//go:build linux

package run

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

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
	c, err := r.spawn(path, argv, attr)
	if err == nil {
		r.starts.Done()
	}
	return c, err
}

// spawn is Spawn for a caller that lets Freeze wait until it has done its part: without an error it calls r.starts.Done.
func (r *Runner) spawn(path string, argv []string, attr *syscall.ProcAttr) (*Child, error) {
	if st, err := os.Stat(attr.Dir); err != nil {
		return nil, &fs.PathError{Op: "chdir", Path: attr.Dir, Err: errno(err)}
	} else if !st.IsDir() {
		return nil, &fs.PathError{Op: "chdir", Path: attr.Dir, Err: syscall.ENOTDIR}
	}
	r.forking.Lock()
	mark := r.nextMark()
	marking.Lock()
	setMark(mark)
	back := r.moveToCPUs()
	proc, err := r.reaper.Start(path, argv, attr)
	back()
	marking.Unlock()
	if err == nil {
		r.starts.Add(1)
	}
	r.forking.Unlock()
	if err != nil {
		return nil, &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	r.yieldToOOM(proc.Pid)
	return &Child{Process: proc, mark: mark, r: r}, nil
}

// Mark is the number by which all that comes out of the child is known; see kill.go.
func (c *Child) Mark() uint64 { return c.mark }

// Reserve returns a mark for a process that this one does not fork itself, as a zygote does: whoever forks sets it as the soft
// limit RLIMIT_RTTIME of the new process before that starts anything. [Runner.Adopt] then takes the process into care; from
// before the fork until then the caller holds [Runner.Expect].
func (r *Runner) Reserve() uint64 {
	r.forking.Lock()
	defer r.forking.Unlock()
	return r.nextMark()
}

// nextMark: the caller holds forking.
func (r *Runner) nextMark() uint64 {
	r.marks++
	return markBase + r.marks
}

// Expect is [reap.Reaper.Expect].
func (r *Runner) Expect() (done func()) { return r.reaper.Expect() }

// Adopt returns the child with this pid, which is one of this process's children but was not started by [Runner.Spawn]: the
// program before this one did (mark is its [Child.Mark]), or a zygote, whose orphan it is (mark is reserved). What
// [reap.Reaper.Adopt] says of the moment and of wrong pids holds here too.
func (r *Runner) Adopt(pid int, mark uint64, started time.Time) *Child {
	return &Child{Process: r.reaper.Adopt(pid, started), mark: mark, r: r}
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
