//go:build linux

package fs

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Guards against archives that become far more than they are.
const (
	maxRatio  = 250      // bytes written for each byte received
	ratioFrom = 64 << 20 // bytes written that no ratio is asked about
)

// codeArchive is the code of an archive that is malformed, or that tries what no archive should.
const (
	codeArchive  = "INVALID_ARCHIVE"
	codeTooLarge = "ARCHIVE_TOO_LARGE"
)

type unpackIn struct {
	Path     string `query:"path" required:"true" doc:"Directory to unpack into; it is made when it is missing."`
	Format   string `query:"format" enum:"tar,tar.gz,zip" default:"tar" doc:"Format of the archive."`
	MaxBytes int64  `query:"maxBytes" minimum:"1" doc:"Most bytes that all files together may have. When absent: the free disk space, and at most 250 times what was sent, beyond 64 MiB."`
}

// unpack takes an archive and writes what is in it below a directory.
func (h *Handler) unpack(w http.ResponseWriter, r *http.Request, in *unpackIn) error {
	dir, err := h.resolve(in.Path)
	if err != nil {
		drain(r.Body)
		return err
	}
	if err := h.enter(); err != nil {
		drain(r.Body)
		return err
	}
	defer h.leave()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		drain(r.Body)
		return fault(err, dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		drain(r.Body)
		return fault(err, dir)
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{ctx: r.Context(), root: root, in: &counted{r: r.Body}, limit: in.MaxBytes, guess: in.MaxBytes == 0, slack: ratioFrom, out: toolbox.Extracted{Path: dir}}
	if u.guess {
		u.limit = free(dir)
	}
	defer u.forget()
	switch in.Format {
	case formatZip:
		err = u.zip(dir)
	case formatTarGz:
		err = u.gzip()
	default:
		err = u.tar(u.in)
	}
	drain(r.Body)
	if err == nil {
		h.Edge.Write(w, http.StatusOK, u.out)
		return nil
	}
	body := h.Edge.Body(r, err)
	if body.StatusCode >= http.StatusInternalServerError {
		h.Log.ErrorContext(r.Context(), "an archive could not be unpacked", "error", err)
	}
	if u.out.Files+u.out.Directories+u.out.Links > 0 {
		body.Message += fmt.Sprintf("; before that, %d files of %d bytes, %d links and %d directories were written", u.out.Files, u.out.Bytes, u.out.Links, u.out.Directories)
		body.Reason = body.Message
	}
	h.Edge.Write(w, body.StatusCode, toolbox.ExtractFailed{Error: body, Extracted: u.out})
	return nil
}

// free is how many bytes the file system of dir can still take.
func free(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil || s.Bavail > uint64(1<<62)/uint64(max(s.Bsize, 1)) {
		return 1 << 62
	}
	return int64(s.Bavail) * s.Bsize
}

// counted counts what was received.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// unpacker writes entries below root, and nowhere else: every name is checked, and os.Root follows no link out of it, also
// when the tree is changed under its hands. Files are made, never opened: what stood there is not written to.
type unpacker struct {
	ctx   context.Context
	root  *os.Root
	in    *counted
	limit int64 // bytes in all
	guess bool  // nobody named the limit: the ratio counts too,
	slack int64 // beyond so many bytes
	out   toolbox.Extracted

	entries int
	parent  *os.Root // of the entry before: most entries stand in the same directory
	at      string   // name of parent
	buf     []byte
}

func (u *unpacker) forget() {
	if u.parent != nil {
		_ = u.parent.Close()
		u.parent, u.at = nil, ""
	}
}

func badArchive(format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, format, args...).WithCode(codeArchive)
}

