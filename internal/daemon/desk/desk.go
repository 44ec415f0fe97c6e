//go:build linux

// Package desk keeps the requests that wait for something while the daemon is replaced by another program. Those that must get
// an answer are parked: their connections are taken out of the HTTP server, survive the exec, and get the answer from the
// program that comes after, so that a client notices nothing, whatever its age. Others are told, and come back.
package desk

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

const (
	// Patience is how long a freeze waits for those who wait to park, to leave, or to finish their answers.
	Patience = 50 * time.Millisecond

	answerStall = 60 * time.Second // of a client that takes nothing of its answer
)

// Desk is where the requests of one family wait. The zero value is ready; its methods are safe for concurrent use.
type Desk[T any] struct {
	mu      sync.Mutex // guards all below
	closing chan struct{}
	inside  int
	empty   chan struct{} // gets something when inside falls to 0
	parked  map[*Parked[T]]struct{}
}

// Parked is a connection that gets an answer about What.
type Parked[T any] struct {
	Conn   net.Conn
	What   T
	Header http.Header // of the answer, as far as it was made
}

// Enter registers somebody who waits, and answers when the wait is over. closing is closed when he must park or go; then he
// calls leave.
func (d *Desk[T]) Enter() (closing <-chan struct{}, leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open()
	d.inside++
	return d.closing, d.leave
}

// Watch returns the channel that is closed when the daemon is about to be replaced, for those who need no answer then.
func (d *Desk[T]) Watch() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open()
	return d.closing
}

// open makes the channels. The caller holds mu.
func (d *Desk[T]) open() {
	if d.closing == nil {
		d.closing, d.empty = make(chan struct{}), make(chan struct{}, 1)
	}
}

func (d *Desk[T]) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside--; d.inside == 0 {
		select {
		case d.empty <- struct{}{}:
		default:
		}
	}
}

// Freeze lets all that wait park or go, and waits for that at most [Patience].
func (d *Desk[T]) Freeze() {
	d.mu.Lock()
	d.open()
	close(d.closing)
	d.mu.Unlock()
	over := time.NewTimer(Patience)
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

// Thaw opens the desk again and returns those that are parked: each waits to be attended to.
func (d *Desk[T]) Thaw() []*Parked[T] {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = make(chan struct{})
	if d.empty == nil {
		d.empty = make(chan struct{}, 1)
	}
	return slices.Collect(maps.Keys(d.parked))
}

// Parked lists those that are parked.
func (d *Desk[T]) Parked() []*Parked[T] {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.parked))
}

// Park takes the connection of a request out of the server.
func (d *Desk[T]) Park(w http.ResponseWriter, what T) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	d.add(&Parked[T]{Conn: conn, What: what, Header: w.Header().Clone()})
	return nil
}

func (d *Desk[T]) add(p *Parked[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parked == nil {
		d.parked = map[*Parked[T]]struct{}{}
	}
	d.parked[p] = struct{}{}
}

// Take takes a connection over that [Parked.Pass] handed over, and parks it for what.
func (d *Desk[T]) Take(in *handover.In, fd int, what T, header http.Header) (*Parked[T], error) {
	f, err := in.Take(fd, "connection")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // FileConn has a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	p := &Parked[T]{Conn: conn, What: what, Header: header}
	d.add(p)
	return p, nil
}

// Answer takes p off the desk and lets write make the whole answer; the end of the connection ends it.
func (d *Desk[T]) Answer(p *Parked[T], write func(w *Writer) error) error {
	d.mu.Lock()
	delete(d.parked, p)
	d.mu.Unlock()
	defer func() { _ = p.Conn.Close() }()
	_ = p.Conn.SetWriteDeadline(time.Now().Add(answerStall))
	w := &Writer{w: bufio.NewWriterSize(p.Conn, 64<<10), header: p.Header.Clone()}
	if w.header == nil {
		w.header = http.Header{}
	}
	if err := write(w); err != nil {
		return err
	}
	return w.w.Flush()
}

// Pass makes the connection survive the exec and returns its number.
func (p *Parked[T]) Pass(out *handover.Out) (int, error) {
	conn, ok := p.Conn.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("a connection of type %T cannot be handed over", p.Conn)
	}
	return out.Pass(conn)
}

// Writer is an http.ResponseWriter that writes an answer to a connection that the HTTP server has given away.
type Writer struct {
	w      *bufio.Writer
	header http.Header
	begun  bool
}

// Header implements http.ResponseWriter.
func (b *Writer) Header() http.Header { return b.header }

// WriteHeader implements http.ResponseWriter.
func (b *Writer) WriteHeader(status int) {
	if b.begun {
		return
	}
	b.begun = true
	b.header.Set("Connection", "close")
	b.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_, _ = fmt.Fprintf(b.w, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = b.header.Write(b.w)
	_, _ = b.w.WriteString("\r\n")
}

// Begun reports whether something was written already.
func (b *Writer) Begun() bool { return b.begun }

// Write implements http.ResponseWriter.
func (b *Writer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.w.Write(p)
}
