//go:build linux

package daemon

import (
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// idleAfter is how long nothing must have been asked before memory goes back to the host.
const idleAfter = time.Second

// idle gives unused memory back once after each burst of requests. The runtime would keep what a large answer or a
// thousand small ones needed, for minutes and in each of hundreds of sandboxes. One timer, set only while there is
// something to give back: an idle daemon does nothing at all.
type idle struct {
	mu    sync.Mutex // guards all below
	busy  int        // requests under way
	timer *time.Timer
	done  bool
	held  chan struct{} // closed by release; nil: requests are let in
	still chan struct{} // gets something when busy falls, while held
}

// watch wraps next.
func (i *idle) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.enter()
		defer i.leave()
		next.ServeHTTP(w, r)
	})
}

// hold keeps new requests waiting, until release.
func (i *idle) hold() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held, i.still = make(chan struct{}), make(chan struct{}, 1)
}

func (i *idle) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	close(i.held)
	i.held = nil
}

// drain waits until at most want requests are under way, at most for patience, and returns how many there are.
func (i *idle) drain(want int, patience time.Duration) int {
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		i.mu.Lock()
		left, still := i.busy, i.still
		i.mu.Unlock()
		if left <= want {
			return left
		}
		select {
		case <-still:
		case <-over.C:
			return left
		}
	}
}

func (i *idle) enter() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.held != nil {
		held := i.held
		i.mu.Unlock()
		<-held
		i.mu.Lock()
	}
	i.busy++
	if i.timer != nil {
		i.timer.Stop()
	}
}

func (i *idle) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy--
	if i.held != nil {
		select {
		case i.still <- struct{}{}:
		default:
		}
	}
	if i.busy > 0 || i.done {
		return
	}
	if i.timer == nil {
		i.timer = time.AfterFunc(idleAfter, debug.FreeOSMemory)
		return
	}
	i.timer.Reset(idleAfter)
}

func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done = true
	if i.timer != nil {
		i.timer.Stop()
	}
}
