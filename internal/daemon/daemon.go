//go:build linux

// Package daemon is the toolbox API: what runs inside every sandbox and does there what its owner asks for. This file puts the
// families of operations together; each has a package of its own below this one. It links nothing of the platform outside
// the sandbox.
//
// To add a family, write a package with a Handler that has Routes() []rest.Route, and list it in [New] and [Routes].
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/fs"
	"github.com/dugout-dev/dugout/internal/daemon/git"
	"github.com/dugout-dev/dugout/internal/daemon/info"
	"github.com/dugout-dev/dugout/internal/daemon/interp"
	"github.com/dugout-dev/dugout/internal/daemon/lsp"
	"github.com/dugout-dev/dugout/internal/daemon/port"
	"github.com/dugout-dev/dugout/internal/daemon/process"
	"github.com/dugout-dev/dugout/internal/daemon/pty"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/session"
	"github.com/dugout-dev/dugout/internal/daemon/telemetry"
	"github.com/dugout-dev/dugout/internal/daemon/watch"
	"github.com/dugout-dev/dugout/internal/daemon/zygote"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Config of a daemon.
type Config struct {
	Version string
	Workdir string       // absolute; where relative paths and commands start
	Env     *environ.Env // nil: that of this process
	TS      string       // the TypeScript transpiler; a missing one is told to whoever asks for TypeScript
	Git     string       // the git library's program, for images without git; a missing one is told to whoever asks
	Limits  info.Limits  // as far as the engine told them
	CPUs    *unix.CPUSet // where programs run; nil: everywhere
	MemInfo int          // descriptor of /dev/fuse that the engine mounts on /proc/meminfo; 0: none
	First   bool         // this is the first process of the sandbox: it waits for every orphan
	Outside bool         // refuse callers from inside the sandbox
	Log     *slog.Logger

	Bin         string       // where this program was started; a replacement finds its helpers there
	Resumed     *Resumed     // what the daemon before left; nil: this is the first
	Replacement *Replacement // how this one is replaced; nil: not at all
}

// Daemon is the toolbox API of one sandbox.
type Daemon struct {
	log     *slog.Logger
	edge    *rest.Edge
	reaper  *reap.Reaper
	runner  *run.Runner
	export  *telemetry.Exporter
	mem     *memFile
	info    *info.Handler
	files   *fs.Handler
	process *process.Handler
	session *session.Handler
	pty     *pty.Handler
	interp  *interp.Handler
	git     *git.Handler
	lsp     *lsp.Handler
	port    *port.Handler
	desktop *desktop.Handler
	watch   *watch.Handler
	handler func() http.Handler
	idle    idle
	door    door

	env         *environ.Env
	version     string
	workdir     string
	bin         string
	outside     bool
	replacement *Replacement
	replacing   sync.Mutex // held while the daemon is being replaced
}

// New returns a daemon that serves nothing yet. It does as little as it can: a sandbox waits for it.
func New(cfg Config) *Daemon {
	if cfg.Env == nil {
		cfg.Env = environ.FromProcess()
	}
	d := &Daemon{export: &telemetry.Exporter{}, env: cfg.Env, version: cfg.Version, workdir: cfg.Workdir, bin: cfg.Bin, outside: cfg.Outside, replacement: cfg.Replacement}
	cfg.Log = slog.New(d.export.LogHandler(cfg.Log.Handler()))
	d.log = cfg.Log
	d.edge = &rest.Edge{Source: api.SourceDaemon, Log: cfg.Log, EchoMessage: true, Statuses: map[errs.Class]int{errs.Exhausted: http.StatusInsufficientStorage}}
	d.reaper = reap.NewFrozen(cfg.First)
	d.runner = run.New(d.reaper, cfg.Log)
	d.runner.CPUs = cfg.CPUs
	d.info = &info.Handler{Version: cfg.Version, Workdir: cfg.Workdir, Env: cfg.Env, Limits: cfg.Limits, Telemetry: d.export}
	d.export.Metrics = d.info.Gauges
	d.mem = &memFile{log: cfg.Log, content: d.info.MemInfo, fd: cfg.MemInfo}
	d.files = &fs.Handler{Log: cfg.Log, Edge: d.edge, Workdir: cfg.Workdir}
	d.process = &process.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir, TS: cfg.TS,
		Python: &zygote.Pool{Log: cfg.Log, Runner: d.runner, Dir: cfg.Workdir}}
	d.session = &session.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir}
	d.pty = &pty.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir}
	d.interp = &interp.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir}
	d.git = &git.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir, Library: cfg.Git}
	d.lsp = &lsp.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir}
	d.port = &port.Handler{Log: cfg.Log, Edge: d.edge}
	d.desktop = &desktop.Handler{Log: cfg.Log, Runner: d.runner, Env: cfg.Env, Edge: d.edge, Workdir: cfg.Workdir}
	d.watch = &watch.Handler{Log: cfg.Log, Workdir: cfg.Workdir}
	d.handler = sync.OnceValue(d.mount)
	if cfg.Resumed != nil {
		d.takeOver(cfg.Resumed)
	} else {
		d.reaper.Thaw()
	}
	return d
}

