package sandbox_test

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// TestMain runs the tests. DUGOUT_TEST_LONG in the environment means more histories and all pairs of kill points.
func TestMain(m *testing.M) {
	if os.Getenv("DUGOUT_TEST_LONG") == "" {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			panic(err)
		}
	}
	storetest.Main(m)
}

// world is an installation: a database, runners, and any number of processes one after the other.
type world struct {
	t       testing.TB
	db      *store.DB
	runners sandboxtest.Runners
	orgID   string
	other   string // another organization
	dir     *org.Directory
	catalog *snapshot.Catalog
	now     func() time.Time
}

const runnerID = "r1"

func newWorld(t testing.TB, address string, limits org.Limits) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t, address), runners: sandboxtest.Runners{runnerID: sandboxtest.NewRunner()}, now: time.Now}
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	w.dir = org.NewDirectory(w.db.Organizations(), log, nil)
	f, err := w.dir.Bootstrap(ctx, org.BootstrapConfig{AdminKey: "test-key-0123456789", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	w.orgID, w.other = f.Organization.ID, id.New()
	now := time.Now()
	if err := w.db.Organizations().AddOrganization(ctx, org.Organization{ID: w.other, Name: "other", CreatedBy: "someone", DefaultRegion: "us", CreatedAt: now, UpdatedAt: now},
		org.User{ID: "someone", Name: "someone", CreatedAt: now}); err != nil {
		t.Fatal(err)
	}
	w.catalog = snapshot.NewCatalog(snapshot.Config{}, w.db.Snapshots(), log)
	w.addRunner(runnerID)
	return w
}

func (w *world) addRunner(id string) {
	w.t.Helper()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	if w.runners[id] == nil {
		w.runners[id] = sandboxtest.NewRunner()
	}
	fleet := placement.NewFleet(w.db.Runners(), probe{}, w.catalog, log, nil)
	if err := fleet.Register(ctx, placement.Runner{ID: id, Region: "us", Address: "unix:///run/" + id}); err != nil {
		w.t.Fatal(err)
	}
	if err := fleet.Refresh(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// probe says that every runner is well and has both images.
type probe struct{}

func (probe) Info(context.Context, placement.Runner) (placement.Report, error) {
	return placement.Report{Version: "test", Classes: []string{"container"}, CPU: 8, MemoryBytes: 32 << 30, DiskBytes: 100 << 30,
		Images: []snapshot.Image{{Ref: "base", SizeBytes: 5e8}, {Ref: "tiny"}}}, nil
}

// process is one run of the control plane.
type process struct {
	*sandbox.Controller
	rec *sandbox.Reconciler
}

// start starts a process. wrap, which may be nil, stands between it and its ports.
func (w *world) start(wrap func(sandbox.Deps) sandbox.Deps) *process {
	w.t.Helper()
	deps := sandbox.Deps{Store: w.db.Sandboxes(), Fleet: w.db.Runners(), Runners: w.runners, Snapshots: w.catalog, Organizations: w.dir,
		Log: slog.New(slog.DiscardHandler)}
	if wrap != nil {
		deps = wrap(deps)
	}
	c, err := sandbox.New(sandbox.Config{Patience: 100 * time.Millisecond, Now: func() time.Time { return w.now() }}, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return &process{c, sandbox.NewReconciler(c, sandbox.Periods{SweepEvery: time.Nanosecond, OrphanGrace: time.Nanosecond})}
}

// row reads a sandbox past all rules.
func (w *world) row(id string) (sandbox.Sandbox, bool) {
	w.t.Helper()
	s, err := w.db.Sandboxes().ByID(context.Background(), id)
	if errs.Is(err, errs.NotFound) {
		return s, false
	} else if err != nil {
		w.t.Fatal(err)
	}
	return s, true
}

// until waits for a condition, with a deadline.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// settle lets the reconciler work until nothing is on its way and runners hold exactly what the rows say.
func (w *world) settle(p *process) {
	w.t.Helper()
	until(w.t, "rows and runners agree", func() bool {
		if err := p.rec.Pass(context.Background()); err != nil {
			return false
		}
		return w.disagreement() == ""
	})
}

// disagreement says what rows and runners do not agree on; "" when they agree.
func (w *world) disagreement() string {
	ctx := context.Background()
	pending, err := w.db.Sandboxes().InTransition(ctx, "", 1000)
	if err != nil {
		return err.Error()
	}
	if len(pending) > 0 {
		return "on its way: " + pending[0].ID + " " + string(pending[0].State)
	}
	for rid, r := range w.runners {
		rows, err := w.db.Sandboxes().OnRunner(ctx, rid, "", 1000)
		if err != nil {
			return err.Error()
		}
		boxes := r.Boxes()
		for _, s := range rows {
			running, there := boxes[s.ID]
			delete(boxes, s.ID)
			switch {
			case s.State == sandbox.Started && !running:
				return "row started, not running: " + s.ID
			case s.State == sandbox.Stopped && (running || !there):
				return "row stopped, runner says otherwise: " + s.ID
			}
		}
		for left := range boxes {
			return "on the runner without a row: " + left
		}
	}
	return ""
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []sandbox.Event
}

func (r *recorder) Publish(_ context.Context, e sandbox.Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
}

func (r *recorder) names(id string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Sandbox.ID == id {
			out = append(out, string(e.Type)+" "+string(e.Old)+">"+string(e.New))
		}
	}
	return out
}
