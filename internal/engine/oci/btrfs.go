package oci

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// btrfsDisk keeps one subvolume per sandbox, with a quota group that limits what it may hold, metadata included: empty
// files count too. The pool is DIR/disk: on a btrfs file system, that itself; else a sparse file beside it, DIR/disk.img,
// formatted once and mounted there through a loop device that goes away with the mount.
type btrfsDisk struct {
	root  string
	top   *os.File // of root
	sysfs string   // /sys/fs/btrfs/UUID/qgroups: live usage

	mu    sync.Mutex // guards the rest
	ids   map[string]uint64
	stale []uint64 // quota groups whose subvolume was removed: with full quotas the kernel keeps them until told; with simple ones it drops them itself
}

const (
	btrfsMagic     = 0x9123683e
	firstSubvolume = 256
)

func openBtrfs(root string, poolBytes int64, log *slog.Logger) (_ diskDriver, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot make the disk directory %s", root)
	}
	if isDirDisk(root) {
		return nil, errs.New(errs.Invalid, "disk.driver is btrfs, but %s was begun with the driver dir", root)
	}
	if !onBtrfs(root) {
		if err := mountPool(root, poolBytes, log); err != nil {
			return nil, err
		}
	}
	top, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot open the disk pool %s", root)
	}
	d := &btrfsDisk{root: root, top: top, ids: map[string]uint64{}}
	defer func() {
		if err != nil {
			top.Close()
		}
	}()
	uuid, err := btrfsUUID(top)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot identify the disk pool %s", root)
	}
	d.sysfs = filepath.Join("/sys/fs/btrfs", uuid, "qgroups")
	if _, err := os.Stat(d.sysfs); err != nil { // quotas are off
		if err := btrfsQuotaEnable(top, true); err != nil {
			if err := btrfsQuotaEnable(top, false); err != nil {
				return nil, errs.Wrap(err, errs.Unavailable, "cannot switch on quotas in the disk pool %s", root)
			}
		}
	}
	d.findStale()
	return d, nil
}

// findStale notes the quota groups of subvolumes that are gone.
func (d *btrfsDisk) findStale() {
	groups, _ := os.ReadDir(d.sysfs)
	names, _ := d.list()
	live := map[uint64]bool{}
	for _, name := range names {
		if id, err := d.id(name); err == nil {
			live[id] = true
		}
	}
	for _, group := range groups {
		text, ok := strings.CutPrefix(group.Name(), "0_")
		if id, err := strconv.ParseUint(text, 10, 64); ok && err == nil && id >= firstSubvolume && !live[id] {
			d.stale = append(d.stale, id)
		}
	}
	d.dropStale(len(d.stale))
}

// dropStale tries to remove the n oldest stale groups. The kernel refuses while a subvolume exists (so that a group of
// someone else on a shared file system is safe) and while it has not freed everything; those are tried again another time.
func (d *btrfsDisk) dropStale(n int) {
	d.mu.Lock()
	n = min(n, len(d.stale))
	try := slices.Clone(d.stale[:n])
	d.stale = d.stale[n:]
	d.mu.Unlock()
	for _, id := range try {
		if err := btrfsQgroupRemove(d.top, id); err != nil && !isErrno(err, unix.ENOENT) {
			d.mu.Lock()
			d.stale = append(d.stale, id)
			d.mu.Unlock()
		}
	}
}

func onBtrfs(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == btrfsMagic
}

// mountPool mounts the sparse file ROOT.img at root, and makes it first when it is not there. The file gets its name only
// once it is formatted, so a process that dies in between leaves nothing that looks like a pool.
func mountPool(root string, size int64, log *slog.Logger) error {
	image := root + ".img"
	if _, err := os.Stat(image); os.IsNotExist(err) {
		if err := formatPool(image, size, log); err != nil {
			return err
		}
	}
	loop, err := attachLoop(image)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot attach the disk pool %s to a loop device", image)
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), root, "btrfs", unix.MS_NOATIME|unix.MS_NODEV, "discard=async"); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot mount the disk pool %s", image)
	}
	// Sandboxes are cloned from this mount namespace; nothing of theirs may travel back, nor to other services.
	if err := unix.Mount("", root, "", unix.MS_PRIVATE, ""); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the mount of %s private", root)
	}
	return nil
}

