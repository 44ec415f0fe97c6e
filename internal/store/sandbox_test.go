package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// fixture makes two organizations and a runner, and returns their ids.
func fixture(t *testing.T, db *store.DB) (mine, theirs, runner string) {
	t.Helper()
	ctx := context.Background()
	mine, theirs, runner = id.New(), id.New(), "runner-1"
	for i, o := range []string{mine, theirs} {
		owner := org.User{ID: fmt.Sprintf("user-%d", i), Name: "n", CreatedAt: epoch}
		if err := db.Organizations().AddOrganization(ctx, org.Organization{ID: o, Name: "o", CreatedBy: owner.ID, DefaultRegion: "us", CreatedAt: epoch, UpdatedAt: epoch}, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Runners().Register(ctx, placement.Runner{ID: runner, Region: "us", Name: "r", Address: "unix:///x", State: placement.Ready, CreatedAt: epoch, UpdatedAt: epoch}); err != nil {
		t.Fatal(err)
	}
	return mine, theirs, runner
}

func fresh(orgID, runner string) sandbox.Sandbox {
	s := sandbox.Sandbox{ID: id.New(), OrganizationID: orgID, Region: "us", Class: "container", Snapshot: "base", Image: "base", User: "daytona",
		Env: map[string]string{"A": "b=c"}, Labels: map[string]string{"team": "x", "näme": "vålue\n2"}, Public: true,
		Network: sandbox.Network{BlockAll: true, Allow: []string{"10.0.0.0/8"}, Domains: []string{"*.example.com"}},
		CPU:     2, MemoryGiB: 4, DiskGiB: 8, State: sandbox.Creating, Desired: sandbox.WantStarted, Version: 1, RunnerID: runner, AuthToken: "tok",
		AutoStopMinutes: 15, AutoArchiveMinutes: 10080, AutoDeleteMinutes: -1, CreatedAt: epoch, UpdatedAt: epoch, LastActivityAt: epoch, StateSince: epoch}
	s.Name = s.ID
	return s
}

func insert(t *testing.T, db *store.DB, s sandbox.Sandbox) sandbox.Sandbox {
	t.Helper()
	if err := db.Sandboxes().Insert(context.Background(), s, sandbox.Key{}, sandbox.Quota{}); err != nil {
		t.Fatalf("insert: %v", err)
	}
	return s
}

func TestSandboxRoundTrip(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		s := insert(t, db, fresh(mine, runner))
		for _, key := range []string{s.ID, s.Name} {
			got, err := db.Sandboxes().Find(ctx, mine, key)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(s, got); d != "" {
				t.Errorf("Find(%s): %s", key, d)
			}
		}
		if _, err := db.Sandboxes().Find(ctx, theirs, s.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("another organization's sandbox: %v", err)
		}
		// The schema is there already for the next process.
		got, err := storetest.Open(t, address).Sandboxes().ByID(ctx, s.ID)
		if err != nil || got.ID != s.ID {
			t.Errorf("second process: %v %v", got.ID, err)
		}
	})
}

func TestSaveIsCompareAndSet(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		s := insert(t, db, fresh(mine, runner))

		var won atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				next := s
				next.State, next.DaemonVersion = sandbox.Started, "v1"
				next.UpdatedAt = epoch.Add(time.Second)
				ok, err := db.Sandboxes().Save(ctx, next, sandbox.Quota{})
				if err != nil {
					t.Error(err)
				}
				if ok {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 20 writers with the same version won, want 1", won.Load())
		}
		got, err := db.Sandboxes().ByID(ctx, s.ID)
		if err != nil || got.Version != 2 || got.State != sandbox.Started {
			t.Fatalf("got version %d state %s, %v", got.Version, got.State, err)
		}
		got.OrganizationID = theirs
		if ok, err := db.Sandboxes().Save(ctx, got, sandbox.Quota{}); ok || err != nil {
			t.Errorf("saved with another organization: %v %v", ok, err)
		}
	})
}

func TestSaveNeverMovesActivityBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, _, runner := fixture(t, db)
		s := insert(t, db, fresh(mine, runner))
		later := epoch.Add(time.Hour)
		for _, at := range []time.Time{later, epoch.Add(time.Minute)} {
			if err := db.Sandboxes().Touch(ctx, map[string]time.Time{s.ID: at, id.New(): at}); err != nil {
				t.Fatal(err)
			}
		}
		if ok, err := db.Sandboxes().Save(ctx, s, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		got, err := db.Sandboxes().ByID(ctx, s.ID)
		if err != nil || !got.LastActivityAt.Equal(later) {
			t.Errorf("last activity %v, want %v (%v)", got.LastActivityAt, later, err)
		}
	})
}

func TestNamesAndKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		a := fresh(mine, runner)
		a.Name = "one"
		if err := db.Sandboxes().Insert(ctx, a, sandbox.Key{Value: "k", Hash: "h"}, sandbox.Quota{}); err != nil {
			t.Fatal(err)
		}
		same := fresh(mine, runner)
		same.Name = "one"
		if err := db.Sandboxes().Insert(ctx, same, sandbox.Key{}, sandbox.Quota{}); !errs.Is(err, errs.Conflict) || errors.Is(err, sandbox.ErrKeyTaken) {
			t.Errorf("same name: %v", err)
		}
		same.Name = "two"
		if err := db.Sandboxes().Insert(ctx, same, sandbox.Key{Value: "k", Hash: "h"}, sandbox.Quota{}); !errors.Is(err, sandbox.ErrKeyTaken) {
			t.Errorf("same key: %v", err)
		}
		other := fresh(theirs, runner)
		other.Name = "one"
		if err := db.Sandboxes().Insert(ctx, other, sandbox.Key{Value: "k", Hash: "h"}, sandbox.Quota{}); err != nil {
			t.Errorf("same name and key in another organization: %v", err)
		}
		got, hash, err := db.Sandboxes().ByKey(ctx, mine, "k")
		if err != nil || got.ID != a.ID || hash != "h" {
			t.Errorf("by key: %s %s %v", got.ID, hash, err)
		}
		// Asked to be destroyed, it gives both free.
		a.Name, a.State, a.Desired = "DESTROYED_one_1", sandbox.Destroying, sandbox.WantDestroyed
		if ok, err := db.Sandboxes().Save(ctx, a, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		again := fresh(mine, runner)
		again.Name = "one"
		if err := db.Sandboxes().Insert(ctx, again, sandbox.Key{Value: "k", Hash: "h2"}, sandbox.Quota{}); err != nil {
			t.Errorf("name and key of a destroyed one: %v", err)
		}
		if got, err := db.Sandboxes().Find(ctx, mine, "one"); err != nil || got.ID != again.ID {
			t.Errorf("find by name: %s %v", got.ID, err)
		}
	})
}

