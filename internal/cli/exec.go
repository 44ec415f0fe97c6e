package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

type execOptions struct {
	cwd, timeout     string
	vars             []string
	waitIn, noIn     bool
	name, command    string
	duration         time.Duration
	environ          map[string]string
	interruptGrace   time.Duration
	interruptSignals []os.Signal
}

func (e *env) execCmd() *cobra.Command {
	o := execOptions{interruptGrace: 2 * time.Second, interruptSignals: []os.Signal{os.Interrupt, syscall.SIGTERM}}
	cmd := &cobra.Command{
		Use: "exec NAME [flags] -- COMMAND [ARG...]", Short: "Run a command in a sandbox",
		Long: `Runs a command in a started sandbox, prints what it wrote and exits with its code.

One word after -- is given to the sandbox's shell as it is; several words reach the command exactly as they are here.
Standard output and standard error come together, on standard output, when the command has ended.

  dugout exec box -- ls -la
  dugout exec box -- 'cd src && make'
  dugout exec box -- python3 - < script.py

Standard input that is a file or a pipe is passed on, at most ` + size(maxStdin) + `. A pipe that brings nothing within ` + stdinPatience.String() + `
is taken for one that nobody writes to; --stdin waits for it, --no-stdin never looks.
Ctrl-C interrupts the command in the sandbox and kills it ` + o.interruptGrace.String() + ` later; a second Ctrl-C leaves at once.`,
		ValidArgsFunction: e.completeSandboxes(1),
		Args: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) < 2 || dash == 0 || dash > 1 {
				return &usageError{msg: cmd.CommandPath() + " takes the name or id of one sandbox, then -- and a command", hint: "usage: " + cmd.UseLine()}
			}
			o.name, o.command = args[0], commandLine(args[1:])
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.environ, err = pairs("env", o.vars, lookupEnv); err != nil {
				return err
			}
			if o.duration, err = parseTimeout(o.timeout); err != nil {
				return err
			}
			if o.waitIn && o.noIn {
				return usagef("--stdin and --no-stdin exclude each other")
			}
			return e.exec(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.cwd, "cwd", "", "working directory; default: the sandbox's")
	f.StringVar(&o.timeout, "timeout", "", "kill the command after this time, in seconds or as 90s, 5m; default: never")
	f.StringArrayVarP(&o.vars, "env", "e", nil, "environment variable KEY=VALUE, or KEY for the value it has here; repeatable")
	f.BoolVarP(&o.waitIn, "stdin", "i", false, "read standard input to its end before the command starts")
	f.BoolVarP(&o.noIn, "no-stdin", "n", false, "leave standard input alone")
	return cmd
}

func lookupEnv(k string) (string, bool) { return os.LookupEnv(k) }

// parseTimeout reads seconds or a Go duration; empty and 0 mean none.
func parseTimeout(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > 1<<31*time.Second {
		return 0, usagef("--timeout must be seconds or a duration such as 90s or 5m, got %q", s)
	}
	return d, nil
}

func (e *env) exec(ctx context.Context, o execOptions) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	s, err := client.Get(ctx, o.name)
	if err != nil {
		return err
	}
	if s.State != dugout.Started {
		return &stateError{msg: fmt.Sprintf("%s is %s; a command needs a started sandbox", s.Name, s.State), hint: stateHint(s)}
	}
	run := dugout.ExecOptions{Cwd: o.cwd, Env: o.environ, Timeout: o.duration, ID: rand.Text()}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	interrupted := e.watchSignals(ctx, stop, s, run.ID, o)
	input, err := e.sendStdin(ctx, s, o, run.ID)
	if err != nil {
		if sig := interrupted(); sig != 0 {
			return &exitError{code: exitSignal + int(sig)}
		}
		return err
	}
	command := o.command
	if input.path != "" {
		defer input.remove(ctx, s)
		command = input.wrap(command)
	}
	result, err := s.Exec(ctx, command, run)
	sig := interrupted()
	var api *dugout.Error
	switch {
	case err == nil:
		input.delivered = true
		if _, werr := io.WriteString(e.out, result.Output); werr != nil && sig == 0 {
			return fmt.Errorf("write the output: %w", werr)
		}
		if input.late() {
			e.warn("something came in on standard input after the command had started, and was not passed on; --stdin waits for it")
		}
	case errors.As(err, &api) && api.Code == "PROCESS_EXECUTION_TIMEOUT": // its message repeats the output
		_, _ = io.WriteString(e.out, api.Output)
		err = &exitError{code: exitTimeout, err: fmt.Errorf("the command was killed after its timeout of %s", o.duration)}
	}
	if sig != 0 {
		return &exitError{code: exitSignal + int(sig)}
	}
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return &exitError{code: remoteCode(result.ExitCode)}
	}
	return nil
}

// remoteCode fits the code of a remote command into what a process can exit with. -1, a command that was killed by a signal
// or could not be started, is 255.
func remoteCode(code int) int {
	if code = code & 0xff; code == 0 {
		return exitFailure // 256 is a failure, not a success
	}
	return code
}

func stateHint(s *dugout.Sandbox) string {
	switch s.State {
	case dugout.Stopped, "archived", "paused":
		return "start it with: dugout start " + s.Name
	case dugout.Failed, "build_failed":
		return s.ErrorReason
	}
	return "see: dugout info " + s.Name
}

// watchSignals passes an interrupt on to the command in the sandbox: INT, then KILL after a grace; a second one gives up at
// once. The function it returns tells the signal that came, 0: none, and ends the watch.
func (e *env) watchSignals(ctx context.Context, stop func(), s *dugout.Sandbox, run string, o execOptions) func() syscall.Signal {
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, o.interruptSignals...)
	quit, done := make(chan struct{}), make(chan syscall.Signal, 1)
	go func() {
		var got syscall.Signal
		defer func() { done <- got }()
		select {
		case sig := <-ch:
			got, _ = sig.(syscall.Signal)
		case <-quit:
			return
		}
		kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.interruptGrace+10*time.Second)
		defer cancel()
		escalated := make(chan struct{})
		go func() {
			defer close(escalated)
			_ = s.Kill(kctx, run, "INT")
			select {
			case <-time.After(o.interruptGrace):
				_ = s.Kill(kctx, run, "KILL")
			case <-quit:
			case <-kctx.Done():
			}
		}()
		select {
		case <-quit:
		case <-escalated: // all of it is dead; the answer is on its way
			select {
			case <-quit:
			case <-time.After(o.interruptGrace):
			case <-ch:
			}
		case <-ch:
			cancel()
		}
		stop()
		<-escalated
	}()
	var once bool
	var sig syscall.Signal
	return func() syscall.Signal {
		if !once {
			once = true
			signal.Stop(ch)
			close(quit)
			sig = <-done
		}
		return sig
	}
}
