package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/bus"
	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
	"github.com/dugout-dev/dugout/internal/httpapi"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/image"
	"github.com/dugout-dev/dugout/internal/netpol"
	"github.com/dugout-dev/dugout/internal/obs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/payload"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/proxy"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/route"
	"github.com/dugout-dev/dugout/internal/runner"
	"github.com/dugout-dev/dugout/internal/runnerclient"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store"
)

// Platform is all roles of one process, made by [Start].
type Platform struct {
	handler http.Handler
	runs    []func(context.Context) error // loops, ended by their context
	closers []func() error                // in the order of starting; closed the other way round
	log     *slog.Logger
}

// Parts are what sandboxes are made with. [Host] makes them for this host; tests bring their own.
type Parts struct {
	Engine  engine.Engine
	Network runner.Network // nil: sandboxes have loopback only
	Images  runner.Images
	Daemon  string         // path of the daemon's program; empty: running sandboxes keep theirs
	Close   []func() error // called after everything else was closed, the last one first; called also when opening failed
}

// Opener makes the parts. instance names this installation on its host.
type Opener func(ctx context.Context, cfg config.Config, instance string, log *slog.Logger) (Parts, error)

// Start makes everything, in the order in which the parts need each other. What it made is undone when a later part fails.
// The caller serves Handler, runs Run and at last calls Close.
func Start(ctx context.Context, version string, cfg config.Config, log *slog.Logger, open Opener) (_ *Platform, err error) {
	p := &Platform{log: log}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	db, err := store.Open(ctx, cfg.Server.DatabaseURL.Reveal(), log)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, db.Close)
	metrics := obs.NewMetrics(version, db.StateCounts)
	key, err := remembered(cfg.DataDir, "runner.key", func() string { return id.Hex(32) })
	if err != nil {
		return nil, err
	}
	address, runnerID, err := p.startRunner(ctx, version, key, cfg, metrics, open)
	if err != nil {
		return nil, err
	}
	return p, p.startServer(ctx, version, key, cfg, db, metrics, log, placement.Runner{ID: runnerID, Region: cfg.Server.RegionID, Name: "local",
		Address: address, MaxSandboxes: cfg.Runner.MaxSandboxes})
}

// Handler serves the API, the toolbox and the metrics.
func (p *Platform) Handler() http.Handler { return p.handler }

