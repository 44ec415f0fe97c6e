package dugout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Interpreter runs Python that keeps its variables from run to run, in contexts: namespaces with a process of their own.
type Interpreter struct{ sandbox *Sandbox }

// Interpreter returns the sandbox's stateful interpreter.
func (s *Sandbox) Interpreter() *Interpreter { return &Interpreter{s} }

// RunOptions say how code runs in an interpreter. The zero value: in the default context, for at most ten minutes.
type RunOptions struct {
	Context string            // id of a context; empty: the default one
	Env     map[string]string // on top of the sandbox's, for this run
	Timeout time.Duration     // then the run is interrupted, and its process killed 2 s later; 0: 10 minutes; negative: none
	Stdout  io.Writer         // gets standard output as it comes; nil: it is collected in the result
	Stderr  io.Writer         // likewise
	Display func(Shown)       // gets what the run shows as it comes; nil: it is collected in the result
}

// Shown is something that a run showed: by display(), by plt.show(), or as the value of its last expression.
type Shown struct {
	Text  string            // its plain representation
	Data  map[string]string // richer ones by media type, as text/html or image/png; pictures in base64
	Chart *toolbox.Chart    // of plt.show()
	Value bool              // it is the value of the last expression
}

// RunResult is what came of a run.
type RunResult struct {
	Stdout, Stderr string
	Shown          []Shown
	Failure        *RunFailure // nil: the code ended without an exception
}

// RunFailure is an exception that ended a run. It is no error of [Interpreter.Run].
type RunFailure struct {
	Name      string // of its class
	Value     string // its text
	Traceback string // frames of the code alone
}

// maxRunMessage bounds one message of the server, in bytes.
const maxRunMessage = 32 << 20

// Close codes of an interpreter on the 0.x wire.
const closeTimedOut = 4008

// Run runs code and returns when it has ended. An exception in the code is no error, see [RunResult.Failure]. A run that
// passed its timeout is an [ErrTimeout]. When ctx ends, the run is interrupted. A run whose process ended, or whose context was
// deleted, is an [ErrLost].
func (i *Interpreter) Run(ctx context.Context, code string, opts RunOptions) (*RunResult, error) {
	c, err := i.sandbox.dial(ctx, "/process/interpreter/execute", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxRunMessage)
	ask := toolbox.InterpreterRun{Code: code, ContextID: opts.Context, Envs: opts.Env}
	switch {
	case opts.Timeout < 0:
		ask.Timeout = new(float64)
	case opts.Timeout > 0:
		s := opts.Timeout.Seconds()
		ask.Timeout = &s
	}
	b, err := json.Marshal(ask)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	if err := c.Write(ctx, websocket.MessageText, b); err != nil {
		return nil, i.broken(ctx, err)
	}
	result := &RunResult{}
	ended := false
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			var ce websocket.CloseError
			switch {
			case !errors.As(err, &ce):
				return result, i.broken(ctx, err)
			case ce.Code == websocket.StatusNormalClosure && ended:
				return result, nil
			case ce.Code == closeTimedOut:
				return result, fmt.Errorf("%w: %s", ErrTimeout, ce.Reason)
			case ce.Code == websocket.StatusGoingAway:
				return result, fmt.Errorf("%w: %s", ErrLost, ce.Reason)
			case ce.Code == websocket.StatusPolicyViolation:
				return result, fmt.Errorf("%w: %s", ErrInvalid, ce.Reason)
			case ce.Code == websocket.StatusNormalClosure:
				return result, fmt.Errorf("the interpreter closed the connection before the end of the run")
			}
			return result, fmt.Errorf("the interpreter closed the connection with code %d: %s", ce.Code, ce.Reason)
		}
		var m toolbox.InterpreterMessage
		if err := json.Unmarshal(b, &m); err != nil {
			return result, fmt.Errorf("the interpreter sent what is no message: %w", err)
		}
		if err := result.take(m, opts); err != nil {
			return result, err
		}
		ended = ended || m.Type == toolbox.InterpreterControl
	}
}

// take adds a message to the result, or hands it on.
func (r *RunResult) take(m toolbox.InterpreterMessage, opts RunOptions) error {
	switch m.Type {
	case toolbox.InterpreterStdout:
		return write(opts.Stdout, &r.Stdout, m.Text)
	case toolbox.InterpreterStderr:
		return write(opts.Stderr, &r.Stderr, m.Text)
	case toolbox.InterpreterError:
		r.Failure = &RunFailure{Name: m.Name, Value: m.Value, Traceback: m.Traceback}
	case toolbox.InterpreterDisplay, toolbox.InterpreterResult:
		shown := Shown{Text: m.Text, Data: m.Data, Chart: m.Chart, Value: m.Type == toolbox.InterpreterResult}
		if opts.Display != nil {
			opts.Display(shown)
			return nil
		}
		r.Shown = append(r.Shown, shown)
	}
	return nil
}

func write(w io.Writer, all *string, text string) error {
	if w == nil {
		*all += text
		return nil
	}
	_, err := io.WriteString(w, text)
	return err
}

func (i *Interpreter) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &connectionError{op: "the connection to the interpreter broke", cause: err}
}

// CreateContext makes a context whose runs start in directory cwd; empty: the sandbox's working directory.
func (i *Interpreter) CreateContext(ctx context.Context, cwd string) (*toolbox.InterpreterContext, error) {
	body := toolbox.InterpreterContextCreate{}
	if cwd != "" {
		body.Cwd = &cwd
	}
	out := &toolbox.InterpreterContext{}
	if err := i.sandbox.inside(ctx, request{method: "POST", url: "/process/interpreter/context", body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Contexts lists the contexts that were made, oldest first.
func (i *Interpreter) Contexts(ctx context.Context) ([]toolbox.InterpreterContext, error) {
	var out toolbox.InterpreterContexts
	if err := i.sandbox.inside(ctx, request{method: "GET", url: "/process/interpreter/context"}, &out); err != nil {
		return nil, err
	}
	return out.Contexts, nil
}

// DeleteContext ends a context and all that its code started.
func (i *Interpreter) DeleteContext(ctx context.Context, id string) error {
	return i.sandbox.inside(ctx, request{method: "DELETE", url: "/process/interpreter/context/" + url.PathEscape(id)}, nil)
}
