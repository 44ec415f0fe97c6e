package netpol

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
)

// Remove takes everything of an instance off the host: links, namespaces, rules, addresses and routes, its folder included.
// Sandboxes that still run lose their network. Nobody may have the instance open (Conflict). Packet forwarding stays on.
func Remove(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if err := openDir(cfg.Dir); err != nil {
		return err
	}
	lock, err := filelock.Acquire(ctx, cfg.Dir+"/"+lockName, filelock.Patience)
	if err != nil {
		return err
	}
	defer lock.Close()
	nl, err := newHandle()
	if err != nil {
		return err
	}
	defer nl.Close()
	// Links first: while any is left, the rules stay.
	if err := removeLinks(nl, cfg.Instance, func(int) bool { return true }); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the network links of instance %s could not be removed", cfg.Instance)
	}
	if err := removeTable(cfg.Instance); err != nil {
		return err
	}
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "the host has no loopback link")
	}
	live, err := liveSubnet(nl, lo, cfg)
	if err != nil {
		return err
	}
	if live.IsValid() {
		if err := dropSubnet(nl, lo, cfg.Instance, live); err != nil {
			return err
		}
	}
	pins, err := instancePins(cfg.Dir)
	if err != nil {
		return err
	}
	for _, k := range pins {
		if err := unpin((&Net{cfg: cfg}).pin(k)); err != nil {
			return errs.Wrap(err, errs.Unavailable, "the network namespace of slot %d could not be removed", k)
		}
	}
	if err := os.Remove(cfg.Dir + "/" + lockName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be removed", cfg.Dir)
	}
	if err := unix.Unmount(cfg.Dir, unix.MNT_DETACH); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be unmounted", cfg.Dir)
	}
	if err := os.Remove(cfg.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be removed", cfg.Dir)
	}
	return nil
}
