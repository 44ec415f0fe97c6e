//go:build linux

package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	// quietAfter is how long a line without an end may be held back.
	quietAfter = 50 * time.Millisecond
	// inputWait is how long input waits for a command that does not read.
	inputWait = 30 * time.Second
	// maxShown is how much of a command's text is remembered, in bytes.
	maxShown = 4 << 10
)

// command is one command of a session.
type command struct {
	s      *session
	id     string
	shown  string // its text, as far as it is remembered
	async  bool
	noEcho bool
	dir    string
	log    *record

	started chan struct{} // closed when the shell has it
	done    chan struct{} // closed when it is over
	typing  chan struct{} // held by whoever gives input

	// of the session's loop, from queueing to the end
	text     string
	seq      uint64
	unfed    []byte // what the shell has not got yet of its statement
	weight   int    // bytes of text that count as waiting
	reported *int   // what the shell said

	pump    sync.Mutex // held to read a pipe and to frame and log what was read, one piece at a time: it keeps the log's order. Guards all below
	frame   framer
	in      pipe
	outs    [2]pipe
	open    [2]bool // a stream that has not ended
	over    bool    // the shell is through with it
	touched time.Time
	quiet   *time.Timer   // set while a line without an end is held back
	eof     chan struct{} // closed when both streams have ended, or never began

	// guarded by s.mu
	exit *int
}

// prepare makes the pipes and the statement for the shell. The caller holds the gate.
func (c *command) prepare(last int) error {
	room := c.s.h.rooms.get()
	if room == "" {
		room = c.dir
		_ = os.MkdirAll(room, 0o700)
	}
	name := filepath.Join(room, c.id)
	c.pump.Lock()
	defer c.pump.Unlock()
	err := c.outs[stdout].make(name+".out", false)
	if err == nil {
		err = c.outs[stderr].make(name+".err", false)
	}
	in := os.DevNull
	if err == nil && c.async {
		in = name + ".in"
		err = c.in.make(in, true)
	}
	if err != nil {
		closeAll(c.takePipes()) // nobody reads yet
		return err
	}
	c.open = [2]bool{true, true}
	c.unfed = statement(c.s.shell, c.seq, c.text, in, c.outs[stdout].path, c.outs[stderr].path, last)
	c.text = ""
	return nil
}

// takePipes ends all reading and returns what is to be closed, without locks. The caller holds pump.
func (c *command) takePipes() []*os.File {
	c.open = [2]bool{}
	return append(c.in.take(), append(c.outs[stdout].take(), c.outs[stderr].take()...)...)
}

// taken says that the text is not kept any more: the shell has it, or will never get it.
func (c *command) taken() {
	c.s.h.waiting.Add(-int64(c.weight))
	c.weight = 0
}

// written reports whether nothing more can come into the log.
func (c *command) written() bool {
	select {
	case <-c.eof:
		return true
	default:
		return false
	}
}

// read moves what the command writes into its log until both streams end, or are closed.
func (c *command) read() {
	for s := range c.open {
		if !c.open[s] {
			continue
		}
		f := c.outs[s].r
		c.s.readers.Go(func() {
			_ = whenReadable(f, func(fd int) bool { return c.drain(fd, stream(s)) })
			_ = f.Close()
		})
	}
}

var pieces = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// drain reads one stream until it would block, and reports true when it has ended.
func (c *command) drain(fd int, s stream) bool {
	buf, _ := pieces.Get().(*[64 << 10]byte)
	defer pieces.Put(buf)
	for {
		c.s.h.gate.RLock()
		more, ended := c.readOnce(fd, s, buf[:])
		c.s.h.gate.RUnlock()
		if ended {
			return true
		}
		if !more {
			return false
		}
	}
}

// readOnce: the caller holds the gate.
func (c *command) readOnce(fd int, s stream, buf []byte) (more, ended bool) {
	c.pump.Lock()
	defer c.pump.Unlock()
	if !c.open[s] {
		return false, true
	}
	n, err := unix.Read(fd, buf)
	if n > 0 {
		c.log.append(c.frame.add(s, buf[:n]))
		c.arm()
		return true, false
	}
	if later, atOnce := again(err); later || atOnce {
		return atOnce, false
	}
	c.open[s] = false
	if !c.open[stdout] && !c.open[stderr] {
		if c.over { // a background child was the last writer
			c.log.append(c.frame.finish())
			c.log.close()
		}
		close(c.eof)
	}
	return false, true
}

// arm sees to it that the begin of a line does not wait for its end for long. The caller holds pump.
func (c *command) arm() {
	if !c.frame.partial() {
		return
	}
	c.touched = time.Now()
	if c.quiet == nil {
		c.quiet = time.AfterFunc(quietAfter, c.onQuiet)
	}
}

func (c *command) onQuiet() {
	c.s.h.gate.RLock()
	defer c.s.h.gate.RUnlock()
	c.pump.Lock()
	defer c.pump.Unlock()
	c.quiet = nil
	if !c.frame.partial() || !c.open[stdout] && !c.open[stderr] {
		return
	}
	if wait := quietAfter - time.Since(c.touched); wait > 0 {
		c.quiet = time.AfterFunc(wait, c.onQuiet)
		return
	}
	c.log.append(c.frame.flush())
}

