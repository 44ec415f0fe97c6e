//go:build linux

package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Limits of what waits to be sent to a server that does not read.
const (
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
)

// errEnded says that the server is gone, or was given up.
var errEnded = errors.New("the language server ended")

// message is any message of JSON-RPC 2.0: a request, an answer or a notification.
type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

// incoming is a message whose contents are read later.
type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
}

// rpcError is the error of an answer.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (%d)", clip(e.Message), e.Code) }

// Codes of errors in answers.
const (
	codeMethodNotFound  = -32601
	codeInvalidParams   = -32602
	codeContentModified = -32801
	codeServerCancelled = -32802
)

// conn is JSON-RPC with one server. run and send are its two goroutines; both end when the streams are closed.
type conn struct {
	answer func(method string, params json.RawMessage) (any, *rpcError) // for requests of the server; must not block

	mu      sync.Mutex // guards all below
	next    int64
	pending map[int64]chan incoming
	queue   [][]byte
	queued  int
	wake    chan struct{}
	ended   bool
	why     error
	done    chan struct{} // closed with ended
}

func newConn(answer func(string, json.RawMessage) (any, *rpcError)) *conn {
	return &conn{answer: answer, pending: map[int64]chan incoming{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// run reads messages until the stream ends or is malformed.
func (c *conn) run(r io.Reader) {
	br := bufio.NewReaderSize(r, maxHeader)
	for {
		body, err := readFrame(br)
		if err != nil {
			c.end(err)
			return
		}
		var m incoming
		if json.Unmarshal(body, &m) != nil {
			c.end(fmt.Errorf("%w: no JSON", errFrame))
			return
		}
		switch {
		case m.Method == "":
			c.settle(m)
		case len(m.ID) == 0 || string(m.ID) == "null": // a notification: nothing here needs one
		default:
			result, fault := c.answer(m.Method, m.Params)
			out := message{JSONRPC: "2.0", ID: m.ID, Error: fault}
			if fault == nil {
				out.Result = result
				if result == nil {
					out.Result = json.RawMessage("null")
				}
			}
			_ = c.post(out)
		}
	}
}

func (c *conn) settle(m incoming) {
	var id int64
	if json.Unmarshal(m.ID, &id) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pending[id]; ch != nil {
		delete(c.pending, id)
		ch <- m // has room for one
	}
}

// end fails everything that waits. The first call counts.
func (c *conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.why, c.queue, c.queued = true, why, nil, 0
	close(c.done)
}

// reason returns why the connection ended; nil: it did not.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// post queues a message. It does not wait: the goroutine that reads answers the server with it, and would stand still
// together with a server that waits for it to read on.
func (c *conn) post(m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b = frame(b)
	c.mu.Lock()
	over := len(c.queue) >= maxQueued || c.queued+len(b) > maxQueuedBytes
	if !c.ended && !over {
		c.queue, c.queued = append(c.queue, b), c.queued+len(b)
	}
	ended := c.ended
	c.mu.Unlock()
	if ended {
		return errEnded
	}
	if over {
		c.end(errors.New("it does not read what it is sent"))
		return errEnded
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// send writes what is queued, until the connection ends.
func (c *conn) send(w io.Writer) {
	for {
		c.mu.Lock()
		batch := c.queue
		c.queue, c.queued = nil, 0
		c.mu.Unlock()
		for i, b := range batch {
			if _, err := w.Write(b); err != nil {
				c.end(err)
				return
			}
			batch[i] = nil
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

// notify sends a notification.
func (c *conn) notify(method string, params any) error {
	return c.post(message{JSONRPC: "2.0", Method: method, Params: params})
}

// call sends a request and waits for its answer. An error is the server's (*rpcError), that of ctx, or errEnded.
func (c *conn) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	ch := make(chan incoming, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.pending[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	raw, _ := json.Marshal(id)
	if err := c.post(message{JSONRPC: "2.0", ID: raw, Method: method, Params: params}); err != nil {
		return nil, err
	}
	select {
	case m := <-ch:
		if m.Error != nil {
			return nil, m.Error
		}
		return m.Result, nil
	case <-c.done:
		select {
		case m := <-ch: // it was the last thing the server said
			if m.Error == nil {
				return m.Result, nil
			}
		default:
		}
		return nil, errEnded
	case <-ctx.Done():
		_ = c.notify("$/cancelRequest", map[string]any{"id": id})
		return nil, ctx.Err()
	}
}
