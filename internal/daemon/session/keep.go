//go:build linux

package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// family names the state that is handed over.
const family = "session"

var _ handover.Keeper = (*Handler)(nil)

// savedSession is a session on its way to the next program.
type savedSession struct {
	ID, Dir, Shell string
	Child          run.ChildState
	Script, Status int // descriptors; of a session that has not ended
	Reports        reports
	Seq            uint64
	Last           int
	Ended          bool
	Exit           int
	Deleting       bool
	Commands       []savedCommand
}

// Where a command stands.
const (
	waits = iota
	turn  // it is the one that runs, or is about to
	through
)

type savedCommand struct {
	ID, Shown, Text string
	Async, NoEcho   bool
	Stage           int
	Seq             uint64
	Unfed           []byte
	Reported        *int
	Exit            *int
	Over            bool
	Frame           framer
	In              savedPipe
	Outs            [2]savedPipe
	Open            [2]bool

	Size   int64
	Max    int64
	Tail   string
	Cut    bool
	InLine bool
}

// savedPipe holds descriptors; -1: closed.
type savedPipe struct {
	Path string
	R, W int
}

type saved struct {
	Room     string
	Sessions []savedSession
	Parked   []savedParked
}

// Freeze implements [handover.Keeper]. Requests that wait are parked. Followers cannot be handed over: those with a WebSocket
// are told to connect again (1012), the others are cut off; they go on with the number of bytes they have as the offset.
func (h *Handler) Freeze() {
	h.desk.Freeze()
	h.gate.Lock()
}

// Thaw implements [handover.Keeper].
func (h *Handler) Thaw() {
	h.gate.Unlock()
	h.attend(h.desk.Thaw())
}

// Save implements [handover.Keeper].
func (h *Handler) Save(out *handover.Out) error {
	state := saved{Room: h.rooms.dir}
	for _, s := range h.all() {
		one, err := s.save(out)
		if err != nil {
			return fmt.Errorf("session %q: %w", clip(s.id), err)
		}
		state.Sessions = append(state.Sessions, one)
	}
	var err error
	if state.Parked, err = h.saveParked(out); err != nil {
		return err
	}
	return out.Put(family, state)
}

func (s *session) save(out *handover.Out) (savedSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := savedSession{ID: s.id, Dir: s.dir, Shell: s.shell, Child: s.child.State(), Reports: s.rep, Seq: s.seq, Last: s.last, Ended: s.ended, Exit: s.exit, Deleting: s.deleting}
	if !s.ended {
		var err, err2 error
		v.Script, err = out.Pass(s.script)
		v.Status, err2 = out.Pass(s.status)
		if err := errors.Join(err, err2); err != nil {
			return v, err
		}
	}
	for _, c := range s.commands {
		one, err := c.save(out)
		if err != nil {
			return v, err
		}
		switch {
		case c.exit != nil:
			one.Stage = through
		case s.current == c:
			one.Stage = turn
		}
		v.Commands = append(v.Commands, one)
	}
	return v, nil
}

// save: the caller holds s.mu.
func (c *command) save(out *handover.Out) (savedCommand, error) {
	v := savedCommand{ID: c.id, Shown: c.shown, Text: c.text, Async: c.async, NoEcho: c.noEcho, Seq: c.seq, Unfed: c.unfed, Reported: c.reported, Exit: c.exit,
		Over: c.over, Frame: c.frame, Open: c.open, Size: c.log.size, Max: c.log.max, Tail: c.log.tail, Cut: c.log.cut, InLine: c.log.inLine}
	var err error
	if v.In, err = c.in.save(out, true); err != nil {
		return v, err
	}
	for i := range c.outs {
		if v.Outs[i], err = c.outs[i].save(out, c.open[i]); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (p *pipe) save(out *handover.Out, open bool) (v savedPipe, err error) {
	v = savedPipe{Path: p.path, R: -1, W: -1}
	if p.r != nil && open {
		if v.R, err = out.Pass(p.r); err != nil {
			return v, err
		}
	}
	if p.w != nil {
		v.W, err = out.Pass(p.w)
	}
	return v, err
}

// Restore implements [handover.Keeper]. A session that cannot be taken over is lost, the others are not.
func (h *Handler) Restore(in *handover.In) error {
	var state saved
	if ok, err := in.Get(family, &state); !ok || err != nil {
		return err
	}
	h.rooms.dir = state.Room
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions == nil {
		h.sessions = map[string]*session{}
	}
	for _, v := range state.Sessions {
		s, err := h.restore(in, v)
		if err != nil {
			h.Log.Warn("a session could not be taken over", "error", err)
			continue
		}
		h.born++
		s.born = h.born
		h.sessions[s.id] = s
	}
	h.restoreParked(in, state.Parked)
	h.attend(h.desk.Thaw())
	return nil
}

func (h *Handler) restore(in *handover.In, v savedSession) (*session, error) {
	s := &session{h: h, id: v.ID, dir: v.Dir, shell: v.Shell, wake: make(chan struct{}, 1), gone: make(chan struct{}), done: make(chan struct{}),
		rep: v.Reports, seq: v.Seq, last: v.Last, ended: v.Ended, exit: v.Exit, child: h.Runner.RestoreChild(v.Child)}
	if !v.Ended {
		var err, err2 error
		s.script, err = in.Take(v.Script, "script")
		s.status, err2 = in.Take(v.Status, "status")
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
	}
	for _, cv := range v.Commands {
		c, err := s.restore(in, cv)
		if err != nil {
			return nil, err
		}
		s.commands = append(s.commands, c)
		switch cv.Stage {
		case waits:
			s.queue = append(s.queue, c)
		case turn:
			s.current = c
		case through:
			h.remembered.Add(1)
			if c.seq == s.seq && c.seq > 0 {
				s.last = *c.exit
			}
			close(c.started)
			close(c.done)
			c.log.ended = true
			c.read()
		}
	}
	if v.Ended {
		close(s.done)
	} else {
		s.begin()
	}
	if v.Deleting {
		s.vanish()
		h.loops.Go(func() { h.bury(s) })
	}
	return s, nil
}

func (s *session) restore(in *handover.In, v savedCommand) (*command, error) {
	c := s.newCommand(v.ID, v.Text, v.Async, v.NoEcho)
	c.shown, c.seq, c.unfed, c.reported, c.exit, c.over, c.frame, c.open = v.Shown, v.Seq, v.Unfed, v.Reported, v.Exit, v.Over, v.Frame, v.Open
	c.log = &record{path: filepath.Join(c.dir, logName), max: v.Max, size: v.Size, tail: v.Tail, cut: v.Cut, inLine: v.InLine}
	var err [3]error
	c.in, err[0] = restorePipe(in, v.In)
	for i := range c.outs {
		c.outs[i], err[i+1] = restorePipe(in, v.Outs[i])
	}
	if v.Stage == through {
		c.unfed = nil
	} else {
		c.weight = len(v.Text) + len(v.Unfed)
		s.h.waiting.Add(int64(c.weight))
	}
	if (v.Seq != 0 || v.Stage == through) && !c.open[stdout] && !c.open[stderr] {
		close(c.eof)
	}
	c.arm()
	return c, errors.Join(err[:]...)
}

func restorePipe(in *handover.In, v savedPipe) (p pipe, err error) {
	take := func(fd int) *os.File {
		if fd < 0 {
			return nil
		}
		f, terr := in.Take(fd, v.Path)
		err = errors.Join(err, terr)
		return f
	}
	p = pipe{path: v.Path, r: take(v.R), w: take(v.W)}
	return p, err
}
