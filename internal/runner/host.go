// Package runner is the agent of a host: it makes, starts, stops and removes sandboxes with an engine, gives them a network
// whose rules are in force before they run, and carries the toolbox traffic to their daemons.
//
// It keeps no records of its own. What exists is what the engine lists, with the original request in a label; so a runner
// that is killed at any moment continues from there.
package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/relay"
)

// Network gives sandboxes their networks; implemented by netpol.
type Network interface {
	Claim(ctx context.Context, p Policy) (engine.Net, error)
	Adopt(ctx context.Context, n engine.Net, p Policy) error
	Sweep(ctx context.Context) (int, error)
	Release(ctx context.Context, slot int) error
}

// Policy is what a sandbox may reach: nothing, the listed prefixes, or the public internet.
type Policy struct {
	BlockAll bool
	Allow    []netip.Prefix
}

// Images finds unpacked images; implemented over package image.
type Images interface {
	Image(ref string) (engine.Image, error)
	List() []wire.Image
}

// Metrics receives how long each verb took; nil-safe through [Config].
type Metrics interface {
	Operation(name string, took time.Duration, err error)
}

// Config of a runner.
type Config struct {
	Version      string
	Key          string // every request must carry it
	MaxSandboxes int    // running at the same time
	FreeMemory   int64  // bytes that must stay available on the host for a start to be accepted
	FreeDisk     int64  // bytes that must stay free where sandboxes are kept
	Dir          string // where sandboxes are kept, to measure the disk
	StopGrace    time.Duration
	Daemon       string // path of the daemon's program of this version; empty: daemons are not upgraded
	OTelEndpoint string // of the collector for sandboxes that name none; "": none
}

// Deps of a runner. Network may be nil: sandboxes then have loopback only.
type Deps struct {
	Engine  engine.Engine
	Network Network
	Images  Images
	Metrics Metrics
	Log     *slog.Logger
}

// specLabel is where the engine keeps the request that a sandbox was made from.
const specLabel = "dugout.spec"

// Host runs the sandboxes of one machine.
type Host struct {
	cfg    Config
	deps   Deps
	log    *slog.Logger
	relay  *relay.Relay
	locks  keyed
	starts chan struct{} // bounds concurrent starts: more only make each other slower
	events *events

	mu      sync.Mutex           // guards the rest
	running map[string]int       // id -> network slot (-1: none) of what this process believes to run
	buried  map[string]time.Time // destroyed lately: a late PUT must not bring them back
}

// buriedFor is how long a destroyed id is refused; the control plane gives up on a create long before.
const buriedFor = 10 * time.Minute

// New takes over what runs on this host and removes what an earlier process left half-made.
func New(ctx context.Context, cfg Config, deps Deps) (*Host, error) {
	if cfg.Key == "" {
		return nil, errs.New(errs.Invalid, "a runner needs a key")
	}
	if cfg.StopGrace <= 0 {
		cfg.StopGrace = 10 * time.Second
	}
	h := &Host{cfg: cfg, deps: deps, log: deps.Log, events: newEvents(), running: map[string]int{}, buried: map[string]time.Time{},
		starts: make(chan struct{}, 2*runtime.NumCPU())}
	h.relay = relay.New(deps.Engine.Dial)
	return h, h.reattach(ctx)
}

// reattach adopts the networks of running sandboxes and sweeps the rest.
func (h *Host) reattach(ctx context.Context) error {
	list, err := h.deps.Engine.List(ctx)
	if err != nil {
		return err
	}
	for _, st := range list {
		if st.State != engine.Running {
			continue
		}
		slot := -1
		if h.deps.Network != nil && st.Net.Netns != "" {
			spec, _ := specOf(st.Spec)
			policy, err := policyOf(spec)
			if err == nil {
				err = h.deps.Network.Adopt(ctx, st.Net, policy)
			}
			if err != nil { // without its rules a sandbox must not run
				h.log.ErrorContext(ctx, "stopping a sandbox whose network could not be adopted", "sandbox", st.Spec.ID, "error", err)
				if err := h.deps.Engine.Stop(ctx, st.Spec.ID, 0); err != nil {
					return err
				}
				continue
			}
			slot = st.Net.Slot
		}
		h.running[st.Spec.ID] = slot
	}
	if h.deps.Network != nil {
		if n, err := h.deps.Network.Sweep(ctx); err != nil {
			return err
		} else if n > 0 {
			h.log.InfoContext(ctx, "removed networks without a sandbox", "count", n)
		}
	}
	h.log.InfoContext(ctx, "runner attached", "sandboxes", len(list), "running", len(h.running))
	return nil
}

