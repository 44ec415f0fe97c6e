//go:build linux

// Package parts keeps the processes of a desktop running: it starts them in order, waits until each is ready, starts again what ends
// by itself, and lets all of them pass to the program that replaces this one.
package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	restartWait = 5 * time.Second  // before a part that ended is started again
	readyWait   = 20 * time.Second // for a part to become ready
	readyPoll   = 10 * time.Millisecond
	stopWait    = 3 * time.Second // for a part to end by itself

	// MaxLog is how much of a log is kept when a part starts, and shown: its end, bytes.
	MaxLog = 1 << 20
)

// Command is a program to start.
type Command struct {
	Path string
	Argv []string
	Env  map[string]string // on top of the sandbox's
}

// Part is one process of a desktop.
type Part struct {
	Name     string
	Priority int // order of starting; parts of the same priority start together
	// Command returns what to start. An error is what the user is told.
	Command func() (Command, error)
	// Given reports that somebody else provides what the part would: it is not started then. nil: never.
	Given func(context.Context) bool
	// Ready reports whether the part does its work.
	Ready func(context.Context) bool

	// Guarded by the set.
	child *run.Child
	want  bool
	stop  chan struct{} // closed to end its keeper
	done  chan struct{} // closed when its keeper has ended
}

// Set is the parts of one desktop.
type Set struct {
	Runner *run.Runner
	Log    *slog.Logger
	Env    func(extra map[string]string) []string
	Dir    func() string // where logs are
	Work   func() string // working directory of the parts
	Parts  []*Part

	change sync.Mutex // held while parts are started or stopped, which takes long
	mu     sync.Mutex // guards the parts; held for moments, and while the set is frozen
	closed bool
}

// State is what a part is doing.
type State struct {
	Name     string
	Priority int
	Pid      int // 0: it does not run
	Given    bool
}

// States returns all parts.
func (s *Set) States(ctx context.Context) []State {
	s.mu.Lock()
	out := make([]State, len(s.Parts))
	for i, p := range s.Parts {
		out[i] = State{Name: p.Name, Priority: p.Priority, Pid: p.pid()}
	}
	s.mu.Unlock()
	for i, p := range s.Parts {
		if out[i].Pid == 0 && p.Given != nil {
			out[i].Given = p.Given(ctx)
		}
	}
	return out
}

func (p *Part) pid() int {
	if p.child == nil {
		return 0
	}
	select {
	case <-p.child.Done():
		return 0
	default:
		return p.child.Pid
	}
}

// Find returns the part of that name.
func (s *Set) Find(name string) (*Part, bool) {
	for _, p := range s.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}

// Start starts what does not run yet and returns when all of it is ready. The error names the part that failed. A part that may be
// absent and fails is logged and left out.
func (s *Set) Start(ctx context.Context, optional func(name string) bool) error {
	s.change.Lock()
	defer s.change.Unlock()
	for i := 0; i < len(s.Parts); {
		j := i
		for j < len(s.Parts) && s.Parts[j].Priority == s.Parts[i].Priority {
			j++
		}
		var wg sync.WaitGroup
		fails := make([]error, j-i)
		for k, p := range s.Parts[i:j] {
			wg.Add(1)
			go func() {
				defer wg.Done()
				err := s.bring(ctx, p)
				if err != nil && optional(p.Name) {
					s.Log.WarnContext(ctx, "the desktop runs without a process", "process", p.Name, "error", err)
					s.halt(p)
					err = nil
				}
				fails[k] = err
			}()
		}
		wg.Wait()
		if err := errors.Join(fails...); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// bring starts one part, unless it runs, and waits until it is ready.
func (s *Set) bring(ctx context.Context, p *Part) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	s.mu.Lock()
	running := p.pid() != 0
	s.mu.Unlock()
	if !running {
		if p.Given != nil && p.Given(ctx) {
			return nil
		}
		s.halt(p)                          // one that waits for its next start
		if err := s.spawn(p); err != nil { //nolint:contextcheck // it outlives the request
			return err
		}
	}
	return s.ready(ctx, p)
}

func (s *Set) ready(ctx context.Context, p *Part) error {
	t := time.NewTicker(readyPoll)
	defer t.Stop()
	for {
		s.mu.Lock()
		child := p.child
		s.mu.Unlock()
		if child == nil {
			return failed(p.Name, "it was stopped")
		}
		if p.Ready(ctx) {
			return nil
		}
		select {
		case <-child.Done():
			return failed(p.Name, "it ended: "+tail(s.Logs(p.Name, true)))
		case <-ctx.Done():
			return failed(p.Name, "it did not become ready in time: "+tail(s.Logs(p.Name, true)))
		case <-t.C:
		}
	}
}

func failed(name, why string) error {
	return errs.New(errs.Unavailable, "the desktop process %s does not work: %s", name, strings.TrimSuffix(why, ": "))
}

// tail is the end of a log, for an error.
func tail(log string) string {
	log = strings.TrimSpace(log)
	if len(log) > 400 {
		log = "…" + strings.ToValidUTF8(log[len(log)-400:], "")
	}
	return log
}

// spawn starts a part and its keeper.
func (s *Set) spawn(p *Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errs.New(errs.Unavailable, "the daemon is ending")
	}
	child, err := s.fork(p)
	if err != nil {
		return err
	}
	p.child, p.want = child, true
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	go s.keep(p, p.stop, p.done)
	return nil
}

