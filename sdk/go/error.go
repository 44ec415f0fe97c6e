package dugout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/dugout-dev/dugout/api"
)

// Error is an answer that is not a success. Compare it by kind, with errors.Is and one of the Err values, or by Code.
type Error struct {
	Status    int    // HTTP status
	Code      string // stable, upper snake case; empty from servers that send none
	Message   string // for a person
	Source    string // which part answered
	RequestID string // finds the request in the server's logs; may be empty
	Output    string // of a command that was killed at its timeout: what it had written
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Message
}

// Kinds of errors, for errors.Is.
var (
	ErrInvalid         = errors.New("invalid request or wrong state")     // 400, 422
	ErrUnauthenticated = errors.New("missing or unknown API key")         // 401
	ErrDenied          = errors.New("not allowed")                        // 403
	ErrNotFound        = errors.New("not found")                          // 404
	ErrTimeout         = errors.New("timed out")                          // 408, 504
	ErrConflict        = errors.New("conflicts with what exists")         // 409
	ErrGone            = errors.New("ended")                              // 410
	ErrTooLarge        = errors.New("too large")                          // 413
	ErrBusy            = errors.New("too many requests")                  // 429
	ErrUnavailable     = errors.New("the server is not available")        // 502, 503, and no connection at all
	ErrInternal        = errors.New("the server failed")                  // any other 5xx
	ErrFailed          = errors.New("the sandbox is in an error state")   // Wait, Create, Start
	ErrLost            = errors.New("the connection to the command lost") // Exec: whether it ran is not known
)

// Is makes errors.Is(err, ErrNotFound) and the like work.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case 400, 422:
		return target == ErrInvalid
	case 401:
		return target == ErrUnauthenticated
	case 403:
		return target == ErrDenied
	case 404:
		return target == ErrNotFound
	case 408, 504:
		return target == ErrTimeout
	case 409:
		return target == ErrConflict
	case 410:
		return target == ErrGone
	case 413:
		return target == ErrTooLarge
	case 429:
		return target == ErrBusy
	case 502, 503:
		return target == ErrUnavailable
	}
	return e.Status >= 500 && target == ErrInternal
}

// connectionError is a request that got no answer, or not all of it.
type connectionError struct {
	op    string
	cause error
}

func (e *connectionError) Error() string        { return e.op + ": " + e.cause.Error() }
func (e *connectionError) Unwrap() error        { return e.cause }
func (e *connectionError) Is(target error) bool { return target == ErrUnavailable }

// maxErrorBody bounds an error answer. That of a command at its timeout holds the command's output.
const (
	maxErrorBody = 1 << 20
	maxRunBody   = 1 << 30
)

// readError turns a failed answer into an *Error, whatever its body is.
func readError(resp *http.Response, limit int64) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, limit))
	var body struct {
		api.Error
		Result string `json:"result"`
	}
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	if json.Unmarshal(raw, &body) == nil {
		e.Code, e.Message, e.Source, e.Output = body.Code, body.Message, body.Source, body.Result
		if e.Message == "" {
			e.Message = body.Reason
		}
		if body.RequestID != "" {
			e.RequestID = body.RequestID
		}
		return e
	}
	if text := strings.TrimSpace(string(raw)); text != "" && !strings.HasPrefix(text, "<") {
		e.Message = fmt.Sprintf("the server answered %d: %s", resp.StatusCode, clip(text))
	}
	return e
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
