//go:build linux

package session

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Limits. What is over one is refused with an error that names it.
const (
	// MaxSessions is how many sessions there can be at a time, those whose shell has ended among them.
	MaxSessions = 256
	// MaxQueued is how many commands of a session can wait for the one that runs.
	MaxQueued = 64
	// MaxCommands is how many ended commands of a session are remembered: the oldest are forgotten, with their logs.
	MaxCommands = 1000
	// MaxID is the length of a session's name in bytes.
	MaxID = 128
	// MaxCommandText is the length of a command in bytes.
	MaxCommandText = 8 << 20
	// MaxWaiting is how many bytes of commands can wait for their shells, in all sessions together.
	MaxWaiting = 64 << 20

	// maxAll is how many ended commands all sessions together remember.
	maxAll = 10_000
	// grace is how long processes may take to end when their session is deleted.
	grace = 5 * time.Second
)

// session is a shell and its commands.
//
// One goroutine, loop, gives the shell one command after the other and waits for the shell's report of each; another one waits
// for the shell's own end. Nothing of it runs while nothing happens.
type session struct {
	h     *Handler
	id    string
	dir   string // of the logs
	shell string
	born  uint64
	child *run.Child

	script *os.File // what the shell reads
	status *os.File // its reports

	wake    chan struct{} // something was queued
	gone    chan struct{} // closed when the session is being deleted
	done    chan struct{} // closed when the loop is through
	readers sync.WaitGroup

	rep  reports // of loop
	seq  uint64  // of loop: number of the last command
	last int     // of loop: exit code of the last command

	mu       sync.Mutex // guards all below
	queue    []*command
	current  *command
	commands []*command // all that are remembered, oldest first
	ended    bool       // the shell is gone, or going
	exit     int
	deleting bool
}

// checkID refuses what can be no name of a session.
func checkID(name string) error {
	switch {
	case name == "":
		return errs.New(errs.Invalid, "sessionId must not be empty")
	case len(name) > MaxID:
		return errs.New(errs.Invalid, "sessionId must be at most %d bytes, got %d", MaxID, len(name))
	case name == toolbox.EntrypointSession:
		return errs.New(errs.Invalid, "sessionId must not be %q: that is the session of the image's entrypoint", toolbox.EntrypointSession)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errs.New(errs.Invalid, "sessionId must be text without control characters")
	}
	return nil
}

// dirName makes a file name of a session's name: itself where that is harmless, else with the other bytes as %XX.
func dirName(name string) string {
	var b strings.Builder
	for i, c := range []byte(name) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	if b.Len() > 200 {
		sum := sha256.Sum256([]byte(name))
		return b.String()[:100] + "%" + hex.EncodeToString(sum[:16])
	}
	return b.String()
}

// room makes the empty directory for the logs of a session: below $HOME, as on the 0.x wire, or else where temporary files go.
// What an earlier session of that name left is removed.
func (h *Handler) room(name string) (string, error) {
	var first error
	for _, base := range []string{cmp.Or(h.Env.Get("HOME"), "/"), os.TempDir()} {
		dir := filepath.Join(base, ".daytona", "sessions", dirName(name))
		err := os.RemoveAll(dir)
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			return dir, nil
		}
		first = cmp.Or(first, err)
	}
	return "", first
}

// start makes a session with its shell in dir.
func (h *Handler) start(name, cwd string) (*session, error) {
	logs, err := h.room(name)
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return nil, errs.Wrap(err, errs.Exhausted, "there is no space left on the sandbox's disk for the logs of a session")
		}
		return nil, errs.Wrap(err, errs.Invalid, "the directory for the session's logs cannot be made: %v", err)
	}
	s := &session{h: h, id: name, dir: logs, shell: h.shell(), wake: make(chan struct{}, 1), gone: make(chan struct{}), done: make(chan struct{})}
	if err := s.spawn(cwd); err != nil {
		_ = os.RemoveAll(logs)
		return nil, errs.Wrap(err, errs.Invalid, "the session's shell cannot be started: %v", err)
	}
	return s, nil
}

// shell returns the shell for sessions: that of commands, unless it does not speak the language of statement.
func (h *Handler) shell() string {
	if h.Shell != "" {
		return h.Shell
	}
	sh := shell.Pick(h.Env.Get)
	if posix(sh) {
		return sh
	}
	if p := shell.LookPath("sh", h.Env.Get("PATH")); p != "" {
		return p
	}
	return "/bin/sh"
}

