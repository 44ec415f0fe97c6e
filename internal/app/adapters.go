package app

import (
	"context"
	"sync"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/netpol"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/route"
	"github.com/dugout-dev/dugout/internal/runner"
	"github.com/dugout-dev/dugout/internal/runnerclient"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store"
)

// fleet is the domain's way to the runners: one client for each, made when it is first needed.
type fleet struct {
	rows interface {
		Runner(ctx context.Context, id string) (placement.Runner, error)
	}
	key string

	mu      sync.Mutex // guards clients
	clients map[string]*runnerclient.Client
}

// client returns the client of a runner by its address.
func (f *fleet) client(address string) *runnerclient.Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.clients[address]
	if c == nil {
		c = runnerclient.New(address, f.key)
		f.clients[address] = c
	}
	return c
}

// Runner implements sandbox.Runners.
func (f *fleet) Runner(ctx context.Context, id string) (sandbox.Runner, error) {
	r, err := f.rows.Runner(ctx, id)
	if err != nil {
		return nil, err
	}
	return remote{f.client(r.Address)}, nil
}

// Info implements placement.Probe.
func (f *fleet) Info(ctx context.Context, r placement.Runner) (placement.Report, error) {
	info, err := f.client(r.Address).Info(ctx)
	if err != nil {
		return placement.Report{}, err
	}
	out := placement.Report{Version: info.Version, Classes: info.Classes, CPU: info.CPU, MemoryBytes: info.MemoryBytes, DiskBytes: info.DiskBytes}
	for _, i := range info.Images {
		out.Images = append(out.Images, snapshot.Image{Ref: i.Ref, SizeBytes: i.SizeBytes})
	}
	return out, nil
}

// remote is a runner in the words of the domain.
type remote struct{ c *runnerclient.Client }

func (r remote) Put(ctx context.Context, s sandbox.Sandbox) (sandbox.Seen, error) {
	out, err := r.c.Put(ctx, s.ID, wire.Spec{Class: s.Class, Image: s.Image, Name: s.Name, User: s.User, Env: s.Env, CPU: s.CPU, MemoryGiB: s.MemoryGiB,
		DiskGiB: s.DiskGiB, NetworkBlock: s.Network.BlockAll, NetworkAllow: s.Network.Allow, Organization: s.OrganizationID, Region: s.Region, Snapshot: s.Snapshot})
	return seen(out), err
}

func (r remote) Start(ctx context.Context, id string) (sandbox.Seen, error) {
	out, err := r.c.Start(ctx, id)
	return seen(out), err
}

func (r remote) Stop(ctx context.Context, id string, force bool) (sandbox.Seen, error) {
	out, err := r.c.Stop(ctx, id, force)
	return seen(out), err
}

func (r remote) Get(ctx context.Context, id string) (sandbox.Seen, error) {
	out, err := r.c.Get(ctx, id)
	return seen(out), err
}

func (r remote) Delete(ctx context.Context, id string) error { return r.c.Delete(ctx, id) }

func (r remote) List(ctx context.Context) ([]sandbox.Seen, error) {
	list, err := r.c.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sandbox.Seen, len(list))
	for i, s := range list {
		out[i] = seen(s)
	}
	return out, nil
}

func (r remote) Changes(ctx context.Context, since int64) (sandbox.News, error) {
	ev, err := r.c.Events(ctx, since)
	if err != nil {
		return sandbox.News{}, err
	}
	news := sandbox.News{Next: ev.Next, Reset: ev.Reset}
	for _, e := range ev.Events {
		news.IDs = append(news.IDs, e.Sandbox.ID)
	}
	return news, nil
}

func seen(s wire.Sandbox) sandbox.Seen {
	return sandbox.Seen{ID: s.ID, Running: s.State == wire.Running, Reason: s.Reason, User: s.User, DaemonVersion: s.DaemonVersion}
}

// routes is the control plane as the data path sees it, when both are in one process.
type routes struct {
	sandboxes *sandbox.Controller
	directory *org.Directory
	runners   *store.Runners
	key       string
}

// Sandbox implements route.Source.
func (r routes) Sandbox(ctx context.Context, id string) (route.Sandbox, error) {
	s, err := r.sandboxes.Resolve(ctx, id)
	if err != nil {
		return route.Sandbox{}, err
	}
	out := route.Sandbox{ID: s.ID, OrganizationID: s.OrganizationID, State: string(s.State), Running: s.Running, Token: s.AuthToken, RunnerID: s.RunnerID, RunnerKey: r.key}
	if s.RunnerID == "" {
		return out, nil
	}
	where, err := r.runners.Runner(ctx, s.RunnerID)
	if err != nil {
		return out, errs.Wrap(err, errs.Unavailable, "the runner of sandbox %s is not known", id)
	}
	out.RunnerAddress = where.Address
	return out, nil
}

// Organization implements route.Source.
func (r routes) Organization(ctx context.Context, credential string) (string, error) {
	actor, err := r.directory.Authenticate(ctx, credential)
	if err != nil {
		return "", err
	}
	return actor.OrganizationID, nil
}

// SigningKey implements route.Source.
func (r routes) SigningKey(ctx context.Context, id string) (string, error) {
	return r.sandboxes.ResolveSigningKey(ctx, id)
}

// Touch implements route.Source. A lost mark is made up for by the next one.
func (r routes) Touch(_ context.Context, id string) { _ = r.sandboxes.Active(id) }

// network gives the runner its networks from netpol.
type network struct{ *netpol.Net }

func (n network) Claim(ctx context.Context, p runner.Policy) (engine.Net, error) {
	return n.Net.Claim(ctx, netpol.Policy(p))
}

func (n network) Adopt(ctx context.Context, net engine.Net, p runner.Policy) error {
	return n.Net.Adopt(ctx, net, netpol.Policy(p))
}
