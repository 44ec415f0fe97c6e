//go:build linux

// Package fs serves the files of the sandbox.
//
// The daemon runs inside the sandbox with the rights of its user, so a path is never an escape: any path that the user
// could open in a shell may be named. What must hold is that no request hangs or grows without bound: files are opened
// without waiting, only regular files are read and written, walks do not follow symbolic links and leave out the kernel's
// own file systems, and every list has a limit.
package fs

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Limits.
const (
	maxPath    = 4096   // bytes of one path
	maxResults = 100000 // entries of one list
	maxPaths   = 10000  // paths in one request
	maxDepth   = 1000   // directories below each other in a walk
)

// Codes of errors that clients know.
const (
	codeNotFound = "FILE_NOT_FOUND"
	codeDenied   = "FILE_ACCESS_DENIED"
	codeInvalid  = "INVALID_FILE_PATH"
	codeRead     = "FILE_READ_FAILED"
	codeFull     = "DISK_FULL"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Edge    *rest.Edge
	Workdir string // relative paths start here

	archives atomic.Int32 // being made or unpacked
}

// resolve makes a path from a request absolute and clean. It does not touch the disk: ".." is resolved as text, and ~ is a
// name like any other.
func (h *Handler) resolve(path string) (string, error) {
	switch {
	case path == "":
		return "", errs.New(errs.Invalid, "path must not be empty").WithCode(codeInvalid)
	case len(path) > maxPath:
		return "", errs.New(errs.Invalid, "path is %d bytes long, the limit is %d", len(path), maxPath).WithCode(codeInvalid)
	case strings.IndexByte(path, 0) >= 0:
		return "", errs.New(errs.Invalid, "path must not contain a NUL byte").WithCode(codeInvalid)
	}
	if !filepath.IsAbs(path) {
		path = h.Workdir + "/" + path
	}
	return filepath.Clean(path), nil
}

// fault classifies an error of the operating system about path.
func fault(err error, path string) error {
	if err == nil {
		return nil
	}
	if _, ok := errs.As(err); ok {
		return err
	}
	class, code := errs.Invalid, codeInvalid
	switch {
	case errors.Is(err, fs.ErrNotExist):
		class, code = errs.NotFound, codeNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		class, code = errs.Denied, codeDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		class, code = errs.Exhausted, codeFull
	case errors.Is(err, syscall.EIO), errors.Is(err, os.ErrDeadlineExceeded):
		class, code = errs.Internal, codeRead
	}
	return errs.Wrap(err, class, "%s: %s", clip(path), reason(err)).WithCode(code)
}

// reason is the operating system's word for what went wrong, without the paths that Go adds.
func reason(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// openRegular opens a regular file for reading, and nothing else: a FIFO or a device would make the reader wait.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	st, err := os.Stat(path) // opening some devices has effects
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(path, st)
	}
	if err != nil {
		return nil, nil, fault(err, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fault(err, path)
	}
	st, err = f.Stat() // it may be another file by now
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(path, st)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fault(err, path)
	}
	return f, st, nil
}

func notRegular(path string, st fs.FileInfo) error {
	kind := "not a regular file"
	switch m := st.Mode(); {
	case m.IsDir():
		kind = "a directory"
	case m&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	}
	return errs.New(errs.Invalid, "%s is %s; a regular file is needed", clip(path), kind).WithCode(codeInvalid)
}
