//go:build linux

package process

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// desk knows the requests that wait for the end of an execution. When the daemon is about to be replaced they are parked: their
// connections are taken out of the HTTP server, survive the exec, and get the answer from the program that comes after, so that
// a client notices nothing, whatever its age.
type desk struct {
	mu      sync.Mutex // guards all below
	closing chan struct{}
	inside  int
	empty   chan struct{} // gets something when inside falls to 0
	parked  map[*parked]struct{}
}

// parked is a connection that gets the answer about an execution.
type parked struct {
	conn   net.Conn
	ex     *execution // held
	asker  asker
	header http.Header
}

// Limits of writing an answer to a connection without the HTTP server.
const (
	replyStall  = 60 * time.Second
	deskPatient = 50 * time.Millisecond // how long a freeze waits for answers that are being written
)

// enter registers somebody who waits, and answers when the wait is over. The channel is closed when he must park or go.
func (d *desk) enter() (closing <-chan struct{}, leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing == nil {
		d.closing, d.empty = make(chan struct{}), make(chan struct{}, 1)
	}
	d.inside++
	return d.closing, d.leave
}

// watch returns the channel that is closed when the daemon is about to be replaced, for those who need no answer then.
func (d *desk) watch() <-chan struct{} {
	closing, leave := d.enter()
	leave()
	return closing
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

// freeze parks all that wait.
func (d *desk) freeze() {
	d.mu.Lock()
	if d.closing == nil {
		d.closing, d.empty = make(chan struct{}), make(chan struct{}, 1)
	}
	close(d.closing)
	empty := d.empty
	d.mu.Unlock()
	over := time.NewTimer(deskPatient)
	defer over.Stop()
	for {
		d.mu.Lock()
		left := d.inside
		d.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-empty:
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

// park takes the connection of a request out of the server. The execution's reference goes with it.
func (d *desk) park(w http.ResponseWriter, r *http.Request, ex *execution) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		ex.release()
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	d.add(&parked{conn: conn, ex: ex, asker: askerOf(r), header: w.Header().Clone()})
	return nil
}

// attend answers parked connections when their executions end.
func (h *Handler) attend(list []*parked) {
	for _, p := range list {
		h.works.Go(func() {
			closing, leave := h.desk.enter()
			defer leave()
			select {
			case <-p.ex.done:
			case <-closing:
				return // it stays parked
			}
			h.desk.remove(p)
			if err := p.reply(); err != nil {
				h.Log.Debug("an answer could not be sent", "error", err)
			}
			_ = p.conn.Close()
			p.ex.release()
		})
	}
}

// reply writes the whole answer, which the end of the connection ends.
func (p *parked) reply() error {
	status, head, tail, err := outcome(p.asker, p.ex)
	if err != nil {
		return err
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(replyStall))
	w := bufio.NewWriterSize(p.conn, 64<<10)
	header := p.header.Clone()
	header.Set("Content-Type", jsonType)
	header.Set("Connection", "close")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_, _ = fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = header.Write(w)
	_, _ = io.WriteString(w, "\r\n")
	if err := writeJSON(w, head, p.ex, tail); err != nil {
		return err
	}
	return w.Flush()
}
