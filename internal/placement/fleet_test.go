package placement_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// host is a runner that says what it is told to.
type host struct {
	report placement.Report
	err    error
}

func (h *host) Info(context.Context, placement.Runner) (placement.Report, error) {
	return h.report, h.err
}

func TestFleet(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		ctx, log := context.Background(), slog.New(slog.DiscardHandler)
		db := storetest.Open(t, address)
		catalog := snapshot.NewCatalog(snapshot.Config{}, db.Snapshots(), log)
		now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		h := &host{err: errs.New(errs.Unavailable, "nobody there")}
		fleet := placement.NewFleet(db.Runners(), h, catalog, log, func() time.Time { return now })
		check := func(what string, state placement.State, snap snapshot.State) {
			t.Helper()
			if err := fleet.Refresh(ctx); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			r, err := db.Runners().Runner(ctx, "r")
			if err != nil || r.State != state {
				t.Errorf("%s: runner %s, want %s (%v)", what, r.State, state, err)
			}
			if s, err := catalog.Get(ctx, "o", "base"); err != nil || s.State != snap {
				t.Errorf("%s: snapshot %s, want %s (%v)", what, s.State, snap, err)
			}
		}
		for _, bad := range []placement.Runner{{}, {ID: "r", Region: "us"}, {ID: "r", Address: "unix:///x"}} {
			if err := fleet.Register(ctx, bad); !errs.Is(err, errs.Invalid) {
				t.Errorf("register %+v: %v", bad, err)
			}
		}
		if err := fleet.Register(ctx, placement.Runner{ID: "r", Region: "us", Address: "unix:///x"}); err != nil {
			t.Fatal(err)
		}
		check("not heard of", placement.Unresponsive, snapshot.Pending)
		h.err = nil
		h.report = placement.Report{Version: "1", Classes: []string{"container"}, Images: []snapshot.Image{{Ref: "base", SizeBytes: 1e9}}, CPU: 2, MemoryBytes: 4 << 30, DiskBytes: 9 << 30}
		check("well", placement.Ready, snapshot.Active)
		if r, err := db.Runners().Runner(ctx, "r"); err != nil || r.CPU != 2 || r.MemoryGiB != 4 || r.DiskGiB != 9 || len(r.Images) != 1 {
			t.Errorf("%+v %v", r, err)
		}
		h.err = errs.New(errs.Unavailable, "nobody there")
		now = now.Add(10 * time.Second)
		check("one answer lost", placement.Ready, snapshot.Active)
		now = now.Add(25 * time.Second)
		check("silent", placement.Unresponsive, snapshot.Active) // what it had may still be there
		h.err, h.report.Problems = nil, []string{"runc is missing"}
		check("with a problem", placement.Unresponsive, snapshot.Active)
		h.report.Problems, h.report.Images = nil, nil
		check("back, without its image", placement.Ready, snapshot.Pending)
		// Registering again, as every start does, keeps what is known.
		if err := fleet.Register(ctx, placement.Runner{ID: "r", Region: "us", Address: "unix:///y"}); err != nil {
			t.Fatal(err)
		}
		if r, err := db.Runners().Runner(ctx, "r"); err != nil || r.State != placement.Ready || r.Address != "unix:///y" {
			t.Errorf("registered again: %+v %v", r, err)
		}
	})
}
