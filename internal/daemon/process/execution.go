//go:build linux

package process

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// execution is one command or program, from its request to the last answer about it.
type execution struct {
	id      string // "": nobody can ask for it again
	sum     [32]byte
	started time.Time
	timeout time.Duration
	split   bool // standard error has a pipe of its own
	out     *run.Output
	input   input
	done    chan struct{}
	refs    atomic.Int32
	command *toolbox.Execute // nil: a program of code-run

	mu  sync.Mutex              // held from before a program starts until run is set
	run atomic.Pointer[run.Run] // the program that runs now, or ran last; set before the runner is frozen

	// Set before done is closed.
	exit      int
	signal    syscall.Signal
	timedOut  bool
	charts    []toolbox.Chart
	chartCost int64 // memory of charts, in bytes
}

func (h *Handler) newExecution(id string, timeout *uint32) *execution {
	ex := &execution{id: id, started: time.Now(), out: run.NewOutput(h.Runner.Budget, run.MaxOutput), done: make(chan struct{})}
	if timeout != nil {
		ex.timeout = time.Duration(*timeout) * time.Second
	}
	ex.refs.Store(1) // of the work itself
	return ex
}

// left is the time that remains until the timeout, 0: no timeout. An expired one is a nanosecond.
func (ex *execution) left() time.Duration {
	if ex.timeout == 0 {
		return 0
	}
	return max(ex.timeout-time.Since(ex.started), 1)
}

// fail ends the execution before or instead of a program.
func (ex *execution) fail(exit int, format string, args ...any) {
	ex.exit = exit
	_, _ = fmt.Fprintf(ex.out.Stream(run.Stderr), format, args...)
}

// hold and release count who still needs the output; the last one gives its memory back.
func (ex *execution) hold() { ex.refs.Add(1) }
func (ex *execution) release() {
	if ex.refs.Add(-1) == 0 {
		ex.out.Release()
	}
}

// ended reports whether the execution is over.
func (ex *execution) ended() bool {
	select {
	case <-ex.done:
		return true
	default:
		return false
	}
}

// launch does the work of ex in its own goroutine, so that a client that leaves does not end it.
func (h *Handler) launch(ex *execution, work func()) {
	h.works.Add(1)
	go func() {
		defer h.works.Done()
		work()
		ex.input.drop()
		h.ending.RLock() // whoever hands the executions over sees this one before or after its end, not between
		defer h.ending.RUnlock()
		ex.out.Seal()
		h.kept.finish(ex)
		h.live.remove(ex)
		close(ex.done)
		ex.release()
	}()
}

// step runs one program of ex and waits for it. It returns nil when the program could not be started, which ex then says.
func (h *Handler) step(ex *execution, spec run.Spec) *run.Run {
	spec.Timeout = ex.left()
	spec.Started = func(r *run.Run) { ex.run.Store(r) }
	ex.mu.Lock()
	r, err := h.Runner.Start(spec)
	ex.mu.Unlock()
	ex.input.given()
	if err != nil {
		ex.fail(-1, "%v\n", err)
		return nil
	}
	ex.await(r)
	return r
}

// await waits for the end of a program.
func (ex *execution) await(r *run.Run) {
	<-r.Done()
	ex.exit, ex.signal, ex.timedOut = r.ExitCode(), r.ExitSignal(), r.TimedOut()
}

// begin starts work under an id, or attaches to what runs or ran under it. The caller must release what it gets.
func (h *Handler) begin(id string, body any, timeout *uint32, work func(ex *execution)) (*execution, error) {
	return h.beginAs(id, body, timeout, nil, work)
}

// beginAs is begin for executions that need more than a beginning: prepare is called before anybody can see the new one.
func (h *Handler) beginAs(id string, body any, timeout *uint32, prepare func(*execution), work func(*execution)) (*execution, error) {
	if id != "" && !validID(id) {
		return nil, errs.New(errs.Invalid, "%s must be 1 to 64 characters of A-Z a-z 0-9 _ -", toolbox.ExecutionIDHeader)
	}
	ex := h.newExecution(id, timeout)
	if prepare != nil {
		prepare(ex)
	}
	mine := false
	defer func() {
		if !mine {
			ex.input.drop()
		}
	}()
	ex.hold()
	if id != "" {
		ex.sum = sumOf(body)
		if other, err := h.kept.attach(ex); err != nil || other != nil {
			return other, err
		}
	}
	if !h.live.add(ex) {
		return nil, errs.New(errs.Busy, "%d executions are running already, the most at one time", maxLive)
	}
	if id != "" {
		if other, err := h.kept.claim(ex); err != nil || other != nil {
			h.live.remove(ex)
			return other, err
		}
	}
	mine = true
	h.launch(ex, func() { work(ex) })
	return ex, nil
}

// live is the executions that have not ended.
type live struct {
	mu  sync.Mutex // guards all
	all map[*execution]struct{}
}

func (l *live) add(ex *execution) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= maxLive {
		return false
	}
	if l.all == nil {
		l.all = map[*execution]struct{}{}
	}
	l.all[ex] = struct{}{}
	return true
}

func (l *live) remove(ex *execution) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, ex)
}

func (l *live) list() []*execution {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*execution, 0, len(l.all))
	for ex := range l.all {
		out = append(out, ex)
	}
	return out
}

// input is standard input that stays open for clients that connect. The zero one is shut.
type input struct {
	mu    sync.Mutex    // guards f and theirs; held while a message is written
	f     *os.File      // our end of the pipe
	their *os.File      // the program's end, until it has it
	over  chan struct{} // closed by close
	once  sync.Once
}

// open makes the pipe.
func (in *input) open() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	in.f, in.their, in.over = w, r, make(chan struct{})
	return nil
}

// write hands p to the program and waits until it or the pipe took it, or until stop is closed.
func (in *input) write(p []byte, stop <-chan struct{}) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.f == nil {
		return os.ErrClosed
	}
	f, through := in.f, make(chan struct{})
	var helper sync.WaitGroup
	helper.Go(func() {
		select {
		case <-stop:
		case <-in.over:
		case <-through:
			return
		}
		_ = f.SetWriteDeadline(time.Unix(1, 0))
	})
	_, err := f.Write(p)
	close(through)
	helper.Wait()
	_ = f.SetWriteDeadline(time.Time{})
	return err
}

// given closes the program's end here: the program has it.
func (in *input) given() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.their != nil {
		_ = in.their.Close()
		in.their = nil
	}
}

// drop closes both ends.
func (in *input) drop() {
	in.close()
	in.given()
}

// close ends standard input. It may be called again. A write that waits is given up. The program's end is left alone: it may
// be on its way to the program.
func (in *input) close() {
	if in.over == nil {
		return
	}
	in.once.Do(func() { close(in.over) })
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.f != nil {
		_ = in.f.Close()
		in.f = nil
	}
}

func validID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
