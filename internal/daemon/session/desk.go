//go:build linux

package session

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/dugout-dev/dugout/internal/daemon/desk"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/errs"
)

// At the desk wait the requests of synchronous commands, which are parked when the daemon is replaced, and those who read a
// log that grows: they are sent away, to come back with an offset.

// waiting is what a request that waits for the end of a command is to get.
type waiting struct {
	c    *command
	form form
	path string
}

// errReplaced cuts a follower off.
var errReplaced = errors.New("the daemon is replaced")

// attend answers parked connections when their commands end.
func (h *Handler) attend(list []*desk.Parked[waiting]) {
	for _, p := range list {
		h.loops.Go(func() {
			closing, leave := h.desk.Enter()
			defer leave()
			var failure error
			select {
			case <-p.What.c.done:
			case <-p.What.c.s.gone:
				failure = errDeleted()
			case <-closing:
				return // it stays parked
			}
			err := h.desk.Answer(p, func(w *desk.Writer) error {
				err := failure
				if err == nil {
					err = h.answer(w, p.What.c, p.What.form)
				}
				if err != nil && !w.Begun() {
					h.Edge.Fail(w, &http.Request{Method: http.MethodPost, URL: &url.URL{Path: p.What.path}}, err)
					err = nil
				}
				return err
			})
			if err != nil {
				h.Log.Debug("an answer could not be sent", "error", err)
			}
		})
	}
}

func errDeleted() error {
	return errs.New(errs.Invalid, "the session was deleted while the command ran")
}

// savedParked is a parked connection on its way to the next program.
type savedParked struct {
	Conn             int
	Session, Command string
	Form             form
	Path             string
	Header           http.Header
}

func (h *Handler) saveParked(out *handover.Out) (list []savedParked, err error) {
	for _, p := range h.desk.Parked() {
		v := savedParked{Session: p.What.c.s.id, Command: p.What.c.id, Form: p.What.form, Path: p.What.path, Header: p.Header}
		if v.Conn, err = p.Pass(out); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// restoreParked takes parked connections over. One whose command is lost is closed.
func (h *Handler) restoreParked(in *handover.In, list []savedParked) {
	for _, v := range list {
		s := h.sessions[v.Session]
		if s == nil {
			continue // nobody takes the descriptor: it is closed
		}
		c, err := s.find(v.Command)
		if err != nil {
			continue
		}
		if _, err := h.desk.Take(in, v.Conn, waiting{c, v.Form, v.Path}, v.Header); err != nil {
			h.Log.Warn("a waiting client could not be taken over", "error", err)
		}
	}
}
