package runner

import (
	"context"
	"sync"
	"time"

	wire "github.com/dugout-dev/dugout/api/runner"
)

// keptEvents is how far back a reader may be; one that is further behind is told to list again.
const keptEvents = 4096

// events is a bounded log with long polling. Numbers start at the time of start in microseconds, so that a number from an
// earlier process is always too old and never mistaken for one of ours.
type events struct {
	mu    sync.Mutex // guards all below
	first int64      // number of list[0]
	list  []wire.Event
	wake  chan struct{} // closed at the next event
}

func newEvents() *events {
	return &events{first: time.Now().UnixMicro(), wake: make(chan struct{})}
}

func (e *events) publish(s wire.Sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, wire.Event{Seq: e.first + int64(len(e.list)), Sandbox: s})
	if drop := len(e.list) - keptEvents; drop > 0 {
		e.list = append([]wire.Event(nil), e.list[drop:]...)
		e.first += int64(drop)
	}
	close(e.wake)
	e.wake = make(chan struct{})
}

// since returns the events from number n on, waiting for one when there is none yet, until ctx ends or wait passed.
func (e *events) since(ctx context.Context, n int64, wait time.Duration) wire.Events {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		e.mu.Lock()
		next, wake := e.first+int64(len(e.list)), e.wake
		if n < e.first || n > next {
			e.mu.Unlock()
			return wire.Events{Next: next, Reset: true, Events: []wire.Event{}}
		}
		if n < next {
			out := append([]wire.Event(nil), e.list[n-e.first:]...)
			e.mu.Unlock()
			return wire.Events{Next: next, Events: out}
		}
		e.mu.Unlock()
		select {
		case <-wake:
		case <-timer.C:
			return wire.Events{Next: next, Events: []wire.Event{}}
		case <-ctx.Done():
			return wire.Events{Next: next, Events: []wire.Event{}}
		}
	}
}
