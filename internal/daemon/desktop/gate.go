//go:build linux

package desktop

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// trouble is an error with what the common body has no place for.
type trouble struct {
	err               *errs.Error
	details, solution string
	reason            string // for the key error, where old clients look for a word of its own; empty: the message
}

func (t *trouble) Error() string { return t.err.Error() }

// Unwrap lets errs.As find the classified error.
func (t *trouble) Unwrap() error { return t.err }

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) error {
	var t *trouble
	if !errors.As(err, &t) {
		return err
	}
	status := h.Edge.StatusOf(err)
	body := toolbox.Unavailable{Error: api.Error{Path: r.URL.Path, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), StatusCode: status,
		Reason: t.err.Message, Message: t.err.Message, Code: t.err.Code, Source: api.SourceDaemon, Method: r.Method, RequestID: rest.RequestID(r.Context())},
		Details: t.details, Solution: t.solution}
	if t.reason != "" {
		body.Reason = t.reason
	}
	h.Edge.Write(w, status, body)
	return nil
}

const solutionInstall = "create the sandbox from the snapshot desktop, or install the packages in it: apt-get install xvfb openbox tint2 x11vnc novnc websockify dbus at-spi2-core ffmpeg"

func unavailable(cause error, message, details, solution string) error {
	return &trouble{err: errs.Wrap(cause, errs.Unavailable, "%s", message).WithCode("SERVICE_UNAVAILABLE"), details: details, solution: solution}
}

// installed reports, as an error, that a desktop cannot run here: there is no X server to start, and none answers.
func (h *Handler) installed() error {
	h.open()
	if h.program("Xvfb") != "" || !x11.Absent(h.display()) {
		return nil
	}
	return h.lacking(h.missing())
}

func (h *Handler) lacking(missing []string) error {
	return unavailable(nil, "computer use is not available: programs of the desktop are missing in this sandbox", "missing: "+strings.Join(missing, ", "), solutionInstall)
}

// see makes sense of an error of the screen.
func (h *Handler) see(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, x11.ErrNoServer):
		if e := h.installed(); e != nil {
			return e
		}
		return unavailable(err, "the desktop is not running", "no X server answers on display "+clip(h.display()), "start it: POST /computeruse/start")
	case errors.Is(err, x11.ErrOutside):
		return errs.Wrap(err, errs.Invalid, "the region must be on the screen: %s", strings.TrimPrefix(err.Error(), x11.ErrOutside.Error()+": "))
	case errors.Is(err, x11.ErrNoInput), errors.Is(err, x11.ErrFormat), errors.Is(err, x11.ErrNoKey):
		return errs.Wrap(err, errs.Internal, "%s", err.Error()).WithCode("INTERNAL_SERVER_ERROR")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(err, errs.Timeout, "the request was given up")
	}
	if _, ok := errs.As(err); ok {
		return err
	}
	return errs.Wrap(err, errs.Internal, "the X server failed or did not answer within %v", x11.Patience).WithCode("INTERNAL_SERVER_ERROR")
}

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
