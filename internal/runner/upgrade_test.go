//go:build linux

package runner_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/runner"
)

// oldDaemon is the daemon's side of an upgrade, on a real socket: what it answers is told.
type oldDaemon struct {
	socket string

	mu      sync.Mutex
	version string
	answers []string // to the next requests for a replacement
	got     []string // what the passed descriptors held
}

func newOldDaemon(t *testing.T) *oldDaemon {
	dir, err := os.MkdirTemp("", "upgrade-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &oldDaemon{socket: filepath.Join(dir, "d.sock"), version: "old"}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(d)
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return d
}

func (d *oldDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.URL.Path != toolbox.ReplacePath {
		_, _ = fmt.Fprintf(w, `{"version":%q}`, d.version)
		return
	}
	answer := d.answers[0]
	d.answers = d.answers[1:]
	if answer == "404" {
		w.WriteHeader(404)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+toolbox.ReplaceProtocol+"\r\n\r\n")
	_ = rw.Flush()
	b, oob := make([]byte, 1), make([]byte, 64)
	_, n, _, _, err := c.(*net.UnixConn).ReadMsgUnix(b, oob)
	if err != nil {
		return
	}
	msgs, _ := syscall.ParseSocketControlMessage(oob[:n])
	for _, m := range msgs {
		fds, _ := syscall.ParseUnixRights(&m)
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "program")
			text, _ := io.ReadAll(f)
			d.got = append(d.got, string(text))
			_ = f.Close()
		}
	}
	if strings.Contains(answer, `"ok":true`) {
		d.version = "new"
	}
	_, _ = io.WriteString(c, answer)
}

// dialling is an engine whose daemons are all one.
type dialling struct {
	engine.Engine
	socket string
}

func (e dialling) Dial(ctx context.Context, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
}

func TestUpgrade(t *testing.T) {
	d := newOldDaemon(t)
	r := newRig(t).open()
	program := filepath.Join(r.dir, "dugoutd")
	if err := os.WriteFile(program, []byte("the new program"), 0o755); err != nil {
		t.Fatal(err)
	}
	open := func(daemon string) *runner.Host {
		h, err := runner.New(t.Context(), runner.Config{Version: "new", Key: "key", Dir: r.dir, Daemon: daemon},
			runner.Deps{Engine: dialling{r.engine, d.socket}, Network: r.net, Images: oneImage{r.dir}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := open(program)
	ctx, sid := t.Context(), id.New()
	if _, err := h.Put(ctx, sid, spec()); err != nil {
		t.Fatal(err)
	}
	d.answers = []string{`{"ok":false,"busy":true,"error":"busy"}` + "\n"}
	if out, err := h.Upgrade(ctx, sid, false); err != nil || !out.Busy || out.Replaced || out.Version != "old" {
		t.Errorf("busy: %+v %v", out, err)
	}
	for _, answer := range []string{`{"ok":false,"error":"no"}` + "\n", "404", "nonsense\n", ""} {
		d.answers = []string{answer}
		if out, err := h.Upgrade(ctx, sid, false); errs.ClassOf(err) != errs.Unavailable || out.Replaced {
			t.Errorf("%q: %+v %v", answer, out, err)
		}
	}
	if _, err := h.Upgrade(ctx, id.New(), false); errs.ClassOf(err) != errs.NotFound {
		t.Errorf("unknown: %v", err)
	}
	if _, err := open("").Upgrade(ctx, sid, false); errs.ClassOf(err) != errs.Unimplemented {
		t.Errorf("no program: %v", err)
	}
	// In the background, when a runner starts; a version that is right is left alone.
	d.got, d.answers = nil, []string{`{"ok":true,"version":"new"}` + "\n"}
	h = open(program)
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- h.Run(run) }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		out, err := h.Upgrade(ctx, sid, false)
		if err == nil && out.Before == "new" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v %v", out, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(d.got) != 1 || d.got[0] != "the new program" {
		t.Errorf("descriptors held %q", d.got)
	}
	if _, err := h.Stop(ctx, sid, true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Upgrade(ctx, sid, false); errs.ClassOf(err) != errs.WrongState {
		t.Errorf("stopped: %v", err)
	}
}
