//go:build linux

package fs

import (
	"bufio"
	"bytes"
	"io/fs"
	"net/http"
	"path/filepath"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/errs"
)

type searchIn struct {
	Path    string `query:"path" required:"true" doc:"Where to begin."`
	Pattern string `query:"pattern" required:"true" doc:"What to look for."`
}

func (h *Handler) search(w http.ResponseWriter, r *http.Request, in *searchIn) error {
	root, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	if _, err := filepath.Match(in.Pattern, ""); err != nil {
		return errs.New(errs.Invalid, "pattern %q is not a valid glob", clip(in.Pattern))
	}
	out := toolbox.Search{Files: []string{}}
	err = walk(r.Context(), root, func(path string, _ fs.DirEntry) error {
		if ok, _ := filepath.Match(in.Pattern, filepath.Base(path)); !ok {
			return nil
		}
		if len(out.Files) >= maxResults {
			out.Truncated = true
			return errStop
		}
		out.Files = append(out.Files, path)
		return nil
	})
	if err != nil {
		return fault(err, root)
	}
	if out.Truncated {
		w.Header().Set(truncatedHeader, "true")
		out.Truncated = !caller.Of(r).Strict()
	}
	h.Edge.Write(w, http.StatusOK, out)
	return nil
}

// Limits of a search in files.
const (
	maxLineLen   = 64 << 10
	maxFindBytes = 32 << 20
	sniffLen     = 512
)

func (h *Handler) find(w http.ResponseWriter, r *http.Request, in *searchIn) error {
	root, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	f := finder{pattern: []byte(in.Pattern), out: []toolbox.Match{}, buf: make([]byte, 0, maxLineLen)}
	err = walk(r.Context(), root, func(path string, e fs.DirEntry) error {
		if !e.Type().IsRegular() {
			return nil
		}
		f.file(path)
		if f.full {
			return errStop
		}
		return nil
	})
	if err != nil {
		return fault(err, root)
	}
	if f.full {
		w.Header().Set(truncatedHeader, "true")
	}
	h.Edge.Write(w, http.StatusOK, f.out)
	return nil
}

type finder struct {
	pattern []byte
	out     []toolbox.Match
	bytes   int
	full    bool
	buf     []byte
}

func (f *finder) file(path string) {
	file, st, err := openRegular(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	if st.Size() == 0 {
		return
	}
	in := bufio.NewReaderSize(file, 32<<10)
	head, _ := in.Peek(sniffLen)
	if bytes.IndexByte(head, 0) >= 0 {
		return
	}
	sc := bufio.NewScanner(in)
	sc.Buffer(f.buf, maxLineLen)
	for line := 1; sc.Scan(); line++ {
		if !bytes.Contains(sc.Bytes(), f.pattern) {
			continue
		}
		f.bytes += len(sc.Bytes()) + len(path)
		if len(f.out) >= maxResults || f.bytes > maxFindBytes {
			f.full = true
			return
		}
		f.out = append(f.out, toolbox.Match{File: path, Line: line, Content: sc.Text()})
	}
}
