//go:build linux

// Package ws is the daemon's side of a WebSocket: which subprotocol is chosen, pings answered whatever the handler does,
// reads and writes bounded in memory and time, and closed with a code that says why.
//
// A client can be slow, hostile or gone. One whose queue is full is closed with 1008; one that takes nothing of a frame for
// [Stall] is cut off, as it would not take a close frame either.
package ws

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Close codes of RFC 6455 that the toolbox API uses, and its own.
const (
	Normal       = int(websocket.StatusNormalClosure)   // 1000
	GoingAway    = int(websocket.StatusGoingAway)       // 1001: the daemon ends
	BadMessage   = int(websocket.StatusProtocolError)   // 1002
	Policy       = int(websocket.StatusPolicyViolation) // 1008: not allowed, or a slow consumer
	Internal     = int(websocket.StatusInternalError)   // 1011
	Restart      = int(websocket.StatusServiceRestart)  // 1012: the daemon is replaced; connect again
	CodeTimedOut = 4008                                 // an interpreter's run passed its timeout
)

// Subprotocols on the 0.x wire.
const (
	VersionProtocol     = "X-Daytona-SDK-Version~"     // followed by the version
	ExitControlProtocol = "X-Daytona-Pty-Exit-Control" // the client reads the exit frame of a terminal
	EnvsProtocol        = "X-Daytona-Pty-Envs~"        // followed by base64url of a JSON object; never chosen
	slow                = "slow consumer"
)

// Limits.
const (
	Stall        = 60 * time.Second // how long a client may take nothing of a frame
	MaxQueued    = 256              // messages that wait for a slow client, see [Conn.Queue]
	MaxQueuedLen = 4 << 20          // bytes that wait for a slow client
	MaxQueuedAll = 48 << 20         // bytes that wait for all slow clients together
	MaxReason    = 123              // bytes of a close frame's reason
	closeWait    = 5 * time.Second
)

// queuedAll counts the bytes that wait for all clients of this process.
var queuedAll atomic.Int64

// Message types.
const (
	Text   = websocket.MessageText
	Binary = websocket.MessageBinary
)

// Conn is a WebSocket. Read must be called by one goroutine at a time; the others may be called from any.
type Conn struct {
	Protocols []string // what the client offered
	Chosen    string   // the one that was selected; "": none

	c       *websocket.Conn
	raw     net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	writing chan struct{} // holds a token while a frame is written
	discard sync.WaitGroup

	mu      sync.Mutex // guards all below
	queue   []message
	head    int // of queue: what is before it was sent
	bytes   int // of queue from head on
	lagged  bool
	room    func()
	wake    chan struct{}
	pumping bool
	pumped  chan struct{}
	closing bool
	code    int
	reason  string
}

type message struct {
	typ  websocket.MessageType
	data []byte
}

// Offered returns the subprotocols that the request offers, in order.
func Offered(r *http.Request) []string {
	var out []string
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// Asked reports whether the request wants to become a WebSocket.
func Asked(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// Check returns a classified error when [Accept] would refuse the request. For handlers that start something before they
// accept, and for those that want the common error body.
func Check(r *http.Request) error {
	connection := false
	for _, line := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			connection = connection || strings.EqualFold(strings.TrimSpace(token), "upgrade")
		}
	}
	switch {
	case !connection || !Asked(r):
		return errs.New(errs.Invalid, "this operation is a WebSocket: the request must have the headers Connection: Upgrade and Upgrade: websocket")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return errs.New(errs.Invalid, "Sec-WebSocket-Version must be 13")
	case len(r.Header.Values("Sec-WebSocket-Key")) != 1:
		return errs.New(errs.Invalid, "Sec-WebSocket-Key must be given once")
	}
	return nil
}

// choose selects at most one of the offered protocols: the one with the client's version, else those known, in order.
func choose(offered []string) []string {
	for _, p := range offered {
		if strings.HasPrefix(p, VersionProtocol) {
			return []string{p}
		}
	}
	for _, p := range offered {
		if p == ExitControlProtocol {
			return []string{p}
		}
	}
	return nil
}

