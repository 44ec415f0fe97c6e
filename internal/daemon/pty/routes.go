//go:build linux

// Package pty serves terminals: shells on a pseudo-terminal that clients attach to by WebSocket.
//
// A terminal lives until its shell ends. Any number of clients up to the limits may be attached: all get its output, the
// input of all goes in. What it writes is kept in a [scrollback], attached or not, and replayed to whoever attaches later.
// Nothing runs for a terminal that was not started, and nothing but two waiting goroutines for one that is quiet.
package pty

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Limits.
const (
	MaxTerminals = 100       // in one sandbox
	MaxClients   = 16        // of one terminal
	MaxAttached  = 200       // clients of all terminals together
	MaxInput     = 256 << 10 // bytes of one message from a client
	MaxID        = 128       // bytes of a terminal's name
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // what relative paths start from

	// gate is held for reading by whatever moves a byte or changes a terminal, for short, and for writing while frozen.
	gate  sync.RWMutex
	works sync.WaitGroup // goroutines of terminals and handlers of clients

	mu        sync.Mutex // guards all below
	terminals map[string]*terminal
	conns     map[*ws.Conn]struct{}
	attached  int
	closed    bool
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("process")
	return []rest.Route{
		rest.Typed("GET", "/process/pty", "ListPtySessions", h.list, tag, rest.Summary("List the terminals")),
		rest.Typed("POST", "/process/pty", "CreatePtySession", h.create, tag, rest.Status(http.StatusCreated), rest.Summary("Create a terminal"),
			rest.Description("A login shell on a pseudo-terminal. It lives until the shell ends or the terminal is deleted, whether clients are connected or not. At most 100 in a sandbox.")),
		rest.Stream("GET", "/process/pty/create-connect", "CreateConnectPtySession", h.createConnect, tag, rest.Status(http.StatusSwitchingProtocols),
			rest.Summary("Create a terminal and connect to it by WebSocket"),
			rest.Description("As creating and connecting, in one request. The environment travels as the subprotocol X-Daytona-Pty-Envs~ and base64url, without padding, of a JSON object. Errors are HTTP answers, before the switch to a WebSocket.")),
		rest.Typed("GET", "/process/pty/{sessionId}", "GetPtySession", h.info, tag, rest.Summary("Describe a terminal")),
		rest.Typed("DELETE", "/process/pty/{sessionId}", "DeletePtySession", h.remove, tag, rest.Summary("Delete a terminal"),
			rest.Description("Kills the shell and everything it started.")),
		rest.Stream("GET", "/process/pty/{sessionId}/connect", "ConnectPtySession", h.connect, tag, rest.Status(http.StatusSwitchingProtocols),
			rest.Summary("Connect to a terminal by WebSocket"),
			rest.Description("The first frame is a control message, as text; then output comes as binary frames, beginning with a replay of the last 256 KiB that were written before. What the client sends, up to 256 KiB a message, is input. When the shell ends, the close frame's reason is JSON with exitCode and exitReason. A client that takes nothing while output waits for it is closed with 1008.")),
		rest.Typed("POST", "/process/pty/{sessionId}/resize", "ResizePtySession", h.resize, tag, rest.Summary("Change the size of a terminal")),
	}
}

type idIn struct {
	ID string `path:"sessionId" doc:"Name of the terminal."`
}

func (h *Handler) list(context.Context, *struct{}) (*toolbox.PtyList, error) {
	out := &toolbox.PtyList{Sessions: []toolbox.PtyInfo{}}
	for _, t := range h.all() {
		out.Sessions = append(out.Sessions, t.info())
	}
	return out, nil
}

func (h *Handler) info(_ context.Context, in *idIn) (*toolbox.PtyInfo, error) {
	t, err := h.find(in.ID)
	if err != nil {
		return nil, err
	}
	info := t.info()
	return &info, nil
}

type createIn struct {
	Body toolbox.PtyCreate
}

func (h *Handler) create(_ context.Context, in *createIn) (*toolbox.PtyCreated, error) {
	t, err := h.make(in.Body)
	if err != nil {
		return nil, err
	}
	if !t.lazy {
		if err := t.start(); err != nil {
			t.abandon()
			return nil, err
		}
	}
	return &toolbox.PtyCreated{SessionID: t.id}, nil
}

func (h *Handler) remove(_ context.Context, in *idIn) (*toolbox.Message, error) {
	t, err := h.find(in.ID)
	if err != nil {
		return nil, err
	}
	t.kill()
	return &toolbox.Message{Message: "terminal " + t.id + " was deleted"}, nil
}

type resizeIn struct {
	ID   string `path:"sessionId" doc:"Name of the terminal."`
	Body toolbox.PtyResize
}

func (h *Handler) resize(_ context.Context, in *resizeIn) (*toolbox.PtyInfo, error) {
	if err := checkSize(in.Body.Cols, in.Body.Rows, 1); err != nil {
		return nil, err
	}
	gone := errs.New(errs.Gone, "no terminal %q, or it has ended", clip(in.ID)).WithCode("GONE")
	t, err := h.find(in.ID)
	if err != nil {
		return nil, gone
	}
	h.gate.RLock()
	ok, err := t.resize(in.Body.Cols, in.Body.Rows)
	h.gate.RUnlock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, gone
	}
	info := t.info()
	return &info, nil
}

// Close ends all terminals and their clients.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	var kills sync.WaitGroup
	for _, t := range h.all() {
		t.dismiss(ws.GoingAway, "the daemon ends")
		kills.Go(t.kill)
	}
	kills.Wait()
	h.endClients()
}
