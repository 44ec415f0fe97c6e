package sandbox_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

var ctx = context.Background()

func TestLifecycle(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	events := &recorder{}
	p := w.start(func(d sandbox.Deps) sandbox.Deps { d.Events = events; return d })
	r := w.runners[runnerID]

	s, err := p.Create(ctx, w.orgID, sandbox.Request{Labels: map[string]string{"a": "b"}, Env: map[string]string{"X": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	want := sandbox.Sandbox{ID: s.ID, OrganizationID: w.orgID, Name: s.ID, Region: "us", Class: "container", Snapshot: "base", Image: "base", User: "daytona",
		Env: map[string]string{"X": "y"}, Labels: map[string]string{"a": "b"}, CPU: 1, MemoryGiB: 1, DiskGiB: 3, State: sandbox.Started, Desired: sandbox.WantStarted,
		Version: 2, AutoStopMinutes: 15, AutoArchiveMinutes: 10080, AutoDeleteMinutes: -1, RunnerID: runnerID, DaemonVersion: "test", AuthToken: s.AuthToken,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, LastActivityAt: s.LastActivityAt, StateSince: s.StateSince}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("created: %s", d)
	}
	if len(s.AuthToken) != 32 {
		t.Errorf("token %q, want 32 characters", s.AuthToken)
	}

	if again, err := p.Start(ctx, w.orgID, s.ID); err != nil || again.Version != s.Version {
		t.Errorf("start of a started one: %v %v", again.Version, err)
	}
	s, err = p.Stop(ctx, w.orgID, s.Name, false)
	if err != nil || s.State != sandbox.Stopped || r.Boxes()[s.ID] {
		t.Fatalf("stop: %s %v", s.State, err)
	}
	if _, err := p.Stop(ctx, w.orgID, s.ID, false); !errs.Is(err, errs.WrongState) {
		t.Errorf("stop of a stopped one: %v", err)
	}
	token := s.AuthToken
	s, err = p.Start(ctx, w.orgID, s.ID)
	if err != nil || s.State != sandbox.Started || !r.Boxes()[s.ID] {
		t.Fatalf("start: %s %v", s.State, err)
	}
	if s.AuthToken == token {
		t.Error("the token is not new after a start")
	}
	d, err := p.Delete(ctx, w.orgID, s.ID)
	if err != nil || d.Shown() != sandbox.Destroying || !strings.HasPrefix(d.Name, "DESTROYED_"+s.Name+"_") {
		t.Fatalf("delete: %s %s %v", d.Shown(), d.Name, err)
	}
	until(t, "gone", func() bool { _, err := p.Get(ctx, w.orgID, s.ID); return errs.Is(err, errs.NotFound) })
	if n := len(r.Boxes()); n != 0 {
		t.Errorf("%d left on the runner", n)
	}
	wantEvents := []string{"sandbox.created >creating", "sandbox.state.updated creating>started", "sandbox.state.updated started>stopping",
		"sandbox.state.updated stopping>stopped", "sandbox.state.updated stopped>starting", "sandbox.state.updated starting>started",
		"sandbox.state.updated started>destroying", "sandbox.state.updated destroying>destroyed"}
	until(t, "the last event", func() bool { return len(events.names(s.ID)) >= len(wantEvents) }) // it comes after the row
	if d := cmp.Diff(wantEvents, events.names(s.ID)); d != "" {
		t.Error(d)
	}
}

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{CPUPerSandbox: 2})
	p := w.start(nil)
	if _, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "taken"}); err != nil {
		t.Fatal(err)
	}
	many := map[string]string{}
	for i := range 257 {
		many[fmt.Sprint("K", i)] = ""
	}
	minus := int64(-1)
	for _, tc := range []struct {
		name  string
		r     sandbox.Request
		class errs.Class
		says  string
	}{
		{"name taken", sandbox.Request{Name: "taken"}, errs.Conflict, "taken"},
		{"name with tag", sandbox.Request{Name: "<b>x</b>"}, errs.Invalid, "name"},
		{"name with url", sandbox.Request{Name: "see https://x"}, errs.Invalid, "name"},
		{"name with www", sandbox.Request{Name: "WWW.x"}, errs.Invalid, "name"},
		{"name with control", sandbox.Request{Name: "a\x00b"}, errs.Invalid, "name"},
		{"name not utf-8", sandbox.Request{Name: "a\xffb"}, errs.Invalid, "name"},
		{"long name", sandbox.Request{Name: strings.Repeat("x", 257)}, errs.Invalid, "256"},
		{"resources", sandbox.Request{CPU: 1}, errs.Invalid, "cpu"},
		{"gpu", sandbox.Request{GPU: 1}, errs.Invalid, "gpu"},
		{"unknown snapshot", sandbox.Request{Snapshot: "nope"}, errs.Invalid, "nope"},
		{"unknown region", sandbox.Request{Region: "mars"}, errs.NotFound, "mars"},
		{"too large", sandbox.Request{Snapshot: "daytona-large"}, errs.Exhausted, "maximum per sandbox"},
		{"empty label", sandbox.Request{Labels: map[string]string{"": "x"}}, errs.Invalid, "labels"},
		{"long label", sandbox.Request{Labels: map[string]string{"x": strings.Repeat("v", 4097)}}, errs.Invalid, "4096"},
		{"many env", sandbox.Request{Env: many}, errs.Invalid, "256"},
		{"bad env", sandbox.Request{Env: map[string]string{"A=B": ""}}, errs.Invalid, "env"},
		{"large env", sandbox.Request{Env: map[string]string{"A": strings.Repeat("x", 128<<10)}}, errs.Invalid, "131072"},
		{"bad user", sandbox.Request{User: "a b"}, errs.Invalid, "user"},
		{"bad network", sandbox.Request{Network: sandbox.Network{Allow: []string{"::/0"}}}, errs.Invalid, "networkAllowList"},
		{"domains", sandbox.Request{Network: sandbox.Network{Domains: []string{"x.org"}}}, errs.Unimplemented, "domainAllowList"},
		{"negative interval", sandbox.Request{AutoStopMinutes: &minus}, errs.Invalid, "autoStopInterval"},
		{"bad key", sandbox.Request{IdempotencyKey: "a b"}, errs.Invalid, "Idempotency-Key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := p.Create(ctx, w.orgID, tc.r)
			e, ok := errs.As(err)
			if !ok || e.Class != tc.class || !strings.Contains(e.Message, tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.class, tc.says)
			}
		})
	}
	if page, err := p.List(ctx, w.orgID, sandbox.Filter{IncludeErroredDeleted: true}); err != nil || len(page.Items) != 1 {
		t.Errorf("%d sandboxes after refused requests, want 1: %v", len(page.Items), err)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  *errs.Error
		want errs.Class
	}{
		{"full", errs.New(errs.Exhausted, "no capacity: disk full"), errs.Exhausted},
		{"no image", errs.New(errs.NotFound, "image base is missing"), errs.Unavailable},
		{"no runtime", errs.New(errs.Internal, "runc is missing"), errs.Internal},
		{"silent", errs.New(errs.Unavailable, "the runner does not answer"), errs.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, storetest.SQLite(t), org.Limits{})
			p := w.start(nil)
			var made atomic.Value
			w.runners[runnerID].SetFault(func(_ context.Context, v sandboxtest.Verb, id string, after bool) error {
				if v == sandboxtest.Put && !after {
					made.Store(id)
					return tc.err
				}
				return nil
			})
			_, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "x", IdempotencyKey: "k"})
			e, ok := errs.As(err)
			if !ok || e.Class != tc.want || !strings.Contains(err.Error(), tc.err.Message) {
				t.Errorf("got %v, want %v with the runner's reason", err, tc.want)
			}
			if s, there := w.row(made.Load().(string)); there {
				t.Errorf("the row is left: %s/%s", s.State, s.Desired)
			}
			w.runners[runnerID].SetFault(nil)
			if s, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "x", IdempotencyKey: "k"}); err != nil || s.State != sandbox.Started {
				t.Errorf("the next create: %s %v", s.State, err)
			}
		})
	}
}

