//go:build linux

package interp

import (
	"context"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// scope is a context: a namespace, with the worker that holds it and the runs that wait for it.
type scope struct {
	h       *Handler
	id      string
	dir     string
	created time.Time
	gone    chan struct{} // closed when it is deleted

	mu      sync.Mutex // guards all below
	w       *worker    // nil: not started yet, or ended
	started bool       // there was a worker once
	busy    bool       // a run has its turn
	waiting []chan struct{}
	deleted bool
}

func newScope(h *Handler, id, dir string) *scope {
	return &scope{h: h, id: id, dir: dir, created: time.Now(), gone: make(chan struct{})}
}

func (s *scope) describe() toolbox.InterpreterContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	return toolbox.InterpreterContext{ID: s.id, Cwd: s.dir, CreatedAt: s.created.UTC().Format(time.RFC3339Nano), Language: "python",
		Active: !s.deleted && (!s.started || s.w != nil && s.w.alive())}
}

// Outcomes of waiting for a turn.
type turn int

const (
	turnMine turn = iota
	turnFull
	turnDeleted
	turnLeft // the client is gone
)

// take waits for the caller's turn, in the order of the calls. Whoever got it calls pass.
func (s *scope) take(ctx context.Context) turn {
	s.mu.Lock()
	switch {
	case s.deleted:
		s.mu.Unlock()
		return turnDeleted
	case !s.busy:
		s.busy = true
		s.mu.Unlock()
		return turnMine
	case len(s.waiting) >= MaxWaiting:
		s.mu.Unlock()
		return turnFull
	}
	mine := make(chan struct{})
	s.waiting = append(s.waiting, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return turnMine
	case <-s.gone:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.waiting {
		if c == mine {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			if s.deleted {
				return turnDeleted
			}
			return turnLeft
		}
	}
	return turnMine // it came at the same moment
}

// pass gives the turn on.
func (s *scope) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.busy = false
		return
	}
	close(s.waiting[0])
	s.waiting = s.waiting[1:]
}

// adopt makes w the worker; false: the scope was deleted, w is the caller's to end.
func (s *scope) adopt(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted {
		return false
	}
	s.w, s.started = w, true
	return true
}

// ready returns a worker that runs. The caller has the turn.
func (s *scope) ready() (*worker, error) {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.mu.Lock()
	w := s.w
	s.mu.Unlock()
	if w != nil {
		if w.alive() {
			return w, nil
		}
		s.discard(w)
	}
	w, err := s.h.start(s.dir)
	if err != nil {
		return nil, err
	}
	if !s.adopt(w) {
		w.end()
		return nil, errDeleted
	}
	return w, nil
}

// discard forgets a worker that ended or is of no use. The caller has the turn.
func (s *scope) discard(w *worker) {
	s.mu.Lock()
	mine := s.w == w
	if mine {
		s.w = nil
	}
	s.mu.Unlock()
	if mine {
		w.close()
	}
}

// delete ends the worker with all it started, and turns waiting runs away.
func (s *scope) delete() {
	s.mu.Lock()
	if s.deleted {
		s.mu.Unlock()
		return
	}
	s.deleted = true
	w := s.w
	s.mu.Unlock()
	close(s.gone)
	if w != nil {
		w.end()
	}
}