func TestQuotaHoldsUnderConcurrency(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		insert(t, db, fresh(theirs, runner))
		var ok, refused atomic.Int64
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				switch err := db.Sandboxes().Insert(ctx, fresh(mine, runner), sandbox.Key{}, sandbox.Quota{CPU: 21}); {
				case err == nil:
					ok.Add(1)
				case errs.Is(err, errs.Exhausted):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if ok.Load() != 10 || refused.Load() != 50 { // 2 CPU each
			t.Errorf("%d inserted, %d refused, want 10 and 50", ok.Load(), refused.Load())
		}
		for _, q := range []sandbox.Quota{{Sandboxes: 10}, {MemoryGiB: 43}, {DiskGiB: 87}} {
			if err := db.Sandboxes().Insert(ctx, fresh(mine, runner), sandbox.Key{}, q); !errs.Is(err, errs.Exhausted) {
				t.Errorf("quota %+v: %v", q, err)
			}
		}
		for _, q := range []sandbox.Quota{{Sandboxes: 11}, {MemoryGiB: 48}, {DiskGiB: 96}} {
			s := fresh(mine, runner)
			if err := db.Sandboxes().Insert(ctx, s, sandbox.Key{}, q); err != nil {
				t.Errorf("quota %+v: %v", q, err)
			}
			s.State, s.Desired, s.RunnerID = sandbox.Destroyed, sandbox.WantDestroyed, ""
			if ok, err := db.Sandboxes().Save(ctx, s, sandbox.Quota{}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	})
}

func TestRunnerLoad(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, _, _ := fixture(t, db)
		small := placement.Runner{ID: "small", Region: "us", Name: "s", Address: "unix:///y", MaxSandboxes: 3, CreatedAt: epoch, UpdatedAt: epoch}
		if err := db.Runners().Register(ctx, small); err != nil {
			t.Fatal(err)
		}
		var ok, full atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch err := db.Sandboxes().Insert(ctx, fresh(mine, "small"), sandbox.Key{}, sandbox.Quota{}); {
				case err == nil:
					ok.Add(1)
				case errors.Is(err, sandbox.ErrRunnerFull):
					full.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if ok.Load() != 3 || full.Load() != 17 {
			t.Fatalf("%d placed, %d refused, want 3 and 17", ok.Load(), full.Load())
		}
		rows, err := db.Sandboxes().OnRunner(ctx, "small", "", 10)
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows on the runner, want 3: %v", len(rows), err)
		}
		gone := rows[0]
		gone.State, gone.Desired, gone.RunnerID = sandbox.Destroyed, sandbox.WantDestroyed, ""
		if ok, err := db.Sandboxes().Save(ctx, gone, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		check := func(when string) {
			r, err := db.Runners().Runner(ctx, "small")
			if err != nil || r.UsedSandboxes != 2 || r.UsedCPU != 4 || r.UsedMemoryGiB != 8 || r.UsedDiskGiB != 16 {
				t.Errorf("%s: %+v %v", when, r, err)
			}
		}
		check("after one left")
		if err := db.Runners().Recount(ctx, "small"); err != nil {
			t.Fatal(err)
		}
		check("after a recount")
		if err := db.Runners().Register(ctx, small); err != nil {
			t.Fatal(err)
		}
		check("after it registered again")
	})
}

