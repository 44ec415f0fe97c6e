package sandbox_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// machine does what callers, hosts and bad luck do to an installation, and remembers what must hold.
type machine struct {
	w *world
	p *process

	mu     sync.Mutex // guards faults
	faults []bool     // what happens to the next calls of the runner: true is lost
	after  bool       // lost after it took effect
	model  map[string]*expected
}

// expected is what is known of a sandbox whose create was acknowledged.
type expected struct {
	deleted   bool // acknowledged: gone for ever
	mayBeGone bool // a delete was asked for, or it is lost
	labels    map[string]string
}

// TestMachine checks random histories against a model. Calls may fail when the runner loses requests; what was acknowledged
// must hold, and in the end rows and runner agree.
func TestMachine(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, org.Limits{})
		w.runners[runnerID].SetFault(nil)
		rapid.Check(t, func(rt *rapid.T) {
			m := &machine{w: w, p: w.start(nil), model: map[string]*expected{}}
			w.runners[runnerID].SetFault(m.fault)
			rt.Repeat(map[string]func(*rapid.T){
				"create": m.create, "delete": m.delete, "start": m.start, "stop": m.stop, "label": m.label,
				"crash": m.crash, "lose": m.lose, "faults": m.plan, "pass": m.pass, "restart": m.restart, "orphan": m.orphan,
				"": func(*rapid.T) {},
			})
			m.end(rt)
		})
	})
}

func (m *machine) fault(_ context.Context, _ sandboxtest.Verb, _ string, after bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after != m.after || len(m.faults) == 0 {
		return nil
	}
	lost := m.faults[0]
	m.faults = m.faults[1:]
	if lost {
		return errs.New(errs.Unavailable, "the runner does not answer")
	}
	return nil
}

func (m *machine) plan(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = rapid.SliceOfN(rapid.Bool(), 0, 6).Draw(t, "lost")
	m.after = rapid.Bool().Draw(t, "after")
}

// pick draws a sandbox that was made.
func (m *machine) pick(t *rapid.T) (string, *expected) {
	ids := slices.Sorted(maps.Keys(m.model))
	if len(ids) == 0 {
		t.Skip("none yet")
	}
	sid := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")]
	return sid, m.model[sid]
}

// allowed are the classes that a call may fail with; NotFound only for what may be gone.
func (m *machine) allowed(t *rapid.T, what string, e *expected, err error) {
	switch errs.ClassOf(err) {
	case errs.Conflict, errs.WrongState, errs.Unavailable, errs.Timeout:
	case errs.NotFound:
		if !e.mayBeGone {
			t.Fatalf("%s: a sandbox that nobody deleted is gone: %v", what, err)
		}
	default:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err == nil && e.deleted {
		t.Fatalf("%s: worked on a sandbox whose delete was acknowledged", what)
	}
}

func (m *machine) create(t *rapid.T) {
	s, err := m.p.Create(ctx, m.w.orgID, sandbox.Request{})
	if err != nil {
		if !errs.Is(err, errs.Unavailable) {
			t.Fatalf("create: %v", err)
		}
		return
	}
	if s.State != sandbox.Started || !m.w.runners[runnerID].Boxes()[s.ID] {
		t.Fatalf("create: acknowledged as %s", s.State)
	}
	m.model[s.ID] = &expected{}
}

func (m *machine) delete(t *rapid.T) {
	sid, e := m.pick(t)
	s, err := m.p.Delete(ctx, m.w.orgID, sid)
	if errs.Is(err, errs.NotFound) && e.mayBeGone {
		return
	}
	if err != nil || s.Shown() != sandbox.Destroying && s.Shown() != sandbox.Destroyed {
		t.Fatalf("delete: %s %v", s.Shown(), err)
	}
	e.deleted, e.mayBeGone = true, true
}

func (m *machine) start(t *rapid.T) {
	sid, e := m.pick(t)
	s, err := m.p.Start(ctx, m.w.orgID, sid)
	m.allowed(t, "start", e, err)
	if err == nil && s.State != sandbox.Started && !s.Pending() {
		t.Fatalf("start: acknowledged as %s", s.State)
	}
}

func (m *machine) stop(t *rapid.T) {
	sid, e := m.pick(t)
	_, err := m.p.Stop(ctx, m.w.orgID, sid, rapid.Bool().Draw(t, "force"))
	m.allowed(t, "stop", e, err)
}

func (m *machine) label(t *rapid.T) {
	sid, e := m.pick(t)
	labels := map[string]string{"n": fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "n"))}
	_, err := m.p.SetLabels(ctx, m.w.orgID, sid, labels)
	m.allowed(t, "label", e, err)
	if err == nil {
		e.labels = labels
	}
}

// crash ends a sandbox by itself.
func (m *machine) crash(t *rapid.T) {
	sid, _ := m.pick(t)
	m.w.runners[runnerID].Crash(sid, "oom")
}

// lose takes a sandbox from its runner.
func (m *machine) lose(t *rapid.T) {
	sid, _ := m.pick(t)
	if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
		m.w.runners[runnerID].Lose(sid)
	}
}

// orphan puts something on the runner that no row knows.
func (m *machine) orphan(*rapid.T) { m.w.runners[runnerID].Plant(id.New()) }

func (m *machine) pass(t *rapid.T) {
	if err := m.p.rec.Pass(ctx); err != nil {
		t.Fatalf("pass: %v", err)
	}
}

// restart ends the process, whatever it is doing, and starts the next.
func (m *machine) restart(*rapid.T) {
	_ = m.p.Close()
	m.p = m.w.start(nil)
}

// end lets everything settle and looks.
func (m *machine) end(t *rapid.T) {
	m.mu.Lock()
	m.faults = nil
	m.mu.Unlock()
	m.w.settle(m.p)
	boxes := m.w.runners[runnerID].Boxes()
	for sid, e := range m.model {
		s, there := m.w.row(sid)
		gone := !there || s.State == sandbox.Destroyed
		_, onRunner := boxes[sid]
		switch {
		case e.deleted && (!gone || onRunner):
			t.Fatalf("deleted, and now %s, on the runner: %v", s.State, onRunner)
		case !e.mayBeGone && gone:
			t.Fatal("lost a row")
		case !gone && s.Pending():
			t.Fatalf("stuck: %s/%s", s.State, s.Desired)
		case !gone && e.labels != nil && !maps.Equal(s.Labels, e.labels):
			t.Fatalf("labels %v, want %v", s.Labels, e.labels)
		}
		if !gone { // for the next history
			if _, err := m.p.Delete(ctx, m.w.orgID, sid); err != nil {
				t.Fatalf("delete in the end: %v", err)
			}
		}
	}
	m.w.settle(m.p)
	if n := len(m.w.runners[runnerID].Boxes()); n != 0 {
		t.Fatalf("%d left on the runner", n)
	}
	_ = m.p.Close()
}
