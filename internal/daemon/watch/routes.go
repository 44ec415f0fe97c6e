//go:build linux

// Package watch serves changes of files as they happen, by WebSocket.
//
// Each connection has one inotify instance of the kernel and nothing that ticks: as long as nothing changes, nothing runs.
// What changes is collected for a moment, so that a file written in a hundred pieces is told once.
package watch

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Limits. They are in docs/guide/watch.md.
const (
	maxWatchers    = 32    // connections at one time
	maxDirectories = 16384 // below one path
	maxAll         = 32768 // for all connections together
	maxExcludes    = 100
	maxExclude     = 256 // bytes of one pattern
	maxPath        = 4096
)

const codeLimit = "WATCH_LIMIT"

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Workdir string // what relative paths start from

	all atomic.Int64 // directories watched at present

	mu      sync.Mutex // guards open and closing
	open    map[*watcher]struct{}
	closing bool
	serving sync.WaitGroup // one for each in open
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	return []rest.Route{
		rest.Stream("GET", "/files/watch", "WatchFiles", h.watch, rest.Tag("file-system"), rest.Status(http.StatusSwitchingProtocols), rest.Answers[toolbox.WatchMessage](),
			rest.Summary("Watch files for changes, by WebSocket"),
			rest.Description("Each text message is a JSON object; the first one has the type ready. Changes are collected for 50 ms. Symbolic links are not followed. At most 16384 directories are watched by one connection, 32768 by all, and there are at most 32 connections. A client that does not read is closed with 1008; when what is watched is removed or moved, the connection is closed with 1001. What the client sends is ignored.")),
	}
}

// Close ends all connections and waits for them.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closing = true
	for w := range h.open {
		w.end()
	}
	h.mu.Unlock()
	h.serving.Wait()
}

type watchIn struct {
	Path      string   `query:"path" required:"true" doc:"A directory or a file; a relative path starts at the working directory."`
	Recursive bool     `query:"recursive" doc:"Also watch all directories below it, and those that are made later."`
	Exclude   []string `query:"exclude" doc:"What not to watch, may be repeated: a pattern with *, ? and [a-z]. Without a slash it is for the name of a file or directory anywhere; with one for the path below the watched one, where ** is any number of directories. What is inside an excluded directory is excluded too."`
}

func (h *Handler) watch(w http.ResponseWriter, r *http.Request, in *watchIn) error {
	if err := ws.Check(r); err != nil {
		return err
	}
	path, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	exclude, err := parsePatterns(in.Exclude)
	if err != nil {
		return err
	}
	watcher := &watcher{ending: make(chan struct{})}
	if err := h.enter(watcher); err != nil {
		return err
	}
	defer h.exit(watcher)
	t, err := plant(path, in.Recursive, exclude, &h.all)
	if err != nil {
		return fault(err, path)
	}
	defer t.fell()
	c, err := ws.Accept(w, r, 64<<10)
	if err != nil {
		return nil // it is answered
	}
	watcher.serve(c, t)
	return nil
}

func (h *Handler) enter(w *watcher) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return errs.New(errs.Unavailable, "the daemon ends")
	}
	if len(h.open) >= maxWatchers {
		return errs.New(errs.Busy, "%d connections watch files already, the most at one time", maxWatchers).WithCode(codeLimit)
	}
	if h.open == nil {
		h.open = map[*watcher]struct{}{}
	}
	h.open[w] = struct{}{}
	h.serving.Add(1)
	return nil
}

func (h *Handler) exit(w *watcher) {
	h.mu.Lock()
	delete(h.open, w)
	h.mu.Unlock()
	h.serving.Done()
}

// resolve makes a path from a request absolute and clean, as text.
func (h *Handler) resolve(path string) (string, error) {
	if len(path) > maxPath || strings.IndexByte(path, 0) >= 0 {
		return "", errs.New(errs.Invalid, "path must be at most %d bytes without a NUL byte", maxPath).WithCode("INVALID_FILE_PATH")
	}
	if !filepath.IsAbs(path) {
		path = h.Workdir + "/" + path
	}
	return filepath.Clean(path), nil
}

// fault classifies an error of the operating system about path.
func fault(err error, path string) error {
	if _, ok := errs.As(err); ok {
		return err
	}
	class, code := errs.Invalid, "INVALID_FILE_PATH"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		class, code = errs.NotFound, "FILE_NOT_FOUND"
	case errors.Is(err, fs.ErrPermission):
		class, code = errs.Denied, "FILE_ACCESS_DENIED"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return errs.Wrap(err, errs.Exhausted, "the kernel watches no more for this user; see fs.inotify in sysctl on the host").WithCode(codeLimit)
	}
	why := err.Error()
	var no syscall.Errno
	var pe *os.PathError
	if errors.As(err, &no) {
		why = no.Error()
	} else if errors.As(err, &pe) {
		why = pe.Err.Error()
	}
	return errs.Wrap(err, class, "%s: %s", clip(path), why).WithCode(code)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
