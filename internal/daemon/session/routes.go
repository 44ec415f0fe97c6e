//go:build linux

// Package session serves sessions: shells that live on between commands.
//
// A session is one shell that runs one command after the other; directory, variables, functions and options stay. Each
// command has an id, a log of its own on disk, and an exit code. Whoever waits, for an end or for output, is woken by it:
// nothing here polls, and a session in which nothing happens does nothing.
//
// feed.go says how a command comes into the shell, frame.go what a log looks like, cursor.go how it is read.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/daemon/desk"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // where shells start
	Shell   string // for sessions; "": that of commands, see shell.Pick
	LogMax  int64  // limit of one command's log in bytes; 0: LogMaxEnv of the environment, else DefaultLogMax

	// gate is held for reading by whatever changes a session or reads from a child, for a moment and never twice by one
	// goroutine, and for writing while the daemon is frozen; see keep.go.
	gate       sync.RWMutex
	rooms      rooms
	desk       desk.Desk[waiting]
	loops      sync.WaitGroup
	remembered atomic.Int64 // ended commands of all sessions
	waiting    atomic.Int64 // bytes of commands that their shells have not got yet

	mu       sync.Mutex // guards all below
	sessions map[string]*session
	born     uint64
	closed   bool
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	const one, command = "/process/session/{sessionId}", "/process/session/{sessionId}/command/{commandId}"
	tag := rest.Tag("process")
	return []rest.Route{
		rest.Typed("GET", "/process/session", "ListSessions", h.list, tag, rest.Summary("List all sessions")),
		rest.Stream("POST", "/process/session", "CreateSession", h.create, tag, rest.Status(201), rest.Summary("Create a session"),
			rest.Description("Starts a shell that lives on between commands.")),
		rest.Typed("GET", "/process/session/entrypoint", "GetEntrypointSession", h.entrypoint, tag, rest.Summary("Get the session of the image's entrypoint"),
			rest.Description("404: this sandbox had no entrypoint command.")),
		rest.Stream("GET", "/process/session/entrypoint/logs", "GetEntrypointLogs", h.entrypointLogs, tag, rest.Answers[toolbox.SessionLogs](),
			rest.Summary("Get the log of the image's entrypoint"), rest.Description("404: this sandbox had no entrypoint command.")),
		rest.Typed("GET", one, "GetSession", h.get, tag, rest.Summary("Get a session and its commands")),
		rest.Typed("DELETE", one, "DeleteSession", h.remove, tag, rest.Status(204), rest.Summary("Delete a session"),
			rest.Description("Asks its processes to end, kills after 5 s what has not, and removes the logs.")),
		rest.Stream("POST", one+"/exec", "SessionExecuteCommand", h.exec, tag, rest.MaxBody(2*MaxCommandText), rest.Answers[toolbox.SessionExecuted](),
			rest.Summary("Run a command in a session"),
			rest.Description("Commands of a session run one after the other. Without runAsync the answer comes when the command has ended (200); with it at once (202), and the command has an input that stays open.")),
		rest.Typed("GET", command, "GetSessionCommand", h.command, tag, rest.Summary("Get a command of a session")),
		rest.Typed("POST", command+"/input", "SendInput", h.input, tag, rest.Status(204), rest.Summary("Give input to a running command"),
			rest.Description("For commands that were started with runAsync.")),
		rest.Stream("GET", command+"/logs", "GetSessionCommandLogs", h.logs, tag, rest.Answers[toolbox.SessionLogs](),
			rest.Summary("Get the log of a command"),
			rest.Description("JSON for clients since 0.167, text for older ones and for those that do not tell their age. With follow the log is streamed until the command ends: as a WebSocket when the request asks for one, else as application/octet-stream.")),
	}
}

// Close ends all sessions and waits for it. Their logs stay.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	all := h.sessions
	h.sessions = nil
	h.mu.Unlock()
	for _, s := range all { // at once: the search for what is left is quicker among fewer processes
		if s != nil {
			_ = s.child.SignalGroup(syscall.SIGKILL)
		}
	}
	var ends sync.WaitGroup
	for _, s := range all {
		if s == nil || !s.vanish() { // being made, or being deleted
			continue
		}
		ends.Go(func() { s.end(0) })
	}
	ends.Wait()
	h.loops.Wait()
	h.rooms.remove()
}

