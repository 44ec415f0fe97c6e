//go:build linux

package session

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/daemon/desk"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// form is how a client gets output. The 0.x wire has three, by the client's age.
type form int

const (
	combined form = iota // the two streams in one, no marks: before 0.27, and clients that tell nothing
	marked               // with marks: since 0.27
	apart                // with marks, and each stream by itself: since 0.167
)

func formOf(r *http.Request) form {
	switch c := caller.Of(r); {
	case c.AtLeast(0, 167, 0):
		return apart
	case c.AtLeast(0, 27, 0):
		return marked
	case !c.Known() && r.Header.Get(toolbox.SplitOutputHeader) == "true":
		return marked
	}
	return combined
}

type logsIn struct {
	SessionID string `path:"sessionId" doc:"Name of the session."`
	CommandID string `path:"commandId" doc:"Id of the command."`
	Follow    bool   `query:"follow" doc:"Stream the log until the command ends."`
	Offset    int64  `query:"offset" minimum:"0" doc:"Leave out that many bytes from the begin of the log, counted as this client gets it: a client that lost its connection goes on with the number of bytes it has. More than there are is an error."`
	Marks     bool   `query:"marks" doc:"With follow, and without a WebSocket: the marks of the streams stay in."`
}

func (h *Handler) logs(w http.ResponseWriter, r *http.Request, in *logsIn) error {
	if in.SessionID == toolbox.EntrypointSession {
		return noEntrypoint()
	}
	c, err := h.findCommand(sessionCommandIn{in.SessionID, in.CommandID})
	if err != nil {
		return err
	}
	rd, err := c.log.open()
	if err != nil {
		return err
	}
	defer rd.close()
	socket := ws.Asked(r)
	if socket {
		if err := ws.Check(r); err != nil {
			return err
		}
	}
	f := formOf(r)
	plain := f == combined
	if in.Follow && !socket {
		plain = !in.Marks // whatever the client's age
	}
	cur := seek(rd, plain, in.Offset)
	if err := cur.arrive(r.Context()); err != nil {
		return err
	}
	switch {
	case socket:
		return h.serveSocket(w, r, cur, in.Follow) //nolint:contextcheck // the connection has a context of its own
	case in.Follow:
		w.Header().Set("Content-Type", "application/octet-stream")
		return h.sendTo(w, r, cur, true)
	case f == apart:
		first, err := cur.whose(r.Context())
		if err != nil {
			return err
		}
		size, _, _ := c.log.extent()
		return sendJSON(w, "{", rd, in.Offset, size, first, "}")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return h.sendTo(w, r, cur, false)
}

// arrive reads over what is to be left out, so that a wrong offset is known before the answer begins.
func (c *cursor) arrive(ctx context.Context) error {
	end, _, _ := c.r.l.extent()
	if !c.plain {
		return within(c.raw, end)
	}
	buf, _ := spare.Get().(*buffers)
	defer spare.Put(buf)
	for c.skip > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		// No more than is to be left out: all that comes is.
		_, err := c.next(buf, min(end, c.raw+c.skip))
		if errors.Is(err, io.EOF) { // two bytes may be held back, as the begin of a mark
			return within(c.pos+c.skip, c.pos+int64(c.sp.n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func within(offset, size int64) error {
	if offset > size {
		return errs.New(errs.Invalid, "offset must be at most the %d bytes that the log has, got %d", size, offset)
	}
	return nil
}

// sendTo streams the log as a body.
func (h *Handler) sendTo(w http.ResponseWriter, r *http.Request, cur *cursor, follow bool) error {
	rc := http.NewResponseController(w)
	if follow {
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
	}
	closing, leave := h.desk.Enter()
	defer leave()
	err := cur.copy(r.Context(), follow, closing, func(b []byte) error {
		_ = rc.SetWriteDeadline(time.Now().Add(ws.Stall)) // a client that takes nothing is cut off
		if _, err := w.Write(b); err != nil {
			return err
		}
		if follow {
			return rc.Flush()
		}
		return nil
	})
	_ = rc.SetWriteDeadline(time.Time{})
	if err != nil && r.Context().Err() != nil { // the client left
		return nil
	}
	return err
}

// serveSocket streams the log as binary messages and closes with 1000 at its end.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request, cur *cursor, follow bool) error {
	conn, err := ws.Accept(w, r, 4<<10)
	if err != nil {
		return nil // it was answered
	}
	conn.Discard()
	closing, leave := h.desk.Enter()
	defer leave()
	err = cur.copy(conn.Context(), follow, closing, func(b []byte) error { return conn.Write(ws.Binary, b) })
	switch {
	case errors.Is(err, errReplaced):
		conn.Finish(ws.Restart, "the daemon is replaced; connect again")
		late := time.NewTimer(desk.Patience / 2)
		defer late.Stop()
		select {
		case <-conn.Context().Done():
		case <-late.C:
		}
	case err == nil || conn.Context().Err() != nil:
		conn.Close(ws.Normal, "")
	default:
		conn.Close(ws.Internal, "the log cannot be read")
	}
	return nil
}

// answer sends what came of a command.
func (h *Handler) answer(w http.ResponseWriter, c *command, f form) error {
	c.s.mu.Lock()
	exit := *c.exit
	c.s.mu.Unlock()
	rd, err := c.log.open()
	if err != nil {
		return err
	}
	defer rd.close()
	size, _, _ := c.log.extent()
	begin, end := `{"cmdId":"`+c.id+`",`, `,"exitCode":`+strconv.Itoa(exit)+"}"
	switch f {
	case apart:
		return sendJSON(w, begin, rd, 0, size, stdout, end)
	case marked:
		return sendFields(w, begin, end, field{"output", &section{r: rd, end: size}}, field{name: "stdout"}, field{name: "stderr"})
	default:
		return sendFields(w, begin, end, field{"output", &only{section: section{r: rd, end: size}}}, field{name: "stdout"}, field{name: "stderr"})
	}
}

// sendJSON sends a part of a log, which begins with bytes of first, as it is, and each stream of it by itself. It reads the log
// three times and holds none of it.
func sendJSON(w http.ResponseWriter, begin string, rd *reader, from, to int64, first stream, end string) error {
	part := section{r: rd, off: from, end: to}
	one := func(s stream) *only { return &only{section: part, one: true, s: s, sp: splitter{cur: first}} }
	out, err := one(stdout), one(stderr)
	return sendFields(w, begin, end, field{"output", &part}, field{"stdout", out}, field{"stderr", err})
}

// field is a string of a JSON answer; without a source it is null.
type field struct {
	name string
	from io.Reader
}

func sendFields(w http.ResponseWriter, begin, end string, fields ...field) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for i, f := range fields {
		if i > 0 {
			begin = ","
		}
		begin += `"` + f.name + `":`
		if f.from == nil {
			begin += "null"
		}
		if _, err := io.WriteString(w, begin); err != nil {
			return nil // the client left
		}
		if f.from == nil {
			continue
		}
		if err := run.WriteJSONText(w, f.from); err != nil {
			return err
		}
	}
	_, _ = io.WriteString(w, end)
	return nil
}

// only reads a part of a log without marks: one stream of it, or both.
type only struct {
	section
	one  bool
	s    stream
	sp   splitter
	have []byte // read and not yet given out
	buf  []byte
	end  bool
}

func (o *only) Read(p []byte) (int, error) {
	keep := func(s stream, piece []byte) {
		if !o.one || s == o.s {
			o.have = append(o.have, piece...)
		}
	}
	if o.buf == nil {
		o.buf = make([]byte, pieceSize)
	}
	for len(o.have) == 0 {
		if o.end {
			return 0, io.EOF
		}
		o.have = o.buf[:0:0]
		raw := o.buf
		n, err := o.section.Read(raw)
		o.sp.feed(raw[:n], keep)
		switch {
		case errors.Is(err, io.EOF):
			o.sp.drain(keep)
			o.end = true
		case err != nil:
			return 0, err
		}
	}
	n := copy(p, o.have)
	o.have = o.have[n:]
	return n, nil
}
