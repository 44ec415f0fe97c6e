package store

import (
	"context"
	"errors"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// Runners keeps runners; it is the domain's [placement.Rows] and [sandbox.Fleet].
type Runners struct{ db *DB }

// Runners returns the adapter for runners.
func (d *DB) Runners() *Runners { return &Runners{d} }

var (
	_ placement.Rows = (*Runners)(nil)
	_ sandbox.Fleet  = (*Runners)(nil)
)

// Runners implements [placement.Rows].
func (t *Runners) Runners(ctx context.Context, region string) (out []placement.Runner, err error) {
	var rows []db.Runner
	if region == "" {
		rows, err = t.db.reader().ListRunners(ctx)
	} else {
		rows, err = t.db.reader().ListRunnersOfRegion(ctx, region)
	}
	if err != nil {
		return nil, fault(err)
	}
	out = make([]placement.Runner, len(rows))
	for i := range rows {
		if out[i], err = runner(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Runner returns one runner; NotFound when there is none.
func (t *Runners) Runner(ctx context.Context, id string) (placement.Runner, error) {
	row, err := t.db.reader().GetRunner(ctx, id)
	if err != nil {
		return placement.Runner{}, fault(err)
	}
	return runner(&row)
}

// Register implements [placement.Rows].
func (t *Runners) Register(ctx context.Context, r placement.Runner) error {
	return fault(t.db.writer().RegisterRunner(ctx, db.RegisterRunnerParams{ID: r.ID, RegionID: r.Region, Name: r.Name, Address: r.Address, State: string(r.State),
		MaxSandboxes: r.MaxSandboxes, CreatedAt: millis(r.CreatedAt), UpdatedAt: millis(r.UpdatedAt)}))
}

// Report implements [placement.Rows].
func (t *Runners) Report(ctx context.Context, r placement.Runner) error {
	return fault(t.db.writer().ReportRunner(ctx, db.ReportRunnerParams{ID: r.ID, State: string(r.State), Problem: r.Problem, Version: r.Version,
		Classes: text(r.Classes), Images: text(r.Images), CPU: r.CPU, MemoryGib: r.MemoryGiB, DiskGib: r.DiskGiB,
		LastSeenAt: millis(r.LastSeenAt), UpdatedAt: millis(r.UpdatedAt)}))
}

// Recount implements [sandbox.Fleet].
func (t *Runners) Recount(ctx context.Context, runnerID string) error {
	is, err := t.db.reader().GetRunner(ctx, runnerID)
	if err != nil {
		return fault(err)
	}
	should, err := t.db.reader().SumRunner(ctx, runnerID)
	if err != nil {
		return fault(err)
	}
	if is.UsedSandboxes == should.Sandboxes && is.UsedCpu == should.CPU && is.UsedMemoryGib == should.MemoryGib && is.UsedDiskGib == should.DiskGib {
		return nil // almost always: an installation at rest writes nothing
	}
	return t.db.tx(ctx, func(q *db.Queries) error {
		if err := q.LockRunner(ctx, runnerID); err != nil {
			return err
		}
		sum, err := q.SumRunner(ctx, runnerID)
		if err != nil {
			return err
		}
		return q.SetRunnerLoad(ctx, db.SetRunnerLoadParams{ID: runnerID, UsedSandboxes: sum.Sandboxes, UsedCpu: sum.CPU, UsedMemoryGib: sum.MemoryGib, UsedDiskGib: sum.DiskGib})
	})
}

// Schedule sets whether a runner takes new sandboxes.
func (t *Runners) Schedule(ctx context.Context, id string, unschedulable, draining bool, now time.Time) error {
	n, err := t.db.writer().ScheduleRunner(ctx, db.ScheduleRunnerParams{ID: id, Unschedulable: unschedulable, Draining: draining, UpdatedAt: millis(now)})
	if err == nil && n == 0 {
		return errs.New(errs.NotFound, "runner not found").WithCode("RUNNER_NOT_FOUND")
	}
	return fault(err)
}

func runner(r *db.Runner) (placement.Runner, error) {
	classes, err1 := parse[[]string](r.Classes, "classes")
	images, err2 := parse[[]string](r.Images, "images")
	return placement.Runner{ID: r.ID, Region: r.RegionID, Name: r.Name, Address: r.Address, State: placement.State(r.State), Problem: r.Problem,
		Unschedulable: r.Unschedulable, Draining: r.Draining, Version: r.Version, Classes: classes, Images: images,
		CPU: r.CPU, MemoryGiB: r.MemoryGib, DiskGiB: r.DiskGib, MaxSandboxes: r.MaxSandboxes,
		UsedSandboxes: r.UsedSandboxes, UsedCPU: r.UsedCpu, UsedMemoryGiB: r.UsedMemoryGib, UsedDiskGiB: r.UsedDiskGib,
		LastSeenAt: moment(r.LastSeenAt), CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt)}, errors.Join(err1, err2)
}
