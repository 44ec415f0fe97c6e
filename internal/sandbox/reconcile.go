package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Periods of the reconciler.
type Periods struct {
	Tick        time.Duration // between two passes; 10 s
	SweepEvery  time.Duration // between two looks at everything on every runner; 30 s
	OrphanGrace time.Duration // how long something on a runner must have been without a row before it is deleted; 2 min
	PurgeAfter  time.Duration // how long destroyed rows are kept; 24 h
}

func (p Periods) withDefaults() Periods {
	if p.Tick <= 0 {
		p.Tick = 10 * time.Second
	}
	if p.SweepEvery <= 0 {
		p.SweepEvery = 30 * time.Second
	}
	if p.OrphanGrace <= 0 {
		p.OrphanGrace = 2 * time.Minute
	}
	if p.PurgeAfter <= 0 {
		p.PurgeAfter = 24 * time.Hour
	}
	return p
}

const (
	batch     = 200 // rows per read
	abreast   = 16  // sandboxes that the reconciler moves at the same time
	perPass   = 100 // auto-stops and auto-deletes per pass and kind: the rest waits for the next
	jumpLimit = time.Minute
)

// Reconciler finishes what calls left half-done, follows what runners report, and does what is due by time. One or more may
// run on one database: everything it does is a compare-and-set on a row or a request that may be repeated.
type Reconciler struct {
	c       *Controller
	periods Periods

	mu      sync.Mutex         // guards all below
	quiet   time.Time          // idle time is counted from here at the earliest: start of this process, or the last jump of the clock
	last    reading            // of the last pass
	swept   time.Time          // when the last sweep of all runners began
	orphans map[place]*suspect // on a runner, without a row
	missing map[place]int64    // row without a sandbox on its runner: version of the row
	purged  time.Time
	watches map[string]context.CancelFunc // runners that are listened to
	wg      sync.WaitGroup
}

type place struct{ runnerID, sandboxID string }

// reading is one moment on two clocks.
type reading struct{ wall, mono time.Time }

type suspect struct {
	since  time.Time
	sweeps int
}

// NewReconciler returns the reconciler of a controller.
func NewReconciler(c *Controller, p Periods) *Reconciler {
	return &Reconciler{c: c, periods: p.withDefaults(), quiet: c.cfg.Now(), orphans: map[place]*suspect{}, missing: map[place]int64{}, watches: map[string]context.CancelFunc{}}
}

// Run works until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.wg.Wait()
	defer cancel()
	// Two loops: a runner that hangs holds up sandboxes on their way, but not what is due by time.
	r.wg.Go(func() { r.every(ctx, "sandboxes on their way not moved", r.transitions) })
	r.every(ctx, "reconcile pass failed", func(ctx context.Context) error {
		err := r.duties(ctx)
		r.watch(ctx)
		return err
	})
	return nil
}