func TestFailedCreateThatCannotBeUndoneYet(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	r := w.runners[runnerID]
	away := errs.New(errs.Unavailable, "the runner does not answer")
	r.SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Put && !after {
			return nil // it takes effect, and then the runner is gone
		}
		return away
	})
	if _, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "x"}); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("create: %v", err)
	}
	if page, err := p.List(ctx, w.orgID, sandbox.Filter{}); err != nil || len(page.Items) != 1 || page.Items[0].Shown() != sandbox.Destroying {
		t.Errorf("while the runner is away: %+v %v", page.Items, err)
	}
	r.SetFault(nil)
	w.settle(p)
	if n := len(r.Boxes()); n != 0 {
		t.Errorf("%d left on the runner", n)
	}
}

func TestCreateSurvivesItsCaller(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	leaving, leave := context.WithCancel(ctx)
	w.runners[runnerID].SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Put {
			leave()
		}
		return nil
	})
	if s, err := p.Create(leaving, w.orgID, sandbox.Request{}); err != nil || s.State != sandbox.Started {
		t.Errorf("%s %v", s.State, err)
	}
}

func TestDeleteDuringCreate(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	r := w.runners[runnerID]
	inside := make(chan string, 1)
	r.SetFault(func(ctx context.Context, v sandboxtest.Verb, id string, after bool) error {
		if v != sandboxtest.Put || after {
			return nil
		}
		inside <- id
		<-ctx.Done() // it hangs until the call is ended
		return errs.Wrap(ctx.Err(), errs.Unavailable, "the runner does not answer")
	})
	created := make(chan error, 1)
	go func() {
		_, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "x"})
		created <- err
	}()
	sid := <-inside
	begin := time.Now()
	if s, err := p.Delete(ctx, w.orgID, "x"); err != nil || s.ID != sid || s.Shown() != sandbox.Destroying {
		t.Fatalf("delete: %v %v", s.Shown(), err)
	}
	if s, err := p.Delete(ctx, w.orgID, sid); err != nil && !errs.Is(err, errs.NotFound) || err == nil && s.Shown() != sandbox.Destroying {
		t.Errorf("second delete: %v %v", s.Shown(), err)
	}
	if err := <-created; !errs.Is(err, errs.Conflict) {
		t.Errorf("create: %v, want a conflict", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("delete did not end the create: %v", took)
	}
	until(t, "gone", func() bool { s, _ := w.row(sid); return s.State == sandbox.Destroyed })
	if len(r.Boxes()) != 0 {
		t.Error("left on the runner")
	}
}

