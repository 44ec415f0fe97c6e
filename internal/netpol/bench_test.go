package netpol_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/netpol"
)

// distribution reports what matters to somebody who waits.
func distribution(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), name+"-p50-µs")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds()), name+"-p95-µs")
}

func benchNet(b *testing.B, readySlots, held int) (*netpol.Net, []engine.Net) {
	b.Helper()
	needWorld(b)
	cfg := config(b)
	cfg.Ready = readySlots
	return benchOpen(b, cfg, held)
}

func benchOpen(b *testing.B, cfg netpol.Config, held int) (*netpol.Net, []engine.Net) {
	b.Helper()
	n := open(b, cfg)
	var boxes []engine.Net
	for range held {
		boxes = append(boxes, claim(b, n, netpol.Policy{}))
	}
	return n, boxes
}

// Claim and Release of prepared slots while 200 others are in use.
func BenchmarkClaimReady(b *testing.B) {
	n, _ := benchNet(b, 32, 200)
	var claims, releases []time.Duration
	for b.Loop() {
		eventually(b, "slots are ready", func() bool { prepared, _, _ := n.Slots(); return prepared >= 32 })
		start := time.Now()
		sb := claim(b, n, netpol.Policy{})
		claims = append(claims, time.Since(start))
		start = time.Now()
		if err := n.Release(context.Background(), sb.Slot); err != nil {
			b.Fatal(err)
		}
		releases = append(releases, time.Since(start))
	}
	distribution(b, "claim", claims)
	distribution(b, "release", releases)
}

// Claim and Release as fast as one caller can, with what the background does for it: the rate that a host sustains.
func BenchmarkClaimRelease(b *testing.B) {
	n, _ := benchNet(b, 32, 0)
	for b.Loop() {
		if err := n.Release(context.Background(), claim(b, n, netpol.Policy{}).Slot); err != nil {
			b.Fatal(err)
		}
	}
}

// Claim with an allow list.
func BenchmarkClaimAllow(b *testing.B) {
	n, _ := benchNet(b, 32, 0)
	policy := netpol.Policy{Allow: ranges("203.0.113.0/24", "198.18.0.0/16", "8.8.8.8/32")}
	var claims []time.Duration
	for b.Loop() {
		eventually(b, "slots are ready", func() bool { prepared, _, _ := n.Slots(); return prepared >= 32 })
		start := time.Now()
		sb := claim(b, n, policy)
		claims = append(claims, time.Since(start))
		if err := n.Release(context.Background(), sb.Slot); err != nil {
			b.Fatal(err)
		}
	}
	distribution(b, "claim", claims)
}

// Claim when nothing is prepared: the slot is made while the caller waits.
func BenchmarkClaimCold(b *testing.B) {
	n, _ := benchNet(b, -1, 0)
	var claims []time.Duration
	for b.Loop() {
		start := time.Now()
		claim(b, n, netpol.Policy{})
		claims = append(claims, time.Since(start))
	}
	distribution(b, "claim", claims)
}

func BenchmarkSetPolicy(b *testing.B) {
	n, boxes := benchNet(b, -1, 1)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := n.SetPolicy(context.Background(), boxes[0].Slot, netpol.Policy{BlockAll: i%2 == 0}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	distribution(b, "set", took)
}

// A process that starts over 200 sandboxes.
func BenchmarkOpen200(b *testing.B) {
	needWorld(b)
	cfg := config(b)
	cfg.Ready = -1
	n, boxes := benchOpen(b, cfg, 200)
	var opens, adopts []time.Duration
	for b.Loop() {
		_ = n.Close()
		start := time.Now()
		n = open(b, cfg)
		opens = append(opens, time.Since(start))
		start = time.Now()
		for _, sb := range boxes {
			if err := n.Adopt(context.Background(), sb, netpol.Policy{}); err != nil {
				b.Fatal(err)
			}
		}
		adopts = append(adopts, time.Since(start))
	}
	distribution(b, "open", opens)
	distribution(b, "adopt200", adopts)
}
