//go:build linux

package pty

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	chunk = 32 << 10 // bytes of one message to a client, at most

	// slowFor is how long the output waits for clients that all lag before they are closed.
	slowFor = 5 * time.Second

	// After its shell ended, a terminal ends when nothing came for grace, and at the latest after lastWords: a background
	// process may hold it open.
	grace     = 200 * time.Millisecond
	lastWords = 30 * time.Second
)

// terminal is one pseudo-terminal with its shell.
type terminal struct {
	h       *Handler
	id      string
	dir     string
	envs    map[string]string
	created time.Time
	lazy    bool

	starting sync.Mutex // held while the shell is started, and to decide that it never will be

	// Set by the start, before the terminal is seen as active.
	tty *os.File
	raw syscall.RawConn
	eof bool // nobody has the program's end open; only pump uses it

	in     inbox
	room   chan struct{} // a client stopped lagging, or left
	active atomic.Bool   // something was read, or waits for clients, since it was last looked at
	hurry  chan struct{} // closed when the terminal is to be ended by force
	done   chan struct{} // closed when the terminal has ended

	mu      sync.Mutex // guards all below; held for short
	cols    int
	rows    int
	child   *run.Child // nil: not started
	seats   int        // clients that are attached or about to be
	clients map[*ws.Conn]struct{}
	back    scrollback
	hurried bool
	ended   bool
	exit    toolbox.PtyExit
}

func (t *terminal) info() toolbox.PtyInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	return toolbox.PtyInfo{ID: t.id, Cwd: t.dir, Envs: t.envs, Cols: t.cols, Rows: t.rows,
		CreatedAt: t.created.UTC().Format(time.RFC3339Nano), Active: t.child != nil && !t.ended, LazyStart: t.lazy}
}

// over reports whether the terminal has ended.
func (t *terminal) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// start starts the shell, once.
func (t *terminal) start() error {
	t.starting.Lock()
	defer t.starting.Unlock()
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	t.mu.Lock()
	cols, rows, started, ended := t.cols, t.rows, t.child != nil, t.ended
	t.mu.Unlock()
	switch {
	case started:
		return nil
	case ended:
		return errs.New(errs.Gone, "terminal %q was deleted", clip(t.id))
	}
	env := maps.Clone(t.envs)
	get := func(name string) string {
		if v, ok := env[name]; ok {
			return v
		}
		return t.h.Env.Get(name)
	}
	sh := shell.Pick(get)
	if env["TERM"] == "" {
		env["TERM"] = "xterm-256color"
	}
	if get("SHELL") == "" {
		env["SHELL"] = sh
	}
	tty, slave, err := open(cols, rows)
	if err != nil {
		return startError(err, t.dir, sh)
	}
	defer func() { _ = unix.Close(slave) }()
	raw, err := tty.SyscallConn()
	if err != nil {
		_ = tty.Close()
		return err
	}
	fd := uintptr(slave)
	// A name that begins with a dash makes every shell a login shell.
	child, err := t.h.Runner.Spawn(sh, []string{"-" + filepath.Base(sh), "-i"}, &syscall.ProcAttr{Dir: t.dir, Env: t.h.Env.List(env),
		Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}})
	if err != nil {
		_ = tty.Close()
		return startError(err, t.dir, sh)
	}
	t.run(tty, raw, child)
	return nil
}

// run sets the terminal going. The gate is held for reading, or the daemon does not serve yet.
func (t *terminal) run(tty *os.File, raw syscall.RawConn, child *run.Child) {
	t.tty, t.raw = tty, raw
	t.mu.Lock()
	t.child = child
	t.mu.Unlock()
	drained := make(chan struct{})
	t.h.works.Go(func() {
		defer close(drained)
		t.pump()
	})
	t.h.works.Go(func() { t.watch(drained) })
}

// buffers are for output; a quiet terminal holds none.
var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

// pump moves output from the kernel to the scrollback and the clients until there is no more.
func (t *terminal) pump() {
	for {
		if err := t.raw.Read(func(fd uintptr) bool { return t.take(int(fd)) }); err != nil || t.eof {
			return
		}
		t.throttle()
	}
}

