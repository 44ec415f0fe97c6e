package op

import (
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Reply is one line of dugoutd-git: commits of a history, then one result or one error.
type Reply struct {
	Commit *toolbox.GitCommitInfo `json:"commit,omitempty"`
	Result *Result                `json:"result,omitempty"`
	Error  *Fault                 `json:"error,omitempty"`
}

// Fault is an error on its way between two processes of the same build.
type Fault struct {
	Class   errs.Class `json:"class"`
	Code    string     `json:"code,omitempty"`
	Message string     `json:"message"`
}

// FaultOf makes err ready to be sent. One without a class keeps its text: it is about the sandbox's own files.
func FaultOf(err error) *Fault {
	if e, ok := errs.As(err); ok {
		return &Fault{Class: e.Class, Code: e.Code, Message: e.Message}
	}
	return &Fault{Class: errs.Internal, Code: CodeInternal, Message: Clip(err.Error())}
}

// Err is the error that was sent.
func (f *Fault) Err() error { return errs.New(f.Class, "%s", f.Message).WithCode(f.Code) }