func (h *Handler) logMax() int64 {
	if h.LogMax > 0 {
		return h.LogMax
	}
	if n, err := strconv.ParseInt(h.Env.Get(LogMaxEnv), 10, 64); err == nil && n > 0 {
		return n
	}
	return DefaultLogMax
}

func (h *Handler) unknown(name string) error {
	return errs.New(errs.NotFound, "there is no session %q", clip(name))
}

func noEntrypoint() error {
	return errs.New(errs.NotFound, "this sandbox had no entrypoint command")
}

// find returns a session. One that is being deleted is not there any more.
func (h *Handler) find(name string) (*session, error) {
	h.mu.Lock()
	s := h.sessions[name]
	h.mu.Unlock()
	if s == nil {
		return nil, h.unknown(name)
	}
	select {
	case <-s.gone:
		return nil, h.unknown(name)
	default:
		return s, nil
	}
}

func (h *Handler) findCommand(in sessionCommandIn) (*command, error) {
	s, err := h.find(in.SessionID)
	if err != nil {
		return nil, err
	}
	return s.find(in.CommandID)
}

// all returns the sessions, oldest first, those too that are being deleted.
func (h *Handler) all() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		if s != nil { // being made
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.born, b.born) })
	return all
}

type none struct{}

func (h *Handler) list(context.Context, *none) ([]toolbox.Session, error) {
	all := h.all()
	out := make([]toolbox.Session, 0, len(all))
	for _, s := range all {
		select {
		case <-s.gone:
		default:
			out = append(out, s.describe())
		}
	}
	return out, nil
}

type createIn struct{ Body toolbox.CreateSession }

func (h *Handler) create(w http.ResponseWriter, r *http.Request, in *createIn) error {
	name := in.Body.SessionID
	if err := checkID(name); err != nil {
		return err
	}
	cwd := h.Workdir
	if c := caller.Of(r); c.Known() && !c.AtLeast(0, 103, 0) {
		cwd = cmp.Or(h.Env.Get("HOME"), cwd)
	}
	if err := h.add(name, cwd); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// add makes a session. Its name is taken from the first moment on.
func (h *Handler) add(name, cwd string) error {
	h.gate.RLock()
	defer h.gate.RUnlock()
	h.mu.Lock()
	_, exists := h.sessions[name]
	var err error
	switch {
	case h.closed:
		err = errs.New(errs.Unavailable, "the daemon is ending")
	case exists:
		err = errs.New(errs.Conflict, "session %q exists already", clip(name))
	case len(h.sessions) >= MaxSessions:
		err = errs.New(errs.Busy, "there are %d sessions already, no more are allowed: delete those that are not needed, ended ones too", MaxSessions)
	}
	if err != nil {
		h.mu.Unlock()
		return err
	}
	if h.sessions == nil {
		h.sessions = map[string]*session{}
	}
	h.sessions[name] = nil // taken; find sees none yet
	h.born++
	born := h.born
	h.mu.Unlock()

	s, err := h.start(name, cwd)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		delete(h.sessions, name)
		return err
	}
	s.born = born
	s.begin()
	if h.closed {
		return s.child.SignalGroup(syscall.SIGKILL)
	}
	h.sessions[name] = s
	return nil
}

type sessionIn struct {
	SessionID string `path:"sessionId" doc:"Name of the session."`
}

func (h *Handler) get(_ context.Context, in *sessionIn) (toolbox.Session, error) {
	s, err := h.find(in.SessionID)
	if err != nil {
		return toolbox.Session{}, err
	}
	return s.describe(), nil
}