// Routes lists all operations of the toolbox API. A zero daemon will do for describing them.
func Routes(d *Daemon) []rest.Route {
	if d == nil {
		d = &Daemon{}
	}
	var all []rest.Route
	all = append(all, d.info.Routes()...)
	all = append(all, d.files.Routes()...)
	all = append(all, d.process.Routes()...)
	all = append(all, d.session.Routes()...)
	all = append(all, d.pty.Routes()...)
	all = append(all, d.interp.Routes()...)
	all = append(all, d.git.Routes()...)
	all = append(all, d.lsp.Routes()...)
	all = append(all, d.port.Routes()...)
	all = append(all, d.desktop.Routes()...)
	all = append(all, d.watch.Routes()...)
	return all
}

// Handler serves the toolbox API.
func (d *Daemon) Handler() http.Handler { return d.handler() }

func (d *Daemon) mount() http.Handler {
	d.mem.start()
	mux := http.NewServeMux()
	d.edge.Mount(mux, "", Routes(d), nil)
	mux.HandleFunc(toolbox.ReplacePath, d.replace)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		d.edge.Fail(w, r, errs.New(errs.NotFound, "no operation %s %s", r.Method, clip(r.URL.Path)))
	})
	top := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, port.Prefix) { // mux would clean a path that is not ours
			d.port.Pass(w, r)
			return
		}
		d.trace(w, r, mux)
	})
	return d.idle.watch(rest.WithRequestID(d.edge.Recover(top)))
}

// trace lets mux answer and reports the request as a span, while telemetry is sent.
func (d *Daemon) trace(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	if _, on := d.export.Running(); !on {
		mux.ServeHTTP(w, r)
		return
	}
	status, begin, parent := &seenStatus{ResponseWriter: w, code: http.StatusOK}, time.Now(), r.Header.Get("Traceparent")
	defer func() {
		d.export.Span(telemetry.Span{Name: r.Pattern, Begin: begin, End: time.Now(), Status: status.code, Parent: parent})
	}()
	mux.ServeHTTP(status, r)
}

// seenStatus remembers the status of an answer.
type seenStatus struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *seenStatus) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// ReadFrom implements io.ReaderFrom, so that the kernel still sends files by itself.
func (s *seenStatus) ReadFrom(r io.Reader) (int64, error) { return io.Copy(s.ResponseWriter, r) }

// Unwrap lets http.ResponseController reach the connection.
func (s *seenStatus) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Serve answers on l until ctx ends. It returns when the listener is closed and the requests under way have been given a
// moment to finish.
func (d *Daemon) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.handler().ServeHTTP(w, r) }),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       70 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	d.door.l = l
	warn := func() { d.log.WarnContext(ctx, "caller from inside the sandbox was refused") }
	if err := srv.Serve(guarded{door: &d.door, outside: d.outside, warn: warn}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close kills what was started and waits for it.
func (d *Daemon) Close() {
	d.idle.close()
	d.export.Stop()
	d.session.Close()
	d.pty.Close()
	d.interp.Close()
	d.git.Close()
	d.lsp.Close()
	d.port.Close()
	d.desktop.Close()
	d.watch.Close()
	d.runner.Close()
	d.process.Close()
	d.reaper.Close()
	d.mem.close()
}

// Listen makes the daemon's socket. What is left of an earlier one is removed. Only the daemon's own user and root may
// connect.
func Listen(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path)
	}
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Clean(path), Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
