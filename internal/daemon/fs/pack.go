//go:build linux

package fs

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// packer walks a tree by descriptors: each name is opened in the directory that was read, never through a link. A process
// that changes the tree meanwhile changes what is packed, not where it is taken from.
type packer struct {
	ctx     context.Context
	sink    sink
	skipped toolbox.Skips
}

// openTop opens what is to be packed: a directory, or a regular file. Links are followed, as everywhere in the API.
func openTop(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fault(err, path)
	}
	if !st.IsDir() {
		f, _, err := openRegular(path)
		return f, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	return f, fault(err, path)
}

func (p *packer) top(f *os.File, name string) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return p.dir(f, "", device(st), 1)
	}
	return p.file(f, name, st)
}

// dir packs what is in d, whose name in the archive is prefix without the slash at its end.
func (p *packer) dir(d *os.File, prefix string, dev uint64, depth int) error {
	names, err := readNames(d, maxResults)
	if errs.Is(err, errs.TooLarge) {
		return err // half of a directory is no archive of it
	}
	if err != nil {
		note(&p.skipped, prefix, reason(err))
		return nil
	}
	for _, base := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.entry(d, prefix, base, dev, depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) entry(d *os.File, prefix, base string, dev uint64, depth int) error {
	name := prefix + base
	var s unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), base, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if !errors.Is(err, unix.ENOENT) { // else it is gone, and never was in this archive
			note(&p.skipped, name, reason(err))
		}
		return nil
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
	case unix.S_IFLNK:
		return p.link(d, base, name)
	default:
		note(&p.skipped, name, kindName(s.Mode))
		return nil
	}
	fd, err := unix.Openat(int(d.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		note(&p.skipped, name, reason(err))
		return nil
	}
	f := os.NewFile(uintptr(fd), base)
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case st.Mode().IsRegular():
		return p.file(f, name, st)
	case !st.IsDir():
		note(&p.skipped, name, "it changed while it was read")
		return nil
	case depth >= maxFolderDepth:
		note(&p.skipped, name, "too many directories below each other")
		return nil
	case device(st) != dev && kernelView(fd):
		note(&p.skipped, name, "a file system of the kernel")
		return nil
	}
	if err := p.sink.dir(name, st); err != nil {
		return err
	}
	return p.dir(f, name+"/", device(st), depth+1)
}

// file packs the bytes that the file had when it was opened. One that shrinks meanwhile ends the archive.
func (p *packer) file(f *os.File, name string, st os.FileInfo) error {
	content, size := io.Reader(f), st.Size()
	if size == 0 && kernelView(int(f.Fd())) { // its size says nothing
		var err error
		if content, size, err = contentOf(f, st); err != nil {
			note(&p.skipped, name, reason(err))
			return nil
		}
	}
	w, err := p.sink.file(name, size, st)
	if err != nil || size == 0 {
		return err
	}
	n, err := copyWide(w, io.LimitReader(content, size))
	if err == nil && n != size {
		err = errs.New(errs.Internal, "%s shrank while it was sent", clip(name))
	}
	return err
}

// link packs a symbolic link as it is, wherever it leads.
func (p *packer) link(d *os.File, base, name string) error {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(int(d.Fd()), base, buf)
	if err != nil || n == len(buf) {
		note(&p.skipped, name, "a symbolic link that cannot be read")
		return nil
	}
	st, err := lstatAt(d, base)
	if err != nil {
		note(&p.skipped, name, reason(err))
		return nil
	}
	return p.sink.link(name, string(buf[:n]), st)
}

// lstatAt describes base in d without following it.
func lstatAt(d *os.File, base string) (os.FileInfo, error) {
	fd, err := unix.Openat(int(d.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), base)
	defer func() { _ = f.Close() }()
	return f.Stat()
}

// readNames reads a directory that is open, in the order of names; more than limit are an error.
func readNames(d *os.File, limit int) ([]string, error) {
	var out []string
	for {
		batch, err := d.Readdirnames(4096)
		out = append(out, batch...)
		if len(out) > limit {
			return nil, tooMany(d.Name())
		}
		if errors.Is(err, io.EOF) || err == nil && len(batch) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}

// kernelView is [synthetic] of an open file.
func kernelView(fd int) bool {
	var s unix.Statfs_t
	return unix.Fstatfs(fd, &s) != nil || kernelMagic(int64(s.Type))
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "not a regular file"
}

func owner(st os.FileInfo) (uid, gid int) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid), int(sys.Gid)
	}
	return 0, 0
}
