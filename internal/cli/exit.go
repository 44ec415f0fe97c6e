package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	dugout "github.com/dugout-dev/dugout/sdk/go"

	"github.com/dugout-dev/dugout/internal/errs"
)

// The exit codes. exec ends with the code of the remote command instead, once the command has run.
const (
	exitOK          = 0
	exitFailure     = 1   // anything without a code of its own; a check of doctor failed
	exitUsage       = 2   // wrong arguments, flags or configuration
	exitNotFound    = 3   // no such sandbox, snapshot or file
	exitAuth        = 4   // no API key, an unknown one, or one that may not do this
	exitConflict    = 5   // a name is taken, or the sandbox is in the wrong state
	exitUnavailable = 6   // the server does not answer
	exitTimeout     = 124 // the time given with --timeout is over
	exitSignal      = 128 // plus the number of the signal
)

const exitHelp = `Exit codes: 0 success, 1 failure, 2 usage, 3 not found, 4 not authenticated or not allowed, 5 conflict or wrong
state, 6 server not available, 124 timeout, 130 interrupted. exec exits with the code of its command.`

// usageError is a mistake on the command line.
type usageError struct{ msg, hint string }

func (u *usageError) Error() string { return u.msg }

func usagef(format string, args ...any) error { return &usageError{msg: fmt.Sprintf(format, args...)} }

// stateError says that a sandbox is not in the state a command needs.
type stateError struct{ msg, hint string }

func (s *stateError) Error() string { return s.msg }

// exitError ends the program with a code of its own; with no error in it nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitCode maps an error to the table above.
func exitCode(err error) int {
	var (
		exit  *exitError
		usage *usageError
		state *stateError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &state), errors.Is(err, dugout.ErrConflict), errors.Is(err, dugout.ErrGone):
		return exitConflict
	case errors.Is(err, dugout.ErrNotFound), errors.Is(err, fs.ErrNotExist) && !errors.Is(err, dugout.ErrNoKey):
		return exitNotFound
	case errors.Is(err, dugout.ErrUnauthenticated), errors.Is(err, dugout.ErrDenied), errors.Is(err, dugout.ErrNoKey):
		return exitAuth
	case errors.Is(err, dugout.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, dugout.ErrUnavailable):
		return exitUnavailable
	}
	switch errs.ClassOf(err) {
	case errs.Invalid:
		return exitUsage
	case errs.NotFound:
		return exitNotFound
	case errs.Unauthenticated, errs.Denied:
		return exitAuth
	case errs.Conflict, errs.WrongState:
		return exitConflict
	case errs.Unavailable:
		return exitUnavailable
	case errs.Timeout:
		return exitTimeout
	}
	return exitFailure
}

// hint is what the person can do about err; "" when nothing comes to mind.
func (e *env) hint(err error) string {
	var (
		usage *usageError
		state *stateError
		op    *net.OpError
	)
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &state):
		return state.hint
	case errors.Is(err, dugout.ErrNoKey) && errors.Is(err, fs.ErrPermission):
		return "only root and the user who runs the server can read its key; set DUGOUT_API_KEY, or use sudo"
	case errors.Is(err, dugout.ErrNoKey):
		return "start a server here with: dugout up — or set DUGOUT_API_URL and DUGOUT_API_KEY for another one"
	case errors.Is(err, dugout.ErrUnauthenticated):
		return "check DUGOUT_API_KEY, and that DUGOUT_API_URL names the server it belongs to"
	case errors.As(err, &op) && op.Op == "dial":
		return "is the server running? Start it with: dugout up — or set DUGOUT_API_URL"
	}
	var api *dugout.Error
	if errors.As(err, &api) && api.Status >= 500 && api.RequestID != "" {
		return "the server's log has more under request id " + api.RequestID
	}
	return ""
}

// report prints err and returns the exit code for it.
func (e *env) report(err error) int {
	code := exitCode(err)
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.err == nil {
		return code
	}
	style := e.style(e.err)
	fmt.Fprintf(e.err, "%s %s\n", style.red("error:"), clean(err.Error()))
	if h := e.hint(err); h != "" {
		fmt.Fprintf(e.err, "%s %s\n", style.dim("hint:"), clean(h))
	}
	return code
}

func (e *env) warn(format string, args ...any) {
	fmt.Fprintf(e.err, "%s %s\n", e.style(e.err).yellow("warning:"), clean(fmt.Sprintf(format, args...)))
}

// note tells a person on a terminal something; scripts are spared it.
func (e *env) note(format string, args ...any) {
	if isTerminal(e.err) {
		fmt.Fprintln(e.err, clean(fmt.Sprintf(format, args...)))
	}
}

func fileOf(x any) (*os.File, bool) {
	f, ok := x.(*os.File)
	return f, ok
}
