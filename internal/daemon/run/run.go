//go:build linux

// Package run runs one program to its end and collects what it writes.
//
// A run is a session of its own (setsid) with standard input at /dev/null, unless the caller gives another, and standard
// output and error on one pipe, or on one each where the caller asks for it. It is over when its first process has ended and its output is closed, or [Grace] after the
// first process ended where a background child keeps the output open: that child lives on, and its later output is dropped.
// When its timeout passes, the run is killed with everything that came out of it; see kill.go. A run does not depend on
// whoever asked for it: a caller that goes away leaves it running.
package run

import (
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
)

// Grace is how long after the end of its first process a run waits for background children that keep the output open.
const Grace = 200 * time.Millisecond

// Spec says what to run.
type Spec struct {
	Path    string        // of the program
	Argv    []string      // with the program's name
	Env     []string      // all of it
	Dir     string        // must be given
	Stdin   *os.File      // nil: /dev/null. The caller closes it after Start
	Out     io.Writer     // gets standard output, and standard error where Err is nil
	Err     io.Writer     // gets standard error; nil: Out gets it, in order
	Side    io.Writer     // gets what is written to descriptor 3; nil: there is none
	Files   []*os.File    // more descriptors, from 3 or after Side's on. The caller closes them after Start
	Timeout time.Duration // 0: none

	Cred *syscall.Credential // user to run as; nil: the daemon's

	// Started, if given, gets the run as soon as there is one, and before [Runner.Freeze] returns if the program was started
	// before that. It must not wait.
	Started func(*Run)

	// By starts the program with these descriptors in place of [Runner.Spawn]: another process forks it. Nil: Spawn.
	By func(files []uintptr) (*Child, error)
}

// Runner starts runs.
type Runner struct {
	Log    *slog.Logger
	Budget *Budget      // memory for outputs
	CPUs   *unix.CPUSet // where programs run; nil: everywhere

	reaper  *reap.Reaper
	closing chan struct{}
	watches sync.WaitGroup
	pipes   sync.WaitGroup

	forking sync.Mutex     // guards marks; held for each start, and while frozen
	starts  sync.WaitGroup // programs that have their process and whose starter is not through; grows under forking
	marks   uint64         // the last mark's number; it starts at random, so that daemons in one pid namespace do not share marks

	mu     sync.Mutex // guards all below
	closed bool
	open   map[*pipe]struct{}
	thawed chan struct{} // closed by Thaw; nil: not frozen
	parked int           // pipes whose reading has stopped
	still  chan struct{} // gets something when parked or open changed

	null   func() (*os.File, error)
	oomAdj func() string
}

// New returns a runner over reaper.
func New(reaper *reap.Reaper, log *slog.Logger) *Runner {
	return &Runner{Log: log, marks: uint64(rand.Uint32()) << 16, Budget: NewBudget(MaxHeld), reaper: reaper, closing: make(chan struct{}), open: map[*pipe]struct{}{}, still: make(chan struct{}, 1),
		null: sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) }), oomAdj: sync.OnceValue(childOOMAdj)}
}

// Run is a program that runs or ran.
type Run struct {
	Pid int // of its first process; the id of its session

	proc     *Child
	pipes    []*pipe   // in the order of Out, Err, Side
	deadline time.Time // zero: none
	done     chan struct{}
	timedOut atomic.Bool
	asked    atomic.Bool // somebody sent a signal
	kill     chan struct{}
	killOnce sync.Once
}

// Done is closed when the run is over: its first process ended and its output is complete.
func (r *Run) Done() <-chan struct{} { return r.done }

// TimedOut reports whether the run was killed because its timeout passed. Call it after Done.
func (r *Run) TimedOut() bool { return r.timedOut.Load() }

// ExitCode returns the exit code, -1 when a signal ended the program. Call it after Done.
func (r *Run) ExitCode() int {
	if ws := r.proc.Status(); ws.Exited() {
		return ws.ExitStatus()
	}
	return -1
}

// ExitSignal returns the signal that ended the program, 0: none did. Call it after Done.
func (r *Run) ExitSignal() syscall.Signal {
	if ws := r.proc.Status(); ws.Signaled() {
		return ws.Signal()
	}
	return 0
}

// Signal sends sig to all processes of the run; SIGKILL kills as [Run.Kill] does.
func (r *Run) Signal(sig syscall.Signal) {
	r.asked.Store(true)
	if sig == syscall.SIGKILL {
		r.Kill()
		return
	}
	r.proc.SignalTree(sig)
}

