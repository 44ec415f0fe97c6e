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
}

// watch wraps next.
func (i *idle) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.enter()
		defer i.leave()
		next.ServeHTTP(w, r)
	})
}

func (i *idle) enter() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy++
	if i.timer != nil {
		i.timer.Stop()
	}
}

func (i *idle) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy--; i.busy > 0 || i.done {
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