// fork starts the program of a part. The caller holds mu.
func (s *Set) fork(p *Part) (*run.Child, error) {
	cmd, err := p.Command()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	if err := os.MkdirAll(s.Dir(), 0o755); err != nil {
		return nil, errs.Wrap(err, errs.Internal, "the directory of the logs cannot be made")
	}
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for i, ext := range []string{".log", ".err"} {
		if f := openLog(filepath.Join(s.Dir(), p.Name+ext)); f != nil {
			defer func() { _ = f.Close() }()
			files[i+1] = f.Fd()
		}
	}
	child, err := s.Runner.Spawn(cmd.Path, cmd.Argv, &syscall.ProcAttr{Dir: s.Work(), Env: s.Env(cmd.Env), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the desktop process %s cannot be started: %s", p.Name, cmd.Path)
	}
	return child, nil
}

// openLog opens a log for appending. Where a link or something else than a file is in its place, there is no log. One that has grown
// large begins anew.
func openLog(path string) *os.File {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil
	}
	if st.Size() > MaxLog {
		_ = f.Truncate(0)
	}
	return f
}

// keep starts a part again whenever it ends, until it is to stop.
func (s *Set) keep(p *Part, stop, done chan struct{}) {
	defer close(done)
	for {
		s.mu.Lock()
		child := p.child
		s.mu.Unlock()
		select {
		case <-child.Done():
		case <-stop:
			return
		}
		s.Log.Warn("a desktop process ended", "process", p.Name)
		for child = nil; child == nil; {
			t := time.NewTimer(restartWait)
			select {
			case <-t.C:
			case <-stop:
				t.Stop()
				return
			}
			given := p.Given != nil && p.Given(context.Background())
			s.mu.Lock()
			if !p.want || s.closed || given {
				p.want = false
				s.mu.Unlock()
				return
			}
			var err error
			if child, err = s.fork(p); err == nil {
				p.child = child
			} else {
				s.Log.Warn("a desktop process cannot be started", "process", p.Name, "error", err)
			}
			s.mu.Unlock()
		}
	}
}

// halt ends a part, all that came out of it, and its keeper.
func (s *Set) halt(p *Part) {
	s.mu.Lock()
	stop, done := p.stop, p.done
	p.want, p.stop, p.done = false, nil, nil
	s.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-done
	s.mu.Lock()
	child := p.child // the keeper may have made a new one last
	p.child = nil
	s.mu.Unlock()
	if child == nil {
		return
	}
	child.SignalTree(syscall.SIGTERM)
	t := time.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-child.Done():
	case <-t.C:
	}
	child.KillTree()
}

// Stop ends all parts, the last started first.
func (s *Set) Stop() {
	s.change.Lock()
	defer s.change.Unlock()
	s.stopAll()
}

func (s *Set) stopAll() {
	for j := len(s.Parts); j > 0; {
		i := j - 1
		for i > 0 && s.Parts[i-1].Priority == s.Parts[j-1].Priority {
			i--
		}
		var wg sync.WaitGroup
		for _, p := range s.Parts[i:j] {
			wg.Add(1)
			go func() {
				defer wg.Done()
				s.halt(p)
			}()
		}
		wg.Wait()
		j = i
	}
}

// Restart ends a part and starts it again.
func (s *Set) Restart(ctx context.Context, p *Part) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.halt(p)
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if p.Given != nil && p.Given(ctx) {
		return errs.New(errs.Conflict, "%s was not started by the desktop and is left alone", p.Name)
	}
	if err := s.spawn(p); err != nil { //nolint:contextcheck // it outlives the request
		return err
	}
	return s.ready(ctx, p)
}

// Close ends all parts. Nothing can be started after it.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopAll()
}

// Logs returns the end of what a part has written, of its errors or its other output.
func (s *Set) Logs(name string, errors bool) string {
	ext := ".log"
	if errors {
		ext = ".err"
	}
	f, err := os.OpenFile(filepath.Join(s.Dir(), name+ext), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return ""
	}
	if over := st.Size() - MaxLog; over > 0 {
		_, _ = f.Seek(over, io.SeekStart)
	}
	b, _ := io.ReadAll(io.LimitReader(f, MaxLog))
	return strings.ToValidUTF8(string(b), "�")
}

// Saved is a running part as it is handed over.
type Saved struct {
	Name    string    `json:"name"`
	Pid     int       `json:"pid"`
	Mark    uint64    `json:"mark"`
	Started time.Time `json:"started"`
}

// Freeze keeps all as it is until Thaw: nothing is started.
func (s *Set) Freeze() { s.mu.Lock() }

// Thaw is the end of Freeze.
func (s *Set) Thaw() { s.mu.Unlock() }

// Save returns what runs, or is to run again. It is called frozen.
func (s *Set) Save() []Saved {
	var out []Saved
	for _, p := range s.Parts {
		if p.want && p.child != nil {
			out = append(out, Saved{p.Name, p.child.Pid, p.child.Mark(), p.child.Started})
		}
	}
	return out
}

// Restore takes over what Save returned.
func (s *Set) Restore(saved []Saved) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range saved {
		p, ok := s.Find(v.Name)
		if !ok || p.child != nil {
			return fmt.Errorf("desktop process %q is unknown or twice", v.Name)
		}
		p.child, p.want = s.Runner.Adopt(v.Pid, v.Mark, v.Started), true
		p.stop, p.done = make(chan struct{}), make(chan struct{})
		go s.keep(p, p.stop, p.done)
	}
	return nil
}