// Kill ends the run as its timeout would, but does not count as one. It does not wait.
func (r *Run) Kill() {
	r.asked.Store(true)
	r.killOnce.Do(func() { close(r.kill) })
}

// Signaled reports whether [Run.Signal] or [Run.Kill] was called: the end of the program may be what somebody wanted.
func (r *Run) Signaled() bool { return r.asked.Load() }

// Start starts spec. An error is that of the operating system (*fs.PathError): nothing was run.
func (r *Runner) Start(spec Spec) (*Run, error) {
	if !r.enter() {
		return nil, &fs.PathError{Op: "start", Path: spec.Path, Err: syscall.ECANCELED}
	}
	defer r.watches.Done()
	stdin := spec.Stdin
	if stdin == nil {
		null, err := r.null()
		if err != nil {
			return nil, err
		}
		stdin = null
	}
	var pipes []*pipe
	files := []uintptr{stdin.Fd()}
	add := func(w io.Writer) error {
		p, end, err := r.pipe(w)
		if err != nil {
			return err
		}
		pipes, files = append(pipes, p), append(files, uintptr(end))
		return nil
	}
	err := add(spec.Out)
	if err == nil && spec.Err != nil {
		err = add(spec.Err)
	} else if err == nil {
		files = append(files, files[1])
	}
	if err == nil && spec.Side != nil {
		err = add(spec.Side)
	}
	defer func() {
		ends := files[1:]
		for i, fd := range ends {
			if i == 0 || fd != ends[i-1] {
				_ = unix.Close(int(fd))
			}
		}
	}()
	all := files[:len(files):len(files)]
	for _, f := range spec.Files {
		all = append(all, f.Fd())
	}
	var proc *Child
	switch {
	case err != nil:
	case spec.By != nil:
		proc, err = spec.By(all)
	default:
		proc, err = r.spawn(spec.Path, spec.Argv, &syscall.ProcAttr{Dir: spec.Dir, Env: spec.Env, Files: all, Sys: &syscall.SysProcAttr{Setsid: true, Credential: spec.Cred}})
		if err == nil {
			defer r.starts.Done()
		}
	}
	if err != nil {
		for _, p := range pipes {
			r.closePipe(p)
		}
		return nil, err
	}
	run := r.see(proc, pipes, spec.Timeout)
	if spec.Started != nil {
		spec.Started(run)
	}
	return run, nil
}

// see makes a run of a child and its pipes.
func (r *Runner) see(proc *Child, pipes []*pipe, timeout time.Duration) *Run {
	run := &Run{Pid: proc.Pid, proc: proc, pipes: pipes, done: make(chan struct{}), kill: make(chan struct{})}
	if timeout > 0 {
		run.deadline = proc.Started.Add(timeout)
	}
	collected := make(chan struct{})
	if len(pipes) == 0 {
		close(collected)
	}
	var pending atomic.Int32
	pending.Store(int32(len(pipes)))
	for _, p := range pipes {
		r.collect(p, func() {
			if pending.Add(-1) == 0 {
				close(collected)
			}
		})
	}
	r.watches.Add(1)
	go r.watch(run, collected)
	return run
}

// watch sees a run to its end.
func (r *Runner) watch(run *Run, collected <-chan struct{}) {
	defer r.watches.Done()
	defer close(run.done)
	var expired <-chan time.Time
	if !run.deadline.IsZero() {
		t := time.NewTimer(time.Until(run.deadline))
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-run.proc.Done():
	case <-expired:
		select {
		case <-run.proc.Done(): // both, when the daemon was replaced meanwhile: it had ended
		default:
			run.timedOut.Store(true)
			run.proc.KillTree()
			<-run.proc.Done()
		}
	case <-run.kill:
		run.proc.KillTree()
		<-run.proc.Done()
	case <-r.closing:
		run.proc.KillTree()
		<-run.proc.Done()
	}
	select {
	case <-collected:
		return
	default:
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case <-collected:
	case <-grace.C:
	case <-r.closing:
	}
}

// enter makes Close wait until watches.Done is called. False: it was called already, and nothing may start any more.
func (r *Runner) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.watches.Add(1)
	}
	return !r.closed
}

// Close kills all runs and waits for them. Background children of ended runs are not killed.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.closing)
	r.watches.Wait()
	r.mu.Lock()
	for p := range r.open {
		_ = p.f.Close()
	}
	r.mu.Unlock()
	r.pipes.Wait()
}

// MemFile returns a file that holds data, lives in memory only and stands at its beginning: standard input for a program.
func MemFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
