// Package bus carries events and wake-ups between parts of the platform. Nothing on it is durable: whoever listens must be
// right without it, only later. The in-process bus serves an installation of one process; one that reaches other processes
// stands behind the same interface and passes bustest.
package bus

import (
	"context"
	"sync"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Message is something that happened.
type Message struct {
	Topic string // e.g. sandbox.created
	Key   string // what it is about, e.g. an organization id; may be ""
	Body  []byte // JSON; at most MaxBody bytes
	Lost  int    // how many messages this listener missed before this one, because it was slow
}

// MaxBody bounds a message, in bytes.
const MaxBody = 64 << 10

// Bus carries messages. Publish never waits for a listener. Every listener gets every message of its topics that is
// published after Subscribe has returned, in the order of each publisher, until it is too slow; then it misses some and is
// told how many.
type Bus interface {
	Publish(ctx context.Context, m Message) error
	// Subscribe listens to topics, to all for none. The channel is closed after ctx has ended or the bus was closed.
	Subscribe(ctx context.Context, topics ...string) (<-chan Message, error)
	Close() error
}

// queued is how many messages wait for a slow listener.
const queued = 256

// Local is the bus of one process.
type Local struct {
	mu        sync.Mutex // guards all below and the lost counts of listeners
	listeners map[*listener]struct{}
	closed    bool
	wg        sync.WaitGroup
	stop      chan struct{}
}

type listener struct {
	topics map[string]bool // nil: all
	ch     chan Message
	lost   int
}

// NewLocal returns a bus for this process.
func NewLocal() *Local {
	return &Local{listeners: map[*listener]struct{}{}, stop: make(chan struct{})}
}

var errClosed = errs.New(errs.Unavailable, "the bus is closed")

// Publish hands m to everybody who listens.
func (b *Local) Publish(_ context.Context, m Message) error {
	if m.Topic == "" || len(m.Body) > MaxBody {
		return errs.New(errs.Invalid, "a message needs a topic and at most %d bytes, got %q and %d", MaxBody, m.Topic, len(m.Body))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	for l := range b.listeners {
		if l.topics != nil && !l.topics[m.Topic] {
			continue
		}
		m.Lost = l.lost
		select {
		case l.ch <- m:
			l.lost = 0
		default:
			l.lost++
		}
	}
	return nil
}

// Subscribe listens until ctx ends.
func (b *Local) Subscribe(ctx context.Context, topics ...string) (<-chan Message, error) {
	l := &listener{ch: make(chan Message, queued)}
	if len(topics) > 0 {
		l.topics = map[string]bool{}
		for _, t := range topics {
			l.topics[t] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	b.listeners[l] = struct{}{}
	b.wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-b.stop:
		}
		b.mu.Lock() // no Publish is writing to the channel now, and none will
		delete(b.listeners, l)
		close(l.ch)
		b.mu.Unlock()
	})
	return l.ch, nil
}

// Close ends every subscription and waits for that.
func (b *Local) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.stop)
	}
	b.mu.Unlock()
	b.wg.Wait()
	return nil
}
