//go:build linux

package info

import (
	"strings"

	"github.com/dugout-dev/dugout/internal/daemon/telemetry"
)

// Variables that configure telemetry, as on the 0.x wire.
const (
	endpointVar = "DAYTONA_OTEL_ENDPOINT"
	labelsVar   = "DAYTONA_SANDBOX_OTEL_EXTRA_LABELS" // k=v,k=v
)

// startTelemetry begins to export when the sandbox's environment names a collector.
func (h *Handler) startTelemetry(token string) error {
	endpoint := h.Env.Get(endpointVar)
	if endpoint == "" || h.Telemetry == nil {
		return nil
	}
	labels := map[string]string{}
	for pair := range strings.SplitSeq(h.Env.Get(labelsVar), ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k != "" {
			labels[k] = v
		}
	}
	for attr, name := range map[string]string{"daytona_organization_id": "DAYTONA_ORGANIZATION_ID", "daytona_region_id": "DAYTONA_REGION_ID", "daytona_snapshot": "DAYTONA_SANDBOX_SNAPSHOT"} {
		labels[attr] = h.Env.Get(name)
	}
	labels["service.name"] = "sandbox-" + h.Env.Get("DAYTONA_SANDBOX_ID")
	return h.Telemetry.Start(telemetry.Config{Endpoint: endpoint, Token: token, Resource: labels})
}

// Gauges is a reading for telemetry, under the names of the 0.x wire.
func (h *Handler) Gauges() []telemetry.Metric {
	m := h.measure(&h.exported)
	const prefix = "daytona.sandbox."
	gauge := func(name, unit string, v float64) telemetry.Metric {
		return telemetry.Metric{Name: prefix + name, Unit: unit, Value: v}
	}
	share := func(part, whole uint64) float64 {
		if whole == 0 {
			return 0
		}
		return 100 * float64(part) / float64(whole)
	}
	return []telemetry.Metric{
		gauge("cpu.limit", "{cpu}", float64(m.CPUCount)), gauge("cpu.utilization", "%", m.CPUUsedPct),
		gauge("memory.limit", "By", float64(m.MemTotal)), gauge("memory.usage", "By", float64(m.MemUsed)),
		gauge("memory.cache", "By", float64(m.MemCache)), gauge("memory.utilization", "%", share(m.MemUsed, m.MemTotal)),
		gauge("filesystem.total", "By", float64(m.DiskTotal)), gauge("filesystem.usage", "By", float64(m.DiskUsed)),
		gauge("filesystem.available", "By", float64(m.DiskFree)), gauge("filesystem.utilization", "%", share(m.DiskUsed, m.DiskTotal)),
	}
}
