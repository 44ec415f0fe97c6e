package oci

import (
	"context"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// SetLimits changes the limits of a sandbox, live where it runs. OpenFiles takes effect at the next start: a limit of open
// files belongs to processes, not to the sandbox.
func (e *Engine) SetLimits(ctx context.Context, id string, limits engine.Limits) error {
	if err := limits.Check(); err != nil {
		return err
	}
	return e.verb(ctx, id, false, func(_ context.Context, b *box) (func(context.Context), error) {
		rec, _, _ := b.get()
		old := rec.Spec.Limits
		next := limits.Or(old)
		if err := e.applyLimits(b, next); err != nil {
			return nil, err
		}
		return func(context.Context) {
			if err := e.applyLimits(b, old); err != nil {
				e.log.ErrorContext(ctx, "an abandoned change of limits could not be undone", "sandbox", b.id, "error", err)
			}
		}, nil
	})
}

// applyLimits brings disk, cgroups and record from the present limits to next, or leaves all as they are.
func (e *Engine) applyLimits(b *box, next engine.Limits) error {
	rec, _, r := b.get()
	old := rec.Spec.Limits
	if next == old {
		return nil
	}
	if next.DiskBytes < old.DiskBytes && e.disk.enforces() {
		used, err := e.disk.usage(context.Background(), b.id)
		if err != nil {
			return err
		}
		if used > next.DiskBytes {
			return errs.New(errs.Exhausted, "the sandbox holds %d bytes on disk, more than the new limit of %d", used, next.DiskBytes)
		}
	}
	if next.DiskBytes != old.DiskBytes {
		if err := e.disk.setLimit(b.id, next.DiskBytes); err != nil {
			return err
		}
	}
	if r != nil {
		if err := e.cg.setLimits(b.id, old, next); err != nil {
			_ = e.disk.setLimit(b.id, old.DiskBytes)
			return err
		}
	}
	rec.Spec.Limits = next
	if err := e.writeRecord(rec); err != nil {
		_ = e.disk.setLimit(b.id, old.DiskBytes)
		if r != nil {
			_ = e.cg.setLimits(b.id, next, old)
		}
		return err
	}
	b.set(func() { b.rec = rec })
	return nil
}
