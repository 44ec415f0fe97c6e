//go:build linux

package pty

import (
	"fmt"
	"io"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
)

// family names the state that is handed over.
const family = "pty"

// lastRestart is how long clients have for their close frame before the exec.
const lastRestart = 30 * time.Millisecond

var _ handover.Keeper = (*Handler)(nil)

// saved is a terminal on its way to the next program.
type saved struct {
	ID      string
	Dir     string
	Envs    map[string]string
	Created time.Time
	Lazy    bool
	Cols    int
	Rows    int

	// Of a terminal whose shell was started.
	Pid     int `json:",omitempty"`
	Mark    uint64
	Started time.Time
	TTY     int // descriptor of the daemon's end
	Data    int // descriptor of a file with the scrollback and then the input that waits
	Back    int // bytes of the scrollback in it
	Past    scanner
	Cut     bool
}

// Freeze implements [handover.Keeper].
func (h *Handler) Freeze() { h.gate.Lock() }

// Thaw implements [handover.Keeper]. Clients were sent away by Save; they may connect again.
func (h *Handler) Thaw() { h.gate.Unlock() }

// Save implements [handover.Keeper]. WebSockets cannot be handed over: their clients are told to connect again (1012) and
// get what they missed from the scrollback.
func (h *Handler) Save(out *handover.Out) error {
	list := []saved{}
	for _, t := range h.all() {
		s, ok, err := t.save(out)
		if err != nil {
			return fmt.Errorf("terminal %q: %w", clip(t.id), err)
		}
		if ok {
			list = append(list, s)
		}
	}
	for _, t := range h.all() {
		t.dismiss(ws.Restart, "the daemon is replaced; connect again")
	}
	deadline := time.NewTimer(lastRestart)
	defer deadline.Stop()
	h.mu.Lock()
	conns := make([]*ws.Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	h.mu.Unlock()
	for _, c := range conns {
		select {
		case <-c.Context().Done():
		case <-deadline.C:
			return out.Put(family, list)
		}
	}
	return out.Put(family, list)
}

func (t *terminal) save(out *handover.Out) (s saved, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return s, false, nil
	}
	s = saved{ID: t.id, Dir: t.dir, Envs: t.envs, Created: t.created, Lazy: t.lazy, Cols: t.cols, Rows: t.rows}
	if t.child == nil {
		return s, true, nil
	}
	select {
	case <-t.child.Done(): // its status is taken; nobody could learn it again
		return s, false, nil
	default:
	}
	t.in.mu.Lock()
	back := t.back.bytes()
	data, err := run.MemFile("terminal", append(back[:len(back):len(back)], t.in.pending...))
	t.in.mu.Unlock()
	if err != nil {
		return s, false, err
	}
	defer func() { _ = data.Close() }()
	s.Pid, s.Mark, s.Started, s.Back, s.Past, s.Cut = t.child.Pid, t.child.Mark(), t.child.Started, len(back), t.back.past, t.back.cut
	if s.TTY, err = out.Pass(t.tty); err != nil {
		return s, false, err
	}
	if s.Data, err = out.Pass(data); err != nil {
		return s, false, err
	}
	return s, true, nil
}

// Restore implements [handover.Keeper]. A terminal that cannot be taken over is lost, the others are not.
func (h *Handler) Restore(in *handover.In) error {
	var list []saved
	if ok, err := in.Get(family, &list); !ok || err != nil {
		return err
	}
	h.mu.Lock()
	if h.terminals == nil {
		h.terminals = map[string]*terminal{}
	}
	h.mu.Unlock()
	for _, s := range list {
		t := h.newTerminal(s.ID, s.Dir, s.Envs)
		t.created, t.lazy, t.cols, t.rows = s.Created, s.Lazy, s.Cols, s.Rows
		if s.Pid != 0 {
			if err := t.restore(in, s); err != nil {
				h.Log.Warn("a terminal could not be taken over", "error", err)
				continue
			}
		}
		h.mu.Lock()
		h.terminals[t.id] = t
		h.mu.Unlock()
	}
	return nil
}

func (t *terminal) restore(in *handover.In, s saved) error {
	data, err := in.Take(s.Data, "terminal")
	if err != nil {
		return err
	}
	defer func() { _ = data.Close() }()
	tty, err := in.Take(s.TTY, "/dev/ptmx")
	if err != nil {
		return err
	}
	held, err := io.ReadAll(io.NewSectionReader(data, 0, Scrollback+maxPending))
	if err == nil && (s.Back < 0 || s.Back > len(held)) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		_ = tty.Close() // hangs the shell up
		return err
	}
	raw, err := tty.SyscallConn()
	if err != nil {
		_ = tty.Close()
		return err
	}
	t.back.write(held[:s.Back])
	t.back.past, t.back.cut = s.Past, s.Cut
	t.in.pending = held[s.Back:]
	t.run(tty, raw, t.h.Runner.Adopt(s.Pid, s.Mark, s.Started))
	if len(t.in.pending) > 0 {
		t.in.pumping = true
		t.h.works.Go(t.pumpInput)
	}
	return nil
}
