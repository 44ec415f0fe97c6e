package sandbox

import (
	"context"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// newSigningKey makes what the file URLs of one sandbox are signed with: 256 bits. It never looks like a number: clients that
// guess the type of an answer must take it for text.
func newSigningKey() string { return "dgs_" + id.Hex(32) }

// SigningKey returns the secret that signs the file URLs of a sandbox. The first call makes it. It stays the same over
// stops and starts, until it is rotated.
func (c *Controller) SigningKey(ctx context.Context, orgID, idOrName string) (string, error) {
	s, err := c.find(ctx, orgID, idOrName)
	if err != nil {
		return "", err
	}
	key, err := c.deps.Store.SigningKey(ctx, s.ID)
	if err != nil || key != "" {
		return key, err
	}
	return c.deps.Store.MakeSigningKey(ctx, s.ID, newSigningKey(), c.cfg.Now())
}

// RotateSigningKey replaces the secret, which ends every URL that was signed before, and returns the new one.
func (c *Controller) RotateSigningKey(ctx context.Context, orgID, idOrName string) (string, error) {
	s, err := c.find(ctx, orgID, idOrName)
	if err != nil {
		return "", err
	}
	key := newSigningKey()
	if err := c.deps.Store.ReplaceSigningKey(ctx, s.ID, key, c.cfg.Now()); err != nil {
		return "", err
	}
	c.deps.Events.Publish(ctx, Event{Type: KeyRotated, Sandbox: s, Old: s.Shown(), New: s.Shown()})
	return key, nil
}

// ResolveSigningKey returns the secret of a sandbox by its id alone, "" when it has none. Like [Controller.Resolve] it is for
// the data path, never for callers.
func (c *Controller) ResolveSigningKey(ctx context.Context, sandboxID string) (string, error) {
	if !id.IsUUID(sandboxID) {
		return "", errs.New(errs.NotFound, "sandbox not found").WithCode("SANDBOX_NOT_FOUND")
	}
	return c.deps.Store.SigningKey(ctx, sandboxID)
}
