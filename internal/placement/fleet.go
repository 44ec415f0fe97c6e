package placement

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

// Report is what a runner says about itself.
type Report struct {
	Version                string
	Classes                []string
	Images                 []snapshot.Image
	CPU                    int64
	MemoryBytes, DiskBytes int64
	Problems               []string // reasons why it cannot run sandboxes
}

// Rows keeps runners.
type Rows interface {
	Runners(ctx context.Context, region string) ([]Runner, error)
	// Register adds a runner or changes where an existing one, by id, is found.
	Register(ctx context.Context, r Runner) error
	// Report saves what a runner said, or, when r.State is not Ready, only its state and problem.
	Report(ctx context.Context, r Runner) error
}

// Probe asks a runner what it is and has.
type Probe interface {
	Info(ctx context.Context, r Runner) (Report, error)
}

// Catalog is told which images the runners of the installation have.
type Catalog interface {
	Sync(ctx context.Context, images []snapshot.Image) error
}

const (
	probeEvery   = 10 * time.Second
	probeTimeout = 5 * time.Second
	silentFor    = 30 * time.Second // without an answer, until it is unresponsive
	abreast      = 16
)

// Fleet keeps the list of runners true. One process of an installation is enough; more do no harm.
type Fleet struct {
	rows    Rows
	probe   Probe
	catalog Catalog
	log     *slog.Logger
	now     func() time.Time

	mu     sync.Mutex                  // guards images
	images map[string][]snapshot.Image // by runner id, as last reported to this process
}

// NewFleet returns a fleet. now may be nil.
func NewFleet(rows Rows, probe Probe, catalog Catalog, log *slog.Logger, now func() time.Time) *Fleet {
	if now == nil {
		now = time.Now
	}
	return &Fleet{rows: rows, probe: probe, catalog: catalog, log: log, now: now, images: map[string][]snapshot.Image{}}
}

// Register adds a runner, or changes the address, name and region of one that is known by this id. It is ready as soon as a
// refresh heard of it.
func (f *Fleet) Register(ctx context.Context, r Runner) error {
	if r.ID == "" || r.Region == "" || r.Address == "" {
		return errs.New(errs.Invalid, "a runner needs an id, a region and an address, got %q, %q, %q", r.ID, r.Region, r.Address)
	}
	if r.Name == "" {
		r.Name = r.ID
	}
	now := f.now()
	r.State, r.CreatedAt, r.UpdatedAt = Initializing, now, now
	return f.rows.Register(ctx, r)
}

// Run refreshes until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		if err := f.Refresh(ctx); err != nil && ctx.Err() == nil {
			f.log.ErrorContext(ctx, "runners not refreshed", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Refresh asks every runner once, saves what it said, and tells the catalog which images there are.
func (f *Fleet) Refresh(ctx context.Context) error {
	runners, err := f.rows.Runners(ctx, "")
	if err != nil {
		return err
	}
	failures := make([]error, len(runners))
	slots := make(chan struct{}, abreast)
	var wg sync.WaitGroup
	for i, r := range runners {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			failures[i] = f.refresh(ctx, r)
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(failures...), f.sync(ctx, runners))
}

func (f *Fleet) refresh(ctx context.Context, r Runner) error {
	asking, cancel := context.WithTimeout(ctx, probeTimeout)
	rep, err := f.probe.Info(asking, r)
	cancel()
	now := f.now()
	was := r.State
	r.UpdatedAt = now
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil && was == Ready && now.Sub(r.LastSeenAt) < silentFor:
		return nil // one lost answer is no reason to stop using it
	case err != nil:
		r.State, r.Problem = Unresponsive, "it does not answer"
	case len(rep.Problems) > 0:
		r.State, r.Problem, r.LastSeenAt = Unresponsive, clip(rep.Problems[0]), now
	default:
		r.State, r.Problem, r.LastSeenAt = Ready, "", now
		r.Version, r.Classes = clip(rep.Version), rep.Classes
		r.CPU, r.MemoryGiB, r.DiskGiB = rep.CPU, rep.MemoryBytes>>30, rep.DiskBytes>>30
		r.Images = nil
		for _, im := range rep.Images {
			r.Images = append(r.Images, im.Ref)
		}
		f.mu.Lock()
		f.images[r.ID] = rep.Images
		f.mu.Unlock()
	}
	if was != r.State {
		f.log.InfoContext(ctx, "runner changed", "runner", r.ID, "from", string(was), "to", string(r.State), "problem", r.Problem, "error", err)
	}
	return f.rows.Report(ctx, r)
}

// sync tells the catalog of all images. A runner that does not answer counts with what it had when it last did.
func (f *Fleet) sync(ctx context.Context, runners []Runner) error {
	byRef := map[string]snapshot.Image{}
	f.mu.Lock()
	for _, r := range runners {
		for _, im := range f.images[r.ID] {
			byRef[im.Ref] = im
		}
		if _, heard := f.images[r.ID]; !heard { // by an earlier process, or by another
			for _, ref := range r.Images {
				if _, ok := byRef[ref]; !ok {
					byRef[ref] = snapshot.Image{Ref: ref}
				}
			}
		}
	}
	f.mu.Unlock()
	images := make([]snapshot.Image, 0, len(byRef))
	for _, im := range byRef {
		images = append(images, im)
	}
	return f.catalog.Sync(ctx, images)
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
