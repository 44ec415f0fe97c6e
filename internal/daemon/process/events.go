//go:build linux

package process

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// keepAlive is how often a comment goes out when nothing else does, so that nothing between takes the connection for dead.
const keepAlive = 15 * time.Second

// events sends the output of ex from offset on as server-sent events.
func (h *Handler) events(w http.ResponseWriter, r *http.Request, ex *execution, offset int64) error {
	f, leave, err := h.follow(r.Context(), ex, offset)
	if err != nil {
		return err
	}
	all := false
	defer func() { leave(all) }()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	header.Set(toolbox.ExecutionIDHeader, ex.id)
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(keepAlive)
	defer beat.Stop()
	f.beat = beat.C
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	out.event(toolbox.EventStart, -1, toolbox.StreamStart{ID: ex.id, Offset: f.Pos()})
	for out.err == nil {
		piece, err := f.next(out.flush)
		switch {
		case errors.Is(err, errBeat):
			out.comment("keep-alive")
		case errors.Is(err, io.EOF):
			all = true
			out.rest()
			if ex.out.Mark() != "" {
				out.event(toolbox.EventGap, f.Pos(), toolbox.StreamGap{Offset: f.Pos()})
			}
			if ex.timedOut {
				out.event(toolbox.EventTimeout, f.Pos(), exitOf(ex))
			}
			out.event(toolbox.EventExit, f.Pos(), exitOf(ex))
			_ = out.flush()
			return nil
		case err != nil:
			panic(http.ErrAbortHandler) // the client sees that it is not the end, and can come back
		default:
			out.piece(piece)
			beat.Reset(keepAlive)
		}
	}
	return nil
}

func exitOf(ex *execution) toolbox.StreamExit {
	out := toolbox.StreamExit{ExitCode: ex.exit, TimedOut: ex.timedOut, Offset: ex.out.End()}
	if ex.signal != 0 {
		out.Signal = signalName(ex.signal)
	}
	return out
}

// eventWriter writes server-sent events. After an error it writes nothing.
type eventWriter struct {
	w   io.Writer
	rc  *http.ResponseController
	err error
	buf []byte

	held       []byte // beginning of a character whose rest is still to come
	heldAt     int64
	heldStream run.Stream
}

func (e *eventWriter) event(name string, offset int64, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		e.err = err
	}
	e.buf = append(append(e.buf[:0], "event: "...), name...)
	if offset >= 0 {
		e.buf = strconv.AppendInt(append(e.buf, "\nid: "...), offset, 10)
	}
	e.buf = append(append(append(e.buf, "\ndata: "...), b...), "\n\n"...)
	e.write()
}

func (e *eventWriter) comment(text string) {
	e.buf = append(append(append(e.buf[:0], ": "...), text...), "\n\n"...)
	e.write()
}

func (e *eventWriter) write() {
	if e.err != nil {
		return
	}
	_ = e.rc.SetWriteDeadline(time.Now().Add(followStall))
	_, e.err = e.w.Write(e.buf)
}

func (e *eventWriter) flush() error {
	if e.err == nil {
		_ = e.rc.SetWriteDeadline(time.Now().Add(followStall))
		e.err = e.rc.Flush()
	}
	return e.err
}

// piece sends a piece. A character that is cut at its end waits for the rest, so that text stays text.
func (e *eventWriter) piece(p *run.Piece) {
	if p.Gap > 0 {
		e.rest()
		e.event(toolbox.EventGap, p.Offset+p.Gap, toolbox.StreamGap{Offset: p.Offset, Length: p.Gap})
		return
	}
	if len(e.held) > 0 && e.heldStream != p.Stream {
		e.rest()
	}
	at, data := p.Offset, p.Data
	if len(e.held) > 0 {
		at, data = e.heldAt, append(e.held, data...)
		e.held = nil
	}
	if cut := incomplete(data); cut > 0 {
		e.held, e.heldAt, e.heldStream = append([]byte(nil), data[len(data)-cut:]...), at+int64(len(data)-cut), p.Stream
		data = data[:len(data)-cut]
	}
	e.output(p.Stream, at, data)
}

// rest sends what was held back.
func (e *eventWriter) rest() {
	held := e.held
	e.held = nil
	e.output(e.heldStream, e.heldAt, held)
}

func (e *eventWriter) output(s run.Stream, at int64, data []byte) {
	if len(data) == 0 {
		return
	}
	name := toolbox.EventStdout
	if s == run.Stderr {
		name = toolbox.EventStderr
	}
	out := toolbox.StreamOutput{Offset: at}
	if utf8.Valid(data) {
		out.Text = string(data)
	} else {
		out.Data = data
	}
	e.event(name, at+int64(len(data)), out)
}

// incomplete returns how many bytes at the end of b begin a character that is not whole.
func incomplete(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		c := b[len(b)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}