func (s *session) spawn(cwd string) error {
	var script, status [2]int
	if err := unix.Pipe2(script[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	defer func() { _ = unix.Close(script[0]) }()
	if err := unix.Pipe2(status[:], unix.O_CLOEXEC); err != nil {
		_ = unix.Close(script[1])
		return os.NewSyscallError("pipe2", err)
	}
	defer func() { _ = unix.Close(status[1]) }()
	_ = unix.SetNonblock(script[1], true)
	_ = unix.SetNonblock(status[0], true)
	s.script, s.status = os.NewFile(uintptr(script[1]), "script"), os.NewFile(uintptr(status[0]), "status")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		defer func() { _ = null.Close() }()
		const none = ^uintptr(0)
		files := []uintptr{uintptr(script[0]), null.Fd(), null.Fd(), none, none, none, none, reportFD: uintptr(status[1])}
		s.child, err = s.h.Runner.Spawn(s.shell, []string{s.shell}, &syscall.ProcAttr{Dir: cwd, Env: s.h.Env.List(nil), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	}
	if err != nil {
		_ = s.script.Close()
		_ = s.status.Close()
		return err
	}
	return nil
}

// begin starts the goroutines.
func (s *session) begin() {
	s.h.loops.Add(2)
	go func() {
		defer s.h.loops.Done()
		s.loop()
	}()
	go func() {
		defer s.h.loops.Done()
		<-s.child.Done()
		_ = s.status.SetReadDeadline(time.Unix(1, 0)) // there will be no more reports
		_ = s.script.SetWriteDeadline(time.Unix(1, 0))
	}()
}

// submit queues a command. The caller holds the gate.
func (s *session) submit(text string, async, noEcho bool) (*command, error) {
	c := s.newCommand(id.New(), text, async, noEcho)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deleting:
		return nil, s.h.unknown(s.id)
	case s.ended:
		return nil, s.over()
	case len(s.queue) >= MaxQueued:
		return nil, errs.New(errs.Busy, "%d commands of the session wait already for the one that runs, no more are taken", MaxQueued)
	}
	if s.h.waiting.Add(int64(len(text))) > MaxWaiting {
		s.h.waiting.Add(-int64(len(text)))
		return nil, errs.New(errs.Busy, "commands of %d bytes in all wait already for their shells, no more are taken", MaxWaiting)
	}
	c.weight = len(text)
	s.queue, s.commands = append(s.queue, c), append(s.commands, c)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return c, nil
}

func (s *session) newCommand(cmdID, text string, async, noEcho bool) *command {
	c := &command{s: s, id: cmdID, text: text, shown: text, async: async, noEcho: noEcho, dir: filepath.Join(s.dir, cmdID),
		started: make(chan struct{}), done: make(chan struct{}), eof: make(chan struct{}), typing: make(chan struct{}, 1)}
	if len(c.shown) > maxShown {
		c.shown = strings.Clone(strings.ToValidUTF8(c.shown[:maxShown], "")) // a part of the text would keep all of it
	}
	c.log = &record{path: filepath.Join(c.dir, logName), max: s.h.logMax()}
	return c
}

// over is the error of a session whose shell has ended. The caller holds mu.
func (s *session) over() error {
	return errs.New(errs.Gone, "the session has ended: its shell exited with code %d. Delete it and create another", s.exit).WithCode("SESSION_ENDED")
}

// loop runs the commands. It ends with the shell.
func (s *session) loop() {
	defer close(s.done)
	for {
		c := s.next()
		if c == nil {
			break
		}
		if !s.run(c) {
			break
		}
	}
	<-s.child.Done()
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.mu.Lock()
	s.ended, s.exit = true, s.exitCode()
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, c := range queue {
		c.fail("[not run: the session has ended]")
	}
	_ = s.script.Close()
	_ = s.status.Close()
}

// next waits for a command; nil: the shell has ended.
func (s *session) next() *command {
	for {
		if c := s.pop(); c != nil {
			return c
		}
		select {
		case <-s.wake:
		case <-s.child.Done():
			return nil
		}
	}
}

func (s *session) pop() *command {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil { // handed over by the program before this one
		return s.current
	}
	select {
	case <-s.child.Done():
		return nil
	default:
	}
	if len(s.queue) == 0 {
		return nil
	}
	s.current = s.queue[0]
	s.queue = s.queue[1:]
	return s.current
}

// run gives c to the shell and waits for its end. It reports false when the shell is gone.
func (s *session) run(c *command) bool {
	if c.seq == 0 {
		if err := s.prepare(c); err != nil {
			return true
		}
	}
	select {
	case <-c.started:
	default:
		c.read()
		close(c.started)
	}
	_ = whenWritable(s.script, func(fd int) bool { return s.feed(c, fd) }) // an error: the shell is gone, and that is seen below
	s.h.gate.RLock()
	c.unfed = nil
	c.taken()
	s.h.gate.RUnlock()
	exit, alive := s.await(c)
	c.finish(exit)
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.last = exit
	s.settle(c)
	return alive
}

// prepare makes all that c needs. A failure ends c, and not the session.
func (s *session) prepare(c *command) error {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.seq++
	c.seq = s.seq
	err := os.MkdirAll(c.dir, 0o700) // a log that cannot be written says so itself
	if perr := c.prepare(s.last); perr != nil {
		s.h.Log.Warn("a session's command cannot be started", "error", perr)
		c.fail("[not run: %v]", perr)
		s.settle(c)
		return errors.Join(perr, err)
	}
	return nil
}

// feed writes the statement as far as the shell takes it.
func (s *session) feed(c *command, fd int) bool {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	for len(c.unfed) > 0 {
		n, err := unix.Write(fd, c.unfed)
		if n > 0 {
			c.unfed = c.unfed[n:]
		}
		if err != nil {
			later, atOnce := again(err)
			if later {
				return false
			}
			if !atOnce {
				break
			}
		}
	}
	c.unfed = nil
	return true
}

// await waits for the report of c, or the end of the shell.
func (s *session) await(c *command) (exit int, alive bool) {
	if c.reported == nil {
		_ = whenReadable(s.status, func(fd int) bool { return s.listen(c, fd) })
	}
	if c.reported == nil { // the shell has ended; its last words are still in the pipe
		<-s.child.Done()
		now(s.status, func(fd int) { s.listen(c, fd) })
	}
	if c.reported != nil {
		return *c.reported, true
	}
	return s.exitCode(), false
}

func (s *session) listen(c *command, fd int) bool {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	var buf [512]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if n > 0 {
			if exit, ok := s.rep.take(buf[:n], c.seq); ok {
				c.reported = &exit
				return true
			}
			continue
		}
		if later, atOnce := again(err); atOnce {
			continue
		} else if later {
			return false
		}
		return true // all writers are gone
	}
}

// exitCode returns that of the shell, as a shell would tell it. Call it after the shell's end.
func (s *session) exitCode() int {
	ws := s.child.Status()
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// settle ends the turn of c and forgets what is over the limits, except commands whose background children may still write. The
// caller holds the gate.
func (s *session) settle(c *command) {
	all := s.h.remembered.Load()
	var old []*command
	s.mu.Lock()
	if s.current == c {
		s.current = nil
	}
	over := max(0, len(s.commands)-len(s.queue)-MaxCommands)
	if all > maxAll && over == 0 {
		over = 1
	}
	for i := 0; i < len(s.commands) && len(old) < over; i++ {
		if o := s.commands[i]; o.exit != nil && o != c && o.written() {
			old = append(old, o)
		}
	}
	if len(old) > 0 {
		s.commands = slices.DeleteFunc(s.commands, func(o *command) bool { return slices.Contains(old, o) })
	}
	s.mu.Unlock()
	for _, o := range old {
		s.h.remembered.Add(-1)
		_ = os.RemoveAll(o.dir)
	}
}

// find returns a command.
func (s *session) find(cmdID string) (*command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.commands) - 1; i >= 0; i-- {
		if s.commands[i].id == cmdID {
			return s.commands[i], nil
		}
	}
	return nil, errs.New(errs.NotFound, "session %s has no command %s, or has forgotten it: the last %d are remembered", clip(s.id), clip(cmdID), MaxCommands)
}

// describe returns what the wire tells of the session.
func (s *session) describe() toolbox.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := toolbox.Session{SessionID: s.id, Commands: make([]toolbox.SessionCommand, 0, len(s.commands))}
	for _, c := range s.commands {
		out.Commands = append(out.Commands, c.describe())
	}
	return out
}

// vanish marks the session as being deleted; false: it already is.
func (s *session) vanish() bool {
	s.h.gate.RLock()
	defer s.h.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleting {
		return false
	}
	s.deleting = true
	close(s.gone)
	for _, c := range s.commands {
		c.log.end() // followers stop
	}
	return true
}

// end ends the session's processes and all that waits for them. vanish was called before.
func (s *session) end(wait time.Duration) {
	s.child.EndTree(wait)
	<-s.done
	s.mu.Lock()
	commands := s.commands
	s.mu.Unlock()
	var files []*os.File
	s.h.gate.RLock()
	for _, c := range commands {
		c.pump.Lock()
		files = append(files, c.takePipes()...)
		c.pump.Unlock()
	}
	s.h.gate.RUnlock()
	closeAll(files)
	s.readers.Wait()
	for _, c := range commands {
		c.pump.Lock()
		c.log.close()
		if c.quiet != nil {
			c.quiet.Stop()
		}
		c.pump.Unlock()
	}
	s.h.remembered.Add(-int64(len(commands)))
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
