//go:build linux

package fs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

type replaceIn struct {
	Body toolbox.Replace
}

func (h *Handler) replace(ctx context.Context, in *replaceIn) ([]toolbox.Replaced, error) {
	b := in.Body
	switch {
	case b.Files == nil || len(b.Files) > maxPaths:
		return nil, errs.New(errs.Invalid, "files must be a list of at most %d paths", maxPaths)
	case b.Pattern == "":
		return nil, errs.New(errs.Invalid, "pattern must not be empty")
	case len(b.Pattern) > replaceBuffer/2:
		return nil, errs.New(errs.Invalid, "pattern must be at most %d bytes", replaceBuffer/2)
	case b.NewValue == nil:
		return nil, errs.New(errs.Invalid, "newValue must be given; it may be empty")
	}
	out := make([]toolbox.Replaced, 0, len(b.Files))
	for _, given := range b.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path, err := h.resolve(given)
		if err == nil {
			err = replaceIn1(path, []byte(b.Pattern), []byte(*b.NewValue))
			err = fault(err, path)
		}
		r := toolbox.Replaced{File: given, Success: err == nil}
		if err != nil {
			r.Error = sentence(err)
		}
		out = append(out, r)
	}
	return out, nil
}

const replaceBuffer = 256 << 10

// replaceIn1 replaces all of pattern in one file. The new text goes to a file beside it that takes its place, mode and owner
// at the end. A file that does not hold the pattern is left untouched.
func replaceIn1(path string, pattern, value []byte) error {
	in, st, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	found, err := substitute(io.Discard, in, pattern, nil, true)
	if err != nil || !found {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	target := path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		target = real
	}
	dir, base, err := beside(target, st)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	temp := ".dugout-" + id.Token(12)
	f, err := dir.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	inPlace := err != nil && errors.Is(err, fs.ErrPermission)
	if inPlace { // the file may be ours to write where its directory is not: the new text waits without a name
		f, err = os.CreateTemp("", ".dugout-")
		if err == nil {
			err = os.Remove(f.Name())
		}
	} else if err == nil {
		defer func() { _ = dir.Remove(temp) }()
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w := bufio.NewWriterSize(f, replaceBuffer)
	if _, err := substitute(w, in, pattern, value, false); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && !inPlace {
		own := int(sys.Uid) == os.Geteuid() && int(sys.Gid) == os.Getegid()
		inPlace = sys.Nlink != 1 || !own && f.Chown(int(sys.Uid), int(sys.Gid)) != nil
	}
	if !inPlace {
		if err := f.Chmod(st.Mode()); err != nil {
			return err
		}
		return dir.Rename(temp, base)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// substitute copies r to w with value for every pattern, from left to right and never overlapping, in constant memory. With
// once it stops at the first.
func substitute(w io.Writer, r io.Reader, pattern, value []byte, once bool) (found bool, err error) {
	buf := make([]byte, replaceBuffer)
	end := 0
	for {
		n, rerr := r.Read(buf[end:])
		end += n
		b := buf[:end]
		for {
			i := bytes.Index(b, pattern)
			if i < 0 {
				break
			}
			found = true
			if once {
				return true, nil
			}
			if _, err := w.Write(b[:i]); err != nil {
				return true, err
			}
			if _, err := w.Write(value); err != nil {
				return true, err
			}
			b = b[i+len(pattern):]
		}
		last := rerr == io.EOF
		if rerr != nil && !last {
			return found, rerr
		}
		keep := min(len(b), len(pattern)-1) // a match may have begun
		if last {
			keep = 0
		}
		if _, err := w.Write(b[:len(b)-keep]); err != nil {
			return found, err
		}
		end = copy(buf, b[len(b)-keep:])
		if last {
			return found, nil
		}
	}
}
