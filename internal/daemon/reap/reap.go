//go:build linux

// Package reap starts child processes and is the only caller of wait4 in the daemon.
//
// The daemon is the first process of a sandbox: every process whose parent died becomes its child and must be waited for,
// or its pid is never free again. A plain wait4(-1) would take the exit status of the daemon's own children from whoever
// waits for them. So there is one owner: a [Reaper] peeks at the next dead child without consuming it, hands the status to
// the [Process] it belongs to, and discards it when it is nobody's. Because a pid is not reused before it is consumed,
// there is no moment in which a status or a signal can go to the wrong process.
//
// Nothing else in the daemon may start processes: os/exec waits by itself and would race with this.
package reap

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reaper owns all children of this process. Make one with [New].
type Reaper struct {
	orphans bool // also wait for children that were not started here

	// starting is held for reading from before a fork until the child is in kids, and for writing to decide that a pid is
	// in nobody's care.
	starting sync.RWMutex

	mu       sync.Mutex // guards kids and expected
	kids     map[int]*Process
	expected int // see Expect; grows under starting too

	// consuming is held while statuses are taken, and by Freeze until Thaw.
	consuming sync.Mutex

	sig  chan os.Signal
	stop chan struct{}
	done chan struct{}
}

// Process is a child. Its methods may be called at any time, also after it ended.
type Process struct {
	Pid     int
	Started time.Time

	adopted bool // not certainly a child

	mu     sync.Mutex // guards dead: a signal is sent and the pid consumed under it
	dead   bool
	status syscall.WaitStatus
	done   chan struct{}
}

// New returns a running reaper. With orphans it consumes every dead child of this process: right for the first process of
// a pid namespace, wrong for a program that starts processes by other means.
func New(orphans bool) *Reaper {
	r := NewFrozen(orphans)
	r.Thaw()
	return r
}

// NewFrozen returns a reaper as [New] does, which takes no status until [Reaper.Thaw]: for a program that takes children over
// from the one before it, and first has to say with [Reaper.Adopt] which they are.
func NewFrozen(orphans bool) *Reaper {
	r := &Reaper{orphans: orphans, kids: map[int]*Process{}, sig: make(chan os.Signal, 1), stop: make(chan struct{}), done: make(chan struct{})}
	r.consuming.Lock()
	signal.Notify(r.sig, syscall.SIGCHLD)
	go r.loop()
	return r
}

// Freeze stops taking statuses: when it returns, what has ended stays a zombie until [Reaper.Thaw], or until another program
// that replaces this one by exec adopts it. Signals can still be sent and processes be started.
func (r *Reaper) Freeze() { r.consuming.Lock() }

// Thaw goes on after [Reaper.Freeze] and takes what has ended meanwhile.
func (r *Reaper) Thaw() {
	r.consuming.Unlock()
	r.poke()
}

func (r *Reaper) poke() {
	select {
	case r.sig <- syscall.SIGCHLD:
	default:
	}
}

// Close stops reaping. Children go on running; their Done never closes. The reaper must not be frozen.
func (r *Reaper) Close() {
	signal.Stop(r.sig)
	close(r.stop)
	<-r.done
}

func (r *Reaper) loop() {
	defer close(r.done)
	for {
		select {
		case <-r.stop:
			return
		case <-r.sig: // one signal may stand for many deaths
			r.sweep()
		}
	}
}

// Start runs a program. Errors are those of fork and exec (syscall.Errno), before which the child did nothing.
func (r *Reaper) Start(path string, argv []string, attr *syscall.ProcAttr) (*Process, error) {
	r.starting.RLock()
	defer r.starting.RUnlock()
	now := time.Now()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	p := &Process{Pid: pid, Started: now, done: make(chan struct{})}
	r.mu.Lock()
	r.kids[pid] = p
	r.mu.Unlock()
	// The child may have died before it was listed. Its signal is then still to be handled (orphans: the sweep waits for
	// starting) or was handled without finding it.
	if !r.orphans {
		r.poke()
	}
	return p, nil
}

// Adopt takes into care a child of this process that was not started with [Reaper.Start]: one that the program before this
// one left, or a descendant that is a child by now, because its parent has ended or because it was cloned with CLONE_PARENT. It
// may have ended already, but its status must not have been taken: the reaper must be frozen, or expect it ([Reaper.Expect]),
// from before it could end. started is the time to report.
//
// A pid that is no child of this process counts as killed by SIGKILL: whoever waits must not wait forever, and nobody knows how
// it ended. Adopting a pid that is in care already returns that process.
func (r *Reaper) Adopt(pid int, started time.Time) *Process {
	r.mu.Lock()
	p := r.kids[pid]
	if p == nil {
		p = &Process{Pid: pid, Started: started, done: make(chan struct{}), adopted: true}
		r.kids[pid] = p
	}
	r.mu.Unlock()
	r.poke()
	return p
}

