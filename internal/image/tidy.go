package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// maxID is the highest uid and gid of an image: an engine maps 0–65535 into a sandbox's own range.
const maxID = 65535

// tidy removes what an image does not need and everything that would give a sandbox more than plain files: device nodes,
// file capabilities, set-user-ID bits that the recipe does not name. It also measures.
func (b *builder) tidy(ctx context.Context) error {
	for _, pattern := range b.recipe.Exclude {
		found, err := fs.Glob(b.root.FS(), pattern)
		if err != nil {
			return errs.Wrap(err, errs.Invalid, "recipe %q: exclude is %q, which is no pattern", b.recipe.Name, pattern)
		}
		for _, name := range found {
			if err := b.root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	for dir, mode := range map[string]fs.FileMode{
		"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o777 | fs.ModeSticky, "var/tmp": 0o777 | fs.ModeSticky,
	} {
		if err := b.emptyDir(dir, mode); err != nil {
			return err
		}
	}
	// Whatever the packages' scripts made of these files, they are ours again.
	if err := b.skeleton(ctx); err != nil {
		return err
	}
	seen := map[uint64]struct{}{} // inodes with several names
	b.size = 0
	err := filepath.WalkDir(b.rootfs, func(p string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		return b.tidyEntry(p, e, seen)
	})
	if err != nil {
		return err
	}
	for _, name := range b.recipe.Setuid {
		if st, err := b.root.Lstat(name); err != nil || st.Mode()&fs.ModeSetuid == 0 {
			return errs.New(errs.Invalid, "recipe %q: setuid names %q, which is no set-user-ID file of its packages", b.recipe.Name, name)
		}
	}
	return nil
}

// emptyDir makes the directory name, whatever it was, an empty one of that mode.
func (b *builder) emptyDir(name string, mode fs.FileMode) error {
	if err := b.root.RemoveAll(name); err != nil {
		return err
	}
	if err := b.makeDir(name, 0o755); err != nil {
		return err
	}
	return b.root.Chmod(name, mode)
}

// tidyEntry looks at one path of the root filesystem. Nothing runs in it any more, so a path means the same file throughout.
func (b *builder) tidyEntry(p string, e fs.DirEntry, seen map[uint64]struct{}) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errs.New(errs.Internal, "no owner is known for %s", p)
	}
	rel, err := filepath.Rel(b.rootfs, p)
	if err != nil {
		return err
	}
	mode := info.Mode()
	if mode&(fs.ModeDevice|fs.ModeCharDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeIrregular) != 0 {
		return os.Remove(p)
	}
	if st.Uid > maxID || st.Gid > maxID {
		return errs.New(errs.Invalid, "recipe %q: /%s belongs to %d:%d, ids up to %d can be mapped", b.recipe.Name, rel, st.Uid, st.Gid, maxID)
	}
	if mode.IsRegular() && mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		keep := mode & fs.ModeSetuid
		if !slices.Contains(b.recipe.Setuid, rel) {
			keep = 0
		}
		if err := os.Chmod(p, mode.Perm()|mode&fs.ModeSticky|keep); err != nil {
			return err
		}
	}
	if mode.IsRegular() {
		err := unix.Lremovexattr(p, "security.capability")
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return &fs.PathError{Op: "removexattr", Path: p, Err: err}
		}
	}
	if st.Nlink > 1 && !info.IsDir() {
		if _, again := seen[st.Ino]; again {
			return nil
		}
		seen[st.Ino] = struct{}{}
	}
	b.size += st.Blocks * 512
	return nil
}