func (r *Reconciler) every(ctx context.Context, complaint string, do func(context.Context) error) {
	tick := time.NewTicker(r.periods.Tick)
	defer tick.Stop()
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			r.c.log.ErrorContext(ctx, complaint, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Pass does once all that is due, and returns when it is done. It is what Run does in its loops, for callers that want to
// know the moment: tests, and tools that mend.
func (r *Reconciler) Pass(ctx context.Context) error {
	return errors.Join(r.transitions(ctx), r.duties(ctx))
}

// duties are all but the sandboxes on their way. One failing part does not stop the others.
func (r *Reconciler) duties(ctx context.Context) error {
	now := r.c.cfg.Now()
	r.clock(now)
	failures := []error{r.c.flush(ctx), r.timers(ctx, now)}
	r.mu.Lock()
	sweep := r.swept.IsZero() || now.Sub(r.swept) >= r.periods.SweepEvery || now.Before(r.swept)
	if sweep {
		r.swept = now
	}
	r.mu.Unlock()
	if sweep {
		failures = append(failures, r.Sweep(ctx), r.purge(ctx, now))
	}
	return errors.Join(failures...)
}

// clock notices that the wall clock was set: how long sandboxes were idle cannot be told across such a jump, so none is
// stopped for time that did not pass.
func (r *Reconciler) clock(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mono := time.Now() // its difference to another is that of the monotonic clock
	if !r.last.mono.IsZero() {
		wall := now.Round(0).Sub(r.last.wall)
		if drift := wall - mono.Sub(r.last.mono); drift > jumpLimit || drift < -jumpLimit {
			r.c.log.Warn("the clock jumped; idle times are counted anew", "by", drift)
			r.quiet = now
		}
	}
	r.last = reading{wall: now.Round(0), mono: mono}
}

// transitions moves every sandbox that is on its way.
func (r *Reconciler) transitions(ctx context.Context) error {
	slots := make(chan struct{}, abreast)
	var wg sync.WaitGroup
	defer wg.Wait()
	after := ""
	for {
		rows, err := r.c.deps.Store.InTransition(ctx, after, batch)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.ID
			if r.c.driver.busy(row.ID) || r.c.foreign(&row) {
				continue
			}
			if next, late := overdue(row, r.c.cfg.Now()); late {
				if _, _, err := r.c.save(ctx, row, next, Quota{}); err != nil {
					return err
				}
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			wg.Go(func() {
				defer func() { <-slots }()
				j := r.c.driver.drive(row.ID, manner{once: true}, false)
				select {
				case <-j.done:
				case <-ctx.Done():
				}
			})
		}
		if len(rows) < batch {
			return nil
		}
	}
}

// timers does auto-stop and auto-delete. Auto-archive has no storage to go to in this build: its interval is kept and shown,
// and nothing else happens.
func (r *Reconciler) timers(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	quiet := r.quiet
	r.mu.Unlock()
	idle, err := r.c.deps.Store.Idle(ctx, now, quiet, perPass)
	if err != nil {
		return err
	}
	for _, row := range idle {
		r.c.touches.overlay(&row)
		if now.Sub(row.LastActivityAt) < time.Duration(row.AutoStopMinutes)*time.Minute {
			continue
		}
		next := stopping(row, "idle")
		if row.Ephemeral() {
			next = doomed(row, now)
		}
		if err := r.apply(ctx, row, next); err != nil {
			return err
		}
	}
	due, err := r.c.deps.Store.DeleteDue(ctx, now, quiet, perPass)
	if err != nil {
		return err
	}
	for _, row := range due {
		if err := r.apply(ctx, row, doomed(row, now)); err != nil {
			return err
		}
	}
	return nil
}

// apply saves what a row becomes and starts the work that this asks for. Losing against another writer is fine.
func (r *Reconciler) apply(ctx context.Context, row, next Sandbox) error {
	saved, ok, err := r.c.save(ctx, row, next, Quota{})
	if err != nil || !ok {
		return err
	}
	r.c.log.InfoContext(ctx, "sandbox changes without a caller", "sandbox", saved.ID, "from", string(row.State), "to", string(saved.State),
		"reason", saved.StopReason, "error_reason", saved.ErrorReason)
	if inTransition(&saved) {
		r.c.driver.drive(saved.ID, manner{}, false)
	}
	return nil
}

// observe follows what a runner said about a sandbox after its row was read. Rows on their way are left to the driver.
func (r *Reconciler) observe(ctx context.Context, row Sandbox, v view) error {
	if inTransition(&row) || r.c.driver.busy(row.ID) {
		return nil
	}
	st := advance(row, v, r.c.cfg.Now())
	if st.verb != write {
		return nil
	}
	return r.apply(ctx, row, st.next)
}

func (r *Reconciler) purge(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	due := now.Sub(r.purged) >= 10*time.Minute || now.Before(r.purged)
	if due {
		r.purged = now
	}
	r.mu.Unlock()
	if !due {
		return nil
	}
	for {
		n, err := r.c.deps.Store.Purge(ctx, now.Add(-r.periods.PurgeAfter), batch)
		if err != nil || n < batch {
			return err
		}
	}
}

// runners returns the runners of the installation.
func (r *Reconciler) runners(ctx context.Context) ([]string, error) {
	list, err := r.c.deps.Fleet.Runners(ctx, "")
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return ids, nil
}

// Sweep compares what every runner has with what it should have.
func (r *Reconciler) Sweep(ctx context.Context) error {
	ids, err := r.runners(ctx)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, abreast)
	failures := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, runnerID := range ids {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			failures[i] = r.sweepRunner(ctx, runnerID)
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// listTimeout bounds a list and a look at one sandbox.
const listTimeout = 15 * time.Second

// sweepRunner compares one runner. The rows are read before the runner is asked, and every write is a compare-and-set on the
// version read then: so what the runner says is never older than what it is held against.
func (r *Reconciler) sweepRunner(ctx context.Context, runnerID string) error {
	rows := map[string]Sandbox{}
	after := ""
	for {
		page, err := r.c.deps.Store.OnRunner(ctx, runnerID, after, batch)
		if err != nil {
			return err
		}
		for _, row := range page {
			rows[row.ID] = row
			after = row.ID
		}
		if len(page) < batch {
			break
		}
	}
	runner, err := r.c.deps.Runners.Runner(ctx, runnerID)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, listTimeout)
	seen, err := runner.List(asking)
	cancel()
	if err != nil { // it may be away: nothing can be told
		r.c.log.WarnContext(ctx, "runner does not list its sandboxes", "runner", runnerID, "error", err)
		return nil
	}
	var failures []error
	there := make(map[string]bool, len(seen))
	for _, s := range seen {
		there[s.ID] = true
		if row, ok := rows[s.ID]; ok {
			failures = append(failures, r.observe(ctx, row, found(s)))
			continue
		}
		failures = append(failures, r.orphan(ctx, runner, place{runnerID, s.ID}))
	}
	for _, row := range rows {
		if !there[row.ID] {
			failures = append(failures, r.missed(ctx, runner, row))
		}
	}
	r.forget(runnerID, rows, there)
	failures = append(failures, r.c.deps.Fleet.Recount(ctx, runnerID))
	return errors.Join(failures...)
}

// orphan deletes what is on a runner without a row, when a fresh read of the database says so at two sweeps at least and for
// longer than the grace. While the database does not answer nothing is deleted and nothing is counted.
func (r *Reconciler) orphan(ctx context.Context, runner Runner, at place) error {
	row, err := r.c.deps.Store.ByID(ctx, at.sandboxID)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	r.mu.Lock()
	if err == nil && row.RunnerID == at.runnerID && row.State != Destroyed {
		delete(r.orphans, at)
		r.mu.Unlock()
		return nil
	}
	now := r.c.cfg.Now()
	s := r.orphans[at]
	if s == nil {
		s = &suspect{since: now}
		r.orphans[at] = s
	}
	s.sweeps++
	due := s.sweeps >= 2 && now.Sub(s.since) >= r.periods.OrphanGrace
	r.mu.Unlock()
	if !due {
		return nil
	}
	r.c.log.WarnContext(ctx, "deleting a sandbox that nobody knows", "sandbox", at.sandboxID, "runner", at.runnerID)
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := runner.Delete(asking, at.sandboxID); err != nil {
		r.c.log.WarnContext(ctx, "orphan not deleted", "sandbox", at.sandboxID, "runner", at.runnerID, "error", err)
		return nil
	}
	r.mu.Lock()
	delete(r.orphans, at)
	r.mu.Unlock()
	return nil
}

// missed follows that a runner lacks a sandbox that it should have: at the second fresh list in a row, with no change of the
// row in between, and when it says so once more when asked for just this one.
func (r *Reconciler) missed(ctx context.Context, runner Runner, row Sandbox) error {
	if inTransition(&row) || row.State == Error {
		return nil
	}
	at := place{row.RunnerID, row.ID}
	r.mu.Lock()
	version, again := r.missing[at]
	r.missing[at] = row.Version
	r.mu.Unlock()
	if !again || version != row.Version {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	seen, err := runner.Get(asking, row.ID)
	switch {
	case err == nil:
		return r.observe(ctx, row, found(seen))
	case errs.Is(err, errs.NotFound):
		return r.observe(ctx, row, absent)
	}
	return nil
}

// forget drops suspicions that the last sweep did not confirm.
func (r *Reconciler) forget(runnerID string, rows map[string]Sandbox, there map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.orphans {
		if at.runnerID == runnerID && !there[at.sandboxID] {
			delete(r.orphans, at)
		}
	}
	for at := range r.missing {
		if _, ok := rows[at.sandboxID]; at.runnerID == runnerID && (there[at.sandboxID] || !ok) {
			delete(r.missing, at)
		}
	}
}
