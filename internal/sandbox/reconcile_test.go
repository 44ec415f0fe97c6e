package sandbox_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// inBubble runs a test with a clock of its own and a reconciler with its real periods.
func inBubble(t *testing.T, test func(t *testing.T, w *world, p *process)) {
	address := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address, org.Limits{})
		p := w.start(nil)
		rec := sandbox.NewReconciler(p.Controller, sandbox.Periods{PurgeAfter: time.Hour})
		running, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := rec.Run(running); err != nil {
				t.Error(err)
			}
		})
		test(t, w, p)
		stop()
		wg.Wait()
		_ = p.Close()
		_ = w.db.Close()
	})
}

// alone runs a test with a clock of its own and no reconciler running.
func alone(t *testing.T, test func(t *testing.T, w *world, p *process)) {
	address := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, address, org.Limits{})
		p := w.start(nil)
		test(t, w, p)
		_ = p.Close()
		_ = w.db.Close()
	})
}

// after lets time pass and everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d) // of the bubble: takes no time
	synctest.Wait()
}

// must is for calls that have to work.
func must(t *testing.T) func(sandbox.Sandbox, error) sandbox.Sandbox {
	return func(s sandbox.Sandbox, err error) sandbox.Sandbox {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestAutoStop(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		five, zero := int64(5), int64(0)
		idle := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoStopMinutes: &five}))
		never := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoStopMinutes: &zero}))
		busy := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoStopMinutes: &five}))
		brief := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoStopMinutes: &five, AutoDeleteMinutes: &zero}))
		for range 9 {
			after(30 * time.Second)
			if err := p.Active(busy.ID); err != nil {
				t.Fatal(err)
			}
		}
		after(29 * time.Second)
		for _, s := range []sandbox.Sandbox{idle, never, busy, brief} {
			if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Started {
				t.Errorf("after 4:59: %s", got.State)
			}
		}
		after(12 * time.Second)
		if got := must(t)(p.Get(ctx, w.orgID, idle.ID)); got.State != sandbox.Stopped || got.StopReason != "idle" {
			t.Errorf("idle: %s %q", got.State, got.StopReason)
		}
		if _, err := p.Get(ctx, w.orgID, brief.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("ephemeral and idle: %v", err)
		}
		for _, s := range []sandbox.Sandbox{never, busy} {
			if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Started {
				t.Errorf("in use, or without auto-stop: %s", got.State)
			}
		}
		after(6 * time.Minute)
		if got := must(t)(p.Get(ctx, w.orgID, busy.ID)); got.State != sandbox.Stopped {
			t.Errorf("no longer in use: %s", got.State)
		}
	})
}

func TestAutoDeleteAndPurge(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		ten := int64(10)
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoDeleteMinutes: &ten}))
		kept := must(t)(p.Create(ctx, w.orgID, sandbox.Request{AutoArchiveMinutes: &ten}))
		for _, x := range []sandbox.Sandbox{s, kept} {
			must(t)(p.Stop(ctx, w.orgID, x.ID, false))
		}
		after(9 * time.Minute)
		must(t)(p.Get(ctx, w.orgID, s.ID))
		after(time.Minute + 11*time.Second)
		if _, err := p.Get(ctx, w.orgID, s.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("after its interval: %v", err)
		}
		if _, there := w.row(s.ID); !there {
			t.Error("the row is purged too early")
		}
		after(time.Hour + 11*time.Minute)
		if _, there := w.row(s.ID); there {
			t.Error("the row is not purged in time")
		}
		// Past auto-archive, which this build only shows.
		if got := must(t)(p.Get(ctx, w.orgID, kept.ID)); got.State != sandbox.Stopped || got.AutoArchiveMinutes != 10 {
			t.Errorf("stopped for long: %s, auto-archive %d", got.State, got.AutoArchiveMinutes)
		}
	})
}

func TestClockJumpStopsNobody(t *testing.T) {
	alone(t, func(t *testing.T, w *world, p *process) {
		rec := sandbox.NewReconciler(p.Controller, sandbox.Periods{})
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		pass := func() sandbox.State {
			t.Helper()
			if err := rec.Pass(ctx); err != nil {
				t.Fatal(err)
			}
			return must(t)(p.Get(ctx, w.orgID, s.ID)).State
		}
		pass()
		shift := 24 * time.Hour
		w.now = func() time.Time { return time.Now().Add(shift) }
		if got := pass(); got != sandbox.Started {
			t.Errorf("after a jump of a day: %s", got)
		}
		time.Sleep(14 * time.Minute)
		if got := pass(); got != sandbox.Started {
			t.Errorf("14 minutes after the jump: %s", got)
		}
		time.Sleep(2 * time.Minute)
		pass()
		synctest.Wait()
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)).State; got != sandbox.Stopped {
			t.Errorf("16 minutes after the jump: %s", got)
		}
	})
}

func TestANewProcessGivesEveryoneAFullInterval(t *testing.T) {
	alone(t, func(t *testing.T, w *world, p *process) {
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		after(time.Hour)
		// The control plane was away; sandboxes were used meanwhile, and nobody could say so.
		late := sandbox.NewReconciler(p.Controller, sandbox.Periods{})
		if err := late.Pass(ctx); err != nil {
			t.Fatal(err)
		}
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Started {
			t.Errorf("%s", got.State)
		}
	})
}

func TestSelfStopIsNoticedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		after(15 * time.Second)
		begin := time.Now()
		w.runners[runnerID].Crash(s.ID, "oom")
		synctest.Wait()
		got := must(t)(p.Get(ctx, w.orgID, s.ID))
		if got.State != sandbox.Stopped || got.Desired != sandbox.WantStopped || got.StopReason != "oom" || time.Since(begin) > time.Second {
			t.Errorf("%s %q after %v", got.State, got.StopReason, time.Since(begin))
		}
		if got := must(t)(p.Start(ctx, w.orgID, s.ID)); got.State != sandbox.Started || got.StopReason != "" {
			t.Errorf("started again: %s %q", got.State, got.StopReason)
		}
	})
}

func TestLostSandboxBecomesAnErrorAndHeals(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		w.runners[runnerID].Lose(s.ID)
		after(25 * time.Second)
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Started {
			t.Errorf("after one list without it: %s", got.State)
		}
		after(50 * time.Second)
		got := must(t)(p.Get(ctx, w.orgID, s.ID))
		if got.State != sandbox.Error || got.ErrorReason == "" {
			t.Errorf("after two: %s %q", got.State, got.ErrorReason)
		}
		if _, err := p.Start(ctx, w.orgID, s.ID); !errs.Is(err, errs.WrongState) {
			t.Errorf("start of one in error: %v", err)
		}
		w.runners[runnerID].Plant(s.ID) // its disk came back
		after(40 * time.Second)
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Started || got.ErrorReason != "" {
			t.Errorf("after it came back: %s %q", got.State, got.ErrorReason)
		}
		w.runners[runnerID].Lose(s.ID)
		after(80 * time.Second)
		if _, err := p.Delete(ctx, w.orgID, s.ID); err != nil {
			t.Errorf("delete of one in error: %v", err)
		}
		after(time.Second)
		if _, err := p.Get(ctx, w.orgID, s.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("after the delete: %v", err)
		}
	})
}

func TestOrphanIsDeletedAfterItsGrace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		orphan := id.New()
		w.runners[runnerID].Plant(orphan)
		after(110 * time.Second)
		if len(w.runners[runnerID].Boxes()) != 1 {
			t.Error("deleted before its grace was over")
		}
		after(90 * time.Second)
		if len(w.runners[runnerID].Boxes()) != 0 {
			t.Error("not deleted after its grace")
		}
	})
}

// blindStore is a database that does not answer single reads.
type blindStore struct {
	sandbox.Store
	blind *atomic.Bool
}

func (b blindStore) ByID(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if b.blind.Load() {
		return sandbox.Sandbox{}, errs.New(errs.Unavailable, "the database does not answer")
	}
	return b.Store.ByID(ctx, id)
}

func TestNothingIsDeletedWhileTheDatabaseIsAway(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	var blind atomic.Bool
	p := w.start(func(d sandbox.Deps) sandbox.Deps { d.Store = blindStore{d.Store, &blind}; return d })
	w.runners[runnerID].Plant(id.New())
	blind.Store(true)
	for range 5 {
		if err := p.rec.Pass(ctx); !errs.Is(err, errs.Unavailable) {
			t.Errorf("pass without a database: %v", err)
		}
	}
	blind.Store(false)
	if err := p.rec.Pass(ctx); err != nil {
		t.Fatal(err)
	}
	if len(w.runners[runnerID].Boxes()) != 1 {
		t.Fatal("deleted at the first sweep that could read")
	}
	if err := p.rec.Pass(ctx); err != nil {
		t.Fatal(err)
	}
	if len(w.runners[runnerID].Boxes()) != 0 {
		t.Error("not deleted at the second")
	}
}

func TestRunnerThatNeverAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *process) {
		s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		doomed := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
		r := w.runners[runnerID]
		r.SetFault(func(context.Context, sandboxtest.Verb, string, bool) error {
			return errs.New(errs.Unavailable, "the runner does not answer")
		})
		if got, err := p.Stop(ctx, w.orgID, s.ID, false); err != nil || got.State != sandbox.Stopping {
			t.Errorf("stop: %s %v", got.State, err)
		}
		must(t)(p.Delete(ctx, w.orgID, doomed.ID))
		after(6 * time.Minute)
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Error || got.ErrorReason == "" {
			t.Errorf("after 6 minutes: %s %q", got.State, got.ErrorReason)
		}
		if got := must(t)(p.Get(ctx, w.orgID, doomed.ID)); got.State != sandbox.Destroying {
			t.Errorf("a delete is never given up: %s", got.State)
		}
		r.SetFault(nil)
		after(45 * time.Second)
		if got := must(t)(p.Get(ctx, w.orgID, s.ID)); got.State != sandbox.Stopped {
			t.Errorf("when it is back: %s", got.State)
		}
		if _, err := p.Get(ctx, w.orgID, doomed.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("the deleted one, when it is back: %v", err)
		}
	})
}

func TestRunnerThatLeft(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
	delete(w.runners, runnerID)
	must(t)(p.Delete(ctx, w.orgID, s.ID))
	until(t, "destroyed", func() bool { s, _ := w.row(s.ID); return s.State == sandbox.Destroyed })
}

func TestTouchIsBufferedAndShown(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	s := must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
	later := s.LastActivityAt.Add(time.Hour)
	w.now = func() time.Time { return later }
	if err := p.Touch(ctx, w.orgID, s.ID); err != nil {
		t.Fatal(err)
	}
	if got := must(t)(p.Get(ctx, w.orgID, s.ID)); !got.LastActivityAt.Equal(later) {
		t.Errorf("not shown at once: %v", got.LastActivityAt)
	}
	if got, _ := w.row(s.ID); !got.LastActivityAt.Equal(s.LastActivityAt) {
		t.Errorf("written at once: %v", got.LastActivityAt)
	}
	if err := p.rec.Pass(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.row(s.ID); !got.LastActivityAt.Equal(later) {
		t.Errorf("not written by a pass: %v", got.LastActivityAt)
	}
}
