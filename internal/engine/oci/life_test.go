package oci_test

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
)

func TestLife(t *testing.T) {
	for _, driver := range []string{"btrfs", "dir"} {
		t.Run(driver, func(t *testing.T) {
			h := newHost(t, driver)
			e := h.open()
			status := h.started(e, nil)
			id := status.Spec.ID
			if status.State != engine.Running || status.Pid == 0 {
				t.Fatalf("started: %+v", status)
			}
			r := sh(t, e, id, "id; pwd; cat /proc/self/uid_map; mount; hostname; cat /etc/hosts; ls -la /run/dugout /sys/fs/cgroup /; nproc; env; cat /proc/1/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes")
			if r.ExitCode != 0 || !strings.Contains(r.Result, "uid=1000(daytona)") {
				t.Errorf("inside: %d %s", r.ExitCode, r.Result)
			}
			t.Log(r.Result)
			usage, err := e.Usage(context.Background(), id)
			t.Logf("%+v %v", usage, err)
			if err := e.Stop(context.Background(), id, 0); err != nil {
				t.Fatal(err)
			}
			if err := e.Destroy(context.Background(), id); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Sandboxes with fewer cores than the host are spread over its processors, also over those that an earlier process started.
func TestProcessorsAreSpread(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two processors")
	}
	h := newHost(t, "dir")
	seen := map[string]int{}
	online := func(e *oci.Engine) {
		id := h.started(e, func(s *engine.Spec) { s.Limits.MilliCPU = 1000 }).Spec.ID
		r := sh(t, e, id, "cat /sys/devices/system/cpu/online")
		cpu := strings.TrimSpace(r.Result)
		if _, err := strconv.Atoi(cpu); err != nil {
			t.Fatalf("not one processor: %q", r.Result)
		}
		seen[cpu]++
	}
	e := h.open()
	online(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	online(h.open())
	if len(seen) != 2 {
		t.Errorf("two sandboxes are on %v", seen)
	}
}
