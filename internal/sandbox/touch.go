package sandbox

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

const (
	touchEvery = 5 * time.Second // per sandbox; marks in between are dropped
	maxTouches = 100_000         // kept between two flushes; more are refused as Busy
)

// touches are activity marks that are not in the store yet. A crash loses at most those of the last flush period.
type touches struct {
	mu sync.Mutex // guards m
	m  map[string]time.Time
}

// Touch notes that a sandbox of the organization is in use.
func (c *Controller) Touch(ctx context.Context, orgID, idOrName string) error {
	s, err := c.find(ctx, orgID, idOrName)
	if err != nil {
		return err
	}
	return c.Active(s.ID)
}

// Active notes that a sandbox is in use. It asks nobody and does not block: it is for the data path, which has checked
// already that its caller may use the sandbox. Busy when too many marks wait to be written.
func (c *Controller) Active(sandboxID string) error {
	if !id.IsUUID(sandboxID) {
		return unknown(sandboxID)
	}
	now := c.cfg.Now()
	c.touches.mu.Lock()
	defer c.touches.mu.Unlock()
	last, ok := c.touches.m[sandboxID]
	if ok && now.Sub(last) < touchEvery && !now.Before(last) {
		return nil
	}
	if !ok && len(c.touches.m) >= maxTouches {
		return errs.New(errs.Busy, "too many activity marks at once")
	}
	c.touches.m[sandboxID] = now
	return nil
}

func (t *touches) overlay(s *Sandbox) {
	t.mu.Lock()
	if at, ok := t.m[s.ID]; ok && at.After(s.LastActivityAt) {
		s.LastActivityAt = at
	}
	t.mu.Unlock()
}

// flush writes the marks. Those that could not be written are kept for the next time.
func (c *Controller) flush(ctx context.Context) error {
	c.touches.mu.Lock()
	batch := maps.Clone(c.touches.m)
	c.touches.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := c.deps.Store.Touch(ctx, batch); err != nil {
		return err
	}
	c.touches.mu.Lock()
	for k, at := range batch {
		if c.touches.m[k].Equal(at) {
			delete(c.touches.m, k)
		}
	}
	c.touches.mu.Unlock()
	return nil
}