func (h *Handler) remove(_ context.Context, in *sessionIn) (rest.None, error) {
	if in.SessionID == toolbox.EntrypointSession {
		return rest.None{}, errs.New(errs.Invalid, "the session of the image's entrypoint cannot be deleted")
	}
	s, err := h.find(in.SessionID)
	if err != nil {
		return rest.None{}, err
	}
	if !s.vanish() {
		return rest.None{}, h.unknown(in.SessionID)
	}
	h.bury(s)
	return rest.None{}, nil
}

// bury ends a session that vanished, and forgets it.
func (h *Handler) bury(s *session) {
	s.end(grace)
	_ = os.RemoveAll(s.dir)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.id] == s {
		delete(h.sessions, s.id)
	}
}

type sessionCommandIn struct {
	SessionID string `path:"sessionId" doc:"Name of the session."`
	CommandID string `path:"commandId" doc:"Id of the command."`
}

func (h *Handler) command(_ context.Context, in *sessionCommandIn) (toolbox.SessionCommand, error) {
	c, err := h.findCommand(*in)
	if err != nil {
		return toolbox.SessionCommand{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.describe(), nil
}

type inputIn struct {
	SessionID string `path:"sessionId" doc:"Name of the session."`
	CommandID string `path:"commandId" doc:"Id of the command."`
	Body      toolbox.SessionInput
}

func (h *Handler) input(ctx context.Context, in *inputIn) (rest.None, error) {
	if in.SessionID == toolbox.EntrypointSession {
		return rest.None{}, errs.New(errs.Invalid, "the image's entrypoint takes no input")
	}
	if in.Body.Data == "" {
		return rest.None{}, errs.New(errs.Invalid, "data must not be empty; send a line end for an empty line")
	}
	c, err := h.findCommand(sessionCommandIn{in.SessionID, in.CommandID})
	if err != nil {
		return rest.None{}, err
	}
	return rest.None{}, c.input(ctx, in.Body.Data)
}

type entrypointLogsIn struct {
	Follow bool `query:"follow" doc:"Stream the log until the command ends."`
}

func (h *Handler) entrypoint(context.Context, *none) (toolbox.Session, error) {
	return toolbox.Session{}, noEntrypoint()
}

func (h *Handler) entrypointLogs(http.ResponseWriter, *http.Request, *entrypointLogsIn) error {
	return noEntrypoint()
}

type execIn struct {
	SessionID string `path:"sessionId" doc:"Name of the session."`
	Body      toolbox.SessionExecute
}

func (h *Handler) exec(w http.ResponseWriter, r *http.Request, in *execIn) error {
	b := in.Body
	switch {
	case in.SessionID == toolbox.EntrypointSession:
		return errs.New(errs.Invalid, "nothing can be run in the session of the image's entrypoint")
	case strings.TrimSpace(b.Command) == "":
		return errs.New(errs.Invalid, "command must not be empty")
	case strings.IndexByte(b.Command, 0) >= 0:
		return errs.New(errs.Invalid, "command must not contain a NUL byte")
	case len(b.Command) > MaxCommandText:
		return errs.New(errs.TooLarge, "command must be at most %d bytes, got %d", MaxCommandText, len(b.Command))
	}
	s, err := h.find(in.SessionID)
	if err != nil {
		return err
	}
	async := b.RunAsync || b.Async
	c, err := h.submit(s, b, async)
	if err != nil {
		return err
	}
	if async {
		h.Edge.Write(w, http.StatusAccepted, toolbox.SessionExecuted{CmdID: c.id})
		return nil
	}
	closing, leave := h.desk.Enter()
	select {
	case <-c.done:
		leave()
		return h.answer(w, c, formOf(r))
	case <-s.gone:
		leave()
		return errDeleted()
	case <-r.Context().Done(): // the client left; the command goes on
		leave()
		return nil
	case <-closing:
		defer leave()
		return h.desk.Park(w, waiting{c, formOf(r), r.URL.Path})
	}
}

func (h *Handler) submit(s *session, b toolbox.SessionExecute, async bool) (*command, error) {
	h.gate.RLock()
	defer h.gate.RUnlock()
	return s.submit(b.Command, async, b.SuppressInputEcho)
}
