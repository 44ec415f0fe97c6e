package dugout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
)

// ExecOptions say how a command runs. The zero value: in the sandbox's working directory, with its environment, for as long
// as it takes.
type ExecOptions struct {
	Cwd     string
	Env     map[string]string // on top of the sandbox's
	Timeout time.Duration     // then the command and all it started is killed; rounded up to seconds; 0: never
	ID      string            // names the run, 1 to 64 characters of A-Z a-z 0-9 _ -; empty: a random one

	Split     bool   // tell standard output and error apart; their order among each other is then not exact
	User      string // name or uid to run as; empty: the sandbox's user
	Stdin     []byte // standard input; nil: empty
	OpenStdin bool   // keep standard input open for Attach
}

func (opts ExecOptions) body(command string) (toolbox.Execute, error) {
	body := toolbox.Execute{Command: command, Timeout: seconds(opts.Timeout), Envs: opts.Env, Split: opts.Split, User: opts.User, StdinData: opts.Stdin, OpenStdin: opts.OpenStdin}
	if opts.Cwd != "" {
		body.Cwd = &opts.Cwd
	}
	if opts.ID != "" && !plain(opts.ID) {
		return body, fmt.Errorf("a run's id has 1 to 64 letters, digits, _ and -, got %q", clip(opts.ID))
	}
	return body, nil
}

// Result is what came of a command.
type Result struct {
	ExitCode int    // -1: killed by a signal, or it could not be started
	Output   string // standard output and standard error, in the order they were written
	Stdout   string // standard output alone, with Split
	Stderr   string // standard error alone, with Split
}

// Exec runs command in the sandbox's shell and returns when it has ended. A non-zero exit code is no error. A command that
// ran into its timeout is an [ErrTimeout] whose [Error] holds the output so far.
//
// A command whose connection breaks goes on: Exec looks for it again for half a minute and returns its result as if nothing
// had happened. It is never run a second time; when it cannot be found, so that nobody can say whether it ran, the error
// is an [ErrLost]. When ctx ends, Exec returns and the command goes on; [Sandbox.Kill] ends it.
func (s *Sandbox) Exec(ctx context.Context, command string, opts ExecOptions) (*Result, error) {
	body, err := opts.body(command)
	if err != nil {
		return nil, err
	}
	if opts.ID == "" {
		opts.ID = randomID()
	}
	var out toolbox.Executed
	q := request{method: "POST", url: "/process/execute", body: body, errLimit: maxRunBody}
	if err := s.run(ctx, opts.ID, q, &out); err != nil {
		return nil, err
	}
	r := &Result{ExitCode: out.ExitCode, Output: out.Result}
	if out.Stdout != nil && out.Stderr != nil {
		r.Stdout, r.Stderr = *out.Stdout, *out.Stderr
	}
	return r, nil
}

// run makes a request that runs something under an id, and makes it again when the connection breaks: then it attaches to
// the run, or gets its result.
func (s *Sandbox) run(ctx context.Context, id string, q request, out any) error {
	q.header = http.Header{toolbox.ExecutionIDHeader: {id}}
	for tries, short := 0, 0; ; tries++ {
		began := time.Now()
		err := s.inside(ctx, q, out)
		window := searchWindow(err)
		if err == nil || window == 0 || tries == 0 && neverSent(err) {
			return err
		}
		if time.Since(began) > time.Second {
			short = 0
		} else if short++; short > 10 {
			return err // found, but no answer ever comes through
		}
		switch ferr := s.find(ctx, id, window); {
		case ferr == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(ferr, ErrGone): // it ended long ago; the error tells the exit code
			return ferr
		case errors.Is(ferr, ErrNotFound) && gateway(err): // it was never passed on
			return err
		default:
			return fmt.Errorf("%w, run %s: %w", ErrLost, id, err)
		}
	}
}

func plain(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// find asks for a run until somebody answers, at most for window.
func (s *Sandbox) find(ctx context.Context, id string, window time.Duration) error {
	deadline := time.Now().Add(window)
	for pause := 20 * time.Millisecond; ; pause = min(pause*2, time.Second) {
		err := s.inside(ctx, request{method: "GET", url: "/process/execution/" + id}, nil)
		if err == nil || searchWindow(err) == 0 || time.Now().After(deadline) {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// searchWindow is how long to look for a run after err; 0: err is an answer.
func searchWindow(err error) time.Duration {
	var lost *connectionError
	switch {
	case errors.As(err, &lost):
		return 30 * time.Second
	case gateway(err):
		return 5 * time.Second
	}
	return 0
}

// gateway reports whether a hop between here and the daemon answered in its place.
func gateway(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Source != api.SourceDaemon && (e.Status == 502 || e.Status == 503 || e.Status == 504)
}

// Languages of [Sandbox.CodeRun].
const (
	Python     = "python"
	JavaScript = "javascript"
	TypeScript = "typescript"
)

// CodeOptions say how a program runs.
type CodeOptions struct {
	Argv    []string
	Env     map[string]string // on top of the sandbox's
	Timeout time.Duration     // as in ExecOptions
}

// CodeResult is what came of a program.
type CodeResult struct {
	Result
	Charts []toolbox.Chart // that it showed with matplotlib
}

// CodeRun runs the source of a program in one of the languages above. What [Sandbox.Exec] says of broken connections, of
// the timeout and of ctx holds here too.
func (s *Sandbox) CodeRun(ctx context.Context, language, code string, opts CodeOptions) (*CodeResult, error) {
	body := toolbox.CodeRun{Code: code, Language: language, Argv: opts.Argv, Envs: opts.Env, Timeout: seconds(opts.Timeout)}
	var out toolbox.CodeRan
	if err := s.run(ctx, randomID(), request{method: "POST", url: "/process/code-run", body: body, errLimit: maxRunBody}, &out); err != nil {
		return nil, err
	}
	r := &CodeResult{Result: Result{ExitCode: out.ExitCode, Output: out.Result}}
	if out.Artifacts != nil {
		r.Charts = out.Artifacts.Charts
	}
	return r, nil
}

// seconds rounds a timeout up to what the wire carries. Below zero counts as the shortest there is.
func seconds(d time.Duration) *uint32 {
	if d == 0 {
		return nil
	}
	n := uint32(max(1, min((d+time.Second-1)/time.Second, 1<<31)))
	return &n
}