// hijacked notes the connection that is taken over, so that it can be cut.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// Accept makes the request a WebSocket whose messages from the client are at most limit bytes. After an error the answer
// was sent. Any Origin may connect: a credential was checked before, and it is no cookie. The caller must call Close.
func Accept(w http.ResponseWriter, r *http.Request, limit int64) (*Conn, error) {
	offered := Offered(r)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	c := &Conn{Protocols: offered, ctx: ctx, cancel: cancel, writing: make(chan struct{}, 1), wake: make(chan struct{}, 1), pumped: make(chan struct{})}
	h := &hijacked{ResponseWriter: w}
	var err error
	c.c, err = websocket.Accept(h, r, &websocket.AcceptOptions{Subprotocols: choose(offered), InsecureSkipVerify: true,
		CompressionMode: websocket.CompressionDisabled, OnPingReceived: c.beforePong})
	if err != nil {
		cancel()
		return nil, err
	}
	c.raw, c.Chosen = h.conn, c.c.Subprotocol()
	c.c.SetReadLimit(limit)
	return c, nil
}

// beforePong waits until the frame that is being written is through. The library gives a pong 5 s and takes its failure for
// that of the connection; a client that pings while it is slow to read is alive all the same. Only when one frame takes
// longer than that is the ping not answered.
func (c *Conn) beforePong(ctx context.Context, _ []byte) bool {
	if !c.lockWriting(ctx) {
		return false
	}
	<-c.writing
	return true
}

func (c *Conn) lockWriting(ctx context.Context) bool {
	select {
	case c.writing <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// Offers reports whether the client offered the subprotocol. One that was offered may be used although another was chosen:
// at most one can be.
func (c *Conn) Offers(protocol string) bool { return slices.Contains(c.Protocols, protocol) }

// Context ends when the connection does.
func (c *Conn) Context() context.Context { return c.ctx }

// Read returns the next message of the client. While a Read waits, pings are answered: somebody must always be reading,
// see [Conn.Discard]. A message over the limit closes the connection with 1009.
func (c *Conn) Read() (text bool, data []byte, err error) {
	typ, data, err := c.c.Read(c.ctx)
	if err != nil {
		c.cancel()
		return false, nil, err
	}
	return typ == Text, data, nil
}

// Discard reads and drops what the client sends, until the connection ends; Close waits for that. For connections that
// only send.
func (c *Conn) Discard() {
	c.discard.Go(func() {
		for {
			if _, _, err := c.Read(); err != nil {
				return
			}
		}
	})
}

// Write sends a message and waits until the kernel has it. The client's speed is the sender's: for data that can be read
// again, as a log from a file. A client that takes nothing for [Stall] is cut off. What was queued may be sent before or
// after: use one of the two.
//
//nolint:contextcheck // the connection has a context of its own
func (c *Conn) Write(typ websocket.MessageType, data []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, Stall)
	defer cancel()
	if !c.lockWriting(ctx) {
		c.cancel()
		return ctx.Err()
	}
	defer func() { <-c.writing }()
	err := c.c.Write(ctx, typ, data)
	if err != nil {
		c.cancel()
	}
	return err
}

// Queue sends a message without waiting. The caller must not change data after it; several connections may share it. When
// [MaxQueued] messages or [MaxQueuedLen] bytes wait already, the connection is closed with 1008 and Queue reports false,
// as it does after Finish. For live data that cannot wait; a sender that can should look at [Conn.Lagging].
func (c *Conn) Queue(typ websocket.MessageType, data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	waiting := len(c.queue) - c.head
	if waiting >= MaxQueued || waiting > 0 && (c.bytes+len(data) > MaxQueuedLen || queuedAll.Load()+int64(len(data)) > MaxQueuedAll) {
		c.overflow()
		return false
	}
	if c.head > MaxQueued { // so that a queue that is never empty does not grow
		c.queue = c.queue[:copy(c.queue, c.queue[c.head:])]
		c.head = 0
	}
	c.queue = append(c.queue, message{typ, data})
	c.bytes += len(data)
	queuedAll.Add(int64(len(data)))
	c.lagged = c.lagged || c.lagging()
	c.pump()
	return true
}

func (c *Conn) lagging() bool {
	return len(c.queue)-c.head >= MaxQueued/2 || c.bytes >= MaxQueuedLen/2
}

// Lagging reports whether so much waits for the client that the sender should slow down: half of what Queue allows.
func (c *Conn) Lagging() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closing && c.lagging()
}

