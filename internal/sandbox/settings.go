package sandbox

import (
	"context"

	"github.com/dugout-dev/dugout/internal/errs"
)

// SetLabels replaces all labels.
func (c *Controller) SetLabels(ctx context.Context, orgID, idOrName string, labels map[string]string) (Sandbox, error) {
	if err := checkLabels(labels); err != nil {
		return Sandbox{}, err
	}
	if labels == nil {
		labels = map[string]string{}
	}
	return c.configure(ctx, orgID, idOrName, Settings{Labels: labels})
}

// SetPublic says whether previews need a credential.
func (c *Controller) SetPublic(ctx context.Context, orgID, idOrName string, public bool) (Sandbox, error) {
	return c.configure(ctx, orgID, idOrName, Settings{Public: &public})
}

// SetAutoStop sets after how many idle minutes the sandbox is stopped; 0 for never.
func (c *Controller) SetAutoStop(ctx context.Context, orgID, idOrName string, minutes int64) (Sandbox, error) {
	if err := checkInterval("autoStopInterval", minutes); err != nil {
		return Sandbox{}, err
	}
	return c.configure(ctx, orgID, idOrName, Settings{AutoStopMinutes: &minutes})
}

// SetAutoArchive sets after how many stopped minutes the sandbox is archived; 0 and values above the maximum become the
// maximum. This build has no storage for archives: the value is kept and shown, and stopped sandboxes stay on their runner.
func (c *Controller) SetAutoArchive(ctx context.Context, orgID, idOrName string, minutes int64) (Sandbox, error) {
	if err := checkInterval("autoArchiveInterval", minutes); err != nil {
		return Sandbox{}, err
	}
	minutes = c.autoArchive(minutes)
	return c.configure(ctx, orgID, idOrName, Settings{AutoArchiveMinutes: &minutes})
}

// SetAutoDelete sets after how many stopped minutes the sandbox is destroyed; 0 for as soon as it stops, negative for never.
func (c *Controller) SetAutoDelete(ctx context.Context, orgID, idOrName string, minutes int64) (Sandbox, error) {
	if err := checkAutoDelete(minutes); err != nil {
		return Sandbox{}, err
	}
	minutes = max(minutes, -1)
	return c.configure(ctx, orgID, idOrName, Settings{AutoDeleteMinutes: &minutes})
}

func (c *Controller) configure(ctx context.Context, orgID, idOrName string, set Settings) (Sandbox, error) {
	s, err := c.find(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, err
	}
	s, err = c.deps.Store.Configure(ctx, orgID, s.ID, set, c.cfg.Now())
	if errs.Is(err, errs.NotFound) {
		return Sandbox{}, unknown(idOrName)
	} else if err != nil {
		return Sandbox{}, err
	}
	c.touches.overlay(&s)
	return s, nil
}
