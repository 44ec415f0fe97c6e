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

	mu   sync.Mutex // guards kids
	kids map[int]*Process

	sig  chan os.Signal
	stop chan struct{}
	done chan struct{}
}

// Process is a child. Its methods may be called at any time, also after it ended.
type Process struct {
	Pid     int
	Started time.Time

	mu     sync.Mutex // guards dead: a signal is sent and the pid consumed under it
	dead   bool
	status syscall.WaitStatus
	done   chan struct{}
}

// New returns a running reaper. With orphans it consumes every dead child of this process: right for the first process of
// a pid namespace, wrong for a program that starts processes by other means.
func New(orphans bool) *Reaper {
	r := &Reaper{orphans: orphans, kids: map[int]*Process{}, sig: make(chan os.Signal, 1), stop: make(chan struct{}), done: make(chan struct{})}
	signal.Notify(r.sig, syscall.SIGCHLD)
	go r.loop()
	return r
}

// Close stops reaping. Children go on running; their Done never closes.
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
		select {
		case r.sig <- syscall.SIGCHLD:
		default:
		}
	}
	return p, nil
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

func (r *Reaper) find(pid int) *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kids[pid]
}

func (r *Reaper) sweep() {
	if !r.orphans {
		for _, pid := range r.Live() {
			if p := r.find(pid); p != nil {
				r.consume(p)
			}
		}
		return
	}
	for {
		pid := peek()
		if pid <= 0 {
			return
		}
		p := r.find(pid)
		if p == nil { // an orphan, or a start that is not through: wait for those
			r.starting.Lock()
			p = r.find(pid)
			r.starting.Unlock()
		}
		if p != nil {
			r.consume(p)
			continue
		}
		for {
			if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.EINTR {
				break
			}
		}
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
