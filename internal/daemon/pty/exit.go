//go:build linux

package pty

import (
	"encoding/json"
	"strconv"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
)

// exitOf describes an end as the 0.x wire does: a signal counts as 128 and its number.
func exitOf(status syscall.WaitStatus) toolbox.PtyExit {
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	e := toolbox.PtyExit{ExitCode: code}
	switch {
	case code == 0:
	case code == 130:
		e.ExitReason = "Ctrl+C"
	case code == 137:
		e.ExitReason = "SIGKILL"
	case code == 143:
		e.ExitReason = "SIGTERM"
	case code > 128:
		e.ExitReason = "signal " + strconv.Itoa(code-128)
	default:
		e.ExitReason = "non-zero exit"
	}
	return e
}

// closing returns the close frame for an end.
func closing(e toolbox.PtyExit) (code int, reason string) {
	code = ws.Internal
	if e.ExitCode == 0 {
		code = ws.Normal
	}
	return code, string(text(e))
}

func control(status string) []byte {
	return text(toolbox.PtyControl{Type: "control", Status: status})
}

// text encodes a message of this package, which cannot fail.
func text(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("pty: " + err.Error())
	}
	return b
}
