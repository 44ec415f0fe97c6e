package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
	"github.com/dugout-dev/dugout/internal/netpol"
	"github.com/dugout-dev/dugout/internal/obs"
)

// stopGrace is how long the processes of a sandbox have after SIGTERM when everything is taken down.
const stopGrace = 5 * time.Second

// Down leaves the host as a reboot would: no sandbox runs, and their network, mounts and cgroups are gone. The data directory
// stays as it is, so that the next Up finds every sandbox, stopped. It returns how many sandboxes it stopped. Conflict when
// a server runs on the data directory.
func Down(ctx context.Context, cfg config.Config, out Output) (stopped int, err error) {
	if os.Geteuid() != 0 {
		return 0, errs.New(errs.Denied, "dugout down takes mounts and cgroups away: run it as root")
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "instance")); errors.Is(err, fs.ErrNotExist) {
		return 0, nil // never up
	}
	unlock, err := lockDir(ctx, cfg.DataDir, filelock.Patience)
	if err != nil {
		return 0, err
	}
	defer unlock()
	instance, err := remembered(cfg.DataDir, "instance", newInstance)
	if err != nil {
		return 0, err
	}
	dirs, err := runtimeDirs(cfg, instance)
	if err != nil {
		return 0, err
	}
	log := obs.NewLogger(out.Log, cfg.Log.Level, cfg.Log.Format)
	ociCfg, err := engineConfig(cfg, instance, dirs)
	if err != nil {
		return 0, err
	}
	eng, err := oci.Open(ctx, ociCfg, log)
	if err != nil {
		return 0, err
	}
	stopped, err = stopAll(ctx, eng, out.Progress)
	if err = errors.Join(err, eng.Close()); err != nil {
		return stopped, err // the network and the mounts may be in use
	}
	netCfg, err := networkConfig(cfg, instance, dirs)
	if err != nil {
		return stopped, err
	}
	if err := netpol.Remove(ctx, netCfg); err != nil {
		return stopped, err
	}
	for _, dir := range []string{dirs.engine, filepath.Join(ociCfg.Dir, "disk")} {
		if err := unmountAll(dir); err != nil {
			return stopped, err
		}
	}
	removeCgroups("/dugout-" + instance)
	return stopped, os.RemoveAll(filepath.Dir(dirs.engine))
}

// stopAll stops every running sandbox and says how many there were.
func stopAll(ctx context.Context, eng engine.Engine, progress func(string)) (int, error) {
	boxes, err := eng.List(ctx)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, b := range boxes {
		if b.State != engine.Running {
			continue
		}
		progress("stopping sandbox " + b.Spec.ID)
		if err := eng.Stop(ctx, b.Spec.ID, stopGrace); err != nil {
			return stopped, err
		}
		stopped++
	}
	return stopped, nil
}

// unmountAll takes away what is mounted on dir, once or more often. A file that is open below is an error, not a lazy unmount:
// the next start must not meet a file system that is still going away.
func unmountAll(dir string) error {
	for {
		switch err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // not mounted, not there
			return nil
		case err != nil:
			return errs.Wrap(err, errs.Unavailable, "cannot unmount %s: %v", dir, err)
		}
	}
}

// removeCgroups removes the cgroup parent and what is empty below it, in every hierarchy. What is left is harmless and is used
// again by the next start.
func removeCgroups(parent string) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
	for _, root := range append(roots, "/sys/fs/cgroup"+parent) {
		children, _ := filepath.Glob(root + "/*/")
		for _, dir := range append(children, root) {
			_ = unix.Rmdir(dir)
		}
	}
}
