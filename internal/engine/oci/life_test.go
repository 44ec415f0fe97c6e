package oci_test

import (
	"context"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/engine"
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
