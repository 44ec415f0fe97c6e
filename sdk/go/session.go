package dugout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Types of the session API, so that callers need no second import.
type (
	// SessionInfo describes a session and its commands.
	SessionInfo = toolbox.Session
	// SessionCommandInfo describes a command of a session; its ExitCode is nil while it runs or waits.
	SessionCommandInfo = toolbox.SessionCommand
)

// Session is a shell in a sandbox that lives on between commands: directory, variables and functions stay. Its commands run one
// after the other. A session whose shell has exited answers [ErrGone] to new commands; its logs can be read until it is deleted.
type Session struct {
	ID      string
	sandbox *Sandbox
}

// CreateSession starts a session. id is 1 to 128 bytes without control characters; empty: a random one. One that exists
// already is an [ErrConflict].
func (s *Sandbox) CreateSession(ctx context.Context, id string) (*Session, error) {
	if id == "" {
		id = randomID()
	}
	if err := s.inside(ctx, request{method: "POST", url: "/process/session", body: toolbox.CreateSession{SessionID: id}}, nil); err != nil {
		return nil, err
	}
	return s.Session(id), nil
}

// Session returns the session with this id, without asking whether it exists.
func (s *Sandbox) Session(id string) *Session { return &Session{ID: id, sandbox: s} }

// Sessions lists the sessions, oldest first.
func (s *Sandbox) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var out []SessionInfo
	err := s.inside(ctx, request{method: "GET", url: "/process/session"}, &out)
	return out, err
}

func (x *Session) url(more string) string { return "/process/session/" + url.PathEscape(x.ID) + more }

