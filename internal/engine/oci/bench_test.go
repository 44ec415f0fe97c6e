package oci_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
)

// busy returns the processor time that all processes of the host have used, so that what the kernel does on behalf of a
// sandbox counts too. Run these on a machine that is otherwise idle.
func busy(b *testing.B) time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	var user, nice, system, idle, iowait, irq, softirq int64
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+nice+system+irq+softirq) * 10 * time.Millisecond
}

// own returns the processor time of this process and of the children it has waited for: the engine and runc.
func own() time.Duration {
	var total time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		_ = unix.Getrusage(who, &r)
		total += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return total
}

func p50(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

func BenchmarkLife(b *testing.B) {
	h := newHost(b, "btrfs")
	e := h.open()
	ctx := context.Background()
	var create, start, destroy []time.Duration
	all, mine := busy(b), own()
	b.ResetTimer()
	for range b.N {
		spec := h.spec()
		t0 := time.Now()
		if err := e.Create(ctx, spec); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if _, err := e.Start(ctx, spec.ID, engine.Net{}); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		if err := e.Destroy(ctx, spec.ID); err != nil {
			b.Fatal(err)
		}
		create, start, destroy = append(create, t1.Sub(t0)), append(start, t2.Sub(t1)), append(destroy, time.Since(t2))
	}
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(p50(create), "create-p50-ms")
	b.ReportMetric(p50(start), "start-p50-ms")
	b.ReportMetric(float64(slices.Min(start).Microseconds())/1000, "start-min-ms")
	b.ReportMetric(p50(destroy), "destroy-p50-ms")
	b.ReportMetric(float64((own()-mine).Milliseconds())/n, "engine+runc-cpu-ms/op")
	b.ReportMetric(float64((busy(b)-all).Milliseconds())/n, "host-cpu-ms/op")
}

func BenchmarkChurn4(b *testing.B) {
	h := newHost(b, "btrfs")
	e := h.open()
	ctx := context.Background()
	todo := make(chan struct{})
	var workers sync.WaitGroup
	b.ResetTimer()
	begin := time.Now()
	for range 4 {
		workers.Go(func() {
			for range todo {
				spec := h.spec()
				if err := e.Create(ctx, spec); err != nil {
					b.Error(err)
				} else if _, err := e.Start(ctx, spec.ID, engine.Net{}); err != nil {
					b.Error(err)
				}
				if err := e.Destroy(ctx, spec.ID); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		todo <- struct{}{}
	}
	close(todo)
	workers.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "cycles/s")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines-left")
}

// BenchmarkIdle reports what an idle sandbox costs in memory, all in (kernel too), and how much of that is the daemon's own.
func BenchmarkIdle(b *testing.B) {
	h := newHost(b, "btrfs")
	e := h.open()
	h.started(e, nil) // what is made once
	n := max(b.N, 30)
	before := available(b)
	var daemons int64
	for range n {
		daemons += privateMemory(b, h.started(e, nil).Pid)
	}
	b.ReportMetric(float64(before-available(b))/float64(n)/1024, "MB/sandbox")
	b.ReportMetric(float64(daemons)/float64(n)/1024, "MB-daemon")
}

func available(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	return field(string(text), "MemAvailable:")
}

// privateMemory returns the kB that one process has to itself.
func privateMemory(b *testing.B, pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	return field(string(text), "Private_Dirty:") + field(string(text), "Private_Clean:")
}

func field(text, name string) (n int64) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name); ok {
			_, _ = fmt.Sscan(value, &n)
		}
	}
	return n
}
