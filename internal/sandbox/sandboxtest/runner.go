// Package sandboxtest has a runner in memory that behaves like a real one, faults included, for tests of everything above it.
package sandboxtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

// Verb names what is asked of a runner.
type Verb string

// The verbs.
const (
	Put    Verb = "put"
	Start  Verb = "start"
	Stop   Verb = "stop"
	Delete Verb = "delete"
	Get    Verb = "get"
	List   Verb = "list"
)

// Fault is asked before and after every verb takes effect; an error is what the caller gets. An error before means that
// nothing happened, one after means that the reply was lost. Nil: no faults. It is called without locks and may block.
type Fault func(ctx context.Context, v Verb, sandboxID string, after bool) error

// Runner keeps sandboxes in memory. It is safe for concurrent use.
type Runner struct {
	mu     sync.Mutex // guards all below
	boxes  map[string]*box
	buried map[string]bool // destroyed: refused for ever
	fault  Fault
	limit  int // 0: none
	starts map[string]int
	seq    int64
	news   []string
	wake   chan struct{}
}

type box struct {
	running bool
	reason  string
	user    string
}

// NewRunner returns an empty runner.
func NewRunner() *Runner {
	return &Runner{boxes: map[string]*box{}, buried: map[string]bool{}, starts: map[string]int{}, wake: make(chan struct{})}
}

// SetFault sets what goes wrong from now on.
func (r *Runner) SetFault(f Fault) {
	r.mu.Lock()
	r.fault = f
	r.mu.Unlock()
}

// SetLimit bounds how many sandboxes may run.
func (r *Runner) SetLimit(n int) {
	r.mu.Lock()
	r.limit = n
	r.mu.Unlock()
}

// do surrounds an effect with the faults.
func (r *Runner) do(ctx context.Context, v Verb, id string, effect func() error) error {
	r.mu.Lock()
	f := r.fault
	r.mu.Unlock()
	if f != nil {
		if err := f(ctx, v, id, false); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the runner does not answer")
	}
	r.mu.Lock()
	err := effect()
	r.mu.Unlock()
	if err != nil || f == nil {
		return err
	}
	return f(ctx, v, id, true)
}

func (r *Runner) run(id string, b *box) error {
	if b.running {
		return nil
	}
	if n := r.count(); r.limit > 0 && n >= r.limit {
		return errs.New(errs.Exhausted, "no capacity: the runner already runs its limit of %d sandboxes", r.limit)
	}
	b.running, b.reason = true, ""
	r.starts[id]++
	return nil
}

func (r *Runner) count() (n int) {
	for _, b := range r.boxes {
		if b.running {
			n++
		}
	}
	return n
}

func (b *box) seen(id string) sandbox.Seen {
	return sandbox.Seen{ID: id, Running: b.running, Reason: b.reason, User: b.user, DaemonVersion: "test"}
}

func none(id string) error { return errs.New(errs.NotFound, "the runner has no sandbox %s", id) }

// Put implements [sandbox.Runner].
func (r *Runner) Put(ctx context.Context, s sandbox.Sandbox) (out sandbox.Seen, err error) {
	return out, r.do(ctx, Put, s.ID, func() error {
		if r.buried[s.ID] {
			return errs.New(errs.Conflict, "sandbox %s was destroyed", s.ID)
		}
		b := r.boxes[s.ID]
		if b == nil {
			b = &box{user: s.User}
		}
		if err := r.run(s.ID, b); err != nil {
			return err
		}
		r.boxes[s.ID] = b
		out = b.seen(s.ID)
		return nil
	})
}

// Start implements [sandbox.Runner].
func (r *Runner) Start(ctx context.Context, id string) (out sandbox.Seen, err error) {
	return out, r.do(ctx, Start, id, func() error {
		b := r.boxes[id]
		if b == nil {
			return none(id)
		}
		if err := r.run(id, b); err != nil {
			return err
		}
		out = b.seen(id)
		return nil
	})
}

// Stop implements [sandbox.Runner].
func (r *Runner) Stop(ctx context.Context, id string, _ bool) (out sandbox.Seen, err error) {
	return out, r.do(ctx, Stop, id, func() error {
		b := r.boxes[id]
		if b == nil {
			return none(id)
		}
		b.running, b.reason = false, "stopped"
		out = b.seen(id)
		return nil
	})
}

// Get implements [sandbox.Runner].
func (r *Runner) Get(ctx context.Context, id string) (out sandbox.Seen, err error) {
	return out, r.do(ctx, Get, id, func() error {
		b := r.boxes[id]
		if b == nil {
			return none(id)
		}
		out = b.seen(id)
		return nil
	})
}

// Delete implements [sandbox.Runner].
func (r *Runner) Delete(ctx context.Context, id string) error {
	return r.do(ctx, Delete, id, func() error {
		delete(r.boxes, id)
		r.buried[id] = true
		return nil
	})
}

// List implements [sandbox.Runner].
func (r *Runner) List(ctx context.Context) (out []sandbox.Seen, err error) {
	return out, r.do(ctx, List, "", func() error {
		for id, b := range r.boxes {
			out = append(out, b.seen(id))
		}
		return nil
	})
}

// Changes implements [sandbox.Runner].
func (r *Runner) Changes(ctx context.Context, since int64) (sandbox.News, error) {
	timer := time.NewTimer(25 * time.Second)
	defer timer.Stop()
	for {
		r.mu.Lock()
		next, wake := r.seq+int64(len(r.news))+1, r.wake
		if since < r.seq+1 || since > next {
			r.mu.Unlock()
			return sandbox.News{Next: next, Reset: true}, nil
		}
		news := append([]string(nil), r.news[since-r.seq-1:]...)
		r.mu.Unlock()
		if len(news) > 0 {
			return sandbox.News{Next: next, IDs: news}, nil
		}
		select {
		case <-wake:
		case <-timer.C:
			return sandbox.News{Next: next}, nil
		case <-ctx.Done():
			return sandbox.News{}, errs.Wrap(ctx.Err(), errs.Unavailable, "the runner does not answer")
		}
	}
}

// Crash ends a sandbox by itself, as a kernel out of memory would, and reports it.
func (r *Runner) Crash(id, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.boxes[id]; b != nil && b.running {
		b.running, b.reason = false, reason
		r.news = append(r.news, id)
		close(r.wake)
		r.wake = make(chan struct{})
	}
}

// Lose removes a sandbox without a trace, as a lost disk would.
func (r *Runner) Lose(id string) {
	r.mu.Lock()
	delete(r.boxes, id)
	r.mu.Unlock()
}

// Plant adds a running sandbox that nobody asked for.
func (r *Runner) Plant(id string) {
	r.mu.Lock()
	r.boxes[id] = &box{running: true}
	r.mu.Unlock()
}

// Boxes returns what is there: whether each runs.
func (r *Runner) Boxes() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for id, b := range r.boxes {
		out[id] = b.running
	}
	return out
}

// Starts is how often a sandbox was started here.
func (r *Runner) Starts(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[id]
}

// Runners finds runners by id.
type Runners map[string]*Runner

// Runner implements [sandbox.Runners].
func (m Runners) Runner(_ context.Context, id string) (sandbox.Runner, error) {
	if r, ok := m[id]; ok {
		return r, nil
	}
	return nil, errs.New(errs.NotFound, "runner %s is not part of the installation", fmt.Sprintf("%.40s", id))
}