func TestStartFailureLeavesItStopped(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	s, err := p.Create(ctx, w.orgID, sandbox.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stop(ctx, w.orgID, s.ID, true); err != nil {
		t.Fatal(err)
	}
	r := w.runners[runnerID]
	r.SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Start && !after {
			return errs.New(errs.Exhausted, "no capacity: memory")
		}
		return nil
	})
	if _, err := p.Start(ctx, w.orgID, s.ID); !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("start: %v", err)
	}
	if got, err := p.Get(ctx, w.orgID, s.ID); err != nil || got.State != sandbox.Stopped || got.Pending() {
		t.Errorf("after it: %s %v", got.State, err)
	}
	r.SetFault(nil)
	if got, err := p.Start(ctx, w.orgID, s.ID); err != nil || got.State != sandbox.Started {
		t.Errorf("start again: %s %v", got.State, err)
	}
}

func TestChangesInParallelConflict(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	s, err := p.Create(ctx, w.orgID, sandbox.Request{})
	if err != nil {
		t.Fatal(err)
	}
	release, inside := make(chan struct{}), make(chan struct{}, 10)
	w.runners[runnerID].SetFault(func(ctx context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Stop && !after {
			inside <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	stopped := make(chan error, 1)
	go func() { _, err := p.Stop(ctx, w.orgID, s.ID, false); stopped <- err }()
	<-inside
	if _, err := p.Start(ctx, w.orgID, s.ID); !errs.Is(err, errs.Conflict) {
		t.Errorf("start while stopping: %v", err)
	}
	if _, err := p.Stop(ctx, w.orgID, s.ID, false); !errs.Is(err, errs.Conflict) {
		t.Errorf("stop while stopping: %v", err)
	}
	if _, err := p.SetLabels(ctx, w.orgID, s.ID, map[string]string{"k": "v"}); err != nil {
		t.Errorf("labels while stopping: %v", err)
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	until(t, "stopped", func() bool { s, _ := w.row(s.ID); return s.State == sandbox.Stopped && s.Labels["k"] == "v" })
}

func TestEphemeral(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	zero := int64(0)
	s, err := p.Create(ctx, w.orgID, sandbox.Request{AutoDeleteMinutes: &zero})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Stop(ctx, w.orgID, s.ID, false); err != nil || got.Shown() != sandbox.Destroying {
		t.Errorf("stop: %s %v", got.Shown(), err)
	}
	until(t, "gone", func() bool {
		s, _ := w.row(s.ID)
		return s.State == sandbox.Destroyed && len(w.runners[runnerID].Boxes()) == 0
	})

	if s, err = p.Create(ctx, w.orgID, sandbox.Request{AutoDeleteMinutes: &zero}); err != nil {
		t.Fatal(err)
	}
	w.runners[runnerID].Crash(s.ID, "oom")
	w.settle(p)
	if got, _ := w.row(s.ID); got.State != sandbox.Destroyed {
		t.Errorf("one that ended by itself: %s", got.State)
	}
}

func TestQuotaOfTenHoldsForTwoHundred(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, org.Limits{Sandboxes: 10})
		p := w.start(nil)
		var made, refused atomic.Int64
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				switch _, err := p.Create(ctx, w.orgID, sandbox.Request{}); {
				case err == nil:
					made.Add(1)
				case errs.Is(err, errs.Exhausted):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 10 || refused.Load() != 190 || len(w.runners[runnerID].Boxes()) != 10 {
			t.Errorf("%d made, %d refused, %d on the runner; want 10, 190, 10", made.Load(), refused.Load(), len(w.runners[runnerID].Boxes()))
		}
	})
}

func TestIdempotency(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, org.Limits{})
		processes := []*process{w.start(nil), w.start(nil)} // two servers on one database
		w.runners[runnerID].SetFault(loseEvery(3))
		var wg sync.WaitGroup
		got := make([]sandbox.Sandbox, 100)
		for i := range got {
			wg.Go(func() {
				s, err := processes[i%2].Create(ctx, w.orgID, sandbox.Request{Name: "n", IdempotencyKey: "key", Labels: map[string]string{"a": "1", "b": "2"}})
				if err != nil {
					t.Error(err)
				}
				got[i] = s
			})
		}
		wg.Wait()
		for i := range got {
			if d := cmp.Diff(got[0], got[i]); d != "" {
				t.Fatalf("answer %d differs: %s", i, d)
			}
		}
		if n := len(w.runners[runnerID].Boxes()); n != 1 {
			t.Errorf("%d sandboxes on the runner, want 1", n)
		}
		if _, err := processes[0].Create(ctx, w.orgID, sandbox.Request{Name: "m", IdempotencyKey: "key"}); !errs.Is(err, errs.Conflict) {
			t.Errorf("other request with the same key: %v", err)
		}
		if s, err := processes[0].Create(ctx, w.other, sandbox.Request{Name: "n", IdempotencyKey: "key"}); err != nil || s.ID == got[0].ID {
			t.Errorf("the same key in another organization: %s %v", s.ID, err)
		}
		w.runners[runnerID].SetFault(nil)
		if _, err := processes[1].Delete(ctx, w.orgID, got[0].ID); err != nil {
			t.Fatal(err)
		}
		if s, err := processes[0].Create(ctx, w.orgID, sandbox.Request{Name: "n", IdempotencyKey: "key"}); err != nil || s.ID == got[0].ID {
			t.Errorf("the same key after a delete: %s %v", s.ID, err)
		}
	})
}

