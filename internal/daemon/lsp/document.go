//go:build linux

package lsp

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// maxDocument is the size in bytes of the largest file that is given to a server.
const maxDocument = 8 << 20

const maxPath = 4096

// document is a file that a server has open. Its text is on disk and in the server, not here.
type document struct {
	path    string
	version int
	in      *process // where it is open; nil: it has to be opened again
	mtime   time.Time
	size    int64
}

// absolute makes a path from a request absolute and clean, as text.
func (h *Handler) absolute(name, path string) (string, error) {
	switch {
	case path == "":
		return "", errs.New(errs.Invalid, "%s must not be empty", name)
	case len(path) > maxPath || strings.IndexByte(path, 0) >= 0:
		return "", errs.New(errs.Invalid, "%s must be at most %d bytes without a NUL byte", name, maxPath)
	}
	if !filepath.IsAbs(path) {
		path = h.Workdir + "/" + path
	}
	return filepath.Clean(path), nil
}

// located returns the path that a document's URI means. Clients of the 0.x wire put "file://" before the path as it is, not
// percent-encoded and sometimes relative; others send a proper URI. What exists decides.
func (h *Handler) located(project, uri string) (string, error) {
	if uri == "" || len(uri) > 3*maxPath || strings.IndexByte(uri, 0) >= 0 {
		return "", errs.New(errs.Invalid, "uri must be file:// and a path of at most %d bytes", maxPath)
	}
	rest, ok := strings.CutPrefix(uri, "file://")
	if scheme, _, found := strings.Cut(uri, "://"); !ok && found && !strings.Contains(scheme, "/") {
		return "", errs.New(errs.Invalid, "uri must begin with file://, got %q", clip(uri))
	}
	var tries []string
	for _, p := range []string{rest, unescape(strings.TrimPrefix(rest, "localhost/")), unescape(rest)} {
		switch {
		case p == "" || strings.IndexByte(p, 0) >= 0:
		case filepath.IsAbs(p):
			tries = append(tries, filepath.Clean(p))
		default:
			tries = append(tries, filepath.Join(project, p), filepath.Join(h.Workdir, p))
			if strings.HasPrefix(rest, "localhost/") {
				tries = append(tries, filepath.Clean("/"+p))
			}
		}
	}
	if len(tries) == 0 {
		return "", errs.New(errs.Invalid, "uri must be file:// and a path, got %q", clip(uri))
	}
	for _, p := range tries {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return tries[0], nil
}

func unescape(s string) string {
	if p, err := url.PathUnescape(s); err == nil {
		return p
	}
	return ""
}

// uriOf is the proper URI of a path.
func uriOf(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// readDocument returns the text of a regular file, and what tells whether it changed.
func readDocument(path string) (string, fs.FileInfo, error) {
	st, err := os.Stat(path) // opening some devices has effects
	if err == nil && !st.Mode().IsRegular() {
		return "", nil, errs.New(errs.Invalid, "%s is no regular file", clip(path)).WithCode("INVALID_FILE_PATH")
	}
	if err != nil {
		return "", nil, fault(err, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", nil, fault(err, path)
	}
	defer func() { _ = f.Close() }()
	if st, err = f.Stat(); err != nil {
		return "", nil, fault(err, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return "", nil, fault(err, path)
	}
	if len(b) > maxDocument {
		return "", nil, errs.New(errs.TooLarge, "%s has more than %d bytes, the most that is given to a language server", clip(path), maxDocument)
	}
	return string(b), st, nil
}

// fault classifies an error of the operating system about path.
func fault(err error, path string) error {
	class, code := errs.Invalid, "INVALID_FILE_PATH"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		class, code = errs.NotFound, "FILE_NOT_FOUND"
	case errors.Is(err, fs.ErrPermission):
		class, code = errs.Denied, "FILE_ACCESS_DENIED"
	}
	why := err.Error()
	var no syscall.Errno
	if errors.As(err, &no) {
		why = no.Error()
	}
	return errs.Wrap(err, class, "%s: %s", clip(path), why).WithCode(code)
}