const minPoolBytes = 256 << 20

func formatPool(image string, size int64, log *slog.Logger) error {
	mkfs, err := exec.LookPath("mkfs.btrfs")
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "mkfs.btrfs is not installed (package btrfs-progs)")
	}
	if size == 0 {
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(image), &st); err != nil {
			return errs.Wrap(err, errs.Unavailable, "cannot measure the file system of %s", image)
		}
		size = int64(st.Bavail) * st.Bsize / 5 * 4
	}
	if size < minPoolBytes {
		return errs.New(errs.Exhausted, "the disk pool would have %d bytes, it needs at least %d", size, int64(minPoolBytes))
	}
	temp := image + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the disk pool %s", temp)
	}
	defer os.Remove(temp)
	err = f.Truncate(size)
	f.Close()
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the disk pool %s of %d bytes", temp, size)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mkfs, "--quiet", "--data", "single", "--metadata", "single", "--nodiscard", "--", temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errs.Wrap(err, errs.Unavailable, "mkfs.btrfs failed on %s: %s", temp, firstLine(out))
	}
	if err := os.Rename(temp, image); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot name the disk pool %s", image)
	}
	log.Info("disk pool made", "path", image, "bytes", size)
	return nil
}

func (d *btrfsDisk) name() string           { return "btrfs" }
func (d *btrfsDisk) enforces() bool         { return true }
func (d *btrfsDisk) dir(name string) string { return filepath.Join(d.root, name) }
func (d *btrfsDisk) close()                 { d.top.Close() }

func (d *btrfsDisk) create(_ context.Context, name string, limit int64, uid uint32, mode os.FileMode) error {
	if err := btrfsSubvolCreate(d.top, name); err != nil {
		return diskError(err, "make the writable layer")
	}
	err := makeLayer(d.dir(name), uid, mode)
	if err == nil {
		err = d.setLimit(name, limit)
	}
	if err != nil {
		_ = d.remove(name)
		return err
	}
	return nil
}

func (d *btrfsDisk) exists(name string) bool {
	_, err := d.id(name)
	return err == nil
}

// id returns the number of a layer's subvolume, which is also that of its quota group.
func (d *btrfsDisk) id(name string) (uint64, error) {
	d.mu.Lock()
	id, ok := d.ids[name]
	d.mu.Unlock()
	if ok {
		return id, nil
	}
	f, err := os.OpenFile(d.dir(name), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if id, err = btrfsSubvolID(f); err != nil {
		return 0, err
	}
	d.mu.Lock()
	d.ids[name] = id
	d.mu.Unlock()
	return id, nil
}

func (d *btrfsDisk) setLimit(name string, limit int64) error {
	id, err := d.id(name)
	if err == nil {
		err = btrfsQgroupLimit(d.top, id, uint64(limit))
	}
	if err != nil {
		return diskError(err, "limit the writable layer")
	}
	return nil
}

func (d *btrfsDisk) usage(_ context.Context, name string) (int64, error) {
	id, err := d.id(name)
	if err != nil {
		return 0, diskError(err, "find the writable layer")
	}
	b, err := os.ReadFile(filepath.Join(d.sysfs, "0_"+strconv.FormatUint(id, 10), "referenced"))
	if err != nil {
		return 0, diskError(err, "measure the writable layer")
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, diskError(err, "measure the writable layer")
	}
	return n, nil
}

// remove unlinks the subvolume; the kernel frees what it held in the background, at its own pace.
func (d *btrfsDisk) remove(name string) error {
	id, err := d.id(name)
	if isErrno(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = btrfsSubvolDestroy(d.top, name)
	}
	if err != nil && !isErrno(err, unix.ENOENT) {
		return errs.Wrap(err, errs.Internal, "cannot remove the writable layer")
	}
	d.mu.Lock()
	delete(d.ids, name)
	d.stale = append(d.stale, id)
	d.mu.Unlock()
	d.dropStale(4) // more than one comes in, so that they cannot pile up
	return nil
}

func (d *btrfsDisk) list() ([]string, error) { return listLayers(d.root) }