// entryName checks and cleans a name. It is "" for the directory itself.
func entryName(name string) (string, error) {
	switch {
	case name == "" || strings.IndexByte(name, 0) >= 0:
		return "", badArchive("an entry has no name, or one with a NUL byte")
	case len(name) > maxPath:
		return "", badArchive("the name %s is %d bytes long, the limit is %d", clip(name), len(name), maxPath)
	case name[0] == '/':
		return "", badArchive("the name %s is absolute; names must lie below the directory", clip(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", badArchive("the name %s leads out of the directory", clip(name))
		}
	}
	if name = path.Clean(name); name == "." {
		return "", nil
	}
	if strings.Count(name, "/") >= maxFolderDepth {
		return "", badArchive("the name %s lies more than %d directories deep", clip(name), maxFolderDepth)
	}
	return name, nil
}

// begin counts an entry, and opens the directory that it stands in.
func (u *unpacker) begin(name string, most int) (dir *os.Root, base string, err error) {
	if err := u.ctx.Err(); err != nil {
		return nil, "", err
	}
	if u.entries++; u.entries > most {
		return nil, "", errs.New(errs.TooLarge, "the archive has more than %d entries", most).WithCode(codeTooLarge)
	}
	at, base := path.Split(name)
	if at == "" {
		return u.root, base, nil
	}
	at = strings.TrimSuffix(at, "/")
	if u.parent != nil && u.at == at {
		return u.parent, base, nil
	}
	u.forget()
	if err := u.folder(at, 0o755); err != nil {
		return nil, "", err
	}
	if u.parent, err = u.root.OpenRoot(at); err != nil {
		return nil, "", fault(err, at)
	}
	u.at = at
	return u.parent, base, nil
}

// folder makes a directory and those above it. One that is there is left as it is.
func (u *unpacker) folder(name string, mode fs.FileMode) error {
	err := u.root.Mkdir(name, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if up := path.Dir(name); up != "." {
			if err := u.folder(up, 0o755); err != nil {
				return err
			}
			err = u.root.Mkdir(name, mode)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		st, e := u.root.Stat(name)
		if e != nil {
			return fault(e, name)
		}
		if !st.IsDir() {
			return errs.New(errs.Conflict, "%s exists and is not a directory", clip(name))
		}
		return nil
	}
	if err == nil {
		u.out.Directories++
	}
	return fault(err, name)
}

// file writes a regular file. size is what the archive says; content may hold something else.
func (u *unpacker) file(name string, mode fs.FileMode, mtime time.Time, size int64, content io.Reader, most int) error {
	dir, base, err := u.begin(name, most)
	if err != nil {
		return err
	}
	if err := u.room(name, size); err != nil {
		return err
	}
	const closed = 0o600 // until it is whole
	temp := base
	f, err := dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, closed)
	if errors.Is(err, fs.ErrExist) {
		st, e := dir.Lstat(base)
		if e == nil && st.IsDir() {
			return errs.New(errs.Conflict, "%s exists and is a directory", clip(name))
		}
		if e == nil && st.Mode()&fs.ModeSymlink != 0 {
			defer u.forget() // as in replace
		}
		temp = ".dugout-" + id.Token(12)
		f, err = dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, closed)
	}
	if err != nil {
		return fault(err, name)
	}
	n, err := u.fill(f, content, name)
	if err == nil {
		err = fault(f.Chmod(mode.Perm()), name) // never set-id
	}
	if err == nil && !mtime.IsZero() && mtime.Unix() > 0 {
		_ = unix.Futimes(int(f.Fd()), []unix.Timeval{unix.NsecToTimeval(mtime.UnixNano()), unix.NsecToTimeval(mtime.UnixNano())})
	}
	if e := f.Close(); err == nil {
		err = fault(e, name)
	}
	if err == nil && temp != base {
		err = fault(dir.Rename(temp, base), name)
	}
	if err != nil {
		_ = dir.Remove(temp)
		return err
	}
	u.out.Files++
	u.out.Bytes += n
	return nil
}

// room holds what is about to be written against the limits.
func (u *unpacker) room(name string, more int64) error {
	total := u.out.Bytes + more
	switch {
	case more < 0:
		return badArchive("%s has a negative size", clip(name))
	case total > u.limit || total < 0:
		return errs.New(errs.TooLarge, "%s: the archive holds more than %d bytes, which is the limit", clip(name), u.limit).WithCode(codeTooLarge)
	case u.guess && total > u.slack && total/maxRatio > u.in.n:
		return errs.New(errs.TooLarge, "%s: the archive holds more than %d times the bytes that were sent; name maxBytes to allow it", clip(name), maxRatio).WithCode(codeTooLarge)
	}
	return nil
}