// Run reports sandboxes that end by themselves, and upgrades the daemons that an earlier version started, until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	upgrades := make(chan struct{})
	go func() {
		defer close(upgrades)
		h.upgradeAll(ctx)
	}()
	defer func() { <-upgrades }()
	tick := time.NewTicker(buriedFor)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ex, ok := <-h.deps.Engine.Exits():
			if !ok {
				return nil
			}
			h.exited(ctx, ex)
		case now := <-tick.C:
			h.mu.Lock()
			for k, t := range h.buried {
				if now.Sub(t) > buriedFor {
					delete(h.buried, k)
				}
			}
			h.mu.Unlock()
		}
	}
}

func (h *Host) exited(ctx context.Context, ex engine.Exit) {
	unlock := h.locks.lock(ex.ID)
	defer unlock()
	st, err := h.deps.Engine.Inspect(ctx, ex.ID)
	if err != nil || st.State == engine.Running { // removed or started again since
		return
	}
	h.log.InfoContext(ctx, "sandbox ended by itself", "sandbox", ex.ID, "reason", st.Reason, "exit_code", st.ExitCode, "oom_kills", st.OOMKills)
	h.release(ctx, ex.ID)
	h.events.publish(seen(st))
}

// release gives back the network of a sandbox that no longer runs. The caller holds its lock.
func (h *Host) release(ctx context.Context, id string) {
	h.mu.Lock()
	slot, ok := h.running[id]
	delete(h.running, id)
	h.mu.Unlock()
	if ok && slot >= 0 && h.deps.Network != nil {
		if err := h.deps.Network.Release(ctx, slot); err != nil {
			h.log.ErrorContext(ctx, "network not released", "sandbox", id, "slot", slot, "error", err)
		}
	}
}

// Put creates and starts a sandbox. Repeating it is the same request; it never leaves a half-made sandbox behind.
func (h *Host) Put(ctx context.Context, sid string, spec wire.Spec) (out wire.Sandbox, err error) {
	defer h.measure("create", time.Now(), &err)
	if !id.IsUUID(sid) {
		return out, errs.New(errs.Invalid, "sandbox id must be a UUID, got %q", clip(sid))
	}
	unlock := h.locks.lock(sid)
	defer unlock()
	if h.isBuried(sid) {
		return out, errs.New(errs.Conflict, "sandbox %s was destroyed", sid)
	}
	es, policy, err := h.engineSpec(sid, spec)
	if err != nil {
		return out, err
	}
	// A failure undoes what this request made, never a sandbox that has run before: its disk is somebody's work.
	old, err := h.deps.Engine.Inspect(ctx, sid)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return out, err
	}
	ran := err == nil && (old.State == engine.Running || !old.StartedAt.IsZero())
	if err := h.deps.Engine.Create(ctx, es); err != nil {
		return out, err
	}
	st, err := h.start(ctx, sid, policy)
	if err != nil && ran {
		return out, err
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if e := h.deps.Engine.Destroy(undo, sid); e != nil {
			h.log.ErrorContext(ctx, "create not undone", "sandbox", sid, "error", e)
		}
		return out, err
	}
	return seen(st), nil
}

// start runs a created sandbox. The caller holds its lock.
func (h *Host) start(ctx context.Context, sid string, policy Policy) (st engine.Status, err error) {
	if st, err = h.deps.Engine.Inspect(ctx, sid); err != nil || st.State == engine.Running {
		return st, err
	}
	h.release(ctx, sid) // of a run whose end nobody told us yet
	if err = h.admit(sid); err != nil {
		return st, err
	}
	defer func() {
		if err != nil {
			h.release(context.WithoutCancel(ctx), sid)
		}
	}()
	select {
	case h.starts <- struct{}{}:
		defer func() { <-h.starts }()
	case <-ctx.Done():
		return st, errs.Wrap(ctx.Err(), errs.Timeout, "the runner is too busy to start a sandbox now")
	}
	net := engine.Net{Slot: -1}
	if h.deps.Network != nil {
		if net, err = h.deps.Network.Claim(ctx, policy); err != nil {
			return st, err
		}
	}
	h.mu.Lock()
	h.running[sid] = net.Slot
	h.mu.Unlock()
	if st, err = h.deps.Engine.Start(ctx, sid, net); err != nil {
		return st, err
	}
	if st.Spec.Env[otelVar] != "" {
		if err := h.initDaemon(ctx, sid); err != nil { // the sandbox works; its telemetry does not
			h.log.WarnContext(ctx, "telemetry of a sandbox was not started", "sandbox", sid, "error", err)
		}
	}
	return st, nil
}