// Live returns the pids of the children started here that have not ended.
func (r *Reaper) Live() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]int, 0, len(r.kids))
	for pid := range r.kids {
		out = append(out, pid)
	}
	return out
}

// Ended returns a process that ended with status, as an earlier program learned it.
func Ended(pid int, started time.Time, status syscall.WaitStatus) *Process {
	p := &Process{Pid: pid, Started: started, dead: true, status: status, done: make(chan struct{})}
	close(p.done)
	return p
}

func (r *Reaper) find(pid int) *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kids[pid]
}

func (r *Reaper) sweep() {
	r.consuming.Lock()
	defer r.consuming.Unlock()
	if !r.orphans {
		r.sweepKnown()
		return
	}
	r.disown()
	for {
		pid := peek()
		if pid <= 0 {
			return
		}
		if p := r.find(pid); p != nil {
			r.consume(p)
			continue
		}
		if !r.discard(pid) {
			r.sweepKnown()
			return
		}
	}
}

// sweepKnown looks at the children in care, one by one.
func (r *Reaper) sweepKnown() {
	for _, pid := range r.Live() {
		if p := r.find(pid); p != nil {
			r.consume(p)
		}
	}
}

// discard takes the status of a dead child that is in nobody's care. It may be a start that is not through: those are waited
// for. It reports false when the child may still be adopted.
func (r *Reaper) discard(pid int) bool {
	r.starting.Lock()
	defer r.starting.Unlock()
	r.mu.Lock()
	known, expected := r.kids[pid] != nil, r.expected > 0
	r.mu.Unlock()
	if known || expected {
		return known
	}
	for {
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.EINTR {
			return true
		}
	}
}

// Expect keeps the statuses of all children that are in nobody's care until the returned function is called: for whoever
// lets another process fork, and learns the pid to adopt only when the child may have ended already. The function may be called
// once; the time until then should be short, because orphans stay zombies for so long.
func (r *Reaper) Expect() (done func()) {
	r.starting.RLock()
	r.mu.Lock()
	r.expected++
	r.mu.Unlock()
	r.starting.RUnlock()
	return func() {
		r.mu.Lock()
		r.expected--
		r.mu.Unlock()
		r.poke()
	}
}

// disown ends the adopted that turn out to be no children: no status of theirs will ever come.
func (r *Reaper) disown() {
	r.mu.Lock()
	var adopted []*Process
	for _, p := range r.kids {
		if p.adopted {
			adopted = append(adopted, p)
		}
	}
	r.mu.Unlock()
	for _, p := range adopted {
		p.adopted = false // looked at once: only sweep uses it from here on
		r.consume(p)
	}
}

// consume takes the exit status of p if it is dead.
func (r *Reaper) consume(p *Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ws syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(p.Pid, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err == nil && pid != p.Pid || p.dead {
			return
		}
		if err != nil { // ECHILD: somebody broke the rule above. Do not let the waiter hang, and claim no success.
			ws = syscall.WaitStatus(syscall.SIGKILL)
		}
		break
	}
	p.dead, p.status = true, ws
	r.mu.Lock()
	delete(r.kids, p.Pid)
	r.mu.Unlock()
	close(p.done)
}

// peek returns the pid of a dead child without consuming it; 0: none, -1: no children at all.
func peek() int {
	// siginfo_t: three ints, padding to the pointer size, then si_pid.
	var info [128]byte
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		switch errno {
		case 0:
			return int(*(*int32)(unsafe.Pointer(&info[8+unsafe.Sizeof(uintptr(0))])))
		case unix.EINTR:
			continue
		}
		return -1
	}
}

// Done is closed when the process ended and its status is known.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status returns the exit status. Call it after Done.
func (p *Process) Status() syscall.WaitStatus { return p.status }

// Signal sends sig to the process, and only to it: after its end it returns ESRCH, also when the pid is in use again.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return syscall.ESRCH
	}
	return syscall.Kill(p.Pid, sig)
}

// SignalGroup sends sig to the process group that the process leads, as long as the process has not been waited for: after
// that the number may belong to others.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return syscall.ESRCH
	}
	return syscall.Kill(-p.Pid, sig)
}
