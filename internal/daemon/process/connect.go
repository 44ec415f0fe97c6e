//go:build linux

package process

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// maxMessage limits a message of a client, in bytes.
const maxMessage = 1 << 20

// Reasons for closing a connection.
const (
	slowReason    = "slow consumer"
	replaceReason = "the daemon is being replaced; connect again"
	closeRestart  = 1012 // RFC 6455's registry: service restart
)

type connectIn struct {
	ID     string `path:"id" doc:"Id of the execution."`
	Offset *int64 `query:"offset" minimum:"0" doc:"Where the output begins, counted in all that the execution wrote; absent: at the beginning."`
}

func (h *Handler) connect(w http.ResponseWriter, r *http.Request, in *connectIn) error {
	ex, err := h.kept.find(in.ID)
	if err != nil {
		return err
	}
	defer ex.release()
	if !ws.Asked(r) {
		return errs.New(errs.Invalid, "this route is a WebSocket; to read only, GET /process/execution/%s/output?follow=true", clip(in.ID))
	}
	if err := ws.Check(r); err != nil {
		return err
	}
	f, leave, err := h.follow(r.Context(), ex, offsetOf(in.Offset))
	if err != nil {
		return err
	}
	c, err := ws.Accept(w, r, maxMessage)
	if err != nil {
		leave(true)
		return nil // answered
	}
	f.ctx = c.Context()
	said := make(chan bool, 1)
	go func() { said <- ex.listen(c) }()
	code, reason := pump(c, f)
	c.Close(code, reason)
	leave(<-said || code == ws.Normal)
	return nil
}

// pump sends the output to the client and returns how to close.
func pump(c *ws.Conn, f *follower) (code int, reason string) {
	if sendJSON(c, toolbox.ConnectMessage{Type: toolbox.EventStart, ID: f.ex.id, Offset: f.Pos()}) != nil {
		return ws.GoingAway, ""
	}
	buf := make([]byte, 0, pieceSize+1)
	for {
		piece, err := f.next(func() error { return nil })
		switch {
		case errors.Is(err, io.EOF):
			if f.ex.out.Mark() != "" && sendJSON(c, toolbox.ConnectMessage{Type: toolbox.EventGap, Offset: f.Pos()}) != nil {
				return ws.Policy, slowReason
			}
			exit := exitOf(f.ex)
			_ = sendJSON(c, toolbox.ConnectMessage{Type: toolbox.EventExit, ExitCode: &exit.ExitCode, Signal: exit.Signal, TimedOut: exit.TimedOut, Offset: exit.Offset})
			return ws.Normal, ""
		case errors.Is(err, errReplaced):
			return closeRestart, replaceReason
		case err != nil:
			return ws.GoingAway, ""
		case f.Lost():
			return ws.Policy, slowReason
		case piece.Gap > 0:
			err = sendJSON(c, toolbox.ConnectMessage{Type: toolbox.EventGap, Offset: piece.Offset, Length: piece.Gap})
		default:
			buf = append(append(buf[:0], byte(piece.Stream)), piece.Data...)
			err = c.Write(ws.Binary, buf)
		}
		if err != nil {
			return ws.Policy, slowReason
		}
	}
}

func sendJSON(c *ws.Conn, m toolbox.ConnectMessage) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.Write(ws.Text, b)
}

// listen takes what the client sends until it leaves, and reports whether it said that it does. Standard input that the program does not read makes the client wait.
func (ex *execution) listen(c *ws.Conn) (said bool) {
	for {
		text, data, err := c.Read()
		if err != nil {
			return ws.Gone(err)
		}
		if !text {
			if err := ex.input.write(data, c.Context().Done()); err != nil && !ex.ended() {
				c.Finish(ws.Policy, "standard input is not open")
			}
			continue
		}
		if err := ex.control(data); err != nil {
			c.Finish(ws.Policy, err.Error())
		}
	}
}

// control obeys a text message of a client.
func (ex *execution) control(data []byte) error {
	var m toolbox.ConnectMessage
	if json.Unmarshal(data, &m) != nil {
		return errs.New(errs.Invalid, "a text message must be JSON with a type")
	}
	switch m.Type {
	case "eof":
		ex.input.close()
	case "signal":
		sig, err := parseSignal(m.Signal)
		if err != nil {
			return err
		}
		if err := ex.send(sig); err != nil && !ex.ended() {
			return err
		}
	default:
		return errs.New(errs.Invalid, "type must be eof or signal, got %q", clip(m.Type))
	}
	return nil
}
