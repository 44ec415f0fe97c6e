//go:build linux

package pty_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/pty"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// alone serves the family without a daemon.
func alone(t *testing.T, home string, reaper *reap.Reaper) (*pty.Handler, *daemontest.Daemon) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	edge := &rest.Edge{Source: api.SourceDaemon, Log: log, EchoMessage: true}
	h := &pty.Handler{Log: log, Runner: run.New(reaper, log), Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "HOME": home}), Edge: edge, Workdir: home}
	mux := http.NewServeMux()
	edge.Mount(mux, "", h.Routes(), nil)
	srv := httptest.NewUnstartedServer(mux)
	dir, err := os.MkdirTemp("", "dugoutd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_ = srv.Listener.Close()
	if srv.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "unix", dir+"/s"); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return h, daemontest.Dial(t, dir+"/s", home)
}

// Terminals go on in the program that replaces the daemon: output, input that waits, size, exit code. The first handler stays
// frozen, as if it were gone.
func TestHandover(t *testing.T) {
	home := start(t).Dir
	before := reap.New(false)
	h1, d1 := alone(t, home, before)
	create(t, d1, toolbox.PtyCreate{ID: "a", Cols: num(90), Envs: map[string]string{"A": "b"}})
	create(t, d1, toolbox.PtyCreate{ID: "idle", LazyStart: true})
	create(t, d1, toolbox.PtyCreate{ID: "stuck"})
	const last = 45000
	c := connect(t, d1, "/process/pty/a/connect", exitControl)
	c.expect("$ ")
	c.send("stty -echo; for i in {1..45000}; do echo $i; done; read x; echo \"[$x $A]\"; exit 9\n")
	stuck := connect(t, d1, "/process/pty/stuck/connect")
	stuck.expect("$ ")
	stuck.send("stty -echo; echo re''ady; sleep 1; cat | tail -c 20\n")
	stuck.expect("ready\r\n")
	waiting := strings.Repeat(strings.Repeat("y", 63)+"\n", 2000)
	stuck.send(waiting)
	c.expect("\n2000\r\n")
	was, _ := info(t, d1, "a")

	before.Freeze()
	begin := time.Now()
	h1.Freeze()
	if took := time.Since(begin); took > 50*time.Millisecond && !raceEnabled {
		t.Errorf("freezing took %v", took)
	}
	var out handover.Out
	if err := h1.Save(&out); err != nil {
		t.Fatal(err)
	}
	after := reap.NewFrozen(false)
	h2, d2 := alone(t, home, after)
	if err := h2.Restore(out.In()); err != nil {
		t.Fatal(err)
	}
	after.Thaw()
	if e := c.closed(); e.Code != 1012 {
		t.Errorf("the client was closed with %v", e)
	}

	is, _ := info(t, d2, "a")
	if diff := cmp.Diff(was, is); diff != "" {
		t.Error(diff)
	}
	again := connect(t, d2, "/process/pty/a/connect", exitControl)
	again.expect("\n45000\r\n")
	unbroken(t, numbers(t, again.text())[1:], last)
	again.send("typed\n")
	if e := again.closed(); e.Reason != `{"exitCode":9,"exitReason":"non-zero exit"}` || !strings.Contains(again.text(), "[typed b]\r\n") {
		t.Errorf("closed with %v after %q", e, tail(again.text()))
	}
	s := connect(t, d2, "/process/pty/stuck/connect")
	s.send("end of what waited\n")
	s.send("\x04")
	s.expect("\nend of what waited\r\n")
	idle := connect(t, d2, "/process/pty/idle/connect")
	idle.expect("$ ")
	h2.Close()
	if e := idle.closed(); e.Code != 1001 {
		t.Errorf("closed with %v", e)
	}
	after.Close()
}

// An exec that fails leaves the terminals as they were.
func TestThaw(t *testing.T) {
	home := start(t).Dir
	reaper := reap.New(false)
	h, d := alone(t, home, reaper)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	h.Freeze()
	var out handover.Out
	if err := h.Save(&out); err != nil {
		t.Fatal(err)
	}
	out.Close()
	h.Thaw()
	c = connect(t, d, "/process/pty/a/connect")
	c.send("exit 4\n")
	if e := c.closed(); e.Reason != `{"exitCode":4,"exitReason":"non-zero exit"}` {
		t.Errorf("closed with %v", e)
	}
	h.Close()
	reaper.Close()
}
