//go:build linux

package interp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

func (h *Handler) execute(w http.ResponseWriter, r *http.Request, _ *struct{}) error {
	if err := ws.Check(r); err != nil {
		return err
	}
	h.mu.Lock()
	if h.closed || h.conns >= MaxConnections {
		h.mu.Unlock()
		return errs.New(errs.Busy, "%d connections to the interpreter are open already, the most at one time", MaxConnections)
	}
	h.conns++
	h.works.Add(1)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.conns--
		h.mu.Unlock()
		h.works.Done()
	}()
	conn, err := ws.Accept(w, r, MaxRun)
	if err != nil {
		return nil // it was answered
	}
	c := &client{conn: conn, rich: !caller.Of(r).Strict()}
	code, reason := h.serve(c)
	conn.Close(code, reason)
	return nil
}

// serve reads what the client asks for, does it, and returns how to close.
func (h *Handler) serve(c *client) (code int, reason string) {
	late := time.AfterFunc(firstWait, func() { c.conn.Finish(ws.Policy, "no message came") })
	_, data, err := c.conn.Read()
	late.Stop()
	if err != nil {
		return ws.Normal, ""
	}
	c.conn.Discard()
	o, no := parseRun(data)
	if no != nil {
		return no.code, no.reason
	}
	s := h.find(o.scope)
	if s == nil {
		return ws.Policy, "no interpreter context " + fmt.Sprintf("%q", clip(o.scope))
	}
	switch s.take(c.conn.Context()) {
	case turnMine:
	case turnFull:
		return ws.Policy, fmt.Sprintf("%d runs wait for this context already, the most at one time", MaxWaiting)
	case turnDeleted:
		return ws.GoingAway, errDeleted.Error()
	case turnLeft:
		return ws.Normal, ""
	}
	defer s.pass()
	return h.run(s, c, o)
}

// run does one run. The caller has the turn of s.
func (h *Handler) run(s *scope, c *client, o order) (code int, reason string) {
	w, err := s.ready()
	if err != nil {
		if errors.Is(err, errDeleted) {
			return ws.GoingAway, err.Error()
		}
		if e, ok := errs.As(err); ok && e.Class != errs.Internal {
			return ws.Policy, e.Message
		}
		h.Log.Error("interpreter cannot be started", "err", err)
		return ws.Internal, "the interpreter cannot be started"
	}
	watch := w.watch(c, o.timeout)
	h.gate.RLock()
	err = w.send(job{Code: o.code, Envs: o.envs, Rich: c.rich})
	h.gate.RUnlock()
	if err == nil {
		err = w.relay(c)
	}
	watch.stop()
	if err != nil { // the worker ended, or talks nonsense
		w.end()
		<-w.child.Done()
		s.discard(w)
	}
	switch {
	case watch.timedOut.Load():
		c.send(&toolbox.InterpreterMessage{Type: toolbox.InterpreterControl, Text: "interrupted"})
		return ws.CodeTimedOut, "the run passed its timeout"
	case err == nil:
		c.send(&toolbox.InterpreterMessage{Type: toolbox.InterpreterControl, Text: "completed"})
		return ws.Normal, ""
	}
	select {
	case <-s.gone:
		return ws.GoingAway, errDeleted.Error()
	default:
	}
	if errors.Is(err, errNonsense) {
		h.Log.Warn("interpreter sent what is no message", "err", err)
		return ws.Internal, err.Error()
	}
	if st := w.child.Status(); st.Signaled() {
		return ws.GoingAway, fmt.Sprintf("the interpreter's process was ended by signal %d; the next run starts a new one", st.Signal())
	}
	return ws.GoingAway, fmt.Sprintf("the interpreter's process ended with exit code %d; the next run starts a new one", w.child.Status().ExitStatus())
}

// watch interrupts a run whose time is over or whose client left, and kills the worker when that does not help.
type watch struct {
	timedOut atomic.Bool
	done     chan struct{}
	wg       sync.WaitGroup
}