// finish ends the command: its output is complete, or a background child keeps it open for longer than [run.Grace]; then what
// that child writes is still logged, after the end.
func (c *command) finish(exit int) {
	c.s.h.gate.RLock()
	c.pump.Lock()
	in := c.in.take()
	c.outs[stdout].release()
	c.outs[stderr].release()
	c.pump.Unlock()
	c.s.h.gate.RUnlock()
	closeAll(in)

	select {
	case <-c.eof:
	default:
		grace := time.NewTimer(run.Grace)
		select {
		case <-c.eof:
		case <-grace.C:
		case <-c.s.gone:
		}
		grace.Stop()
	}

	c.s.h.gate.RLock()
	defer c.s.h.gate.RUnlock()
	buf, _ := pieces.Get().(*[64 << 10]byte)
	for s := range c.outs {
		if c.outs[s].r == nil { // it had ended before the daemon was replaced
			continue
		}
		now(c.outs[s].r, func(fd int) {
			// What is in the pipe now and no more: a background child may write faster than this reads, for ever.
			held, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
			for more := true; more && held >= 0; held -= len(buf) {
				more, _ = c.readOnce(fd, stream(s), buf[:])
			}
		})
	}
	pieces.Put(buf)
	c.pump.Lock()
	c.over = true
	c.log.append(c.frame.finish())
	if !c.open[stdout] && !c.open[stderr] {
		c.log.close()
	}
	if c.quiet != nil {
		c.quiet.Stop()
		c.quiet = nil
	}
	c.pump.Unlock()
	c.conclude(exit)
}

// fail ends a command that the shell never got. The caller holds the gate.
func (c *command) fail(format string, args ...any) {
	_ = os.MkdirAll(c.dir, 0o700)
	c.pump.Lock()
	c.over = true
	c.log.append(c.frame.add(stderr, fmt.Appendf(nil, format+"\n", args...)))
	c.log.close()
	close(c.eof)
	c.pump.Unlock()
	c.taken()
	c.conclude(-1)
}

// conclude makes the end known. The caller holds the gate.
func (c *command) conclude(exit int) {
	if os.MkdirAll(c.dir, 0o700) == nil {
		_ = os.WriteFile(filepath.Join(c.dir, "exit_code"), []byte(strconv.Itoa(exit)+"\n"), 0o600)
	}
	c.s.mu.Lock()
	c.exit = &exit
	c.s.mu.Unlock()
	c.s.h.remembered.Add(1)
	c.log.end()
	close(c.done)
}

// input writes data to the command's standard input, and to its log. It waits for a command that does not read, but not forever.
func (c *command) input(ctx context.Context, data string) error {
	if !c.async {
		return errs.New(errs.Invalid, "command %s was run synchronously: it has no input. Start it with runAsync", c.id)
	}
	if !strings.HasSuffix(data, "\n") {
		data += "\n"
	}
	limit := time.NewTimer(inputWait)
	defer limit.Stop()
	late := func(n int) error {
		return errs.New(errs.Timeout, "the command did not read its input within %d s; %d of %d bytes were given to it", int(inputWait.Seconds()), n, len(data))
	}
	ended := func() error {
		return errs.New(errs.Gone, "command %s has ended", c.id).WithCode("COMMAND_ALREADY_COMPLETED")
	}
	select {
	case <-c.started:
	case <-c.done:
		return ended()
	case <-limit.C:
		return late(0)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case c.typing <- struct{}{}:
		defer func() { <-c.typing }()
	case <-c.done:
		return ended()
	case <-limit.C:
		return late(0)
	case <-ctx.Done():
		return ctx.Err()
	}
	c.pump.Lock()
	f := c.in.w
	if f == nil { // the shell is through with it
		c.pump.Unlock()
		return ended()
	}
	written := 0
	through := make(chan error, 1)
	c.s.readers.Go(func() { // under pump: whoever waits for readers closes the pipe first
		through <- whenWritable(f, func(fd int) bool {
			for written < len(data) {
				n, later := c.give(fd, data[written:])
				if written += n; later {
					return false
				}
			}
			return true
		})
	})
	c.pump.Unlock()
	stop := func() error {
		_ = f.SetWriteDeadline(time.Unix(1, 0))
		err := <-through
		_ = f.SetWriteDeadline(time.Time{})
		return err
	}
	var err error
	select {
	case err = <-through:
	case <-limit.C:
		err = stop()
	case <-ctx.Done():
		err = stop()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return late(written)
	}
	return ended() // which closed the pipe
}

// give writes what the pipe takes, and repeats it in the log before the command can have read it. later: the pipe is full.
func (c *command) give(fd int, data string) (n int, later bool) {
	c.s.h.gate.RLock()
	defer c.s.h.gate.RUnlock()
	c.pump.Lock()
	defer c.pump.Unlock()
	n, err := unix.Write(fd, []byte(data[:min(len(data), pieceSize)]))
	if err != nil {
		later, _ = again(err)
		return 0, later
	}
	if !c.noEcho {
		c.log.append(c.frame.add(stdout, []byte(data[:n])))
		c.arm()
	}
	return n, false
}

// describe returns what the wire tells of the command. The caller holds s.mu.
func (c *command) describe() toolbox.SessionCommand {
	return toolbox.SessionCommand{ID: c.id, Command: c.shown, ExitCode: c.exit}
}
