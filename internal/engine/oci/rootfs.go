package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// mountRunDir makes dir a tmpfs mount of our own, private, so that the mounts made below it for sandboxes do not travel
// to other mount namespaces, and so that a host restart leaves nothing. A second call finds the first one's mount.
func mountRunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the run directory %s", dir)
	}
	var here, parent unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot read the run directory %s", dir)
	}
	if err := unix.Lstat(filepath.Dir(dir), &parent); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot read the directory above %s", dir)
	}
	if here.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errs.New(errs.Invalid, "run_dir is %q, which is not a directory", dir)
	}
	if here.Dev != parent.Dev {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
			return nil
		}
	}
	if err := unix.Mount("dugout", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711"); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot mount a tmpfs at %s", dir)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the mount of %s private", dir)
	}
	return nil
}

// mountRun mounts the tmpfs that holds the socket directory and the network files of one sandbox at s/ID. A hostile
// sandbox that fills it fills only that.
func (e *Engine) mountRun(id string) error {
	dir := e.run("s", id)
	if err := os.Mkdir(dir, 0o711); err != nil && !os.IsExist(err) {
		return diskError(err, "make the run directory of the sandbox")
	}
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return errs.Wrap(err, errs.Internal, "cannot make the run directory of the sandbox")
	}
	defer unix.Close(fs)
	for _, option := range [][2]string{{"size", "256k"}, {"nr_inodes", "64"}, {"mode", "0711"}} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return errs.Wrap(err, errs.Internal, "cannot make the run directory of the sandbox (%s)", option[0])
		}
	}
	return attach(fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, dir)
}

// attach finishes a file system context and mounts it at dir.
func attach(fs int, attr int, dir string) error {
	if err := unix.FsconfigCreate(fs); err != nil {
		return errs.Wrap(err, errs.Internal, "cannot mount %s", filepath.Base(filepath.Dir(dir)))
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return errs.Wrap(err, errs.Internal, "cannot mount %s", filepath.Base(filepath.Dir(dir)))
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errs.Wrap(err, errs.Internal, "cannot mount %s", filepath.Base(filepath.Dir(dir)))
	}
	return nil
}

// cloneImage returns a detached copy of the mount at rootfs in which id 0 on disk shows as first, and so on.
func (e *Engine) cloneImage(rootfs string, first uint32) (int, error) {
	ns, err := e.userns.get(first)
	if err != nil {
		return -1, err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, rootfs, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		if isErrno(err, unix.ENOENT) || isErrno(err, unix.ENOTDIR) {
			return -1, errs.Wrap(err, errs.NotFound, "the image directory %s is not there", rootfs)
		}
		return -1, errs.Wrap(err, errs.Internal, "cannot open the image directory %s", rootfs)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(tree)
		return -1, errs.Wrap(err, errs.Unavailable, "the file system of %s does not take id mappings on this kernel", rootfs)
	}
	return tree, nil
}

// mountRootfs mounts the overlay of a sandbox at b/ID/rootfs: the image below, seen through the sandbox's id mapping, its
// own layer above.
func (e *Engine) mountRootfs(id, image, layer string, first uint32) error {
	target := e.run("b", id, "rootfs")
	if err := os.Mkdir(target, 0o711); err != nil && !os.IsExist(err) {
		return diskError(err, "make the root directory of the sandbox")
	}
	lower, err := e.cloneImage(image, first)
	if err != nil {
		return err
	}
	defer unix.Close(lower)
	lowerPath := "/proc/self/fd/" + strconv.Itoa(lower)
	if !e.canClone { // before 6.15 an overlay takes only mounts that are in the tree
		lowerPath = e.run("b", id, "lower")
		if err := os.Mkdir(lowerPath, 0o700); err != nil && !os.IsExist(err) {
			return diskError(err, "make the root directory of the sandbox")
		}
		if err := unix.MoveMount(lower, "", unix.AT_FDCWD, lowerPath, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return errs.Wrap(err, errs.Internal, "cannot mount the image")
		}
		defer func() { // the overlay holds a copy of its own by then
			_ = unix.Unmount(lowerPath, unix.MNT_DETACH)
			_ = os.Remove(lowerPath)
		}()
	}
	if err := overlay(lowerPath, filepath.Join(layer, "upper"), filepath.Join(layer, "work"), target); err != nil {
		return err
	}
	// An overlay that cannot write to its layer mounts all the same, read-only.
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil || st.Flags&unix.ST_RDONLY != 0 {
		return errs.Wrap(err, errs.Internal, "the root directory of the sandbox cannot be written to")
	}
	return nil
}

func overlay(lower, upper, work, target string) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "the kernel has no overlay file system")
	}
	defer unix.Close(fs)
	// No redirects and no metadata-only copies: an xattr in a layer must never make a path appear that is not the image's.
	for _, option := range [][2]string{
		{"source", "dugout"}, {"lowerdir", lower}, {"upperdir", upper}, {"workdir", work},
		{"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"},
	} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return errs.Wrap(err, errs.Internal, "the kernel refuses the overlay option %s", option[0])
		}
	}
	return attach(fs, unix.MOUNT_ATTR_NODEV, target)
}

// tryIDMap mounts one image-like directory through an id mapping, to learn at Open, not at the first Create, what this
// kernel can do. It reports whether an overlay takes a detached mount.
func (e *Engine) tryIDMap() (bool, error) {
	dir := e.path("probe")
	defer os.RemoveAll(dir)
	for _, sub := range []string{"image", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return false, diskError(err, "try an overlay mount")
		}
	}
	lower, err := e.cloneImage(filepath.Join(dir, "image"), e.cfg.UIDFirst)
	if err != nil {
		return false, err
	}
	defer unix.Close(lower)
	merged := filepath.Join(dir, "merged")
	if err := overlay(fmt.Sprintf("/proc/self/fd/%d", lower), filepath.Join(dir, "upper"), filepath.Join(dir, "work"), merged); err != nil {
		return false, nil
	}
	_ = unix.Unmount(merged, unix.MNT_DETACH)
	return true, nil
}

// unmountSandbox takes away the mounts and run files of a sandbox that does not run. Nothing there is a success.
func (e *Engine) unmountSandbox(id string) error {
	var failed error
	for _, p := range []string{e.run("b", id, "rootfs"), e.run("b", id, "lower"), e.run("s", id)} {
		// Twice: a start that died between two mounts and was repeated may have stacked them.
		for range 4 {
			err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err == unix.EINVAL || err == unix.ENOENT {
				break
			}
			if err != nil {
				failed = errs.Wrap(err, errs.Internal, "cannot unmount %s", p)
				break
			}
		}
	}
	if failed != nil {
		return failed
	}
	// What is left is on our own tmpfs, made by us and by runc: no sandbox ever wrote there.
	for _, p := range []string{e.run("b", id), e.run("s", id), e.run("runc", id)} {
		if err := os.RemoveAll(p); err != nil {
			return errs.Wrap(err, errs.Internal, "cannot remove %s", p)
		}
	}
	return nil
}