func TestSelect(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		byName := map[string]sandbox.Sandbox{}
		for i, name := range []string{"alpha", "Beta", "beta2", "ga%mma", "ga_mma"} {
			s := fresh(mine, runner)
			s.Name, s.CPU, s.Public = name, int64(1+i%2), i%2 == 0
			s.Labels = map[string]string{"n": name, "even": fmt.Sprint(i%2 == 0)}
			s.CreatedAt = epoch.Add(time.Duration(i) * time.Minute)
			s.LastActivityAt = epoch.Add(-time.Duration(i) * time.Minute)
			if i == 4 {
				s.State, s.Snapshot, s.Region = sandbox.Error, "tiny", "eu"
			}
			byName[name] = insert(t, db, s)
		}
		insert(t, db, fresh(theirs, runner))
		dead := fresh(mine, runner)
		dead.State, dead.Desired, dead.RunnerID = sandbox.Destroyed, sandbox.WantDestroyed, ""
		if ok, err := db.Sandboxes().Save(ctx, func() sandbox.Sandbox { d := insert(t, db, fresh(mine, runner)); dead.ID = d.ID; return dead }(), sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		errored := byName["ga_mma"]
		yes, no := true, false
		for _, tc := range []struct {
			name string
			f    sandbox.Filter
			want []string
		}{
			{"all, by name", sandbox.Filter{Sort: "name", Ascending: true}, []string{"alpha", "Beta", "beta2", "ga%mma", "ga_mma"}},
			{"newest first", sandbox.Filter{Sort: "createdAt"}, []string{"ga_mma", "ga%mma", "beta2", "Beta", "alpha"}},
			{"activity", sandbox.Filter{Sort: "lastActivityAt"}, []string{"alpha", "Beta", "beta2", "ga%mma", "ga_mma"}},
			{"name prefix, any case", sandbox.Filter{Sort: "name", Ascending: true, NamePrefix: "BETA"}, []string{"Beta", "beta2"}},
			{"name prefix is no pattern", sandbox.Filter{Sort: "name", NamePrefix: "ga_"}, []string{"ga_mma"}},
			{"id prefix", sandbox.Filter{Sort: "name", IDPrefix: byName["alpha"].ID[:20]}, []string{"alpha"}},
			{"label", sandbox.Filter{Sort: "name", Labels: map[string]string{"n": "Beta", "even": "false"}}, []string{"Beta"}},
			{"label, other value", sandbox.Filter{Sort: "name", Labels: map[string]string{"n": "Beta", "even": "true"}}, nil},
			{"label, injection", sandbox.Filter{Sort: "name", Labels: map[string]string{"n') OR 1=1 --": "x"}}, nil},
			{"state", sandbox.Filter{Sort: "name", States: []sandbox.State{sandbox.Error, sandbox.Stopped}}, []string{"ga_mma"}},
			{"snapshot", sandbox.Filter{Sort: "name", Snapshots: []string{"tiny"}}, []string{"ga_mma"}},
			{"region", sandbox.Filter{Sort: "name", Regions: []string{"eu", "x"}}, []string{"ga_mma"}},
			{"class", sandbox.Filter{Sort: "name", Classes: []string{"android"}}, nil},
			{"cpu", sandbox.Filter{Sort: "name", Ascending: true, MinCPU: 2}, []string{"Beta", "ga%mma"}},
			{"cpu range", sandbox.Filter{Sort: "name", MinCPU: 2, MaxCPU: 1}, nil},
			{"public", sandbox.Filter{Sort: "name", Ascending: true, Public: &no}, []string{"Beta", "ga%mma"}},
			{"recoverable", sandbox.Filter{Sort: "name", Recoverable: &yes}, nil},
			{"created", sandbox.Filter{Sort: "name", CreatedAfter: epoch.Add(time.Minute), CreatedBefore: epoch.Add(2 * time.Minute), Ascending: true}, []string{"Beta", "beta2"}},
			{"active", sandbox.Filter{Sort: "name", ActiveAfter: epoch}, []string{"alpha"}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				// Pages of two must give the same as one page.
				var got []string
				var mark sandbox.Mark
				for {
					page, err := db.Sandboxes().Select(ctx, mine, tc.f, mark, 2)
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range page {
						got = append(got, s.Name)
						mark = markOf(&tc.f, &s)
					}
					if len(page) < 2 {
						break
					}
				}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Error(d)
				}
				items, total, err := db.Sandboxes().Count(ctx, mine, tc.f, 0, 100)
				if err != nil || total != len(tc.want) || len(items) != total {
					t.Errorf("count %d of %d items, want %d: %v", total, len(items), len(tc.want), err)
				}
			})
		}
		errored.Desired = sandbox.WantDestroyed
		if ok, err := db.Sandboxes().Save(ctx, errored, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for _, include := range []bool{true, false} {
			items, err := db.Sandboxes().Select(ctx, mine, sandbox.Filter{Sort: "name", IncludeErroredDeleted: include}, sandbox.Mark{}, 10)
			if err != nil || (len(items) == 5) != include {
				t.Errorf("errored and destroyed, included %v: %d items, %v", include, len(items), err)
			}
		}
	})
}

func markOf(f *sandbox.Filter, s *sandbox.Sandbox) sandbox.Mark {
	m := sandbox.Mark{ID: s.ID}
	switch f.Sort {
	case "name":
		m.Text = lower(s.Name)
	case "createdAt":
		m.Number = s.CreatedAt.UnixMilli()
	case "lastActivityAt":
		m.Number = s.LastActivityAt.UnixMilli()
	}
	return m
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 32
		}
	}
	return string(b)
}