// startRunner makes the host agent and serves it on a unix socket.
func (p *Platform) startRunner(ctx context.Context, version, key string, cfg config.Config, metrics *obs.Metrics, open Opener) (address, runnerID string, err error) {
	instance, err := remembered(cfg.DataDir, "instance", newInstance)
	if err != nil {
		return "", "", err
	}
	runnerID, err = remembered(cfg.DataDir, "runner.id", id.New)
	if err != nil {
		return "", "", err
	}
	dirs, err := runtimeDirs(cfg, instance)
	if err != nil {
		return "", "", err
	}
	parts, err := open(ctx, cfg, instance, p.log)
	p.closers = append(p.closers, parts.Close...)
	if err != nil {
		return "", "", err
	}
	host, err := runner.New(ctx, runner.Config{Version: version, Key: key, Dir: cfg.DataDir, MaxSandboxes: int(cfg.Runner.MaxSandboxes), OTelEndpoint: cfg.Runner.OTelEndpoint,
		Daemon: parts.Daemon, FreeMemory: 512 << 20, FreeDisk: 1 << 30}, runner.Deps{Engine: parts.Engine, Network: parts.Network, Images: parts.Images, Metrics: metrics, Log: p.log})
	if err != nil {
		return "", "", err
	}
	ln, err := listenUnix(ctx, dirs.socket)
	if err != nil {
		return "", "", err
	}
	server := &http.Server{Handler: host.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	p.closers = append(p.closers, func() error { err := server.Close(); <-served; return err })
	p.runs = append(p.runs, host.Run)
	return "unix://" + dirs.socket, runnerID, nil
}

// Host opens the real parts: sandboxes of runc with their own networks, from images that are built when they are missing.
func Host(progress func(string)) Opener {
	return func(ctx context.Context, cfg config.Config, instance string, log *slog.Logger) (parts Parts, err error) {
		dirs, err := runtimeDirs(cfg, instance)
		if err != nil {
			return parts, err
		}
		if err := passable(dirs.engine); err != nil {
			return parts, err
		}
		lib, err := openLibrary(cfg.DataDir, log)
		if err != nil {
			return parts, err
		}
		parts.Images = lib
		for _, name := range []string{"tiny", cfg.Server.DefaultSnapshot} {
			err := lib.ensure(ctx, name, func(pr image.Progress) {
				progress(fmt.Sprintf("building snapshot %s: %3d%% %s", pr.Image, pr.Percent, pr.Step))
			})
			if err != nil && !errs.Is(err, errs.NotFound) { // NotFound: a default snapshot that has no recipe here
				return parts, err
			}
		}
		ociCfg, err := engineConfig(cfg, instance, dirs)
		if err != nil {
			return parts, err
		}
		eng, err := oci.Open(ctx, ociCfg, log)
		if err != nil {
			return parts, err
		}
		parts.Daemon = ociCfg.Daemon
		parts.Engine, parts.Close = eng, append(parts.Close, eng.Close)
		netCfg, err := networkConfig(cfg, instance, dirs)
		if err != nil {
			return parts, err
		}
		np, err := netpol.Open(ctx, netCfg, log)
		if err != nil {
			return parts, err
		}
		parts.Network, parts.Close = network{np}, append(parts.Close, np.Close)
		for _, problem := range append(eng.Capabilities().Problems, np.Problems()...) {
			log.WarnContext(ctx, "this host limits what sandboxes get", "problem", problem)
		}
		return parts, nil
	}
}

// startServer makes the control plane and the proxy over a runner that answers already.
func (p *Platform) startServer(ctx context.Context, version, key string, cfg config.Config, db *store.DB, metrics *obs.Metrics, log *slog.Logger, local placement.Runner) error {
	admin, err := config.EnsureAdminKey(cfg)
	if err != nil {
		return err
	}
	directory := org.NewDirectory(db.Organizations(), log, nil)
	if _, err := directory.Bootstrap(ctx, org.BootstrapConfig{AdminKey: admin.Reveal(), RegionID: cfg.Server.RegionID, RegionName: cfg.Server.RegionName,
		Limits: org.Limits{CPUPerSandbox: cfg.Limits.MaxCPU, MemoryGiBPerSandbox: cfg.Limits.MaxMemoryGiB, DiskGiBPerSandbox: cfg.Limits.MaxDiskGiB,
			Sandboxes: cfg.Limits.TotalSandboxes, TotalCPU: cfg.Limits.TotalCPU, TotalMemoryGiB: cfg.Limits.TotalMemoryGiB, TotalDiskGiB: cfg.Limits.TotalDiskGiB}}); err != nil {
		return err
	}
	catalog := snapshot.NewCatalog(snapshot.Config{Default: cfg.Server.DefaultSnapshot}, db.Snapshots(), log)
	clients := &fleet{rows: db.Runners(), key: key, clients: map[string]*runnerclient.Client{}}
	flt := placement.NewFleet(db.Runners(), clients, catalog, log, nil)
	if err := flt.Register(ctx, local); err != nil {
		return err
	}
	if err := flt.Refresh(ctx); err != nil {
		return err
	}
	events := bus.NewLocal()
	p.closers = append(p.closers, events.Close)
	controller, err := sandbox.New(sandbox.Config{}, sandbox.Deps{Store: db.Sandboxes(), Fleet: db.Runners(), Runners: clients, Snapshots: catalog,
		Organizations: directory, Events: bus.SandboxEvents{Bus: events, Log: log}, Log: log})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, controller.Close)
	control, err := httpapi.New(httpapi.Config{Version: version, PublicURL: cfg.Server.PublicURL, ProxyDomain: cfg.Server.ProxyDomain,
		TrustedProxies: cfg.Server.TrustedProxies, DefaultSnapshot: catalog.Default()},
		httpapi.Deps{Sandboxes: controller, Snapshots: catalog, Directory: directory, Database: db, Log: log, After: metrics.Request})
	if err != nil {
		return err
	}
	table := route.New(routes{sandboxes: controller, directory: directory, runners: db.Runners(), key: key})
	data := proxy.New(proxy.Deps{Routes: table, Dial: runnerclient.Dial, Metrics: metrics, Log: log})
	p.runs = append(p.runs, flt.Run, sandbox.NewReconciler(controller, sandbox.Periods{}).Run, directory.Run,
		func(ctx context.Context) error { return forget(ctx, events, table) })
	p.handler = door(control.Handler(), data.Handler(), data.Legacy(), guarded(metrics.Handler(), directory, log))
	return nil
}

// Run runs the loops until ctx ends or one of them fails.
func (p *Platform) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range p.runs {
		g.Go(func() error {
			if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// Close closes everything. Sandboxes go on running.
func (p *Platform) Close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.log.Warn("a part did not close cleanly", "error", err)
		}
	}
	p.closers = nil
}

// forget drops cached routes of sandboxes that changed.
func forget(ctx context.Context, events bus.Bus, table *route.Table) error {
	ch, err := events.Subscribe(ctx, string(sandbox.StateUpdated), string(sandbox.KeyRotated))
	if err != nil {
		return err
	}
	for m := range ch {
		if m.Lost > 0 {
			table.ForgetSandboxes()
		}
		var e bus.SandboxEvent
		if e.Decode(m.Body) == nil {
			table.Forget(e.ID)
		}
	}
	return nil
}

