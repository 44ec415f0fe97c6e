// Package app ties the parts together: which role is made of what, in which order the parts start and stop. It is the only
// package that knows all others.
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
	"github.com/dugout-dev/dugout/internal/obs"
)

// Output is how the running platform tells a person about itself.
type Output struct {
	Log      io.Writer
	Progress func(text string)
	Ready    func(apiURL string)
}

// Up runs every role in this process until ctx ends. Nothing happens at its end that a crash would not survive as well.
func Up(ctx context.Context, version string, cfg config.Config, out Output) error {
	debug.SetGCPercent(50) // an idle platform should be small; the garbage of a busy one is short-lived
	log := obs.NewLogger(out.Log, cfg.Log.Level, cfg.Log.Format)
	if os.Geteuid() != 0 {
		return errs.New(errs.Denied, "dugout up makes namespaces, mounts and cgroups: run it as root")
	}
	if err := os.MkdirAll(cfg.DataDir, 0o755); err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot make the data directory %s: %v", cfg.DataDir, err)
	}
	unlock, err := lockDir(ctx, cfg.DataDir, filelock.Patience)
	if err != nil {
		return err
	}
	defer unlock()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Server.Listen)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot listen on %s: %v", cfg.Server.Listen, err)
	}
	cfg.Server.Listen = bound(cfg.Server.Listen, ln.Addr())
	cfg.Fill() // what follows from the port
	front := &front{}
	front.detail.Store("starting")
	server := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return errs.Wrap(err, errs.Unavailable, "the listener on %s failed", cfg.Server.Listen)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if server.Shutdown(stop) != nil {
			_ = server.Close() // long commands are cut; they run on in their sandboxes
		}
		return nil
	})
	g.Go(func() error {
		p, err := Start(ctx, version, cfg, log, Host(func(text string) {
			front.detail.Store(text)
			out.Progress(text)
		}))
		if err != nil {
			return err
		}
		defer p.Close()
		front.ready.Store(&p.handler)
		out.Ready(apiURL(cfg, ln.Addr()))
		return p.Run(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// bound is the configured address with the port that the kernel chose where none was asked for.
func bound(listen string, addr net.Addr) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port != "0" {
		return listen
	}
	_, port, err = net.SplitHostPort(addr.String())
	if err != nil {
		return listen
	}
	return net.JoinHostPort(host, port)
}

// apiURL is where a client on this host reaches the API.
func apiURL(cfg config.Config, addr net.Addr) string {
	if cfg.Server.PublicURL != "" {
		return strings.TrimSuffix(cfg.Server.PublicURL, "/") + "/api"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String() + "/api"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/api"
}

// front answers before the platform is ready: health says what the start is busy with, everything else is 503.
type front struct {
	ready  atomic.Pointer[http.Handler]
	detail atomic.Value // string
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.ready.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	starting(w, r, f.detail.Load().(string))
}

// runtimePaths are the places of one installation that a reboot may forget.
type runtimePaths struct{ engine, net, socket string }

func runtimeDirs(cfg config.Config, instance string) (runtimePaths, error) {
	base := filepath.Join(cfg.Runner.RunDir, instance)
	p := runtimePaths{engine: filepath.Join(base, "engine"), net: filepath.Join(base, "net"), socket: filepath.Join(base, "runner.sock")}
	for _, dir := range []string{base, p.engine, p.net} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return p, errs.Wrap(err, errs.Unavailable, "cannot make %s: %v", dir, err)
		}
	}
	return p, os.Chmod(base, 0o711)
}