// loseEvery loses the reply of every nth call that takes effect.
func loseEvery(n int64) sandboxtest.Fault {
	var calls atomic.Int64
	return func(_ context.Context, _ sandboxtest.Verb, _ string, after bool) error {
		if after && calls.Add(1)%n == 0 {
			return errs.New(errs.Unavailable, "the runner does not answer")
		}
		return nil
	}
}

func TestOtherOrganizationsSandboxesDoNotExist(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	s, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := w.row(s.ID)
	for name, call := range map[string]func(id string) error{
		"get":         func(id string) error { _, err := p.Get(ctx, w.other, id); return err },
		"delete":      func(id string) error { _, err := p.Delete(ctx, w.other, id); return err },
		"start":       func(id string) error { _, err := p.Start(ctx, w.other, id); return err },
		"stop":        func(id string) error { _, err := p.Stop(ctx, w.other, id, true); return err },
		"labels":      func(id string) error { _, err := p.SetLabels(ctx, w.other, id, map[string]string{}); return err },
		"public":      func(id string) error { _, err := p.SetPublic(ctx, w.other, id, true); return err },
		"autostop":    func(id string) error { _, err := p.SetAutoStop(ctx, w.other, id, 1); return err },
		"autoarchive": func(id string) error { _, err := p.SetAutoArchive(ctx, w.other, id, 1); return err },
		"autodelete":  func(id string) error { _, err := p.SetAutoDelete(ctx, w.other, id, 0); return err },
		"touch":       func(id string) error { return p.Touch(ctx, w.other, id) },
	} {
		for _, foreign := range []string{s.ID, "secret"} {
			err := call(foreign)
			unknown := id.New()
			ref := call(unknown)
			if !errs.Is(err, errs.NotFound) || strings.ReplaceAll(err.Error(), foreign, "X") != strings.ReplaceAll(ref.Error(), unknown, "X") {
				t.Errorf("%s %s: %v, an unknown id: %v", name, foreign, err, ref)
			}
		}
	}
	if after, _ := w.row(s.ID); !cmp.Equal(before, after) {
		t.Errorf("the row changed: %s", cmp.Diff(before, after))
	}
	for _, f := range []sandbox.Filter{{}, {IDPrefix: s.ID}, {NamePrefix: "sec"}} {
		if page, err := p.List(ctx, w.other, f); err != nil || len(page.Items) != 0 {
			t.Errorf("list %+v: %d, %v", f, len(page.Items), err)
		}
	}
	// A cursor of one organization is worth nothing in another.
	if _, err := p.Create(ctx, w.orgID, sandbox.Request{}); err != nil {
		t.Fatal(err)
	}
	page, err := p.List(ctx, w.orgID, sandbox.Filter{Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatal(page.Next, err)
	}
	if page, err := p.List(ctx, w.other, sandbox.Filter{Cursor: page.Next}); err != nil || len(page.Items) != 0 {
		t.Errorf("foreign cursor: %d, %v", len(page.Items), err)
	}
}

func TestSecondRunnerIsTriedWhenTheFirstIsFull(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	w.addRunner("r2")
	for _, r := range w.runners {
		r.SetLimit(3)
	}
	p := w.start(nil)
	for i := range 6 {
		if _, err := p.Create(ctx, w.orgID, sandbox.Request{}); err != nil {
			t.Fatalf("create %d: %v", i, err)
		}
	}
	_, err := p.Create(ctx, w.orgID, sandbox.Request{})
	if !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "limit of 3") {
		t.Errorf("the seventh: %v", err)
	}
	if rows, err := w.db.Sandboxes().Select(ctx, w.orgID, sandbox.Filter{Sort: "name", IncludeErroredDeleted: true}, sandbox.Mark{}, 100); err != nil || len(rows) != 6 {
		t.Errorf("%d rows, want 6: %v", len(rows), err)
	}
}

