//go:build linux

package interp

import (
	"fmt"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

var _ handover.Keeper = (*Handler)(nil)

// family is the name of the state in a handover.
const family = "interp"

// kept is what the next program needs to go on with the contexts. Connections are lost with the program before: a run that was
// under way goes on to its end unheard, at most for [DefaultTimeout], and its context is busy until then.
type kept struct {
	Scopes []keptScope `json:"scopes"`
}

type keptScope struct {
	ID      string      `json:"id"`
	Dir     string      `json:"dir"`
	Created time.Time   `json:"created"`
	Started bool        `json:"started"`
	Worker  *keptWorker `json:"worker,omitempty"`
}

type keptWorker struct {
	Pid     int       `json:"pid"`
	Mark    uint64    `json:"mark"`
	Started time.Time `json:"started"`
	Files   []int     `json:"files"` // protocol, output, errors
	Pending []byte    `json:"pending,omitempty"`
	Running bool      `json:"running,omitempty"`
	Owed    bool      `json:"owed,omitempty"`
}

// Freeze stops reading from workers and starting new ones.
func (h *Handler) Freeze() {
	h.gate.Lock()
	for _, s := range h.all() {
		if w := s.worker(); w != nil {
			_ = w.ch.SetReadDeadline(time.Unix(1, 0)) // answers go on: the worker would wait for ever for a lost one
			w.reading.Lock()
			_ = w.ch.SetReadDeadline(time.Time{})
		}
	}
}

// Thaw goes on.
func (h *Handler) Thaw() {
	for _, s := range h.all() {
		if w := s.worker(); w != nil {
			w.reading.Unlock()
		}
	}
	h.gate.Unlock()
}

// all lists the contexts: the default one if there is one, then the made ones, oldest first.
func (h *Handler) all() []*scope {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := append([]*scope(nil), h.order...)
	if s := h.scopes[defaultScope]; s != nil {
		out = append([]*scope{s}, out...)
	}
	return out
}

func (s *scope) worker() *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w
}

// Save writes the contexts and passes the descriptors of their workers on.
func (h *Handler) Save(out *handover.Out) error {
	state := kept{}
	for _, s := range h.all() {
		k := keptScope{ID: s.id, Dir: s.dir, Created: s.created, Started: true}
		if w := s.worker(); w != nil && w.alive() {
			k.Worker = &keptWorker{Pid: w.child.Pid, Mark: w.child.Mark(), Started: w.child.Started, Pending: w.pending, Running: w.running, Owed: w.owed}
			for _, f := range w.files() {
				fd, err := out.Pass(f)
				if err != nil {
					return fmt.Errorf("descriptor of an interpreter: %w", err)
				}
				k.Worker.Files = append(k.Worker.Files, fd)
			}
		} else if w == nil {
			s.mu.Lock()
			k.Started = s.started
			s.mu.Unlock()
		}
		state.Scopes = append(state.Scopes, k)
	}
	if len(state.Scopes) == 0 {
		return nil
	}
	return out.Put(family, state)
}

// Restore takes over what Save wrote.
func (h *Handler) Restore(in *handover.In) error {
	var state kept
	if ok, err := in.Get(family, &state); err != nil || !ok {
		return err
	}
	h.scopes = map[string]*scope{}
	for _, k := range state.Scopes {
		s := newScope(h, k.ID, k.Dir)
		s.created, s.started = k.Created, k.Started
		h.scopes[s.id] = s
		if s.id != defaultScope {
			h.order = append(h.order, s)
		}
		if k.Worker == nil {
			continue
		}
		w, err := h.restore(in, k.Worker)
		if err != nil {
			return err
		}
		s.w = w
		if w.running {
			s.busy = true
			h.works.Go(func() { h.settle(s, w) })
		}
	}
	return nil
}

func (h *Handler) restore(in *handover.In, k *keptWorker) (*worker, error) {
	if len(k.Files) != 3 {
		return nil, fmt.Errorf("state of %s: %d descriptors", family, len(k.Files))
	}
	w := &worker{pending: k.Pending, running: k.Running, owed: k.Owed}
	for i, fd := range k.Files {
		f, err := in.Take(fd, "interpreter")
		if err != nil {
			return nil, err
		}
		switch i {
		case 0:
			w.ch = f
		case 1:
			w.out = f
		default:
			w.err = f
		}
	}
	w.child = h.Runner.Adopt(k.Pid, k.Mark, k.Started)
	return w, nil
}

// settle sees a run to its end that the program before began. Nobody hears of it.
func (h *Handler) settle(s *scope, w *worker) {
	defer s.pass()
	watch := w.watch(nil, DefaultTimeout)
	w.answer()
	err := w.relay(nil)
	watch.stop()
	if err != nil {
		w.end()
		s.discard(w)
	}
}