// door shares one listener by path: /api, /toolbox and /metrics. The toolbox paths of old clients lie below /api.
func door(control, data, legacy, metrics http.Handler) http.Handler {
	edge := &rest.Edge{Source: api.SourceProxy}
	data, legacy = rest.WithRequestID(data), rest.WithRequestID(legacy)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, proxy.Prefix):
			data.ServeHTTP(w, r)
		case strings.HasPrefix(path, proxy.LegacyPrefix):
			legacy.ServeHTTP(w, r)
		case path == "/api" || strings.HasPrefix(path, "/api/"):
			rc := http.NewResponseController(w) // a small request from a slow client must not hold a connection for ever
			_ = rc.SetReadDeadline(time.Now().Add(60 * time.Second))
			_ = rc.SetWriteDeadline(time.Now().Add(3 * time.Minute))
			control.ServeHTTP(w, r)
		case path == "/metrics":
			metrics.ServeHTTP(w, r)
		default:
			edge.Fail(w, r, errs.New(errs.NotFound, "no such path; the API is below /api"))
		}
	})
}

// guarded lets only an administrator's key through.
func guarded(next http.Handler, directory *org.Directory, log *slog.Logger) http.Handler {
	edge := &rest.Edge{Source: api.SourceAPI, Log: log}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		actor, err := directory.Authenticate(r.Context(), token)
		if err == nil && !actor.Admin {
			err = errs.New(errs.Denied, "metrics are for administrators")
		}
		if err != nil {
			edge.Fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// starting answers while the platform is not ready.
func starting(w http.ResponseWriter, r *http.Request, detail string) {
	edge := &rest.Edge{Source: api.SourceAPI}
	if r.URL.Path == "/api/health" {
		edge.Write(w, http.StatusServiceUnavailable, map[string]string{"status": "starting", "detail": detail})
		return
	}
	edge.Fail(w, r, errs.New(errs.Unavailable, "the server is starting: %s", detail).WithCode("STARTING"))
}

func engineConfig(cfg config.Config, instance string, dirs runtimePaths) (oci.Config, error) {
	programs := filepath.Join(cfg.DataDir, "bin")
	daemon, err := payload.Extract(programs, payload.Daemon)
	if err != nil {
		return oci.Config{}, err
	}
	transpiler, err := payload.Extract(programs, payload.Transpiler)
	if err != nil {
		return oci.Config{}, err
	}
	git, err := payload.Extract(programs, payload.Git)
	if err != nil {
		return oci.Config{}, err
	}
	return oci.Config{Dir: filepath.Join(cfg.DataDir, "runner"), RunDir: dirs.engine, Instance: instance, Runc: findRunc(cfg), Daemon: daemon,
		Helpers: []string{transpiler, git}, DaemonArgs: []string{"--outside-only"}, Disk: oci.Disk{PoolBytes: int64(cfg.Runner.DiskPoolSize)},
		Defaults: engine.Limits{Pids: cfg.Runner.Pids, OpenFiles: cfg.Runner.OpenFiles}, UIDFirst: firstUID(instance), UIDRanges: uidRanges}, nil
}

// findRunc looks where config says, else in the data directory, beside the binary and in PATH.
func findRunc(cfg config.Config) string {
	if cfg.Runner.RuncPath != "" {
		return cfg.Runner.RuncPath
	}
	for _, path := range []string{filepath.Join(cfg.DataDir, "bin", "runc"), filepath.Join(besideBinary(), "runc")} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("runc")
	if err != nil {
		return "runc"
	}
	return path
}

func networkConfig(cfg config.Config, instance string, dirs runtimePaths) (netpol.Config, error) {
	out := netpol.Config{Instance: instance, Dir: dirs.net, Ready: int(cfg.Runner.ReadySlots), AllowPrivate: cfg.Runner.AllowPrivate}
	if out.Ready == 0 {
		out.Ready = -1
	}
	for _, r := range cfg.Runner.DNS {
		out.Upstream = append(out.Upstream, netip.AddrPort(r))
	}
	if cfg.Runner.NetworkSubnet != "" {
		prefix, err := netip.ParsePrefix(cfg.Runner.NetworkSubnet)
		if err != nil {
			return out, errs.New(errs.Invalid, "runner.network_subnet: %v", err)
		}
		out.Subnet = prefix
	}
	return out, nil
}

// listenUnix listens on a socket that only root reaches, replacing one that a dead process left.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot replace %s", path)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot listen on %s: %v", path, err)
	}
	return ln, os.Chmod(path, 0o600)
}

// lockDir keeps a second server away from a data directory. wait is for a predecessor that is just ending.
func lockDir(ctx context.Context, dir string, wait time.Duration) (unlock func(), err error) {
	f, err := filelock.Acquire(ctx, filepath.Join(dir, "lock"), wait)
	if errs.Is(err, errs.Conflict) {
		return nil, errs.Wrap(err, errs.Conflict, "another dugout runs on the data directory %s", dir)
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
