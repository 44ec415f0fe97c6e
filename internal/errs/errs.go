// Package errs carries the class of an error from the place where its meaning is known to the edge
// where it is mapped, once per protocol. An error's text is never parsed.
package errs

import (
	"errors"
	"fmt"
)

// Class says what kind of failure happened, independent of any protocol.
type Class uint8

// The classes. The zero value is Internal on purpose: what nobody classified is our fault.
const (
	Internal        Class = iota
	Invalid               // the input is malformed or out of range
	Unauthenticated       // no or unknown credential
	Denied                // known caller, not allowed
	NotFound              // does not exist, or belongs to someone else
	Conflict              // clashes with what exists or with a change already running
	WrongState            // legal request, but not in the present state
	TooLarge              // over a documented size limit
	Exhausted             // a quota or the capacity is used up
	Unimplemented         // known operation that this class of sandbox cannot do
	Unavailable           // a part we depend on does not answer now
	Timeout               // the deadline passed
	Gone                  // existed, ended
	Busy                  // too many requests at once
	Unreachable           // somebody outside, whom the caller named, could not be reached or did not answer as agreed
)

var names = [...]string{"internal", "invalid", "unauthenticated", "denied", "not_found", "conflict", "wrong_state",
	"too_large", "exhausted", "unimplemented", "unavailable", "timeout", "gone", "busy", "unreachable"}

func (c Class) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("class(%d)", c)
}

// Error is a classified error. Message is a sentence that is safe to show to the caller; Cause is for logs only.
type Error struct {
	Class   Class
	Code    string // stable, upper snake case, e.g. SANDBOX_NOT_FOUND; empty: the edge derives one from Class
	Message string
	Cause   error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// New returns an error of class c with a message that may be shown to the caller.
func New(c Class, format string, args ...any) *Error {
	return &Error{Class: c, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of class c that keeps cause for the logs. The message may be shown, the cause not.
func Wrap(cause error, c Class, format string, args ...any) *Error {
	return &Error{Class: c, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// WithCode sets the stable code and returns e.
func (e *Error) WithCode(code string) *Error {
	e.Code = code
	return e
}

// As returns the outermost classified error in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// ClassOf returns the class of err; Internal when nobody classified it.
func ClassOf(err error) Class {
	if e, ok := As(err); ok {
		return e.Class
	}
	return Internal
}

// Is reports whether err is classified as c.
func Is(err error, c Class) bool {
	e, ok := As(err)
	return ok && e.Class == c
}
