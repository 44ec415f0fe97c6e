package oci

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// box is one sandbox as this process knows it.
type box struct {
	id   string
	lock chan struct{} // held (by a send) by the verb at work on this sandbox

	mu   sync.Mutex // guards the rest; never held over I/O. Only the holder of lock changes the rest.
	made bool       // its Create is complete
	gone bool       // it was removed, or never came to be; look it up again
	rec  record
	st   state
	run  *run  // nil when not running
	cpus []int // chosen for the run, or for the start under way; nil: all
}

// run is the life of one first process.
type run struct {
	pidfd int
	ended chan struct{} // closed by the watcher when the process has ended
	once  sync.Once
}

func (r *run) close() { r.once.Do(func() { unix.Close(r.pidfd) }) }

func newBox(id string) *box { return &box{id: id, lock: make(chan struct{}, 1)} }

func (b *box) get() (record, state, *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec, b.st, b.run
}

func (b *box) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// undoTimeout bounds what a verb does after its caller has left.
const undoTimeout = 30 * time.Second

// verb runs fn while it alone works on the sandbox id. With create, an unknown id gets a new box. fn returns what undoes
// its effect; that runs when the caller's context ended before fn did, so that a verb that reported failure has none. fn
// must heed ctx and clean up after itself when it fails.
func (e *Engine) verb(ctx context.Context, id string, create bool, fn func(ctx context.Context, b *box) (undo func(context.Context), err error)) error {
	for {
		if ctx.Err() != nil {
			return timeoutError(ctx, "the request ended before its work began")
		}
		b := e.lookup(id, create)
		if b == nil {
			return notFound(id)
		}
		select {
		case b.lock <- struct{}{}:
		case <-ctx.Done():
			return timeoutError(ctx, "the sandbox is busy with another request")
		case <-e.closing.Done():
			return errs.New(errs.Unavailable, "the engine is closing")
		}
		b.mu.Lock()
		gone := b.gone
		b.mu.Unlock()
		if gone {
			<-b.lock
			continue
		}
		if !e.begin() {
			<-b.lock
			return errs.New(errs.Unavailable, "the engine is closing")
		}
		var settled atomic.Bool // true: the result is decided, by whoever was first
		result := make(chan error, 1)
		go func() {
			defer e.work.Done()
			undo, err := fn(ctx, b)
			if !settled.CompareAndSwap(false, true) && err == nil && undo != nil {
				undoCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
				undo(undoCtx)
				cancel()
			}
			<-b.lock
			result <- err
		}()
		select {
		case err := <-result:
			return err
		case <-ctx.Done():
			if !settled.CompareAndSwap(false, true) {
				return <-result
			}
			return timeoutError(ctx, "the request ended before its work was done")
		}
	}
}

// begin counts a piece of work that Close waits for; false when the engine is closing.
func (e *Engine) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Err() != nil {
		return false
	}
	e.work.Add(1)
	return true
}

func (e *Engine) lookup(id string, create bool) *box {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boxes[id]
	if b == nil && create {
		b = newBox(id)
		e.boxes[id] = b
	}
	return b
}

// forget takes a box out of the engine's knowledge. Call it holding the lock of the box.
func (e *Engine) forget(b *box) {
	b.set(func() { b.gone, b.made = true, false })
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.boxes, b.id)
}

func notFound(id string) error {
	return errs.New(errs.NotFound, "sandbox %s is not on this host", clip(id))
}

// Inspect returns what is known of a sandbox.
func (e *Engine) Inspect(_ context.Context, id string) (engine.Status, error) {
	b := e.lookup(id, false)
	if b == nil {
		return engine.Status{}, notFound(id)
	}
	status, made := e.status(b)
	if !made {
		return engine.Status{}, notFound(id)
	}
	return status, nil
}

// List returns all sandboxes, in no order.
func (e *Engine) List(context.Context) ([]engine.Status, error) {
	e.mu.Lock()
	boxes := make([]*box, 0, len(e.boxes))
	for _, b := range e.boxes {
		boxes = append(boxes, b)
	}
	e.mu.Unlock()
	list := make([]engine.Status, 0, len(boxes))
	for _, b := range boxes {
		if status, made := e.status(b); made {
			list = append(list, status)
		}
	}
	return list, nil
}

func (e *Engine) status(b *box) (engine.Status, bool) {
	b.mu.Lock()
	made, rec, st, running := b.made, b.rec, b.st, b.run != nil
	b.mu.Unlock()
	status := engine.Status{
		Spec: rec.Spec.Clone(), State: engine.Stopped, StartedAt: st.StartedAt, StoppedAt: st.StoppedAt, Reason: st.Reason, ExitCode: st.ExitCode,
		OOMKills: st.OOMKills, Net: st.Net, DiskLimit: e.disk.enforces(),
	}
	if running {
		status.State, status.Pid, status.OOMKills = engine.Running, st.Pid, e.cg.oomKills(b.id)
	}
	return status, made
}

// Usage measures a running sandbox.
func (e *Engine) Usage(ctx context.Context, id string) (engine.Usage, error) {
	b := e.lookup(id, false)
	if b == nil {
		return engine.Usage{}, notFound(id)
	}
	_, _, r := b.get()
	if r == nil {
		return engine.Usage{}, notRunning(id)
	}
	usage, err := e.cg.usage(id)
	if err == nil {
		usage.DiskBytes, err = e.disk.usage(ctx, id)
	}
	if _, _, now := b.get(); now != r || pidfdGone(r) {
		return engine.Usage{}, notRunning(id)
	}
	if err != nil {
		return engine.Usage{}, errs.Wrap(err, errs.Internal, "cannot measure the sandbox")
	}
	return usage, nil
}

func pidfdGone(r *run) bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func notRunning(id string) error {
	return errs.New(errs.WrongState, "sandbox %s is not running", clip(id))
}
