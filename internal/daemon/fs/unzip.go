//go:build linux

package fs

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of zips, which are kept on disk while they are unpacked: their directory stands at the end.
const (
	maxZip       = 8 << 30  // bytes
	maxDirectory = 16 << 20 // bytes of the directory; it is read into memory
)

// zip keeps the body in a file without a name on the file system of dir, and unpacks that.
func (u *unpacker) zip(dir string) error {
	f, err := nameless(dir)
	if err != nil {
		return fault(err, dir)
	}
	defer func() { _ = f.Close() }()
	size, err := copyWide(f, io.LimitReader(u.in, maxZip+1))
	var pe *fs.PathError
	switch {
	case errors.As(err, &pe):
		return fault(err, dir)
	case err != nil:
		return broken(err)
	case size > maxZip:
		return errs.New(errs.TooLarge, "the zip is larger than %d bytes, which is the limit; send a tar", int64(maxZip)).WithCode(codeTooLarge)
	}
	gate := &gate{r: f, left: maxDirectory}
	z, err := zip.NewReader(gate, size)
	if gate.left < 0 {
		return errs.New(errs.TooLarge, "the directory of the zip is larger than %d bytes, which is the limit; send a tar", maxDirectory).WithCode(codeTooLarge)
	}
	if err != nil {
		return broken(err)
	}
	if len(z.File) > maxZipEntries {
		return errs.New(errs.TooLarge, "the zip has %d entries, the limit is %d; send a tar", len(z.File), maxZipEntries).WithCode(codeTooLarge)
	}
	gate.open = true
	for _, e := range z.File {
		if err := u.zipEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) zipEntry(e *zip.File) error {
	name, err := entryName(e.Name)
	if err != nil {
		return err
	}
	const encrypted = 1
	if e.Flags&encrypted != 0 {
		return badArchive("%s is encrypted", clip(e.Name))
	}
	mode := e.Mode()
	switch {
	case mode.IsDir():
		return u.dirEntry(name, mode.Perm(), maxZipEntries)
	case name == "":
		return badArchive("a file has the name of the directory")
	case mode&fs.ModeSymlink == 0 && !mode.IsRegular():
		return u.skip(name, 0, maxZipEntries)
	}
	if e.UncompressedSize64 > 1<<62 {
		return badArchive("%s has an impossible size", clip(e.Name))
	}
	content, err := e.Open()
	if err != nil {
		return broken(err)
	}
	defer func() { _ = content.Close() }()
	if mode&fs.ModeSymlink == 0 {
		if mode.Perm() == 0 { // made where files have no permissions
			mode = 0o644
		}
		return u.file(name, mode, e.Modified, int64(e.UncompressedSize64), content, maxZipEntries)
	}
	target, err := io.ReadAll(io.LimitReader(content, maxPath+1))
	if err != nil {
		return broken(err)
	}
	return u.symlink(name, string(target), maxZipEntries)
}

// nameless opens a file that has no name and is gone when it is closed, on the file system of dir.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	f, err := os.CreateTemp("", ".dugout-") // not every file system knows it
	if err == nil {
		_ = os.Remove(f.Name())
	}
	return f, err
}

// gate bounds what is read until it is opened.
type gate struct {
	r    io.ReaderAt
	left int64
	open bool
}

func (g *gate) ReadAt(p []byte, at int64) (int, error) {
	if !g.open {
		if g.left -= int64(len(p)); g.left < 0 {
			return 0, errs.New(errs.TooLarge, "the directory of the zip is too large")
		}
	}
	return g.r.ReadAt(p, at)
}
