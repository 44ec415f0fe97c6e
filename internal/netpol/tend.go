package netpol

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const retryAfter = time.Second // after something in the background failed

// tend keeps slots prepared, proves released ones clean and destroys the rest. It is the only goroutine that does.
func (n *Net) tend(ctx context.Context) {
	for {
		var again <-chan time.Time
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = n.tendOnce(ctx); err != nil {
				n.log.WarnContext(ctx, "network slots could not be tended, trying again", "error", err)
				again, more = time.After(retryAfter), false
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-again:
		}
	}
}

// tendOnce does one round and reports whether another may have something to do. Slots prepared come first: somebody may
// wait for them.
func (n *Net) tendOnce(ctx context.Context) (bool, error) {
	n.mu.Lock()
	var released, dead []int
	for k, s := range n.slots {
		switch s.state {
		case releasing:
			released = append(released, k)
		case doomed:
			dead = append(dead, k)
		default: // in use, or ready to be
		}
	}
	short := len(n.ready) < n.cfg.Ready
	n.mu.Unlock()
	var failed error
	if len(released) > 0 {
		failed = n.recycle(ctx, released)
	} else if short {
		failed = n.prepare()
	}
	if len(dead) > 0 {
		failed = errors.Join(failed, n.destroy(ctx, dead))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.slots {
		if s.state == releasing || s.state == doomed {
			return true, failed
		}
	}
	return len(n.ready) < n.cfg.Ready && len(n.slots) < n.cfg.MaxSlots, failed
}

// prepare makes one slot ready.
func (n *Net) prepare() error {
	n.mu.Lock()
	k, s, err := n.reserve()
	n.mu.Unlock()
	if err != nil {
		return nil // all in use: releasing one is what mends it
	}
	if err := n.build(k); err != nil {
		n.doom(k)
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.state = ready
	n.ready = append(n.ready, k)
	n.announce()
	return nil
}

// recycle makes released slots ready again where they are clean and wanted, and dooms the others.
func (n *Net) recycle(ctx context.Context, slots []int) error {
	if err := n.forget(slots); err != nil {
		n.log.WarnContext(ctx, "tracked connections could not be removed, destroying slots", "slots", len(slots), "error", err)
		for _, k := range slots {
			n.doom(k)
		}
		return nil
	}
	inhabited, err := inhabitedNamespaces()
	if err != nil {
		return err
	}
	for _, k := range slots {
		why := n.unclean(k, inhabited)
		n.mu.Lock()
		s := n.slots[k]
		switch {
		case s.state != releasing:
		case why == nil && len(n.ready) < max(idleCap, n.cfg.Ready):
			s.state, s.blocked = ready, false
			n.ready = append(n.ready, k)
			n.announce()
		default:
			s.state = doomed
		}
		n.mu.Unlock()
		if why != nil {
			n.log.DebugContext(ctx, "network slot is not used again", "slot", k, "reason", why)
		}
	}
	return nil
}

// destroy removes slots and everything made for them. Removing links makes the kernel wait for all its readers, so all go
// in one request.
func (n *Net) destroy(ctx context.Context, slots []int) error {
	n.sweeps.Lock()
	defer n.sweeps.Unlock()
	shut := map[int]entry{}
	n.mu.Lock()
	slots = slices.DeleteFunc(slots, func(k int) bool { s := n.slots[k]; return s == nil || s.state != doomed })
	n.mu.Unlock()
	for _, k := range slots {
		shut[k] = entry{}
	}
	// First the rules: from here on nothing of these slots passes.
	rulesErr := n.rules.change(shut)
	if err := removeLinks(n.nl, n.cfg.Instance, func(k int) bool { _, ok := shut[k]; return ok }); err != nil {
		return errors.Join(rulesErr, err)
	}
	if rulesErr != nil {
		return rulesErr
	}
	if err := n.forget(slots); err != nil {
		return err
	}
	var failed error
	for _, k := range slots {
		if err := unpin(n.pin(k)); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		n.mu.Lock()
		delete(n.slots, k)
		n.announce()
		n.mu.Unlock()
	}
	if failed == nil {
		n.log.DebugContext(ctx, "destroyed network slots", "slots", len(slots))
	}
	return failed
}

func unpin(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
