//go:build linux

// Package interp serves the stateful code interpreter: Python processes that keep their variables between runs.
//
// A context is a namespace with a process of its own, a worker, which starts when the context is made; that of the default
// context starts with its first run, so that a sandbox whose interpreter nobody uses pays nothing. Runs of a context come
// one after the other, in the order in which they were asked for. A worker that ended is started again by the next run, with
// an empty namespace.
//
// What a run writes, itself or by its children, goes through pipes; everything else between worker and daemon goes over a
// socket of its own, see worker.py. Nobody reads the pipes between two runs: what a background thread or child writes then
// comes with the next run, and who writes more than a pipe holds (64 KiB) waits for it.
//
// A client sets the pace of its run. One that takes nothing for [ws.Stall] or leaves has its run interrupted, because
// nobody could end that run any more; runs that wait for their turn and whose client left are not begun.
package interp

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Limits.
const (
	MaxContexts    = 32               // made ones; the default one comes on top. 20 work in 1 GiB with room for their data
	MaxWaiting     = 64               // runs that wait for their turn in one context
	MaxConnections = 256              // WebSockets of this family
	MaxRun         = 16 << 20         // bytes of a client's message
	DefaultTimeout = 10 * time.Minute // of a run that names none
	Grace          = 2 * time.Second  // from SIGINT to SIGKILL

	maxTimeout = 365 * 24 * time.Hour // longer ones count as this
	maxMessage = 8 << 20              // bytes of a worker's message
	firstWait  = 30 * time.Second     // for a client's message
)

// defaultScope is the id of the context that runs use which name none. It is never listed and cannot be deleted.
const defaultScope = "default"

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // what relative paths start from

	gate sync.RWMutex // held for reading while a worker or context begins or ends, for writing while the state is frozen

	mu     sync.Mutex // guards all below
	scopes map[string]*scope
	order  []*scope // the made ones, oldest first
	conns  int
	closed bool
	works  sync.WaitGroup
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	return []rest.Route{
		rest.Typed("POST", "/process/interpreter/context", "CreateInterpreterContext", h.create, rest.Tag("interpreter"),
			rest.Summary("Create an interpreter context"),
			rest.Description("A context keeps its variables, imports and functions from run to run, apart from those of other contexts. At most 32 can exist.")),
		rest.Typed("GET", "/process/interpreter/context", "ListInterpreterContexts", h.list, rest.Tag("interpreter"),
			rest.Summary("List the interpreter contexts"),
			rest.Description("Without the default context.")),
		rest.Typed("DELETE", "/process/interpreter/context/{id}", "DeleteInterpreterContext", h.remove, rest.Tag("interpreter"),
			rest.Summary("Delete an interpreter context"),
			rest.Description("Ends its process and everything it started. Runs under way are closed with 1001.")),
		rest.Stream("GET", "/process/interpreter/execute", "ExecuteInterpreterCode", h.execute, rest.Tag("interpreter"), rest.Status(http.StatusSwitchingProtocols), rest.Returns("text/plain"),
			rest.Summary("Run code in an interpreter context"),
			rest.Description("A WebSocket. The client sends one message, {\"code\", \"contextId\", \"timeout\" in seconds, \"envs\"}; the server sends messages of the types stdout, stderr, display, result and error, then one of type control whose text is completed or interrupted, and closes: 1000 done, 4008 timed out, 1001 the process ended or the context was deleted, 1002 the message is no JSON, 1008 refused, 1011 internal error.")),
	}
}

type createIn struct {
	Body toolbox.InterpreterContextCreate
}

func (h *Handler) create(_ context.Context, in *createIn) (toolbox.InterpreterContext, error) {
	none := toolbox.InterpreterContext{}
	if l := in.Body.Language; l != nil && *l != "" && *l != "python" {
		return none, errs.New(errs.Invalid, "language must be python, got %q", clip(*l))
	}
	dir := h.Workdir
	if c := in.Body.Cwd; c != nil && *c != "" {
		if strings.IndexByte(*c, 0) >= 0 || len(*c) > 4096 {
			return none, errs.New(errs.Invalid, "cwd must be at most 4096 bytes without a NUL byte")
		}
		if dir = *c; !filepath.IsAbs(dir) {
			dir = filepath.Join(h.Workdir, dir)
		}
	}
	s := newScope(h, id.New(), dir)
	h.gate.RLock()
	defer h.gate.RUnlock()
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return none, errs.New(errs.Unavailable, "the daemon is ending")
	case len(h.order) >= MaxContexts:
		h.mu.Unlock()
		return none, errs.New(errs.Busy, "%d interpreter contexts exist already, the most at one time; delete one", MaxContexts)
	}
	if h.scopes == nil {
		h.scopes = map[string]*scope{}
	}
	h.scopes[s.id], h.order = s, append(h.order, s)
	h.mu.Unlock()
	w, err := h.start(dir) // now, so that a bad directory is told here and the first run finds it warm
	if err != nil {
		h.drop(s)
		return none, err
	}
	if !s.adopt(w) { // deleted meanwhile
		w.end()
	}
	return s.describe(), nil
}

func (h *Handler) list(context.Context, *struct{}) (toolbox.InterpreterContexts, error) {
	h.mu.Lock()
	all := append([]*scope(nil), h.order...)
	h.mu.Unlock()
	out := toolbox.InterpreterContexts{Contexts: make([]toolbox.InterpreterContext, 0, len(all))}
	for _, s := range all {
		out.Contexts = append(out.Contexts, s.describe())
	}
	return out, nil
}

type removeIn struct {
	ID string `path:"id" doc:"Id of the context."`
}

func (h *Handler) remove(_ context.Context, in *removeIn) (toolbox.InterpreterContextDeleted, error) {
	none := toolbox.InterpreterContextDeleted{}
	if in.ID == defaultScope {
		return none, errs.New(errs.Invalid, "the default context cannot be deleted")
	}
	h.gate.RLock()
	h.mu.Lock()
	s := h.scopes[in.ID]
	h.mu.Unlock()
	known := s != nil && h.drop(s)
	h.gate.RUnlock() // killing may take long
	if !known {
		return none, errs.New(errs.NotFound, "no interpreter context %q", clip(in.ID))
	}
	s.delete()
	return toolbox.InterpreterContextDeleted{Message: "Context deleted"}, nil
}

// drop takes s from the list; false: it was gone.
func (h *Handler) drop(s *scope) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scopes[s.id] != s {
		return false
	}
	delete(h.scopes, s.id)
	for i, o := range h.order {
		if o == s {
			h.order = append(h.order[:i:i], h.order[i+1:]...)
			break
		}
	}
	return true
}

// find returns the context that a run names; nil: there is none. The default one is made when it is first asked for.
func (h *Handler) find(name string) *scope {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name == "" {
		name = defaultScope
	}
	s := h.scopes[name]
	if s == nil && name == defaultScope && !h.closed {
		if h.scopes == nil {
			h.scopes = map[string]*scope{}
		}
		s = newScope(h, defaultScope, h.Workdir)
		h.scopes[name] = s
	}
	return s
}

// Close ends what was started.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	all := h.scopes
	h.scopes, h.order = nil, nil
	h.mu.Unlock()
	for _, s := range all {
		s.delete()
	}
	h.works.Wait()
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