// fill copies content into f, never beyond the limits.
func (u *unpacker) fill(f *os.File, content io.Reader, name string) (total int64, err error) {
	if u.buf == nil {
		u.buf = make([]byte, copyBuffer)
	}
	for {
		n, rerr := content.Read(u.buf)
		if n > 0 {
			total += int64(n)
			if err := u.room(name, total); err != nil {
				return total, err
			}
			if _, err := f.Write(u.buf[:n]); err != nil {
				return total, fault(err, name)
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, broken(rerr)
		}
		if err := u.ctx.Err(); err != nil {
			return total, err
		}
	}
}

// symlink makes a link as it is in the archive, wherever it leads: it is text. Nothing is written through it that would land
// outside.
func (u *unpacker) symlink(name, target string, most int) error {
	dir, base, err := u.begin(name, most)
	if err != nil {
		return err
	}
	if target == "" || len(target) > maxPath || strings.IndexByte(target, 0) >= 0 {
		return badArchive("the link %s leads to no usable name", clip(name))
	}
	err = u.replace(dir, base, name, func() error { return dir.Symlink(target, base) })
	if err == nil {
		u.out.Links++
	}
	return err
}

// hardlink gives a file of the directory another name. Where that cannot be done, as between file systems, it is an error.
func (u *unpacker) hardlink(name, target string, most int) error {
	to, err := entryName(target)
	if err != nil {
		return err
	}
	if to == "" || to == name {
		return badArchive("the hard link %s leads to itself", clip(name))
	}
	dir, base, err := u.begin(name, most)
	if err != nil {
		return err
	}
	st, err := u.root.Lstat(to)
	if err != nil {
		return fault(err, to)
	}
	if !st.Mode().IsRegular() {
		return badArchive("the hard link %s leads to %s, which is no regular file", clip(name), clip(to))
	}
	err = u.replace(dir, base, name, func() error { return u.root.Link(to, name) })
	if err == nil {
		u.out.Files++
	}
	return err
}

// replace does make, after removing what is in its way, directories excepted. It closes dir unless that is the root.
func (u *unpacker) replace(dir *os.Root, base, name string, make func() error) error {
	defer u.forget() // the next entry's path may go through what is replaced
	err := make()
	if errors.Is(err, fs.ErrExist) {
		if st, e := dir.Lstat(base); e == nil && st.IsDir() {
			return errs.New(errs.Conflict, "%s exists and is a directory", clip(name))
		}
		if e := dir.Remove(base); e != nil {
			return fault(e, name)
		}
		err = make()
	}
	return fault(err, name)
}

// broken classifies an error of reading an archive.
func broken(err error) error {
	if _, ok := errs.As(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) {
		return errs.Wrap(err, errs.Invalid, "the upload ended early").WithCode(codeArchive)
	}
	return errs.Wrap(err, errs.Invalid, "the archive is malformed or ends early").WithCode(codeArchive)
}

func (u *unpacker) gzip() error {
	gz, err := gzip.NewReader(bufio.NewReaderSize(u.in, 64<<10))
	if err != nil {
		return broken(err)
	}
	if err := u.tar(gz); err != nil {
		return err
	}
	const padding = 1 << 20 // behind the end of the tar; reading on checks the sum of it all
	n, err := io.Copy(io.Discard, io.LimitReader(gz, padding+1))
	if err != nil {
		return broken(err)
	}
	if n > padding {
		return badArchive("more than %d bytes follow the end of the tar", padding)
	}
	return nil
}

func (u *unpacker) tar(from io.Reader) error {
	t := tar.NewReader(from)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // a comment, as git writes it
		}
		name, err := entryName(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
			if name == "" {
				return badArchive("a file has the name of the directory")
			}
			err = u.file(name, fs.FileMode(h.Mode&0o777), h.ModTime, h.Size, t, maxTarEntries)
		case tar.TypeDir:
			err = u.dirEntry(name, fs.FileMode(h.Mode&0o777), maxTarEntries)
		case tar.TypeSymlink:
			err = u.symlink(name, h.Linkname, maxTarEntries)
		case tar.TypeLink:
			err = u.hardlink(name, h.Linkname, maxTarEntries)
		default:
			err = u.skip(name, h.Typeflag, maxTarEntries)
		}
		if err != nil {
			return err
		}
	}
}

// dirEntry makes a directory that stands in the archive. Its owner can always use it.
func (u *unpacker) dirEntry(name string, mode fs.FileMode, most int) error {
	if name == "" {
		return nil
	}
	dir, base, err := u.begin(name, most)
	if err != nil {
		return err
	}
	made := u.out.Directories
	if err := u.folder(name, 0o700); err != nil || u.out.Directories == made {
		return err
	}
	return fault(dir.Chmod(base, mode|0o700), name)
}

func (u *unpacker) skip(name string, kind byte, most int) error {
	if u.entries++; u.entries > most {
		return errs.New(errs.TooLarge, "the archive has more than %d entries", most).WithCode(codeTooLarge)
	}
	why := "an entry of unknown kind"
	switch kind {
	case tar.TypeChar, tar.TypeBlock:
		why = "a device"
	case tar.TypeFifo:
		why = "a named pipe"
	}
	note(&u.out.Skipped, name, why)
	return nil
}