// OnRoom sets what is called when the client no longer lags, or is gone. It must not block or call back. Call it before the first Queue.
func (c *Conn) OnRoom(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room = f
}

// TooSlow closes the connection with 1008, without what is queued: the client lagged for too long.
func (c *Conn) TooSlow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overflow()
}

func (c *Conn) overflow() {
	if !c.closing {
		c.drop()
		c.finish(Policy, slow)
	}
}

// drop forgets what is queued. The caller holds mu.
func (c *Conn) drop() {
	queuedAll.Add(-int64(c.bytes))
	c.queue, c.head, c.bytes = nil, 0, 0
}

// Finish closes the connection with code and reason once what was queued is sent. It does not wait. The first call counts.
func (c *Conn) Finish(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finish(code, reason)
}

func (c *Conn) finish(code int, reason string) {
	if c.closing {
		return
	}
	c.closing, c.code, c.reason = true, code, clip(reason)
	c.pump()
}

// pump starts the sender if there is none, or wakes it. The caller holds mu.
func (c *Conn) pump() {
	if !c.pumping {
		c.pumping = true
		go c.send() // Close waits for it
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send writes what was queued, in order, and at the end the close frame.
func (c *Conn) send() {
	defer close(c.pumped)
	defer func() {
		c.mu.Lock()
		c.closing = true // nobody would send it
		c.drop()
		room := c.room
		c.mu.Unlock()
		if room != nil {
			room()
		}
	}()
	for {
		m, ok, closing := c.next()
		switch {
		case ok:
			if c.Write(m.typ, m.data) != nil {
				return
			}
		case closing:
			// A reader that is in Read takes the client's answer; otherwise Close waits for it itself, at most 5 s.
			_ = c.c.Close(websocket.StatusCode(c.code), c.reason)
			c.cancel()
			return
		default:
			select {
			case <-c.wake:
			case <-c.ctx.Done():
				return
			}
		}
	}
}

// next takes the first message of the queue.
func (c *Conn) next() (m message, ok, closing bool) {
	c.mu.Lock()
	if ok = c.head < len(c.queue); ok {
		m = c.queue[c.head]
		c.queue[c.head] = message{}
		c.head++
		c.bytes -= len(m.data)
		queuedAll.Add(-int64(len(m.data)))
		if c.head == len(c.queue) {
			c.queue, c.head = c.queue[:0], 0
		}
	}
	closing = c.closing
	var room func()
	if c.lagged && !c.lagging() {
		c.lagged, room = false, c.room
	}
	c.mu.Unlock()
	if room != nil {
		room()
	}
	return m, ok, closing
}

// Close ends the connection with code and reason, after what was queued, and waits for that: at most [Stall] when the
// client takes nothing. A Finish before it decides the code.
func (c *Conn) Close(code int, reason string) {
	c.Finish(code, reason)
	select {
	case <-c.pumped:
	case <-c.ctx.Done():
		t := time.NewTimer(closeWait)
		defer t.Stop()
		select {
		case <-c.pumped:
		case <-t.C:
		}
	}
	c.Cut()
	<-c.pumped
	c.discard.Wait()
}

// Cut ends the connection at once, without a close frame.
func (c *Conn) Cut() {
	c.cancel()
	_ = c.raw.Close()
	_ = c.c.CloseNow()
}

// Gone reports whether err of Read is the client's leaving, not a fault.
func Gone(err error) bool {
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		return true
	}
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// clip makes s fit a close frame: whole characters.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxReason {
		return s
	}
	return strings.ToValidUTF8(s[:MaxReason], "")
}