func (w *worker) watch(c *client, timeout time.Duration) *watch {
	v := &watch{done: make(chan struct{})}
	v.wg.Add(2)
	go func() {
		defer v.wg.Done()
		select {
		case <-v.done:
		case <-w.child.Done(): // reads may go on for ever: a child of the worker may hold its descriptors
			w.unblock()
		}
	}()
	go func() {
		defer v.wg.Done()
		var over <-chan time.Time
		if timeout > 0 {
			t := time.NewTimer(timeout)
			defer t.Stop()
			over = t.C
		}
		patience := Grace
		select {
		case <-v.done:
			return
		case <-over:
			v.timedOut.Store(true)
		case <-c.left():
			if patience = DefaultTimeout; timeout > 0 {
				patience = timeout
			}
		}
		_ = w.child.SignalGroup(syscall.SIGINT)
		grace := time.NewTimer(patience)
		defer grace.Stop()
		select {
		case <-v.done:
		case <-grace.C:
			w.child.KillTree()
		}
	}()
	return v
}

func (v *watch) stop() {
	close(v.done)
	v.wg.Wait()
}

// relay passes on what the worker says and writes until its run is done.
func (w *worker) relay(c *client) error {
	out, err := &stream{f: w.out, kind: toolbox.InterpreterStdout, c: c}, &stream{f: w.err, kind: toolbox.InterpreterStderr, c: c}
	out.start()
	err.start()
	for {
		m, nerr := w.next()
		// What was written before the message goes before it.
		out.stop()
		err.stop()
		if nerr != nil || m.Type == typeDone {
			out.end()
			err.end()
			return nerr
		}
		w.answer()
		c.send(m)
		out.start()
		err.start()
	}
}

// stream passes on one of a worker's output streams.
type stream struct {
	f    *os.File
	kind string
	c    *client
	wg   sync.WaitGroup

	rest []byte // the beginning of a character whose end was not read yet
}

// start reads in the background until stop.
func (s *stream) start() {
	_ = s.f.SetReadDeadline(time.Time{})
	s.wg.Go(func() {
		buf := make([]byte, 16<<10)
		for {
			n, err := s.f.Read(buf)
			s.pass(buf[:n])
			if err != nil {
				return
			}
		}
	})
}

// stop ends the reading after all that is in the pipe now.
func (s *stream) stop() {
	_ = s.f.SetReadDeadline(time.Unix(1, 0))
	s.wg.Wait()
	_ = s.f.SetReadDeadline(time.Time{})
	rc, err := s.f.SyscallConn()
	if err != nil {
		return
	}
	left := 0
	_ = rc.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	for buf := make([]byte, 16<<10); left > 0; {
		n, err := readNow(s.f, buf[:min(left, len(buf))])
		if err != nil {
			return
		}
		s.pass(buf[:n])
		left -= n
	}
}

// end passes on a character that stays unfinished.
func (s *stream) end() {
	if len(s.rest) > 0 {
		s.c.send(&toolbox.InterpreterMessage{Type: s.kind, Text: string(s.rest)})
	}
	s.rest = nil
}

func (s *stream) pass(b []byte) {
	if len(s.rest) > 0 {
		b = append(s.rest, b...)
		s.rest = nil
	}
	whole := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				whole = len(b) - i
			}
			break
		}
	}
	if whole < len(b) {
		s.rest = append([]byte(nil), b[whole:]...)
	}
	if whole > 0 {
		s.c.send(&toolbox.InterpreterMessage{Type: s.kind, Text: string(b[:whole])})
	}
}

// client is who asked for a run. nil: nobody, as when the run was taken over from the daemon before.
type client struct {
	conn *ws.Conn
	rich bool // takes messages with additional keys
}

// send writes a message; the client's speed is the run's. To a client that left it does nothing.
func (c *client) send(m *toolbox.InterpreterMessage) {
	if c == nil || c.conn.Context().Err() != nil {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	_ = c.conn.Write(ws.Text, b)
}

// left is closed when the client is gone.
func (c *client) left() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.conn.Context().Done()
}
