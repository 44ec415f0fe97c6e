//go:build linux

package session

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// desk knows the requests that wait: for the end of a synchronous command, or for a log to grow. When the daemon is about to be
// replaced the first are parked: their connections are taken out of the HTTP server, survive the exec, and get their answer from
// the program that comes after. The others are sent away, to come back with an offset.
type desk struct {
	mu      sync.Mutex // guards all below
	closing chan struct{}
	inside  int
	empty   chan struct{} // gets something when inside falls to 0
	parked  map[*parked]struct{}
}

// parked is a connection that gets the answer about a command.
type parked struct {
	conn   net.Conn
	c      *command
	form   form
	path   string
	header http.Header
}

// patience is how long a freeze waits for those who wait to leave.
const patience = 50 * time.Millisecond

// errReplaced cuts a follower off.
var errReplaced = errors.New("the daemon is replaced")

// enter registers somebody who waits. closing is closed when he must park or go; then he calls leave.
func (d *desk) enter() (closing <-chan struct{}, leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing == nil {
		d.closing, d.empty = make(chan struct{}), make(chan struct{}, 1)
	}
	d.inside++
	return d.closing, d.leave
}

func (d *desk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside--; d.inside == 0 {
		select {
		case d.empty <- struct{}{}:
		default:
		}
	}
}

// freeze lets all that wait park or go.
func (d *desk) freeze() {
	d.mu.Lock()
	if d.closing == nil {
		d.closing, d.empty = make(chan struct{}), make(chan struct{}, 1)
	}
	close(d.closing)
	d.mu.Unlock()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		d.mu.Lock()
		left := d.inside
		d.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-d.empty:
		case <-over.C:
			return
		}
	}
}

// thaw returns those that are parked, for [Handler.attend].
func (d *desk) thaw() []*parked {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = make(chan struct{})
	return slices.Collect(maps.Keys(d.parked))
}

func (d *desk) add(p *parked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parked == nil {
		d.parked = map[*parked]struct{}{}
	}
	d.parked[p] = struct{}{}
}

func (d *desk) remove(p *parked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.parked, p)
}

// park takes the connection of a request that waits for c out of the server.
func (d *desk) park(w http.ResponseWriter, r *http.Request, c *command) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	d.add(&parked{conn: conn, c: c, form: formOf(r), path: r.URL.Path, header: w.Header().Clone()})
	return nil
}

// attend answers parked connections when their commands end.
func (h *Handler) attend(list []*parked) {
	for _, p := range list {
		h.loops.Go(func() {
			closing, leave := h.desk.enter()
			defer leave()
			var failure error
			select {
			case <-p.c.done:
			case <-p.c.s.gone:
				failure = errDeleted()
			case <-closing:
				return // it stays parked
			}
			h.desk.remove(p)
			h.reply(p, failure)
			_ = p.conn.Close()
		})
	}
}

func errDeleted() error {
	return errs.New(errs.Invalid, "the session was deleted while the command ran")
}

// reply writes the whole answer, which the end of the connection ends.
func (h *Handler) reply(p *parked, failure error) {
	_ = p.conn.SetWriteDeadline(time.Now().Add(ws.Stall))
	w := &bareWriter{w: bufio.NewWriterSize(p.conn, 64<<10), header: p.header}
	if failure == nil {
		failure = h.answer(w, p.c, p.form)
	}
	if failure != nil && w.status == 0 {
		h.Edge.Fail(w, &http.Request{Method: http.MethodPost, URL: &url.URL{Path: p.path}}, failure)
	}
	_ = w.w.Flush()
}

// bareWriter writes an answer to a connection that the HTTP server has given away.
type bareWriter struct {
	w      *bufio.Writer
	header http.Header
	status int
}

func (b *bareWriter) Header() http.Header { return b.header }

func (b *bareWriter) WriteHeader(status int) {
	if b.status != 0 {
		return
	}
	b.status = status
	b.header.Set("Connection", "close")
	b.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_, _ = fmt.Fprintf(b.w, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = b.header.Write(b.w)
	_, _ = b.w.WriteString("\r\n")
}

func (b *bareWriter) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.w.Write(p)
}

// savedParked is a parked connection on its way to the next program.
type savedParked struct {
	Conn             int
	Session, Command string
	Form             form
	Path             string
	Header           http.Header
}

func (d *desk) save(out *handover.Out) (list []savedParked, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.parked {
		conn, ok := p.conn.(syscall.Conn)
		if !ok {
			continue
		}
		v := savedParked{Session: p.c.s.id, Command: p.c.id, Form: p.form, Path: p.path, Header: p.header}
		if v.Conn, err = out.Pass(conn); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// restore takes parked connections over. One whose session is lost is closed.
func (d *desk) restore(in *handover.In, list []savedParked, sessions map[string]*session) {
	for _, v := range list {
		f, err := in.Take(v.Conn, "connection")
		if err != nil {
			continue
		}
		conn, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			continue
		}
		s := sessions[v.Session]
		if s == nil {
			_ = conn.Close()
			continue
		}
		c, err := s.find(v.Command)
		if err != nil {
			_ = conn.Close()
			continue
		}
		d.add(&parked{conn: conn, c: c, form: v.Form, path: v.Path, header: v.Header})
	}
}
