//go:build linux

package pty

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// lastFrame is how long clients have for their close frame when the daemon ends or is replaced.
const lastFrame = time.Second

type connectIn struct {
	ID     string  `path:"sessionId" doc:"Name of the terminal."`
	Replay *string `query:"replay" enum:"true,false" doc:"Send what was written before, at most the last 256 KiB; the default is true."`
}

func (h *Handler) connect(w http.ResponseWriter, r *http.Request, in *connectIn) error {
	t, err := h.find(in.ID)
	if err != nil {
		return err
	}
	if err := ws.Check(r); err != nil {
		return err
	}
	if err := h.seat(t); err != nil {
		return err
	}
	defer h.stand(t)
	h.converse(w, r, t, in.Replay == nil || *in.Replay == "true")
	return nil
}

type createConnectIn struct {
	ID   string `query:"id" required:"true" doc:"Name of the terminal: 1 to 128 bytes of text without a slash or control characters."`
	Cols int    `query:"cols" minimum:"0" maximum:"1000" doc:"Width in characters; absent or 0: 80."`
	Rows int    `query:"rows" minimum:"0" maximum:"1000" doc:"Height in lines; absent or 0: 24."`
	Cwd  string `query:"cwd" doc:"Where the shell starts; absent or empty: the working directory of the sandbox."`
}

func (h *Handler) createConnect(w http.ResponseWriter, r *http.Request, in *createConnectIn) error {
	if err := ws.Check(r); err != nil {
		return err
	}
	envs, err := offeredEnvs(ws.Offered(r))
	if err != nil {
		return err
	}
	t, err := h.make(toolbox.PtyCreate{ID: in.ID, Cwd: in.Cwd, Envs: envs, Cols: &in.Cols, Rows: &in.Rows})
	if err != nil {
		return err
	}
	if err := h.seat(t); err != nil {
		t.abandon()
		return err
	}
	defer h.stand(t)
	if err := t.start(); err != nil {
		t.abandon()
		return err
	}
	if !h.converse(w, r, t, true) {
		t.kill() // nobody knows of it
	}
	return nil
}

// seat makes room for a client of t, before the request becomes a WebSocket; stand gives it back.
func (h *Handler) seat(t *terminal) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case h.closed:
		return errs.New(errs.Unavailable, "the daemon ends")
	case t.seats >= MaxClients:
		return errs.New(errs.Busy, "terminal %q has %d clients already, which is the most", clip(t.id), MaxClients)
	case h.attached >= MaxAttached:
		return errs.New(errs.Busy, "%d clients are connected to terminals already, which is the most", MaxAttached)
	}
	t.seats++
	h.attached++
	h.works.Add(1)
	return nil
}

func (h *Handler) stand(t *terminal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seats--
	h.attached--
	h.works.Done()
}

// converse serves a client until it leaves or the terminal ends. It reports false when there was no WebSocket.
func (h *Handler) converse(w http.ResponseWriter, r *http.Request, t *terminal, replay bool) bool {
	c, err := ws.Accept(w, r, MaxInput)
	if err != nil {
		return false
	}
	h.mu.Lock()
	if h.conns == nil {
		h.conns = map[*ws.Conn]struct{}{}
	}
	h.conns[c] = struct{}{}
	h.mu.Unlock()
	defer func() {
		c.Close(ws.Normal, "")
		h.mu.Lock()
		delete(h.conns, c)
		h.mu.Unlock()
	}()
	started := t.attach(c, replay)
	if err := started; err != nil {
		message := "the shell could not be started"
		if e, ok := errs.As(err); ok {
			message = e.Message
		}
		c.Queue(ws.Text, text(toolbox.PtyControl{Type: "control", Status: toolbox.PtyError, Error: message}))
		c.Finish(ws.Internal, "the shell could not be started")
	}
	for {
		_, data, err := c.Read()
		if err != nil {
			t.detach(c)
			return true
		}
		if started == nil && errors.Is(t.input(c.Context(), data), errInput) {
			c.Finish(ws.Internal, "the program takes no input")
		}
	}
}

// attach makes c a client, after what it is sent first: that it is connected, and the replay. Starts the shell where needed.
func (t *terminal) attach(c *ws.Conn, replay bool) error {
	if err := t.start(); err != nil {
		return err
	}
	c.OnRoom(t.stir)
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	c.Queue(ws.Text, control(toolbox.PtyConnected))
	if replay {
		for data := t.back.replay(); len(data) > 0; {
			n := min(len(data), chunk)
			c.Queue(ws.Binary, data[:n])
			data = data[n:]
		}
	}
	if t.ended {
		t.farewell(c)
		return nil
	}
	t.clients[c] = struct{}{}
	return nil
}

func (t *terminal) detach(c *ws.Conn) {
	t.mu.Lock()
	delete(t.clients, c)
	t.mu.Unlock()
	t.stir()
}

// endClients waits a moment for the clients to take their close frame, and then cuts them off. The caller has set closed.
func (h *Handler) endClients() {
	all := make(chan struct{})
	go func() {
		defer close(all)
		h.works.Wait()
	}()
	t := time.NewTimer(lastFrame)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
		h.mu.Lock()
		conns := slices.Collect(maps.Keys(h.conns))
		h.mu.Unlock()
		for _, c := range conns {
			c.Cut()
		}
		<-all
	}
}
