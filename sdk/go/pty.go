package dugout

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
)

const (
	maxTerminalFrame = 1 << 20   // bytes of a message from the server; it sends 32 KiB
	maxTerminalInput = 128 << 10 // bytes of one message to the server, which takes 256 KiB
	terminalOpening  = 10 * time.Second
)

// TerminalOptions say what a new terminal is like. The zero value: a login shell in the sandbox's working directory, 80
// columns wide and 24 lines high, under a random name.
type TerminalOptions struct {
	ID         string // 1 to 128 bytes without a slash, unique in the sandbox
	Cwd        string
	Env        map[string]string // on top of the sandbox's
	Cols, Rows int               // at most 1000
}

// Terminal is a connection to a shell on a pseudo-terminal in the sandbox. Read gives what it shows, beginning with up to 256
// KiB that were shown before; Write types. The shell and what it runs live on when the connection is closed or lost:
// [Sandbox.ConnectTerminal] comes back to them. One goroutine may read while another writes.
type Terminal struct {
	ID string

	s      *Sandbox
	c      *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	rest   []byte // of the last frame

	mu   sync.Mutex // guards exit
	exit *toolbox.PtyExit
}

// Terminal makes a terminal and connects to it. A name that is in use is an [ErrConflict]. ctx is for the opening only.
func (s *Sandbox) Terminal(ctx context.Context, opts TerminalOptions) (*Terminal, error) {
	if opts.ID == "" {
		opts.ID = randomID()
	}
	q := url.Values{"id": {opts.ID}, "cols": {strconv.Itoa(opts.Cols)}, "rows": {strconv.Itoa(opts.Rows)}}
	if opts.Cwd != "" {
		q.Set("cwd", opts.Cwd)
	}
	protocols := []string{toolbox.PtyExitControl}
	if len(opts.Env) > 0 {
		b, err := json.Marshal(opts.Env)
		if err != nil {
			return nil, err
		}
		protocols = append(protocols, toolbox.PtyEnvs+base64.RawURLEncoding.EncodeToString(b))
	}
	return s.openTerminal(ctx, opts.ID, "/process/pty/create-connect", q, protocols)
}

// ConnectTerminal connects to a terminal that exists. Without replay, only what is shown from now on is read. ctx is for
// the opening only. A terminal whose shell has ended is an [ErrNotFound].
func (s *Sandbox) ConnectTerminal(ctx context.Context, id string, replay bool) (*Terminal, error) {
	return s.openTerminal(ctx, id, "/process/pty/"+url.PathEscape(id)+"/connect", url.Values{"replay": {strconv.FormatBool(replay)}}, []string{toolbox.PtyExitControl})
}

// Terminals lists the terminals of the sandbox, oldest first.
func (s *Sandbox) Terminals(ctx context.Context) ([]toolbox.PtyInfo, error) {
	var out toolbox.PtyList
	err := s.inside(ctx, request{method: "GET", url: "/process/pty"}, &out)
	return out.Sessions, err
}

func (s *Sandbox) openTerminal(ctx context.Context, id, path string, query url.Values, protocols []string) (*Terminal, error) {
	c, err := s.dial(ctx, path, query, protocols...)
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(maxTerminalFrame)
	t := &Terminal{ID: id, s: s, c: c}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	opening, cancel := context.WithTimeout(ctx, terminalOpening)
	defer cancel()
	_, b, err := c.Read(opening)
	var m toolbox.PtyControl
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		err = &connectionError{op: "cannot open a terminal", cause: err}
	case m.Status == toolbox.PtyError:
		err = fmt.Errorf("terminal %s: %s", clip(id), m.Error)
	case m.Status != toolbox.PtyConnected:
		err = fmt.Errorf("terminal %s: the first message is %q", clip(id), clip(m.Status))
	}
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// Read reads what the terminal shows. The error is [io.EOF] when the shell has ended, see [Terminal.Exit]; any other says that
// the connection is gone and the terminal may be there: an [ErrBusy] that this side read too slowly.
func (t *Terminal) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		typ, b, err := t.c.Read(t.ctx)
		if err != nil {
			return 0, t.ended(err)
		}
		if typ == websocket.MessageBinary {
			t.rest = b
			continue
		}
		var m toolbox.PtyControl
		if json.Unmarshal(b, &m) == nil && m.Status == toolbox.PtyExited && m.ExitCode != nil {
			t.setExit(toolbox.PtyExit{ExitCode: *m.ExitCode, ExitReason: m.ExitReason})
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *Terminal) ended(err error) error {
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		var e struct {
			ExitCode   *int   `json:"exitCode"`
			ExitReason string `json:"exitReason"`
		}
		if json.Unmarshal([]byte(ce.Reason), &e) == nil && e.ExitCode != nil {
			t.setExit(toolbox.PtyExit{ExitCode: *e.ExitCode, ExitReason: e.ExitReason})
		}
		if ce.Code == websocket.StatusPolicyViolation {
			return fmt.Errorf("%w: %s", ErrBusy, clip(ce.Reason))
		}
	}
	if _, ok := t.Exit(); ok {
		return io.EOF
	}
	return &connectionError{op: "the connection to the terminal ended", cause: err}
}

func (t *Terminal) setExit(e toolbox.PtyExit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exit = &e
}

// Exit returns how the shell ended, once Read has said that it did. A signal counts as 128 and its number.
func (t *Terminal) Exit() (exit toolbox.PtyExit, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exit == nil {
		return toolbox.PtyExit{}, false
	}
	return *t.exit, true
}

// Write types p.
func (t *Terminal) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k := min(len(p)-n, maxTerminalInput)
		if err := t.c.Write(t.ctx, websocket.MessageBinary, p[n:n+k]); err != nil {
			return n, &connectionError{op: "the connection to the terminal ended", cause: err}
		}
		n += k
	}
	return len(p), nil
}

// Resize tells the terminal its size in characters, each from 1 to 1000.
func (t *Terminal) Resize(ctx context.Context, cols, rows int) error {
	return t.s.inside(ctx, request{method: "POST", url: t.path() + "/resize", body: toolbox.PtyResize{Cols: cols, Rows: rows}}, nil)
}

// Kill ends the shell and everything that it started.
func (t *Terminal) Kill(ctx context.Context) error {
	return t.s.inside(ctx, request{method: "DELETE", url: t.path()}, nil)
}

func (t *Terminal) path() string { return "/process/pty/" + url.PathEscape(t.ID) }

// Close ends the connection, and with it Read and Write. The shell lives on.
func (t *Terminal) Close() error {
	t.cancel()
	_ = t.c.CloseNow()
	return nil
}
