//go:build linux

package fs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var errStop = errors.New("enough")

func sortEntries(list []fs.DirEntry) {
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
}

// walk calls fn for everything below root, or for root alone when it is no directory, in the order of names, each
// directory before what is in it. Symbolic links below root are not followed. What cannot be read is left out, and so are the
// kernel's own file systems, unless root lies in one. fn ends the walk by returning errStop.
func walk(ctx context.Context, root string, fn func(path string, e fs.DirEntry) error) error {
	st, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		if err := fn(root, fs.FileInfoToDirEntry(st)); !errors.Is(err, errStop) {
			return err
		}
		return nil
	}
	d, err := os.Open(root) // what cannot be read is left out, but not the root
	if err != nil {
		return err
	}
	_ = d.Close()
	w := walker{ctx: ctx, fn: fn}
	if err := w.dir(root, device(st), 0); !errors.Is(err, errStop) {
		return err
	}
	return nil
}

type walker struct {
	ctx context.Context
	fn  func(string, fs.DirEntry) error
}

func (w *walker) dir(dir string, dev uint64, depth int) error {
	entries, err := readDir(dir, 10*maxResults)
	if err != nil || depth > maxDepth {
		return nil
	}
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(dir, e.Name())
		if err := w.fn(path, e); err != nil {
			return err
		}
		if !e.IsDir() {
			continue
		}
		st, err := os.Lstat(path)
		if err != nil || !st.IsDir() {
			continue
		}
		if d := device(st); d != dev {
			if synthetic(path) {
				continue
			}
			if err := w.dir(path, d, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := w.dir(path, dev, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func device(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Dev)
	}
	return 0
}

// synthetic reports whether path lies in a file system whose files are views into the kernel.
func synthetic(path string) bool {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return true
	}
	return kernelMagic(int64(s.Type))
}

func kernelMagic(kind int64) bool {
	switch kind {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
}
