//go:build linux

package git

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/cli"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	// maxWorks is how many operations may run or wait at a time, in one sandbox.
	maxWorks = 32
	// maxTime is when an operation is killed that has not ended.
	maxTime = time.Hour
)

// works counts the operations and keeps those apart that change the same repository. The zero value is ready.
type works struct {
	mu      sync.Mutex // guards all below
	count   int
	locks   map[string]*lock
	closed  bool
	cancels map[*context.CancelFunc]struct{} // of those that run or wait
	all     sync.WaitGroup
}

// close ends all operations and waits for them. Later ones are refused.
func (w *works) close() {
	w.mu.Lock()
	w.closed = true
	for cancel := range w.cancels {
		(*cancel)()
	}
	w.mu.Unlock()
	w.all.Wait()
}

type lock struct {
	free  chan struct{} // holds one token while nobody works
	users int
}

// enter admits an operation. The caller calls leave when it has ended.
// cancel ends the operation.
func (w *works) enter(ctx context.Context, cancel *context.CancelFunc, dir string, exclusive bool) (leave func(), err error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, errs.New(errs.Unavailable, "the daemon is ending")
	}
	if w.count >= maxWorks {
		w.mu.Unlock()
		return nil, errs.New(errs.Busy, "at most %d git operations run at a time in a sandbox", maxWorks)
	}
	w.count++
	w.all.Add(1)
	if w.cancels == nil {
		w.cancels = map[*context.CancelFunc]struct{}{}
	}
	w.cancels[cancel] = struct{}{}
	if !exclusive {
		w.mu.Unlock()
		return func() { w.done(cancel, dir, nil) }, nil
	}
	l := w.locks[dir]
	if l == nil {
		l = &lock{free: make(chan struct{}, 1)}
		l.free <- struct{}{}
		if w.locks == nil {
			w.locks = map[string]*lock{}
		}
		w.locks[dir] = l
	}
	l.users++
	w.mu.Unlock()
	select {
	case <-l.free:
		return func() {
			l.free <- struct{}{}
			w.done(cancel, dir, l)
		}, nil
	case <-ctx.Done():
		w.done(cancel, dir, l)
		return nil, errs.Wrap(ctx.Err(), errs.Timeout, "another operation works in %s", op.Clip(dir))
	}
}

func (w *works) done(cancel *context.CancelFunc, dir string, l *lock) {
	defer w.all.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count--
	delete(w.cancels, cancel)
	if l == nil {
		return
	}
	if l.users--; l.users == 0 {
		delete(w.locks, dir)
	}
}

// do carries out one operation.
func (h *Handler) do(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	if !r.Kind.Reads() {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	key := r.Dir
	if real, err := filepath.EvalSymlinks(r.Dir); err == nil {
		key = real
	}
	leave, err := h.works.enter(ctx, &cancel, key, !r.Kind.Reads())
	if err != nil {
		return nil, err
	}
	defer leave()
	b, err := h.backend()
	if err != nil {
		return nil, err
	}
	return b.Do(ctx, r, commit)
}

// backend finds who does the work: the image may get or lose its git at any time.
func (h *Handler) backend() (op.Backend, error) {
	if path := shell.LookPath("git", h.Env.Get("PATH")); path != "" {
		return &cli.Git{Runner: h.Runner, Path: path, Env: h.Env.List(nil)}, nil
	}
	if shell.Executable(h.Library) {
		return &library{h: h}, nil
	}
	return nil, errs.New(errs.Unavailable, "this sandbox has no git: install it, or use a snapshot that has it")
}
