//go:build linux

package pty_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

const exitControl = toolbox.PtyExitControl

// start runs a daemon whose shells are plain ones, whatever the host's start files do: the prompt is "$ ".
func start(t testing.TB) *daemontest.Daemon {
	t.Helper()
	home := t.TempDir()
	for name, text := range map[string]string{".bash_profile": "PS1='$ '; PROMPT_COMMAND=; HISTFILE=; bind 'set enable-bracketed-paste off'\n", ".zshrc": "PS1='$ '; unset zle_bracketed_paste\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return daemontest.StartWith(t, daemon.Config{Workdir: home, Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "HOME": home, "LANG": "C.UTF-8"})})
}

// client is one that is attached to a terminal.
type client struct {
	t testing.TB
	c *websocket.Conn

	sink func([]byte)

	mu       sync.Mutex
	controls []toolbox.PtyControl
	out      bytes.Buffer
	frames   []string // kinds of frames in order: control, data
	close    websocket.CloseError
	done     chan struct{}
}

// upgrade opens a WebSocket; the answer is that of a refusal otherwise.
func upgrade(t testing.TB, d *daemontest.Daemon, path string, protocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	c, res, err := websocket.Dial(context.Background(), "ws://daemon"+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: d.Client.Transport}, Subprotocols: protocols})
	if err == nil {
		c.SetReadLimit(-1)
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, res, err
}

// connect attaches and collects what comes.
func connect(t testing.TB, d *daemontest.Daemon, path string, protocols ...string) *client {
	t.Helper()
	return connectTo(t, d, path, nil, protocols...)
}

// connectTo attaches and gives the output to sink too.
func connectTo(t testing.TB, d *daemontest.Daemon, path string, sink func([]byte), protocols ...string) *client {
	t.Helper()
	c, res, err := upgrade(t, d, path, protocols...)
	if err != nil {
		t.Fatalf("%s: %v %v", path, err, res)
	}
	cl := &client{t: t, c: c, sink: sink, done: make(chan struct{})}
	go cl.collect()
	t.Cleanup(func() {
		_ = c.CloseNow()
		<-cl.done
	})
	return cl
}

func (cl *client) collect() {
	defer close(cl.done)
	for {
		typ, data, err := cl.c.Read(context.Background())
		cl.mu.Lock()
		if err != nil {
			errors.As(err, &cl.close)
			cl.mu.Unlock()
			return
		}
		if typ == websocket.MessageText {
			var m toolbox.PtyControl
			if err := json.Unmarshal(data, &m); err != nil || m.Type != "control" {
				cl.t.Errorf("text frame %q", data)
			}
			cl.controls = append(cl.controls, m)
			cl.frames = append(cl.frames, m.Status)
		} else {
			cl.out.Write(data)
			cl.frames = append(cl.frames, "data")
			if cl.sink != nil {
				cl.sink(data)
			}
		}
		cl.mu.Unlock()
	}
}

func (cl *client) send(text string) {
	cl.t.Helper()
	if err := cl.c.Write(context.Background(), websocket.MessageBinary, []byte(text)); err != nil {
		cl.t.Fatal(err)
	}
}

func (cl *client) text() string {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.out.String()
}

// holds reports whether want is in the output after what was seen, and notes what need not be looked at again.
func (cl *client) holds(want string, seen *int) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	b := cl.out.Bytes()
	from := max(0, *seen-len(want))
	*seen = len(b)
	return bytes.Contains(b[from:], []byte(want))
}

// expect waits until the output holds want.
func (cl *client) expect(want string) {
	cl.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for seen := 0; !cl.holds(want, &seen); {
		if time.Now().After(deadline) {
			cl.t.Fatalf("waited too long for %q in %q", want, tail(cl.text()))
		}
		time.Sleep(3 * time.Millisecond)
	}
}

func tail(s string) string {
	if len(s) > 2000 {
		return "…" + s[len(s)-2000:]
	}
	return s
}

// closed waits for the close frame.
func (cl *client) closed() websocket.CloseError {
	cl.t.Helper()
	select {
	case <-cl.done:
	case <-time.After(60 * time.Second):
		cl.t.Fatalf("not closed; output %q", tail(cl.text()))
	}
	return cl.close
}

// leave closes the client's side and waits until the daemon noticed.
func (cl *client) leave() {
	_ = cl.c.Close(websocket.StatusNormalClosure, "")
	<-cl.done
}

func create(t testing.TB, d *daemontest.Daemon, body toolbox.PtyCreate) {
	t.Helper()
	if r := d.Do("POST", "/process/pty", body); r.Status != 201 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
}

func info(t testing.TB, d *daemontest.Daemon, id string) (toolbox.PtyInfo, int) {
	t.Helper()
	var out toolbox.PtyInfo
	r := d.Do("GET", "/process/pty/"+id, nil)
	if r.Status == 200 {
		r.JSON(t, &out)
	}
	return out, r.Status
}
