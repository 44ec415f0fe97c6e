//go:build linux

// Package testkit is a whole server for tests, in the test's own process: database, control plane, proxy and runner are the
// real ones, on loopback and unix sockets. Only sandboxes are not real: the engine is the fake one, and the daemon of each is
// the real daemon in a directory of its own. It needs no privileges and no images.
package testkit

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/app"
	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/fake"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/obs"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// Options of a server. The zero value suits most tests.
type Options struct {
	Dir    string               // the data directory; empty: a new one. A second server on the same one is a restart.
	Log    io.Writer            // nil: nowhere. Everything from level debug on is written.
	Config func(*config.Config) // changes the configuration
	// Before is fake.Config.Before: it can delay and fail what the engine does.
	Before func(ctx context.Context, verb, id string) error
	// Daemon replaces the daemon of every sandbox; nil: the real one.
	Daemon func(engine.Spec) http.Handler
}

// Server is a running server.
type Server struct {
	URL    string // http://127.0.0.1:PORT
	Key    string // the administrator's
	Dir    string
	Client *dugout.Client
	Engine *fake.Engine

	stop func()
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith runs a server until the test ends or Stop is called.
func StartWith(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = Dir(t)
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	s := &Server{Dir: opts.Dir}
	cfg := config.Default()
	cfg.DataDir, cfg.Runner.RunDir = opts.Dir, filepath.Join(opts.Dir, "run")
	if opts.Config != nil {
		opts.Config(&cfg)
	}
	cfg.Fill()
	log := obs.NewLogger(opts.Log, "debug", "text")
	daemons := &daemons{dir: filepath.Join(opts.Dir, "sandboxes"), log: log}
	ctx, cancel := context.WithCancel(context.Background())
	p, err := app.Start(ctx, "test", cfg, log, func(context.Context, config.Config, string, *slog.Logger) (app.Parts, error) {
		if opts.Daemon == nil {
			opts.Daemon = daemons.handler
		}
		eng, err := fake.Open(fake.Config{Dir: filepath.Join(opts.Dir, "engine"), Daemon: opts.Daemon, Before: opts.Before})
		if err != nil {
			return app.Parts{}, err
		}
		s.Engine = eng
		return app.Parts{Engine: eng, Images: images{opts.Dir}, Close: []func() error{daemons.close, eng.Close}}, nil
	})
	if err != nil {
		cancel()
		t.Fatalf("start the server: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 2)
	go func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			ended <- err
			return
		}
		ended <- nil
	}()
	go func() { ended <- p.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		_ = server.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("the server ended with: %v", err)
			}
		}
		p.Close()
	})
	t.Cleanup(s.stop)
	key, err := config.EnsureAdminKey(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.URL, s.Key = "http://"+ln.Addr().String(), key.Reveal()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s.Client, err = dugout.New(dugout.Options{APIURL: s.URL + "/api", APIKey: s.Key, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Stop ends the server as a signal would: sandboxes stay. It may be called more than once.
func (s *Server) Stop() { s.stop() }

// Dir makes a data directory whose path is short enough for unix sockets, removed when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dugout-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Until polls cond until it holds; it fails the test after ten seconds.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for: %s", what)
		}
	}
}

// images are the snapshots that the server brings along, without files.
type images struct{ dir string }

func (i images) Image(ref string) (engine.Image, error) {
	if ref != "base" && ref != "tiny" {
		return engine.Image{}, errs.New(errs.NotFound, "no image %q", ref)
	}
	return engine.Image{Ref: ref, Rootfs: i.dir, User: "root"}, nil
}

func (images) List() []wire.Image {
	return []wire.Image{{Ref: "base", Digest: "sha256:1", SizeBytes: 1 << 20}, {Ref: "tiny", Digest: "sha256:2", SizeBytes: 1 << 20}}
}

// daemons are the daemons of running sandboxes, each in a directory that outlives it, as the disk of a sandbox does.
type daemons struct {
	dir string
	log *slog.Logger

	mu  sync.Mutex // guards all
	all []*daemon.Daemon
}

func (d *daemons) handler(spec engine.Spec) http.Handler {
	dir := filepath.Join(d.dir, spec.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return http.NotFoundHandler()
	}
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir, "LANG": "C.UTF-8"}
	for k, v := range spec.Env {
		env[k] = v
	}
	made := daemon.New(daemon.Config{Version: "test", Workdir: dir, Env: environ.New(env), Log: d.log})
	d.mu.Lock()
	d.all = append(d.all, made)
	d.mu.Unlock()
	return made.Handler()
}

func (d *daemons) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.all {
		x.Close()
	}
	d.all = nil
	return nil
}
