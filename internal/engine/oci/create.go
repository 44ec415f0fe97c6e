package oci

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Create makes the writable layer and the record of a sandbox.
func (e *Engine) Create(ctx context.Context, spec engine.Spec) error {
	spec = spec.Clone()
	if err := spec.Check(); err != nil {
		return err
	}
	return e.verb(ctx, spec.ID, true, func(ctx context.Context, b *box) (func(context.Context), error) {
		b.mu.Lock()
		made, rec := b.made, b.rec
		b.mu.Unlock()
		digest := specDigest(spec)
		if made {
			if rec.Digest != digest && specDigest(rec.Spec) != digest {
				return nil, errs.New(errs.Conflict, "sandbox %s exists with another specification", spec.ID)
			}
			return nil, nil
		}
		if err := e.create(ctx, b, spec, digest); err != nil {
			e.forget(b)
			return nil, err
		}
		return func(ctx context.Context) {
			if err := e.destroy(ctx, b); err != nil {
				e.log.ErrorContext(ctx, "an abandoned create could not be undone", "sandbox", b.id, "error", err)
			}
		}, nil
	})
}

func (e *Engine) create(ctx context.Context, b *box, spec engine.Spec, digest string) (err error) {
	name := spec.User
	if name == "" {
		name = spec.Image.User
	}
	user, err := resolveUser(spec.Image.Rootfs, name)
	if err != nil {
		return err
	}
	fi, err := os.Stat(spec.Image.Rootfs)
	if err != nil {
		return errs.Wrap(err, errs.NotFound, "the image directory %s is not there", spec.Image.Rootfs)
	}
	spec.Limits = spec.Limits.Or(e.cfg.Defaults)
	first, err := e.ids.take()
	if err != nil {
		return err
	}
	rec := record{Version: recordVersion, Spec: spec, Digest: digest, User: user, IDs: first, Created: time.Now().UTC()}
	undo := []func(){func() { e.ids.give(first) }}
	defer func() {
		if err != nil {
			for _, fn := range slices.Backward(undo) {
				fn()
			}
		}
	}()
	undo = append(undo, func() { _ = os.RemoveAll(e.recordDir(spec.ID)) })
	if err := e.writeIntent(rec); err != nil {
		return err
	}
	e.crash("create-intent")
	if err := e.disk.create(ctx, spec.ID, spec.Limits.DiskBytes, first, fi.Mode()|0o111); err != nil {
		return err
	}
	undo = append(undo, func() { _ = e.disk.remove(spec.ID) })
	e.crash("create-disk")
	if ctx.Err() != nil {
		return timeoutError(ctx, "the sandbox was not made in time")
	}
	if err := e.commitRecord(spec.ID); err != nil {
		return err
	}
	e.crash("create-committed")
	b.set(func() { b.made, b.rec, b.st = true, rec, state{Phase: phaseStopped, ExitCode: -1} })
	return nil
}
