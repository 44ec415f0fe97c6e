package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// killer ends a process between two calls to its ports: the nth moment is before or after a call. A dead process reaches
// nothing any more.
type killer struct {
	mu     sync.Mutex
	at, n  int // dies at moment at; 0: never
	dead   bool
	killed chan struct{} // closed when it died
}

func newKiller(at int) *killer { return &killer{at: at, killed: make(chan struct{})} }

var errKilled = errs.New(errs.Unavailable, "the process was killed")

func (k *killer) moment() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dead {
		if k.n++; k.n == k.at {
			k.dead = true
			close(k.killed)
		}
	}
	if k.dead {
		return errKilled
	}
	return nil
}

func (k *killer) isDead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

func guard[T any](k *killer, call func() (T, error)) (T, error) {
	var none T
	if err := k.moment(); err != nil {
		return none, err
	}
	out, err := call()
	if killed := k.moment(); killed != nil {
		return none, killed
	}
	return out, err
}

func guardErr(k *killer, call func() error) error {
	_, err := guard(k, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// mortal puts a killer between a process and everything it calls.
func mortal(k *killer) func(sandbox.Deps) sandbox.Deps {
	return func(d sandbox.Deps) sandbox.Deps {
		d.Store = mortalStore{d.Store, k}
		d.Runners = mortalRunners{d.Runners, k}
		return d
	}
}

type mortalStore struct {
	sandbox.Store
	k *killer
}

func (m mortalStore) Insert(ctx context.Context, s sandbox.Sandbox, key sandbox.Key, q sandbox.Quota) error {
	return guardErr(m.k, func() error { return m.Store.Insert(ctx, s, key, q) })
}
func (m mortalStore) Find(ctx context.Context, o, i string) (sandbox.Sandbox, error) {
	return guard(m.k, func() (sandbox.Sandbox, error) { return m.Store.Find(ctx, o, i) })
}
func (m mortalStore) ByID(ctx context.Context, i string) (sandbox.Sandbox, error) {
	return guard(m.k, func() (sandbox.Sandbox, error) { return m.Store.ByID(ctx, i) })
}
func (m mortalStore) Save(ctx context.Context, s sandbox.Sandbox, q sandbox.Quota) (bool, error) {
	return guard(m.k, func() (bool, error) { return m.Store.Save(ctx, s, q) })
}
func (m mortalStore) Remove(ctx context.Context, s sandbox.Sandbox) (bool, error) {
	return guard(m.k, func() (bool, error) { return m.Store.Remove(ctx, s) })
}
func (m mortalStore) InTransition(ctx context.Context, after string, n int) ([]sandbox.Sandbox, error) {
	return guard(m.k, func() ([]sandbox.Sandbox, error) { return m.Store.InTransition(ctx, after, n) })
}
func (m mortalStore) OnRunner(ctx context.Context, r, after string, n int) ([]sandbox.Sandbox, error) {
	return guard(m.k, func() ([]sandbox.Sandbox, error) { return m.Store.OnRunner(ctx, r, after, n) })
}

type mortalRunners struct {
	sandbox.Runners
	k *killer
}

func (m mortalRunners) Runner(ctx context.Context, id string) (sandbox.Runner, error) {
	r, err := m.Runners.Runner(ctx, id)
	return mortalRunner{r, m.k}, err
}

type mortalRunner struct {
	sandbox.Runner
	k *killer
}

func (m mortalRunner) Put(ctx context.Context, s sandbox.Sandbox) (sandbox.Seen, error) {
	return guard(m.k, func() (sandbox.Seen, error) { return m.Runner.Put(ctx, s) })
}
func (m mortalRunner) Start(ctx context.Context, i string) (sandbox.Seen, error) {
	return guard(m.k, func() (sandbox.Seen, error) { return m.Runner.Start(ctx, i) })
}
func (m mortalRunner) Stop(ctx context.Context, i string, f bool) (sandbox.Seen, error) {
	return guard(m.k, func() (sandbox.Seen, error) { return m.Runner.Stop(ctx, i, f) })
}
func (m mortalRunner) Delete(ctx context.Context, i string) error {
	return guardErr(m.k, func() error { return m.Runner.Delete(ctx, i) })
}
func (m mortalRunner) List(ctx context.Context) ([]sandbox.Seen, error) {
	return guard(m.k, func() ([]sandbox.Seen, error) { return m.Runner.List(ctx) })
}

// life is what a client does, and what it was promised.
type life struct {
	key                       string
	created, deleted, stopped bool // acknowledged
	startAsked, deleteAsked   bool
	id                        string
}

func (l *life) run(p *process, orgID string) error {
	s, err := p.Create(ctx, orgID, sandbox.Request{IdempotencyKey: l.key})
	if err != nil {
		return err
	}
	l.created, l.id = true, s.ID
	if s, err = p.Stop(ctx, orgID, l.id, false); err != nil {
		return err
	}
	l.stopped = s.State == sandbox.Stopped
	l.startAsked = true
	if _, err = p.Start(ctx, orgID, l.id); err != nil {
		return err
	}
	l.deleteAsked = true
	if _, err = p.Delete(ctx, orgID, l.id); err != nil {
		return err
	}
	l.deleted = true
	return nil
}

// TestKilledAnywhere kills the control plane at every moment of a sandbox's life, the next process at every moment of its
// recovery, and lets the third recover. Nothing is lost, made twice, stuck or left behind.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	points, longest := 0, time.Duration(0)
	stride := 12 // of the second kill
	if os.Getenv("DUGOUT_TEST_LONG") != "" {
		stride = 1
	}
	for first := 1; ; first++ {
		more := false
		for second := 1; ; second += stride {
			again := w.killTwice(t, first, second, &more, &longest)
			points++
			if !again {
				break
			}
		}
		if !more {
			break
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs of kill points; slowest recovery %v", points, longest)
	if points < 600/stride {
		t.Errorf("only %d kill points: is the killer wired in?", points)
	}
}

// killTwice returns whether the second process died, and sets first when the first one did.
func (w *world) killTwice(t *testing.T, at, secondAt int, first *bool, longest *time.Duration) bool {
	l := &life{key: id.New()}
	k := newKiller(at)
	p := w.start(mortal(k))
	err := l.run(p, w.orgID)
	if err == nil { // what goes on behind the last reply is killed too
		select {
		case <-k.killed:
		case <-finished(func() bool { s, there := w.row(l.id); return !there || s.State == sandbox.Destroyed }):
		}
	} else if !k.isDead() {
		t.Fatalf("kill point %d: %v", at, err)
	}
	*first = *first || k.isDead()
	_ = p.Close()

	// The second process recovers, and may die of it.
	k2 := newKiller(secondAt)
	p2 := w.start(mortal(k2))
	begin := time.Now()
	for range 2 {
		_ = p2.rec.Pass(ctx)
	}
	_ = p2.Close()

	p3 := w.start(nil)
	w.settle(p3)
	if took := time.Since(begin); took > *longest {
		*longest = took
	}
	name := fmt.Sprintf("kill points %d, %d", at, secondAt)
	s, there := w.row(l.id)
	gone := !there || s.State == sandbox.Destroyed
	switch {
	case l.deleted && !gone:
		t.Errorf("%s: deleted, and still %s", name, s.State)
	case l.created && !l.deleteAsked && gone:
		t.Errorf("%s: lost", name)
	case l.created && !gone && s.State == sandbox.Error:
		t.Errorf("%s: in error: %s", name, s.ErrorReason)
	case l.stopped && !l.startAsked && s.State != sandbox.Stopped:
		t.Errorf("%s: stopped, and now %s", name, s.State)
	}
	// The client repeats what it got no answer for, and has one sandbox.
	if !l.created {
		got, err := p3.Create(ctx, w.orgID, sandbox.Request{IdempotencyKey: l.key})
		if err != nil || got.State != sandbox.Started {
			t.Errorf("%s: create again: %s %v", name, got.State, err)
		}
		l.id = got.ID
	}
	if boxes := w.runners[runnerID].Boxes(); len(boxes) > 1 {
		t.Errorf("%s: %d sandboxes on the runner", name, len(boxes))
	}
	if _, err := p3.Delete(ctx, w.orgID, l.id); err != nil && !errs.Is(err, errs.NotFound) {
		t.Errorf("%s: delete: %v", name, err)
	}
	w.settle(p3)
	if boxes := w.runners[runnerID].Boxes(); len(boxes) > 0 {
		t.Errorf("%s: left on the runner: %v", name, boxes)
	}
	_ = p3.Close()
	return k2.isDead()
}

// finished closes its channel when ok says so.
func finished(ok func() bool) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for deadline := time.Now().Add(5 * time.Second); !ok() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}()
	return done
}
