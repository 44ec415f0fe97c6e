//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// interpret runs code in the interpreter and returns its output, and whether the run was told to have ended.
func (in *instance) interpret(code string) (out string, ended bool) {
	in.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	hc := *in.Client
	hc.Timeout = 0
	c, _, err := websocket.Dial(ctx, "ws://daemon/process/interpreter/execute", &websocket.DialOptions{HTTPClient: &hc})
	if err != nil {
		return "", false
	}
	defer func() { _ = c.CloseNow() }()
	b, _ := json.Marshal(toolbox.InterpreterRun{Code: code})
	_ = c.Write(ctx, websocket.MessageText, b)
	for {
		_, b, err := c.Read(ctx)
		var m toolbox.InterpreterMessage
		if err != nil || json.Unmarshal(b, &m) != nil {
			return out, ended
		}
		switch m.Type {
		case toolbox.InterpreterStdout:
			out += m.Text
		case toolbox.InterpreterControl:
			ended = true
		}
	}
}

// Variables, and a run that is under way, outlast the daemon's replacement.
func TestReplaceKeepsInterpreters(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	next, err := newVersion()
	if err != nil {
		t.Fatal(err)
	}
	in := launch(t, asInit(t, true), []string{"PATH=/usr/bin:/bin"}, "--outside-only")
	if out, ok := in.interpret("x = 5; import os; print('first')"); !ok || out != "first\n" {
		t.Fatalf("%q %v", out, ok)
	}
	running := make(chan bool, 1)
	go func() {
		_, ok := in.interpret("import time\nopen('began', 'w').close()\nfor i in range(20): time.sleep(0.1); print(i, flush=True)\nx += 1")
		running <- ok
	}()
	daemontest.Until(t, "the run", func() bool { return strings.Contains(in.run("ls").Result, "began") })
	if _, err := in.replace(next, ""); err != nil {
		t.Fatal(err)
	}
	<-running
	// The run that nobody hears of any more goes on to its end, and the next one waits for it.
	if out, ok := in.interpret("print(x, os.getpid() > 0)"); !ok || out != "6 True\n" {
		t.Errorf("after the replacement: %q %v", out, ok)
	}
}