// Info returns the session's commands.
func (x *Session) Info(ctx context.Context) (*SessionInfo, error) {
	var out SessionInfo
	if err := x.sandbox.inside(ctx, request{method: "GET", url: x.url("")}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Delete ends the session and all its processes: they are asked to, and killed after 5 s. The logs are removed.
func (x *Session) Delete(ctx context.Context) error {
	return x.sandbox.inside(ctx, request{method: "DELETE", url: x.url("")}, nil)
}

// SessionResult is what came of a command of a session.
type SessionResult struct {
	CommandID string
	ExitCode  int // 128 and the signal's number: killed by a signal
	Stdout    string
	Stderr    string
}

// Exec runs a command and returns when it has ended. Its standard input is empty. A non-zero exit code is no error. It is
// sent once: when the connection breaks, the error is an [ErrUnavailable] and the command may run or have run; [Session.Info] tells.
func (x *Session) Exec(ctx context.Context, command string) (*SessionResult, error) {
	var out toolbox.SessionExecuted
	q := x.exec(toolbox.SessionExecute{Command: command})
	if err := x.sandbox.inside(ctx, q, &out); err != nil {
		return nil, err
	}
	if out.Output == nil || out.ExitCode == nil {
		return nil, errors.New("the answer lacks the output or the exit code")
	}
	var stdout, stderr bytes.Buffer
	d := demux{out: &stdout, err: &stderr}
	if err := errors.Join(d.write([]byte(*out.Output)), d.end()); err != nil {
		return nil, err
	}
	return &SessionResult{CommandID: out.CmdID, ExitCode: *out.ExitCode, Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

func (x *Session) exec(body toolbox.SessionExecute) request {
	return request{method: "POST", url: x.url("/exec"), body: body, header: http.Header{toolbox.SplitOutputHeader: {"true"}}}
}

// SessionCommand is a command that was started in a session.
type SessionCommand struct {
	ID      string
	session *Session
}

// StartOptions say how a command of a session runs.
type StartOptions struct {
	NoEcho bool // what is given as input is not repeated in the log
}

// Start starts a command and returns at once. Its standard input stays open for [SessionCommand.Input] until it ends.
func (x *Session) Start(ctx context.Context, command string, opts StartOptions) (*SessionCommand, error) {
	var out toolbox.SessionExecuted
	if err := x.sandbox.inside(ctx, x.exec(toolbox.SessionExecute{Command: command, RunAsync: true, SuppressInputEcho: opts.NoEcho}), &out); err != nil {
		return nil, err
	}
	return x.Command(out.CmdID), nil
}

// Command returns the command with this id, without asking whether it exists.
func (x *Session) Command(id string) *SessionCommand { return &SessionCommand{ID: id, session: x} }

func (c *SessionCommand) url(more string) string {
	return c.session.url("/command/" + url.PathEscape(c.ID) + more)
}

// Info returns the command's text and, once it has ended, its exit code.
func (c *SessionCommand) Info(ctx context.Context) (*SessionCommandInfo, error) {
	var out SessionCommandInfo
	if err := c.session.sandbox.inside(ctx, request{method: "GET", url: c.url("")}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Input gives the command a line: an end of line is added where data has none. An [ErrGone] means that it has ended, an
// [ErrTimeout] that it does not read.
func (c *SessionCommand) Input(ctx context.Context, data string) error {
	return c.session.sandbox.inside(ctx, request{method: "POST", url: c.url("/input"), body: toolbox.SessionInput{Data: data}}, nil)
}

// Logs writes what the command has written so far. Either writer may be nil.
func (c *SessionCommand) Logs(ctx context.Context, stdout, stderr io.Writer) error {
	d := demux{out: stdout, err: stderr}
	_, err := c.stream(ctx, 0, false, &d)
	return errors.Join(err, d.end())
}

// Follow writes what the command has written and goes on with what it writes until it ends. A connection that breaks is made again, and
// the log goes on where it was, with no byte lost or doubled; half a minute without success is an error. An error of a
// writer ends it. Either writer may be nil.
func (c *SessionCommand) Follow(ctx context.Context, stdout, stderr io.Writer) error {
	d := demux{out: stdout, err: stderr}
	var at int64
	last := time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		n, err := c.stream(ctx, at, true, &d)
		at += n
		if err == nil {
			return d.end()
		}
		if n > 0 {
			last, pause = time.Now(), 20*time.Millisecond
		}
		if window := searchWindow(err); window == 0 || time.Since(last) > window {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// stream reads the log from offset on and returns how much of it was taken.
func (c *SessionCommand) stream(ctx context.Context, offset int64, follow bool, d *demux) (int64, error) {
	q := url.Values{"offset": {strconv.FormatInt(offset, 10)}}
	if follow {
		q.Set("follow", "true")
		q.Set("marks", "true")
	}
	resp, err := c.session.sandbox.open(ctx, request{method: "GET", url: c.url("/logs"), query: q, header: http.Header{toolbox.SplitOutputHeader: {"true"}}})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	buf := make([]byte, 32<<10)
	var taken int64
	for {
		n, err := resp.Body.Read(buf)
		taken += int64(n)
		if werr := d.write(buf[:n]); werr != nil {
			return taken, werr
		}
		switch {
		case err == io.EOF:
			return taken, nil
		case ctx.Err() != nil:
			return taken, ctx.Err()
		case err != nil:
			return taken, &connectionError{op: "the log was cut off", cause: err}
		}
	}
}

// demux writes each stream of a log to its writer. Three bytes 01 or 02 say whose the bytes are that follow.
type demux struct {
	out, err io.Writer // nil: not wanted
	errs     bool      // the bytes that follow are standard error
	mark     byte      // of the held bytes
	held     int       // bytes that may be the begin of a mark
}

func (d *demux) emit(b []byte) error {
	w := d.out
	if d.errs {
		w = d.err
	}
	if w == nil || len(b) == 0 {
		return nil
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}

func (d *demux) write(b []byte) error {
	for len(b) > 0 {
		if d.held > 0 {
			if b[0] != d.mark {
				if err := d.end(); err != nil {
					return err
				}
				continue
			}
			b = b[1:]
			if d.held++; d.held == 3 {
				d.held, d.errs = 0, d.mark == 2
			}
			continue
		}
		i := bytes.IndexAny(b, "\x01\x02")
		if i < 0 {
			return d.emit(b)
		}
		if err := d.emit(b[:i]); err != nil {
			return err
		}
		d.mark, d.held, b = b[i], 1, b[i+1:]
	}
	return nil
}

// end writes what began like a mark and is none.
func (d *demux) end() error {
	n := d.held
	d.held = 0
	return d.emit(bytes.Repeat([]byte{d.mark}, n))
}
