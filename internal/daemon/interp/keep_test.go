//go:build linux

package interp_test

import (
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/interp"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	programs "github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// A run goes on after each replacement that fails: no answer to its worker is lost.
func TestFreezeDuringARun(t *testing.T) {
	need(t, "python3")
	log := slog.New(slog.DiscardHandler)
	reaper := reap.New(false)
	defer reaper.Close()
	runner := programs.New(reaper, log)
	defer runner.Close()
	edge := &rest.Edge{Source: "test", Log: log}
	h := &interp.Handler{Log: log, Runner: runner, Env: environ.New(map[string]string{"PATH": os.Getenv("PATH")}), Edge: edge, Workdir: t.TempDir()}
	defer h.Close()
	mux := http.NewServeMux()
	edge.Mount(mux, "", h.Routes(), nil)
	dir, err := os.MkdirTemp("", "interp-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux} //nolint:gosec // of a test
	go func() { _ = srv.Serve(l) }()
	defer func() { _ = srv.Close() }()
	d := daemontest.Dial(t, filepath.Join(dir, "s"), h.Workdir)
	c := start(d, toolbox.InterpreterRun{Code: "for i in range(300): display(i)", Timeout: seconds(20)})
	over, frozen := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { frozen <- n }()
		for {
			select {
			case <-over:
				return
			default:
				h.Freeze()
				h.Thaw()
				n++
			}
		}
	}()
	o := finish(t, c)
	close(over)
	if n := <-frozen; o.code != 1000 || len(o.messages) != 301 || n == 0 {
		t.Errorf("%d %s, %d messages, frozen %d times", o.code, o.reason, len(o.messages), n)
	}
}
