//go:build linux

package dugout_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// withDaemon returns a sandbox whose toolbox is a real daemon that works in dir.
func withDaemon(t *testing.T, dir string) *dugout.Sandbox {
	t.Helper()
	return withDaemonBehind(t, dir, func(h http.Handler) http.Handler { return h })
}

// withDaemonBehind is withDaemon with something between.
func withDaemonBehind(t *testing.T, dir string, wrap func(http.Handler) http.Handler) *dugout.Sandbox {
	t.Helper()
	d := daemon.New(daemon.Config{Version: "test", Workdir: dir, Log: slog.New(slog.DiscardHandler), Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir})})
	t.Cleanup(d.Close)
	return inside(t, wrap(d.Handler()))
}

func TestPorts(t *testing.T) {
	s := withDaemon(t, t.TempDir())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/from":
			w.Header().Set("Location", "/toolbox/id1/proxy/"+r.Host[strings.LastIndexByte(r.Host, ':')+1:]+"/to?x") // as the platform's proxy makes it of /to?x
			w.WriteHeader(http.StatusFound)
		default:
			b, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, b)
		}
	}))
	t.Cleanup(srv.Close)
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	if ports, err := s.Ports(t.Context()); err != nil || !slices.Contains(ports, port) {
		t.Errorf("%v %v", ports, err)
	}
	if _, err := s.PortInUse(t.Context(), 80); !errors.Is(err, dugout.ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.PortInUse(t.Context(), 3000); err != nil {
		t.Error(err)
	}
	c := s.PortClient(port)
	for path, want := range map[string]string{"/a%2Fb?d=%20": "POST /a%2Fb?d=%20", "": "POST /", "/from": "GET /to?x"} {
		resp, err := c.Post("http://localhost"+path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !strings.HasPrefix(string(b), fmt.Sprintf("%s localhost:%d", want, port)) {
			t.Errorf("%s: %s", path, b)
		}
	}
	srv.Close()
	resp, err := c.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Error(resp.Status)
	}
}
