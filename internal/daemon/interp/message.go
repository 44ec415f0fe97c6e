//go:build linux

package interp

import (
	"bytes"
	"encoding/json"
	"math"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/code"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// refusal is a first message that is not served: the close code and its reason.
type refusal struct {
	code   int
	reason string
}

// order is a run as a client asked for it.
type order struct {
	code    string
	scope   string // id; "": the default one
	timeout time.Duration
	envs    map[string]string
}

// parseRun reads the message with which a client asks for a run.
func parseRun(data []byte) (order, *refusal) {
	var in struct {
		Code      *string           `json:"code"`
		ContextID *string           `json:"contextId"`
		Timeout   *float64          `json:"timeout"`
		Envs      map[string]string `json:"envs"`
	}
	if err := json.Unmarshal(data, &in); err != nil || len(bytes.TrimLeft(data, " \t\r\n")) == 0 || bytes.TrimLeft(data, " \t\r\n")[0] != '{' {
		return order{}, &refusal{ws.BadMessage, "the first message must be a JSON object: {\"code\", \"contextId\", \"timeout\", \"envs\"}"}
	}
	o := order{timeout: DefaultTimeout, envs: in.Envs}
	switch {
	case in.Code == nil || *in.Code == "":
		return o, &refusal{ws.Policy, "code must not be empty"}
	case in.Timeout != nil && (*in.Timeout < 0 || math.IsNaN(*in.Timeout)):
		return o, &refusal{ws.Policy, "timeout must not be negative; 0 means none"}
	}
	o.code = *in.Code
	if in.ContextID != nil {
		o.scope = *in.ContextID
	}
	if in.Timeout != nil {
		o.timeout = time.Duration(min(*in.Timeout, float64(maxTimeout/time.Second)) * float64(time.Second))
	}
	if err := environ.Check(in.Envs); err != nil {
		msg := "envs: a name or value is not allowed"
		if e, ok := errs.As(err); ok {
			msg = e.Message
		}
		return o, &refusal{ws.Policy, msg}
	}
	return o, nil
}

// typeDone ends the answers to a job; it stays between the worker and the daemon.
const typeDone = "done"

// maxChart is how much memory a chart may take, in bytes, about; tooLarge is shown in place of a larger one.
const (
	maxChart = 64 << 20
	tooLarge = "[chart too large to show]"
)

// parseMessage reads one message of a worker. The worker runs hostile code: whatever is not a message of a known kind is an
// error, after which the worker is of no use. Only those kinds come through that a worker may send. asks: it waits for an answer.
func parseMessage(line []byte) (out *toolbox.InterpreterMessage, asks bool, err error) {
	if !code.Shallow(line) {
		return nil, false, errs.New(errs.Invalid, "a message of the interpreter nests too deeply")
	}
	var m struct {
		toolbox.InterpreterMessage
		Chart json.RawMessage `json:"chart"`
		Ask   bool            `json:"ask"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, false, errs.Wrap(err, errs.Invalid, "a message of the interpreter is no message")
	}
	switch m.Type {
	case typeDone:
		return &toolbox.InterpreterMessage{Type: typeDone}, false, nil
	case toolbox.InterpreterError:
		return &toolbox.InterpreterMessage{Type: m.Type, Name: m.Name, Value: m.Value, Traceback: m.Traceback}, false, nil
	case toolbox.InterpreterDisplay, toolbox.InterpreterResult:
		out := &toolbox.InterpreterMessage{Type: m.Type, Text: m.Text, Data: m.Data}
		switch {
		case len(m.Chart) == 0 || string(m.Chart) == "null":
		case code.Cost(m.Chart) > maxChart:
			out.Text += tooLarge
		default:
			if err := json.Unmarshal(m.Chart, &out.Chart); err != nil {
				return nil, false, errs.Wrap(err, errs.Invalid, "a message of the interpreter has no chart where one should be")
			}
			code.Tidy(out.Chart)
		}
		return out, m.Ask, nil
	}
	return nil, false, errs.New(errs.Invalid, "a message of the interpreter is of an unknown kind")
}