// Start runs a stopped sandbox again, with its disk as it was.
func (h *Host) Start(ctx context.Context, sid string) (out wire.Sandbox, err error) {
	defer h.measure("start", time.Now(), &err)
	unlock := h.locks.lock(sid)
	defer unlock()
	st, err := h.deps.Engine.Inspect(ctx, sid)
	if err != nil {
		return out, err
	}
	spec, err := specOf(st.Spec)
	if err != nil {
		return out, err
	}
	policy, err := policyOf(spec)
	if err != nil {
		return out, err
	}
	if st, err = h.start(ctx, sid, policy); err != nil {
		return out, err
	}
	return seen(st), nil
}

// Stop ends all processes of a sandbox and keeps its disk.
func (h *Host) Stop(ctx context.Context, sid string, force bool) (out wire.Sandbox, err error) {
	defer h.measure("stop", time.Now(), &err)
	unlock := h.locks.lock(sid)
	defer unlock()
	grace := h.cfg.StopGrace
	if force {
		grace = 0
	}
	if err := h.deps.Engine.Stop(ctx, sid, grace); err != nil {
		return out, err
	}
	h.release(ctx, sid)
	st, err := h.deps.Engine.Inspect(ctx, sid)
	if err != nil {
		return out, err
	}
	return seen(st), nil
}

// Delete removes a sandbox in whatever state. An unknown id is a success, and stays refused for a while, so that a create
// that was delayed on its way cannot bring it back.
func (h *Host) Delete(ctx context.Context, sid string) (err error) {
	defer h.measure("destroy", time.Now(), &err)
	if !id.IsUUID(sid) {
		return errs.New(errs.Invalid, "sandbox id must be a UUID, got %q", clip(sid))
	}
	h.mu.Lock()
	h.buried[sid] = time.Now()
	h.mu.Unlock()
	unlock := h.locks.lock(sid)
	defer unlock()
	if err := h.deps.Engine.Destroy(ctx, sid); err != nil {
		return err
	}
	h.release(ctx, sid)
	return nil
}

// Get returns one sandbox.
func (h *Host) Get(ctx context.Context, sid string) (wire.Sandbox, error) {
	st, err := h.deps.Engine.Inspect(ctx, sid)
	if err != nil {
		return wire.Sandbox{}, err
	}
	return seen(st), nil
}

// List returns every sandbox of this host.
func (h *Host) List(ctx context.Context) ([]wire.Sandbox, error) {
	list, err := h.deps.Engine.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]wire.Sandbox, len(list))
	for i, st := range list {
		out[i] = seen(st)
	}
	return out, nil
}

func (h *Host) isBuried(sid string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.buried[sid]
	return ok
}

func (h *Host) measure(op string, since time.Time, err *error) {
	if h.deps.Metrics != nil {
		h.deps.Metrics.Operation(op, time.Since(since), *err)
	}
}

func seen(st engine.Status) wire.Sandbox {
	return wire.Sandbox{ID: st.Spec.ID, State: string(st.State), Reason: st.Reason, ExitCode: st.ExitCode, StartedAt: st.StartedAt,
		StoppedAt: st.StoppedAt, User: st.Spec.User, DiskLimited: st.DiskLimit}
}

func specOf(s engine.Spec) (wire.Spec, error) {
	var spec wire.Spec
	if err := json.Unmarshal([]byte(s.Labels[specLabel]), &spec); err != nil {
		return spec, errs.Wrap(err, errs.Internal, "the record of sandbox %s is damaged", s.ID).WithCode("RECORD_DAMAGED")
	}
	return spec, nil
}

// keyed is one lock per key, gone when nobody holds or waits for it.
type keyed struct {
	mu sync.Mutex // guards m and the counts in it
	m  map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int
}

func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.m == nil {
		k.m = map[string]*keyLock{}
	}
	l := k.m[key]
	if l == nil {
		l = &keyLock{}
		k.m[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		if l.users--; l.users == 0 {
			delete(k.m, key)
		}
		k.mu.Unlock()
	}
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