func TestSweeps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, _, runner := fixture(t, db)
		table := db.Sandboxes()
		state := func(st sandbox.State, want sandbox.Desired) sandbox.Sandbox {
			s := insert(t, db, fresh(mine, runner))
			s.State, s.Desired = st, want
			if ok, err := table.Save(ctx, s, sandbox.Quota{}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			s.Version++
			return s
		}
		creating := insert(t, db, fresh(mine, runner))
		started := state(sandbox.Started, sandbox.WantStarted)
		stopped := state(sandbox.Stopped, sandbox.WantStopped)
		destroying := state(sandbox.Destroying, sandbox.WantDestroyed)
		state(sandbox.Error, sandbox.WantStarted)

		ids := func(rows []sandbox.Sandbox, err error) map[string]bool {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			out := map[string]bool{}
			for _, s := range rows {
				out[s.ID] = true
			}
			return out
		}
		if d := cmp.Diff(map[string]bool{creating.ID: true, destroying.ID: true}, ids(table.InTransition(ctx, "", 10))); d != "" {
			t.Errorf("in transition: %s", d)
		}
		if n := len(ids(table.OnRunner(ctx, runner, "", 10))); n != 5 {
			t.Errorf("%d on the runner, want 5", n)
		}
		minutes := func(n time.Duration) time.Time { return epoch.Add(n * time.Minute) }
		for _, tc := range []struct {
			now, quiet time.Time
			want       int
		}{
			{minutes(14), minutes(-60), 0},
			{minutes(15), minutes(-60), 1},
			{minutes(15), minutes(1), 0}, // idle long enough, but nobody watched long enough
			{minutes(16), minutes(1), 1},
		} {
			if got := ids(table.Idle(ctx, tc.now, tc.quiet, 10)); len(got) != tc.want || tc.want == 1 && !got[started.ID] {
				t.Errorf("idle at %v since %v: %v, want %d", tc.now, tc.quiet, got, tc.want)
			}
		}
		for _, m := range []int64{30, 0, -1} {
			if _, err := table.Configure(ctx, mine, stopped.ID, sandbox.Settings{AutoDeleteMinutes: &m}, epoch); err != nil {
				t.Fatal(err)
			}
			for _, at := range []time.Duration{0, 29, 30} {
				due := m >= 0 && int64(at) >= m
				if got := ids(table.DeleteDue(ctx, minutes(at), minutes(-60), 10)); got[stopped.ID] != due {
					t.Errorf("auto-delete %d after %d minutes: %v", m, at, got)
				}
			}
		}
		destroying.State, destroying.RunnerID, destroying.UpdatedAt = sandbox.Destroyed, "", minutes(5)
		if ok, err := table.Save(ctx, destroying, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for _, tc := range []struct {
			before time.Time
			want   int64
		}{{minutes(5), 0}, {minutes(6), 1}, {minutes(6), 0}} {
			if n, err := table.Purge(ctx, tc.before, 10); n != tc.want || err != nil {
				t.Errorf("purge before %v: %d %v, want %d", tc.before, n, err, tc.want)
			}
		}
		if _, err := table.ByID(ctx, destroying.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("purged row: %v", err)
		}
	})
}

func TestConfigure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, theirs, runner := fixture(t, db)
		s := insert(t, db, fresh(mine, runner))
		var wg sync.WaitGroup
		for i := range int64(8) { // settings and state changes at the same time lose nothing
			wg.Go(func() {
				public := false
				if _, err := db.Sandboxes().Configure(ctx, mine, s.ID, sandbox.Settings{AutoStopMinutes: &i, Public: &public}, epoch); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				labels := map[string]string{"i": fmt.Sprint(i)}
				if _, err := db.Sandboxes().Configure(ctx, mine, s.ID, sandbox.Settings{Labels: labels}, epoch); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := db.Sandboxes().ByID(ctx, s.ID)
		if err != nil || got.Version != 17 || got.Public || len(got.Labels) != 1 || got.State != s.State {
			t.Errorf("after 16 changes: %+v %v", got, err)
		}
		found, err := db.Sandboxes().Select(ctx, mine, sandbox.Filter{Sort: "name", Labels: got.Labels}, sandbox.Mark{}, 10)
		if err != nil || len(found) != 1 {
			t.Errorf("by the new labels: %d %v", len(found), err)
		}
		if found, err := db.Sandboxes().Select(ctx, mine, sandbox.Filter{Sort: "name", Labels: s.Labels}, sandbox.Mark{}, 10); err != nil || len(found) != 0 {
			t.Errorf("by the old labels: %d %v", len(found), err)
		}
		if _, err := db.Sandboxes().Configure(ctx, theirs, s.ID, sandbox.Settings{Labels: map[string]string{}}, epoch); !errs.Is(err, errs.NotFound) {
			t.Errorf("another organization: %v", err)
		}
		got.State, got.Desired = sandbox.Destroying, sandbox.WantDestroyed
		if ok, err := db.Sandboxes().Save(ctx, got, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := db.Sandboxes().Configure(ctx, mine, s.ID, sandbox.Settings{Labels: map[string]string{}}, epoch); !errs.Is(err, errs.NotFound) {
			t.Errorf("one that is being destroyed: %v", err)
		}
	})
}
