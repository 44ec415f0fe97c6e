package runner

import (
	"encoding/json"
	"net/netip"
	"strings"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

const gib = 1 << 30

// maxAmount of cores or GiB is far beyond any host, and far below what overflows as bytes.
const maxAmount = 1 << 20

// engineSpec turns a request into what the engine makes, and its network policy.
func (h *Host) engineSpec(sid string, spec wire.Spec) (engine.Spec, Policy, error) {
	policy, err := policyOf(spec)
	if err != nil {
		return engine.Spec{}, policy, err
	}
	for _, n := range []int64{spec.CPU, spec.MemoryGiB, spec.DiskGiB} {
		if n < 1 || n > maxAmount {
			return engine.Spec{}, policy, errs.New(errs.Invalid, "cpu, memory and disk must be between 1 and %d, got %d, %d, %d", maxAmount, spec.CPU, spec.MemoryGiB, spec.DiskGiB)
		}
	}
	image, err := h.deps.Images.Image(spec.Image)
	if err != nil {
		return engine.Spec{}, policy, err
	}
	record, err := json.Marshal(spec)
	if err != nil {
		return engine.Spec{}, policy, err
	}
	user := spec.User
	if user == "" {
		user = image.User
	}
	env := map[string]string{
		"DAYTONA_SANDBOX_ID": sid, "DAYTONA_SANDBOX_SNAPSHOT": spec.Snapshot, "DAYTONA_SANDBOX_USER": user,
		"DAYTONA_ORGANIZATION_ID": spec.Organization, "DAYTONA_REGION_ID": spec.Region,
	}
	if h.cfg.OTelEndpoint != "" {
		env[otelVar] = h.cfg.OTelEndpoint
	}
	for k, v := range spec.Env {
		env[k] = v
	}
	return engine.Spec{
		ID: sid, Class: spec.Class, Image: image, Hostname: hostname(sid), User: user, Env: env,
		Limits: engine.Limits{MilliCPU: spec.CPU * 1000, MemoryBytes: spec.MemoryGiB * gib, DiskBytes: spec.DiskGiB * gib},
		Labels: map[string]string{specLabel: string(record)},
	}, policy, nil
}

// hostname is the sandbox id, as existing programs expect.
func hostname(sid string) string { return strings.ToLower(sid) }

func policyOf(spec wire.Spec) (Policy, error) {
	p := Policy{BlockAll: spec.NetworkBlock}
	for _, s := range spec.NetworkAllow {
		prefix, err := netip.ParsePrefix(s)
		if err != nil || !prefix.Addr().Is4() {
			return p, errs.New(errs.Invalid, "networkAllowList must hold IPv4 CIDRs, got %q", clip(s))
		}
		p.Allow = append(p.Allow, prefix.Masked())
	}
	return p, nil
}
