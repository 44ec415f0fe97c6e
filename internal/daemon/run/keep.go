//go:build linux

package run

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
)

// This file is about replacing the daemon by another program in the same process; see package handover. Every family saves its
// runs with [Runner.SaveRun] and takes them over with [Runner.RestoreRun]; the runner itself keeps what belongs to nobody any
// more: pipes of background children, which would be hit by SIGPIPE if nobody held the reading end.

// freezeWait bounds how long Freeze waits for pipes to be still, far beyond what that can take.
const freezeWait = time.Second

// Freeze implements [handover.Keeper]: it starts no process and reads no pipe until Thaw. Whoever wants to start one waits. The
// reaper must be frozen by its owner.
func (r *Runner) Freeze() {
	r.forking.Lock()
	r.starts.Wait() // those have their process: a few steps
	r.mu.Lock()
	r.thawed, r.parked = make(chan struct{}), 0
	for p := range r.open {
		if p.reading {
			_ = p.f.SetReadDeadline(past)
		}
	}
	r.mu.Unlock()
	over := time.NewTimer(freezeWait)
	defer over.Stop()
	for !r.isStill() {
		select {
		case <-r.still:
		case <-over.C:
			r.Log.Error("outputs of programs do not come to rest")
			return
		}
	}
}

func (r *Runner) isStill() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	reading := 0
	for p := range r.open {
		if p.reading {
			reading++
		}
	}
	return r.parked >= reading
}

// Thaw implements [handover.Keeper].
func (r *Runner) Thaw() {
	r.mu.Lock()
	for p := range r.open {
		_ = p.f.SetReadDeadline(time.Time{})
		p.saved = false
	}
	close(r.thawed)
	r.thawed = nil
	r.mu.Unlock()
	r.forking.Unlock()
}

const family = "run"

type runnerState struct {
	Marks uint64 `json:"marks"`
	Pipes []int  `json:"pipes"` // to read and drop
}

// Save implements [handover.Keeper]. It must come after all families have saved their runs.
func (r *Runner) Save(out *handover.Out) error {
	st := runnerState{Marks: r.marks} // forking is held
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.open {
		if !p.reading || p.saved {
			continue
		}
		fd, err := out.Pass(p.f)
		if err != nil {
			return err
		}
		st.Pipes = append(st.Pipes, fd)
	}
	return out.Put(family, st)
}

// Restore implements [handover.Keeper].
func (r *Runner) Restore(in *handover.In) error {
	var st runnerState
	if ok, err := in.Get(family, &st); err != nil || !ok {
		return err
	}
	r.marks = st.Marks
	for _, fd := range st.Pipes {
		f, err := in.Take(fd, "output")
		if err != nil {
			return err
		}
		r.collect(r.own(f, &dropped{}), func() {})
	}
	return nil
}

// dropped takes everything and keeps nothing.
type dropped struct{}

func (*dropped) Write(p []byte) (int, error)               { return len(p), nil }
func (*dropped) ReadFrom(r io.Reader) (n int64, err error) { return discard(r, nil) }

// ChildState is a [Child] as it is handed over.
type ChildState struct {
	Pid     int    `json:"pid"`
	Mark    uint64 `json:"mark"`
	Started int64  `json:"started"` // ns since 1970
	Dead    bool   `json:"dead,omitempty"`
	Status  uint32 `json:"status,omitempty"` // as wait4 gave it
}

// State returns what the next program needs to go on with the child. Call it frozen.
func (c *Child) State() ChildState {
	st := ChildState{Pid: c.Pid, Mark: c.mark, Started: c.Started.UnixNano()}
	select {
	case <-c.Done():
		st.Dead, st.Status = true, uint32(c.Status())
	default:
	}
	return st
}

// RestoreChild takes over a child that the program before this one saved.
func (r *Runner) RestoreChild(st ChildState) *Child {
	started := time.Unix(0, st.Started)
	if st.Dead {
		return &Child{Process: reap.Ended(st.Pid, started, syscall.WaitStatus(st.Status)), mark: st.Mark, r: r}
	}
	return r.Adopt(st.Pid, st.Mark, started)
}

// RunState is a [Run] as it is handed over.
type RunState struct {
	Child    ChildState `json:"child"`
	Deadline int64      `json:"deadline,omitempty"` // ns since 1970
	TimedOut bool       `json:"timedOut,omitempty"`
	Killed   bool       `json:"killed,omitempty"`
	Pipes    []int      `json:"pipes"` // in the order of Out, Err, Side; -1: at its end
}

