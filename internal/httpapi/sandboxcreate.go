package httpapi

import (
	"context"
	"net/netip"
	"strings"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

type createIn struct {
	Key  string `header:"Idempotency-Key" doc:"Names the request, so that it can be repeated without making a second sandbox: 1 to 255 printable ASCII characters. It counts while the sandbox exists; the same key with another request is a conflict."`
	Body api.CreateSandbox
}

func (a *API) createSandbox(ctx context.Context, in *createIn) (*api.Sandbox, error) {
	if _, err := a.places(ctx); err != nil { // before there is anything that the client could not be told of
		return nil, err
	}
	r, err := createRequest(&in.Body)
	if err != nil {
		return nil, err
	}
	r.IdempotencyKey = in.Key
	s, err := a.deps.Sandboxes.Create(ctx, orgOf(ctx), *r)
	return a.sandbox(ctx, s, err)
}

// createRequest is the wish in the domain's words. What this server cannot do is refused by name.
func createRequest(b *api.CreateSandbox) (*sandbox.Request, error) {
	if err := unsupported(b); err != nil {
		return nil, err
	}
	allow, err := networks(b.NetworkAllowList)
	if err != nil {
		return nil, err
	}
	return &sandbox.Request{
		Name: b.Name, Snapshot: b.Snapshot, User: b.User, Region: b.Target, Env: b.Env, Labels: b.Labels, Public: b.Public,
		Network: sandbox.Network{BlockAll: b.NetworkBlockAll, Allow: allow},
		CPU:     b.CPU, GPU: b.GPU, MemoryGiB: b.Memory, DiskGiB: b.Disk,
		AutoStopMinutes: b.AutoStopInterval, AutoArchiveMinutes: b.AutoArchiveInterval, AutoDeleteMinutes: b.AutoDeleteInterval,
	}, nil
}

// unsupported refuses each field that is part of the wire and that this server cannot honour, unless it has its neutral
// value. Silence would be a promise.
func unsupported(b *api.CreateSandbox) error {
	for _, f := range []struct {
		set  bool
		what string
	}{
		{b.BuildInfo != nil, "buildInfo is not supported by this server: it does not build images; make the sandbox from a snapshot"},
		{len(b.Volumes) > 0, "volumes is not supported by this server: there are no volumes to mount"},
		{len(b.Secrets) > 0, "secrets is not supported by this server: there is no secret store"},
		{b.LinkedSandbox != "", "linkedSandbox is not supported by this server"},
		{b.GPU > 0, "gpu is not supported by this server: no runner offers graphics cards; only 0 is allowed"},
		{len(b.GPUType) > 0, "gpuType is not supported by this server: no runner offers graphics cards"},
		{b.KVM, "kvm is not supported by this server: only false is allowed"},
		{b.Spot, "spot is not supported by this server: only false is allowed"},
		{b.SandboxClass != "" && b.SandboxClass != api.ClassContainer, "sandboxClass must be container: this server has no other class, got \"" + clip(string(b.SandboxClass)) + "\""},
		{b.DomainAllowList != "", "domainAllowList is not supported by this server; use networkAllowList or networkBlockAll"},
		{b.OutboundProxyURL != "", "outboundProxyUrl is not supported by this server"},
		{b.OtelEndpointOverride != "", "otelEndpointOverride is not supported by this server"},
		{positive(b.AutoPauseInterval), "autoPauseInterval is not supported by this server: only 0 is allowed"},
		{positive(b.TTLMinutes), "ttlMinutes is not supported by this server: only 0 is allowed"},
	} {
		if f.set {
			return errs.New(errs.Unimplemented, "%s", f.what).WithCode("NOT_SUPPORTED")
		}
	}
	for _, f := range []struct {
		name  string
		value *int64
	}{{"autoPauseInterval", b.AutoPauseInterval}, {"ttlMinutes", b.TTLMinutes}, {"gpu", &b.GPU}} {
		if f.value != nil && *f.value < 0 {
			return errs.New(errs.Invalid, "%s must be at least 0, got %d", f.name, *f.value)
		}
	}
	if b.QueueTimeout != nil && *b.QueueTimeout <= 0 { // a larger one holds: no create waits here
		return errs.New(errs.Invalid, "queueTimeout must be at least 1, got %d", *b.QueueTimeout)
	}
	return nil
}

func positive(n *int64) bool { return n != nil && *n > 0 }

// networks reads a comma-separated list of IPv4 networks. Bits behind the prefix are kept as they were given.
func networks(s string) ([]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > sandbox.MaxNetworkRules {
		return nil, errs.New(errs.Invalid, "networkAllowList must have at most %d entries, got %d", sandbox.MaxNetworkRules, len(parts))
	}
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
		if net, err := netip.ParsePrefix(parts[i]); err != nil || !net.Addr().Is4() {
			return nil, errs.New(errs.Invalid, "networkAllowList must be a comma-separated list of IPv4 networks such as 203.0.113.0/24, got %q", clip(parts[i]))
		}
	}
	return parts, nil
}
