//go:build linux

package process

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Limits of following an output.
const (
	pieceSize   = 32 << 10         // bytes of one event or message
	followStall = 60 * time.Second // how long a client may take nothing
)

// Headers of an output that is read from an offset.
const (
	offsetHeader   = "X-Dugout-Offset"
	exitCodeHeader = "X-Dugout-Exit-Code"
)

type streamIn struct {
	ID   string `header:"X-Dugout-Execution-Id" doc:"Names the execution, so that the request can be repeated without running the command twice. Absent: a new one, which the answer's header and the start event tell."`
	Last *int64 `header:"Last-Event-ID" minimum:"0" doc:"Offset to go on from."`
	Body toolbox.Execute
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request, in *streamIn) error {
	if in.ID == "" {
		in.ID = id.New()
	}
	ex, err := h.start(r, in.ID, in.Body, true)
	if err != nil {
		return err
	}
	defer ex.release()
	return h.events(w, r, ex, offsetOf(in.Last))
}

func offsetOf(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

type outputIn struct {
	ID     string `path:"id" doc:"Id of the execution."`
	Offset *int64 `query:"offset" minimum:"0" doc:"Where to begin, counted in all that the execution wrote; absent: at the beginning."`
	Last   *int64 `header:"Last-Event-ID" minimum:"0" doc:"Offset to go on from, for events."`
	Follow bool   `query:"follow" doc:"Go on until the execution ends."`
	Accept string `header:"Accept" doc:"text/event-stream: answer with events."`
}

func (h *Handler) output(w http.ResponseWriter, r *http.Request, in *outputIn) error {
	ex, err := h.kept.find(in.ID)
	if err != nil {
		return err
	}
	defer ex.release()
	if in.Offset == nil {
		in.Offset = in.Last
	}
	if strings.HasPrefix(in.Accept, "text/event-stream") {
		return h.events(w, r, ex, offsetOf(in.Offset))
	}
	return h.bytes(w, r, ex, offsetOf(in.Offset), in.Follow)
}

// follower reads the output of an execution along.
type follower struct {
	*run.Reader
	ex      *execution
	ctx     context.Context
	closing <-chan struct{} // the daemon is being replaced
	beat    <-chan time.Time
}

// errBeat tells that nothing came for some time; errReplaced that the client must come back.
var (
	errBeat     = errors.New("nothing new")
	errReplaced = errors.New("the daemon is being replaced")
)

// follow begins to read ex along. The caller must call the function: with true when the client has all it wanted, so that the
// program need not wait for it.
func (h *Handler) follow(ctx context.Context, ex *execution, offset int64) (*follower, func(all bool), error) {
	rd := ex.out.NewReader(offset)
	if rd == nil {
		return nil, nil, errs.New(errs.Busy, "%d clients read execution %s already, the most at one time", run.MaxReaders, clip(ex.id))
	}
	return &follower{Reader: rd, ex: ex, ctx: ctx, closing: h.desk.Watch()}, func(all bool) {
		if all {
			rd.Close()
		} else {
			rd.Leave()
		}
	}, nil
}

// next waits for the next piece. After the last one it waits for the execution's end and returns io.EOF.
func (f *follower) next(flush func() error) (*run.Piece, error) {
	for {
		select {
		case <-f.closing:
			return nil, errReplaced
		default:
		}
		piece, more, err := f.Next(pieceSize)
		if piece != nil {
			return piece, nil
		}
		if errors.Is(err, io.EOF) {
			more = f.ex.done
		}
		if f.ex.ended() && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err := flush(); err != nil {
			return nil, err
		}
		select {
		case <-more:
		case <-f.ctx.Done():
			return nil, f.ctx.Err()
		case <-f.closing:
		case <-f.beat:
			return nil, errBeat
		}
	}
}

// bytes sends the output as it is.
func (h *Handler) bytes(w http.ResponseWriter, r *http.Request, ex *execution, offset int64, follow bool) error {
	f, leave, err := h.follow(r.Context(), ex, offset)
	if err != nil {
		return err
	}
	all := false
	defer func() { leave(all) }()
	rc := http.NewResponseController(w)
	flush := func() error {
		if !follow {
			return io.EOF
		}
		return rc.Flush()
	}
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Cache-Control", "no-store")
	header.Set(toolbox.ExecutionIDHeader, ex.id)
	header.Set("Trailer", exitCodeHeader)
	until := ex.out.End() // what comes later is for those who follow
	begun := false
	begin := func(at int64) {
		if !begun {
			header.Set(offsetHeader, strconv.FormatInt(at, 10))
			w.WriteHeader(http.StatusOK)
			begun = true
		}
	}
	for {
		if !begun {
			if piece, _, _ := f.Next(0); piece != nil && piece.Gap > 0 { // the beginning is gone
				begin(piece.Offset + piece.Gap)
			}
			begin(f.Pos())
		}
		if !follow && !ex.ended() && f.Pos() >= until {
			all = true
			return nil
		}
		piece, err := f.next(flush)
		switch {
		case errors.Is(err, io.EOF):
			all = true
			if ex.ended() && f.Pos() == ex.out.End() { // else it ended just now: more came, which was not asked for
				if _, err := io.WriteString(w, ex.out.Mark()); err != nil {
					return nil
				}
				header.Set(exitCodeHeader, strconv.Itoa(ex.exit))
			}
			return nil
		case err != nil, piece.Gap > 0:
			panic(http.ErrAbortHandler) // the client sees that it is not the end, and can come back
		}
		_ = rc.SetWriteDeadline(time.Now().Add(followStall))
		if _, err := w.Write(piece.Data); err != nil {
			return nil
		}
	}
}

type signalIn struct {
	ID   string `path:"id" doc:"Id of the execution."`
	Body toolbox.Signal
}

func (h *Handler) signal(_ context.Context, in *signalIn) (rest.None, error) {
	sig, err := parseSignal(in.Body.Signal)
	if err != nil {
		return rest.None{}, err
	}
	ex, err := h.kept.find(in.ID)
	if err != nil {
		return rest.None{}, err
	}
	defer ex.release()
	return rest.None{}, ex.send(sig)
}

// send sends sig to all processes of ex.
func (ex *execution) send(sig unix.Signal) error {
	if ex.ended() {
		return errs.New(errs.Gone, "execution %s has ended with exit code %d", clip(ex.id), ex.exit).WithCode("COMMAND_ALREADY_COMPLETED")
	}
	ex.mu.Lock()
	r := ex.run.Load()
	ex.mu.Unlock()
	if r == nil {
		return errs.New(errs.Unavailable, "execution %s is only starting; try again", clip(ex.id))
	}
	r.Signal(sig)
	return nil
}

// parseSignal reads the name of a signal, with or without SIG.
func parseSignal(name string) (unix.Signal, error) {
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	if sig := unix.SignalNum(full); sig != 0 && len(name) <= 16 {
		return sig, nil
	}
	return 0, errs.New(errs.Invalid, "signal must be a name such as INT, TERM, KILL, HUP, STOP or CONT, got %q", clip(name))
}

// signalName returns the name without SIG.
func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}
