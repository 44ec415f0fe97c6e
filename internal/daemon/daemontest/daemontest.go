//go:build linux

// Package daemontest runs a daemon for tests: in the test's own process, on a real unix socket.
package daemontest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

// Daemon is a running daemon and a client for it.
type Daemon struct {
	T      testing.TB
	Dir    string // its working directory
	Client *http.Client
	socket string
}

// Start runs a daemon until the test ends.
func Start(t testing.TB) *Daemon {
	t.Helper()
	return StartWith(t, daemon.Config{})
}

// StartWith runs a daemon until the test ends. What cfg leaves out gets a value that suits tests.
func StartWith(t testing.TB, cfg daemon.Config) *Daemon {
	t.Helper()
	run, err := os.MkdirTemp("", "dugoutd-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	if cfg.Workdir == "" {
		cfg.Workdir = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if cfg.Version == "" {
		cfg.Version = "test"
	}
	if cfg.Env == nil {
		cfg.Env = environ.New(map[string]string{"PATH": os.Getenv("PATH"), "HOME": cfg.Workdir, "LANG": "C.UTF-8"})
	}
	l, err := daemon.Listen(filepath.Join(run, "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := daemon.New(cfg)
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		d.Close()
	})
	return Dial(t, filepath.Join(run, "d.sock"), cfg.Workdir)
}

// Dial returns a client for the daemon that listens on socket.
func Dial(t testing.TB, socket, dir string) *Daemon {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}, MaxIdleConnsPerHost: 16, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10}
	t.Cleanup(tr.CloseIdleConnections)
	return &Daemon{T: t, Dir: dir, Client: &http.Client{Transport: tr, Timeout: 60 * time.Second}, socket: socket}
}

// Conn opens a bare connection.
func (d *Daemon) Conn() net.Conn {
	d.T.Helper()
	c, err := net.Dial("unix", d.socket)
	if err != nil {
		d.T.Fatal(err)
	}
	d.T.Cleanup(func() { _ = c.Close() })
	return c
}

// Reply is an answer, read whole.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (r Reply) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("body is no JSON: %v: %.300q", err, r.Body)
	}
}

// Do sends a request; body is sent as it is when it is a reader, string or bytes, and as JSON otherwise.
func (d *Daemon) Do(method, path string, body any, header ...string) Reply {
	d.T.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		in = b
	case string:
		in = bytes.NewReader([]byte(b))
	case []byte:
		in = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			d.T.Fatal(err)
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://daemon"+path, in)
	if err != nil {
		d.T.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := d.Client.Do(req)
	if err != nil {
		d.T.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.T.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return Reply{Status: res.StatusCode, Header: res.Header, Body: b}
}

// Until polls cond until it holds or the test has waited too long.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
