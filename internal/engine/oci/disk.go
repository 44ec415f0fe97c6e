package oci

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// diskDriver keeps the writable layers of sandboxes. A layer is a directory with two entries, `upper` and `work`, which
// become those of an overlay mount. Names are sandbox ids. Methods may be called from many goroutines, on one name from one.
type diskDriver interface {
	name() string
	// enforces reports whether a layer cannot grow past its limit.
	enforces() bool
	// create makes a layer of at most limit bytes, its upper owned by uid:uid with the given mode. Exhausted when the
	// pool is full.
	create(ctx context.Context, name string, limit int64, uid uint32, mode os.FileMode) error
	// dir is where a layer lies.
	dir(name string) string
	// exists reports whether a layer is there.
	exists(name string) bool
	setLimit(name string, limit int64) error
	// usage returns the bytes that a layer holds.
	usage(ctx context.Context, name string) (int64, error)
	// remove removes a layer, whatever its contents; a layer that is not there is a success.
	remove(name string) error
	// list returns the names of all layers.
	list() ([]string, error)
	close()
}

// openDisk opens the configured driver. With none configured it takes btrfs and falls back to plain directories with a
// problem line that says why limits are not enforced.
func openDisk(cfg Config, log *slog.Logger) (diskDriver, []string, error) {
	root := filepath.Join(cfg.Dir, "disk")
	switch cfg.Disk.Driver {
	case "btrfs":
		d, err := openBtrfs(root, cfg.Disk.PoolBytes, log)
		return d, nil, err
	case "dir":
		d, err := openDirDisk(root)
		return d, []string{"disk limits are not enforced: the disk driver is \"dir\"; use \"btrfs\""}, err
	case "":
		if isDirDisk(root) { // layers of an earlier run lie there
			d, err := openDirDisk(root)
			return d, []string{"disk limits are not enforced: this directory was begun with the driver \"dir\"; move its sandboxes away to change to btrfs"}, err
		}
		d, err := openBtrfs(root, cfg.Disk.PoolBytes, log)
		if err == nil {
			return d, nil, nil
		}
		log.Warn("no btrfs pool, disk limits are not enforced", "error", err)
		plain, perr := openDirDisk(root)
		return plain, []string{"disk limits are not enforced: " + err.Error() + "; install btrfs-progs, or put the directory on btrfs"}, perr
	}
	return nil, nil, errs.New(errs.Invalid, "disk.driver is %q, it must be btrfs, dir or empty", cfg.Disk.Driver)
}

// dirDisk keeps layers as plain directories. Limits are not enforced.
type dirDisk struct{ root string }

const dirDiskMarker = "driver-dir"

func isDirDisk(root string) bool {
	_, err := os.Lstat(filepath.Join(root, dirDiskMarker))
	return err == nil
}

func openDirDisk(root string) (diskDriver, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot make the disk directory %s", root)
	}
	if err := os.WriteFile(filepath.Join(root, dirDiskMarker), nil, 0o600); err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot write to the disk directory %s", root)
	}
	return &dirDisk{root}, nil
}

func (d *dirDisk) name() string           { return "dir" }
func (d *dirDisk) enforces() bool         { return false }
func (d *dirDisk) dir(name string) string { return filepath.Join(d.root, name) }
func (d *dirDisk) close()                 {}

func (d *dirDisk) create(_ context.Context, name string, _ int64, uid uint32, mode os.FileMode) error {
	if err := os.Mkdir(d.dir(name), 0o700); err != nil {
		return diskError(err, "make the writable layer")
	}
	if err := makeLayer(d.dir(name), uid, mode); err != nil {
		_ = d.remove(name)
		return err
	}
	return nil
}

func (d *dirDisk) exists(name string) bool {
	fi, err := os.Lstat(d.dir(name))
	return err == nil && fi.IsDir()
}

func (d *dirDisk) setLimit(string, int64) error { return nil }

// usage walks the layer, at most two seconds long: the contents are the sandbox's choice. Past that it fails with Timeout.
func (d *dirDisk) usage(ctx context.Context, name string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var total int64
	err := filepath.WalkDir(filepath.Join(d.dir(name), "upper"), func(_ string, entry os.DirEntry, err error) error {
		if ctx.Err() != nil {
			return errs.Wrap(ctx.Err(), errs.Timeout, "measuring the disk of a sandbox took longer than two seconds")
		}
		if err != nil { // went away, or a tree deeper than a path can be
			return nil
		}
		if fi, err := entry.Info(); err == nil {
			if st, ok := fi.Sys().(*unixStat); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total, err
}

func (d *dirDisk) remove(name string) error {
	if err := os.RemoveAll(d.dir(name)); err != nil {
		return errs.Wrap(err, errs.Internal, "cannot remove the writable layer")
	}
	return nil
}

func (d *dirDisk) list() ([]string, error) { return listLayers(d.root) }

// makeLayer fills a fresh directory that no sandbox has seen yet.
func makeLayer(dir string, uid uint32, mode os.FileMode) error {
	upper := filepath.Join(dir, "upper")
	for _, p := range []string{upper, filepath.Join(dir, "work")} {
		if err := os.Mkdir(p, 0o700); err != nil {
			return diskError(err, "make the writable layer")
		}
	}
	if err := os.Chown(upper, int(uid), int(uid)); err != nil {
		return diskError(err, "give the writable layer to the sandbox")
	}
	if err := os.Chmod(upper, mode.Perm()); err != nil {
		return diskError(err, "give the writable layer to the sandbox")
	}
	return nil
}

func listLayers(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot list the writable layers in %s", root)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && isSandboxID(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// diskError classifies what a file system says: Exhausted when it is full.
func diskError(err error, doing string) error {
	switch {
	case isErrno(err, unix.ENOSPC), isErrno(err, unix.EDQUOT):
		return errs.Wrap(err, errs.Exhausted, "the host's disk for sandboxes is full: cannot %s", doing)
	default:
		return errs.Wrap(err, errs.Internal, "cannot %s", doing)
	}
}