// SaveRun hands a run over. The runner must be frozen.
func (r *Runner) SaveRun(out *handover.Out, run *Run) (RunState, error) {
	st := RunState{Child: run.proc.State(), TimedOut: run.timedOut.Load()}
	if !run.deadline.IsZero() {
		st.Deadline = run.deadline.UnixNano()
	}
	select {
	case <-run.kill:
		st.Killed = true
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range run.pipes {
		fd := -1
		if _, ok := r.open[p]; ok {
			var err error
			if fd, err = out.Pass(p.f); err != nil {
				return st, err
			}
			p.saved = true
		}
		st.Pipes = append(st.Pipes, fd)
	}
	return st, nil
}

// RestoreRun goes on with a run that the program before this one saved. Writers get what it writes from now on, in the order of
// its pipes.
func (r *Runner) RestoreRun(in *handover.In, st RunState, writers ...io.Writer) (*Run, error) {
	if len(writers) != len(st.Pipes) {
		return nil, fmt.Errorf("a run with %d pipes has %d writers", len(st.Pipes), len(writers))
	}
	var pipes []*pipe
	for i, fd := range st.Pipes {
		if fd < 0 {
			continue
		}
		f, err := in.Take(fd, "output")
		if err != nil {
			return nil, err
		}
		pipes = append(pipes, r.own(f, writers[i]))
	}
	var timeout time.Duration
	child := r.RestoreChild(st.Child)
	if st.Deadline != 0 {
		timeout = max(time.Unix(0, st.Deadline).Sub(child.Started), 1)
	}
	run := r.see(child, pipes, timeout)
	if st.TimedOut { // it was being killed
		run.timedOut.Store(true)
		run.Kill()
	} else if st.Killed {
		run.Kill()
	}
	return run, nil
}

// OutputState is an [Output] as it is handed over: its bytes lie one behind the other in a file.
type OutputState struct {
	Ring    bool    `json:"ring,omitempty"`
	Max     int64   `json:"max"`
	Begin   int64   `json:"begin"`
	End     int64   `json:"end"`
	Dropped bool    `json:"dropped,omitempty"`
	Sealed  bool    `json:"sealed,omitempty"`
	Waiting int64   `json:"waiting"` // offset of the slowest reader; -1: nobody reads
	Pieces  []int64 `json:"pieces"`  // length by length; negative: standard error
	File    int     `json:"file"`    // -1: there are no bytes
}

// Save hands the output over.
func (o *Output) Save(out *handover.Out) (OutputState, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := OutputState{Ring: o.ring, Max: o.max, Begin: o.begin, End: o.end, Dropped: o.dropped, Sealed: o.sealed, Waiting: -1, File: -1}
	if r := o.slowest(); r != nil {
		st.Waiting = r.pos
	}
	if o.begin == o.end {
		return st, nil
	}
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return st, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "output")
	defer func() { _ = f.Close() }()
	for _, c := range o.chunks {
		if len(c.data) == 0 {
			continue
		}
		if _, err := f.Write(c.data); err != nil {
			return st, err
		}
		n := int64(len(c.data))
		if c.stream == Stderr {
			n = -n
		}
		if l := len(st.Pieces); l > 0 && !o.ring && st.Pieces[l-1] < 0 == (n < 0) {
			st.Pieces[l-1] += n
		} else {
			st.Pieces = append(st.Pieces, n)
		}
	}
	st.File, err = out.Pass(f)
	return st, err
}

// RestoreOutput takes an output over. Its bytes stay where they are.
func RestoreOutput(in *handover.In, budget *Budget, st OutputState) (*Output, error) {
	o := &Output{budget: budget, max: st.Max, ring: st.Ring, begin: st.Begin, end: st.End, dropped: st.Dropped, sealed: st.Sealed}
	if st.Waiting >= 0 && st.Ring {
		o.absent = &Reader{o: o, pos: st.Waiting}
		o.attach(o.absent)
	}
	if st.File < 0 {
		o.begin = o.end
		return o, nil
	}
	f, err := in.Take(st.File, "output")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	size := st.End - st.Begin
	if info, err := f.Stat(); err != nil || info.Size() != size {
		return nil, fmt.Errorf("an output of %d bytes is incomplete: %w", size, err)
	}
	if o.mapped, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	rest, off := o.mapped, st.Begin
	for _, n := range st.Pieces {
		c := chunk{off: off, stream: Stdout}
		if n < 0 {
			n, c.stream = -n, Stderr
		}
		if n > int64(len(rest)) {
			return nil, fmt.Errorf("an output's pieces are longer than its %d bytes", size)
		}
		c.data, rest, off = rest[:n:n], rest[n:], off+n
		o.chunks = append(o.chunks, c)
		o.taken += n + chunkCost
	}
	budget.held.Add(o.taken) // also over the limit: it is there
	return o, nil
}
