//go:build linux

// Package ws is the daemon's side of a WebSocket: which subprotocol is chosen, pings answered whatever the handler does,
// reads and writes bounded in memory and time, and closed with a code that says why.
//
// A client can be slow, hostile or gone. One that takes nothing for [Stall], or whose queue is full, is closed with 1008.
package ws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Close codes of RFC 6455 that the toolbox API uses, and its own.
const (
	Normal       = int(websocket.StatusNormalClosure)   // 1000
	GoingAway    = int(websocket.StatusGoingAway)       // 1001
	BadMessage   = int(websocket.StatusProtocolError)   // 1002
	Policy       = int(websocket.StatusPolicyViolation) // 1008: not allowed, or a slow consumer
	Internal     = int(websocket.StatusInternalError)   // 1011
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
	closeWait    = 5 * time.Second
)

// Message types.
const (
	Text   = websocket.MessageText
	Binary = websocket.MessageBinary
)

// Conn is a WebSocket. Read must be called by one goroutine at a time; the others may be called from any.
type Conn struct {
	Protocols []string // what the client offered
	Chosen    string   // the one that was selected; "": none

	c      *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards all below
	queue   []message
	bytes   int
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

// Accept makes the request a WebSocket whose messages from the client are at most limit bytes. After an error the answer
// was sent. Any Origin may connect: a credential was checked before, and it is no cookie. The caller must call Close.
func Accept(w http.ResponseWriter, r *http.Request, limit int64) (*Conn, error) {
	offered := Offered(r)
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: choose(offered), InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(limit)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	return &Conn{Protocols: offered, Chosen: c.Subprotocol(), c: c, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), pumped: make(chan struct{})}, nil
}

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

// Discard reads and drops what the client sends, until the connection ends. For connections that only send.
func (c *Conn) Discard() {
	go func() {
		for {
			if _, _, err := c.Read(); err != nil {
				return
			}
		}
	}()
}

// Write sends a message and waits until the kernel has it. The client's speed is the sender's: for data that can be read
// again, as a log from a file. A client that takes nothing for [Stall] is cut off.
func (c *Conn) Write(typ websocket.MessageType, data []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, Stall)
	defer cancel()
	err := c.c.Write(ctx, typ, data)
	if err != nil {
		c.cancel()
	}
	return err
}

// Queue sends a message without waiting. It takes data over. When [MaxQueued] messages or [MaxQueuedLen] bytes wait
// already, the connection is closed with 1008 and Queue reports false, as it does after Finish. For live data that cannot wait.
func (c *Conn) Queue(typ websocket.MessageType, data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	if len(c.queue) >= MaxQueued || c.bytes+len(data) > MaxQueuedLen && len(c.queue) > 0 {
		c.finish(Policy, slow)
		c.queue, c.bytes = nil, 0
		return false
	}
	c.queue, c.bytes = append(c.queue, message{typ, data}), c.bytes+len(data)
	c.pump()
	return true
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
		go c.send()
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send writes what was queued, in order.
func (c *Conn) send() {
	defer close(c.pumped)
	for {
		c.mu.Lock()
		batch, closing := c.queue, c.closing
		c.queue, c.bytes = nil, 0
		c.mu.Unlock()
		for i, m := range batch {
			if c.Write(m.typ, m.data) != nil {
				return
			}
			batch[i] = message{}
		}
		if len(batch) > 0 {
			continue
		}
		if closing {
			c.shut()
			return
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Conn) shut() {
	// A reader that is in Read takes the client's answer; otherwise Close waits for it itself, at most 5 s.
	_ = c.c.Close(websocket.StatusCode(c.code), c.reason)
	c.cancel()
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
	c.cancel()
	_ = c.c.CloseNow()
}

// Gone reports whether err of Read is the client's leaving, not a fault.
func Gone(err error) bool {
	var ce websocket.CloseError
	return errors.As(err, &ce)
}

// clip makes s fit a close frame: 123 bytes, whole characters.
func clip(s string) string {
	if len(s) <= 123 {
		return s
	}
	return strings.ToValidUTF8(s[:123], "")
}
