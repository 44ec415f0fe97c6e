//go:build linux

package fs

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// copyAcross copies a file or a directory with modes, times, owners where that is allowed, and symbolic links as they are. Both
// sides are walked by descriptors: a process that changes one of the trees meanwhile cannot lead the copy anywhere else.
func copyAcross(ctx context.Context, from, to string) error {
	src, err := os.OpenRoot(filepath.Dir(from))
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenRoot(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	return copyEntry(ctx, src, filepath.Base(from), dst, filepath.Base(to), 0)
}

// copyEntry copies one entry of the directory src into the directory dst.
func copyEntry(ctx context.Context, src *os.Root, name string, dst *os.Root, as string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st, err := src.Lstat(name)
	if err != nil {
		return err
	}
	switch m := st.Mode(); {
	case m.IsDir():
		return copyDir(ctx, src, name, dst, as, depth)
	case m.IsRegular():
		return copyFile(src, name, dst, as)
	case m&fs.ModeSymlink != 0:
		dest, err := src.Readlink(name)
		if err != nil {
			return err
		}
		if err := dst.Symlink(dest, as); err != nil {
			return err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			_ = dst.Lchown(as, int(sys.Uid), int(sys.Gid))
		}
		return nil
	}
	return notRegular(name, st)
}

func copyDir(ctx context.Context, src *os.Root, name string, dst *os.Root, as string, depth int) error {
	if depth > maxDepth {
		return errs.New(errs.Invalid, "%s: directories are nested more than %d deep", clip(name), maxDepth)
	}
	below, err := src.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { _ = below.Close() }()
	dir, err := below.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	names, err := readNames(dir, 100*maxResults)
	if err != nil {
		return err
	}
	if err := dst.Mkdir(as, 0o700); err != nil {
		return err
	}
	into, err := dst.OpenRoot(as)
	if err != nil {
		return err
	}
	defer func() { _ = into.Close() }()
	for _, n := range names {
		if err := copyEntry(ctx, below, n, into, n, depth+1); err != nil {
			return err
		}
	}
	made, err := into.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }()
	return dress(made, st)
}

func copyFile(src *os.Root, name string, dst *os.Root, as string) error {
	in, err := src.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() { // it was a moment ago
		return notRegular(name, st)
	}
	out, err := dst.OpenFile(as, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // copy_file_range where the kernel can
	if err == nil {
		err = dress(out, st)
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// dress gives a copy the owner, where that is allowed, the mode and the time of what it was made from.
func dress(f *os.File, like os.FileInfo) error {
	if sys, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(sys.Uid), int(sys.Gid))
	}
	if err := f.Chmod(like.Mode()); err != nil {
		return err
	}
	at := unix.NsecToTimeval(like.ModTime().UnixNano())
	return unix.Futimes(int(f.Fd()), []unix.Timeval{at, at})
}