// take moves what is there, at most a chunk. It reports false when there was nothing.
func (t *terminal) take(fd int) bool {
	b, _ := buffers.Get().(*[chunk]byte)
	defer buffers.Put(b)
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	n, eof := 0, false
	for n < len(b) {
		k, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if eof = err != nil && err != unix.EAGAIN || err == nil && k == 0; err != nil || k == 0 {
			break
		}
		n += k
	}
	if n > 0 {
		t.active.Store(true)
		t.output(b[:n])
	}
	if eof {
		t.eof = true
	}
	return n > 0 || eof
}

func (t *terminal) output(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.back.write(data)
	if len(t.clients) == 0 {
		return
	}
	shared := bytes.Clone(data)
	for c := range t.clients {
		if !c.Queue(ws.Binary, shared) {
			delete(t.clients, c)
		}
	}
}

// throttle waits as long as all clients lag: whoever reads slowly slows the program down, as a real terminal does. One that
// keeps up is not held up by others; they are closed when their queue is full. After [slowFor] all that lag are closed: the
// program must not wait for somebody who is gone.
func (t *terminal) throttle() {
	if !t.lag() {
		return
	}
	timer := time.NewTimer(slowFor)
	defer timer.Stop()
	for t.lag() {
		t.active.Store(true)
		select {
		case <-t.room:
			timer.Reset(slowFor)
		case <-timer.C:
			t.cutSlow()
			return
		case <-t.hurry:
			t.cutSlow()
			return
		}
	}
}

func (t *terminal) cutSlow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.clients {
		if c.Lagging() {
			c.TooSlow()
			delete(t.clients, c)
		}
	}
}

// lag reports whether there are clients and all of them lag.
func (t *terminal) lag() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.clients {
		if !c.Lagging() {
			return false
		}
	}
	return len(t.clients) > 0
}

// watch sees the shell to its end, and the terminal.
func (t *terminal) watch(drained <-chan struct{}) {
	<-t.child.Done()
	deadline := time.Now().Add(lastWords)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for waiting := true; waiting; {
		select {
		case <-drained:
			waiting = false
		case <-timer.C:
			if waiting = t.active.Swap(false) && time.Now().Before(deadline); waiting {
				timer.Reset(grace)
			}
		}
	}
	_ = t.tty.SetReadDeadline(time.Unix(1, 0))
	<-drained
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	t.end(exitOf(t.child.Status()))
	_ = t.tty.Close()
}

// end makes the terminal ended, forgets it and tells its clients. The gate is held for reading.
func (t *terminal) end(exit toolbox.PtyExit) {
	t.h.forget(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended, t.exit = true, exit
	for c := range t.clients {
		t.farewell(c)
	}
	clear(t.clients)
	close(t.done)
}

// farewell tells c how the terminal ended. The caller holds mu.
func (t *terminal) farewell(c *ws.Conn) {
	if c.Offers(ws.ExitControlProtocol) {
		c.Queue(ws.Text, text(toolbox.PtyControl{Type: "control", Status: toolbox.PtyExited, ExitCode: &t.exit.ExitCode, ExitReason: t.exit.ExitReason}))
	}
	c.Finish(closing(t.exit))
}

// dismiss closes all clients.
func (t *terminal) dismiss(code int, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.clients {
		c.Finish(code, reason)
	}
	clear(t.clients)
	t.stir()
}

// stir lets the pump look again at whether the clients lag.
func (t *terminal) stir() {
	select {
	case t.room <- struct{}{}:
	default:
	}
}

// kill ends the terminal with all that came out of it and returns when it has ended.
func (t *terminal) kill() {
	t.starting.Lock()
	t.mu.Lock()
	child := t.child
	if !t.hurried {
		t.hurried = true
		close(t.hurry)
	}
	t.mu.Unlock()
	if child == nil {
		t.abandon()
	}
	t.starting.Unlock()
	if child != nil {
		child.KillTree()
	}
	<-t.done
}

// abandon ends a terminal whose shell was never started.
func (t *terminal) abandon() {
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	t.end(toolbox.PtyExit{ExitCode: 137, ExitReason: "SIGKILL"})
}

// resize sets the size, also of a terminal that is yet to be started. It reports false when the terminal has ended.
func (t *terminal) resize(cols, rows int) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false, nil
	}
	if t.child != nil {
		var err error
		if cerr := t.raw.Control(func(fd uintptr) { err = setSize(int(fd), cols, rows) }); cerr != nil {
			return false, nil // it ends just now
		}
		if err != nil {
			return false, err
		}
	}
	t.cols, t.rows = cols, rows
	return true, nil
}