func TestFailedCreateWithAKeyOnTwoServers(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	processes := []*process{w.start(nil), w.start(nil)}
	w.runners[runnerID].SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Put && !after {
			return errs.New(errs.Internal, "runc is missing")
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			p := processes[i%2]
			if _, err := p.Create(ctx, w.orgID, sandbox.Request{Name: "n", IdempotencyKey: "k"}); !errs.Is(err, errs.Internal) {
				t.Errorf("%v", err)
			}
			if err := p.rec.Pass(ctx); err != nil { // their reconcilers run too
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows, _, err := w.db.Sandboxes().Count(ctx, w.orgID, sandbox.Filter{Sort: "name", IncludeErroredDeleted: true}, 0, 10); err != nil || len(rows) != 0 {
		t.Errorf("%d rows left: %+v %v", len(rows), rows, err)
	}
}

func BenchmarkCreateDelete(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b), org.Limits{})
	p := w.start(nil)
	for b.Loop() {
		s, err := p.Create(ctx, w.orgID, sandbox.Request{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Delete(ctx, w.orgID, s.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b), org.Limits{})
	p := w.start(nil)
	s, err := p.Create(ctx, w.orgID, sandbox.Request{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Get(ctx, w.orgID, s.ID); err != nil {
			b.Fatal(err)
		}
	}
}
