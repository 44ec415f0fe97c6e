package oci_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

func TestCheck(t *testing.T) {
	h := newHost(t, "")
	e := h.open()
	status := h.started(e, nil)
	before := h.traces()
	for _, f := range oci.Check(context.Background(), h.cfg) {
		if f.Name == "" || f.Detail == "" || f.OK != (f.Fix == "") {
			t.Errorf("finding %+v", f)
		}
		if !f.OK {
			t.Errorf("on a host where sandboxes run: %+v", f)
		}
	}
	if len(h.traces()) != len(before) {
		t.Error("Check left something")
	}
	sh(t, e, status.Spec.ID, "true")

	bad := h.cfg
	bad.Runc, bad.Disk.Driver = "/nonexistent/runc", "dir"
	failed := map[string]string{}
	for _, f := range oci.Check(context.Background(), bad) {
		if !f.OK {
			failed[f.Name] = f.Fix
		}
	}
	if !strings.Contains(failed["runc"], oci.RuncFloor) || failed["disk limits"] == "" {
		t.Errorf("findings with no runc and no quota: %v", failed)
	}
}

func TestOpenRefuses(t *testing.T) {
	h := newHost(t, "btrfs")
	old := filepath.Join(h.cfg.Dir, "old-runc")
	noSeccomp := filepath.Join(h.cfg.Dir, "bare-runc")
	for path, says := range map[string]string{
		old:       "runc version 1.1.5\\nlibseccomp: 2.5.4",
		noSeccomp: "runc version 1.9.0",
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf '"+says+"\\n'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*oci.Config)
		class  errs.Class
		says   string
	}{
		{"old runc", func(c *oci.Config) { c.Runc = old }, errs.Unavailable, "1.1.5"},
		{"old runc, the floor", func(c *oci.Config) { c.Runc = old }, errs.Unavailable, oci.RuncFloor},
		{"no runc", func(c *oci.Config) { c.Runc = "/nonexistent" }, errs.Unavailable, oci.RuncFloor},
		{"runc without seccomp", func(c *oci.Config) { c.Runc = noSeccomp }, errs.Unavailable, "seccomp"},
		{"instance", func(c *oci.Config) { c.Instance = "A/.." }, errs.Invalid, "instance"},
		{"relative dir", func(c *oci.Config) { c.Dir = "x" }, errs.Invalid, "dir"},
		{"comma in dir", func(c *oci.Config) { c.Dir = "/var/a,b" }, errs.Invalid, "dir"},
		{"no daemon", func(c *oci.Config) { c.Daemon = "/nonexistent" }, errs.Invalid, "/nonexistent"},
		{"driver", func(c *oci.Config) { c.Disk.Driver = "zfs" }, errs.Invalid, "disk.driver"},
		{"host ids", func(c *oci.Config) { c.UIDFirst = 1000 }, errs.Invalid, "uid_first"},
		{"cgroup root", func(c *oci.Config) { c.CgroupParent = "/" }, errs.Invalid, "cgroup_parent"},
	} {
		cfg := h.cfg
		c.change(&cfg)
		e, err := oci.Open(context.Background(), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			e.Close()
		}
		if !errs.Is(err, c.class) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want class %s and %q in the text", c.name, err, c.class, c.says)
		}
	}
	e := h.open()
	if _, err := oci.Open(context.Background(), h.cfg, slog.New(slog.DiscardHandler)); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second Open of one directory: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	h.open() // the lock is free again
}

// edit changes a JSON file of the engine's as a host or a disk would.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	change(v)
	if b, err = json.Marshal(v); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostRestart shows an engine what it finds after the host went down: records of runs under another boot id, no
// mounts and no processes.
func TestHostRestart(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	status := h.started(e, nil)
	id := status.Spec.ID
	sh(t, e, id, "echo kept > /home/daytona/file; sync")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(status.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		for _, line := range h.traces() {
			if strings.HasPrefix(line, "process") {
				return line
			}
		}
		return ""
	})
	for _, line := range h.traces() {
		if dir, ok := strings.CutPrefix(line, "mount "); ok {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	_ = unix.Unmount(h.cfg.RunDir, unix.MNT_DETACH)
	_ = unix.Unmount(filepath.Join(h.cfg.Dir, "disk"), 0)
	edit(t, filepath.Join(h.cfg.Dir, "sandboxes", id, "state.json"), func(v map[string]any) { v["BootID"] = "00000000-0000-0000-0000-000000000000" })
	e = h.open()
	after, err := e.Inspect(context.Background(), id)
	if err != nil || after.State != engine.Stopped || after.Reason != engine.ReasonHost || after.Pid != 0 {
		t.Fatalf("after a restart of the host: %+v %v", after, err)
	}
	if _, err := e.Start(context.Background(), id, engine.Net{}); err != nil {
		t.Fatal(err)
	}
	if r := sh(t, e, id, "cat /home/daytona/file"); r.Result != "kept\n" {
		t.Errorf("the disk after a restart: %+v", r)
	}
}

// TestPidReuse: a pid that means another process by now is not taken for the sandbox, and is left alone.
func TestPidReuse(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	status := h.started(e, nil)
	stranger := h.started(e, nil) // its first process plays the one that got the pid
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(status.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(h.cfg.Dir, "sandboxes", status.Spec.ID, "state.json"), func(v map[string]any) { v["Pid"] = stranger.Pid })
	e = h.open()
	if after, _ := e.Inspect(context.Background(), status.Spec.ID); after.State != engine.Stopped || after.Reason != engine.ReasonExited {
		t.Errorf("a sandbox whose pid is used by another process: %+v", after)
	}
	if after, _ := e.Inspect(context.Background(), stranger.Spec.ID); after.State != engine.Running {
		t.Errorf("the other process was hurt: %+v", after)
	}
	sh(t, e, stranger.Spec.ID, "true")
}

func TestBrokenRecords(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	whole, broken := h.started(e, nil), h.started(e, nil)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.cfg.Dir, "sandboxes", broken.Spec.ID, "record.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.cfg.Dir, "sandboxes", whole.Spec.ID, "state.json.new"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	stray := id.New()
	if err := os.Mkdir(filepath.Join(h.cfg.Dir, "sandboxes", stray), 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := oci.Open(context.Background(), h.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := e.List(context.Background())
	if len(list) != 1 || list[0].Spec.ID != whole.Spec.ID || list[0].Pid != whole.Pid {
		t.Errorf("listed: %+v", list)
	}
	problems := strings.Join(e.Capabilities().Problems, "\n")
	if !strings.Contains(problems, broken.Spec.ID) {
		t.Errorf("no problem names the broken record: %s", problems)
	}
	if _, err := os.Stat(filepath.Join(h.cfg.Dir, "disk", broken.Spec.ID)); err != nil {
		t.Errorf("the disk of the broken record is gone: %v", err)
	}
	for _, line := range h.traces() {
		if strings.Contains(line, broken.Spec.ID) && !strings.Contains(line, "/disk/") && !strings.Contains(line, "/broken/") || strings.Contains(line, stray) {
			t.Errorf("left: %s", line)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// The operator gives up on it: the record that was put aside goes, and the layer with it at the next start.
	_ = os.RemoveAll(filepath.Join(h.cfg.Dir, "broken"))
}

// TestExitCodes: how the first process ended is told where the kernel tells.
func TestExitCodes(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	status := h.started(e, nil)
	if err := unix.Kill(status.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := <-e.Exits()
	if c := exit.Status.ExitCode; c != 128+9 && c != -1 || exit.Status.Reason != engine.ReasonExited {
		t.Errorf("killed: %+v", exit.Status)
	}
	if _, err := e.Start(context.Background(), status.Spec.ID, engine.Net{}); err != nil {
		t.Fatal(err)
	}
	running, _ := e.Inspect(context.Background(), status.Spec.ID)
	if err := unix.Kill(running.Pid, unix.SIGTERM); err != nil { // the daemon ends with 0
		t.Fatal(err)
	}
	exit = <-e.Exits()
	if c := exit.Status.ExitCode; c != 0 && c != -1 {
		t.Errorf("ended: %+v", exit.Status)
	}
	t.Logf("exit code %d", exit.Status.ExitCode)
}

// TestOOMOfTheFirstProcess: a limit below what the daemon needs ends it, and the reason says so.
func TestOOMOfTheFirstProcess(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	status := h.started(e, func(s *engine.Spec) { s.Limits.MemoryBytes = 32 << 20 })
	// Its score makes the first process the one to die; what it did not write itself is charged to it too.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", status.Pid), []byte("1000"), 0); err != nil {
		t.Skipf("cannot mark the first process: %v", err)
	}
	go func() {
		_, _ = trySh(context.Background(), e, status.Spec.ID, "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; dd if=/dev/zero of=/run/dugout/../y bs=1M count=60; tail /dev/zero")
	}()
	select {
	case exit := <-e.Exits():
		if exit.Status.Reason != engine.ReasonOOM || exit.Status.OOMKills < 1 {
			t.Errorf("exit %+v", exit.Status)
		}
	case <-time.After(20 * time.Second):
		t.Error("the first process survived")
	}
}

// TestLiveLimits: what SetLimits says is what the sandbox has, at once.
func TestLiveLimits(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	status := h.started(e, nil)
	id := status.Spec.ID
	fill := "dd if=/dev/zero of=/home/daytona/x bs=1M count=100 2>&1; sync; rm -f /home/daytona/x"
	if r := sh(t, e, id, fill); strings.Contains(r.Result, "100+0 records out") {
		t.Fatalf("100 MB fit in 64: %s", r.Result)
	}
	if err := e.SetLimits(context.Background(), id, engine.Limits{DiskBytes: 256 << 20, MemoryBytes: 512 << 20, Pids: 200, MilliCPU: 1500}); err != nil {
		t.Fatal(err)
	}
	if r := sh(t, e, id, fill); !strings.Contains(r.Result, "100+0 records out") {
		t.Errorf("100 MB do not fit in 256: %s", r.Result)
	}
	r := sh(t, e, id, "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max pids.max cpu.max")
	if got := strings.Join(strings.Fields(r.Result), " "); got != "536870912 200 150000" && got != "536870912 200 150000 100000" {
		t.Errorf("the limits inside are %s", got)
	}
	sh(t, e, id, "dd if=/dev/zero of=/home/daytona/x bs=1M count=100; sync")
	if err := e.SetLimits(context.Background(), id, engine.Limits{DiskBytes: 32 << 20, Pids: 300}); !errs.Is(err, errs.Exhausted) {
		t.Errorf("a disk limit below what is held: %v", err)
	}
	if after, _ := e.Inspect(context.Background(), id); after.Spec.Limits.Pids != 200 || after.Spec.Limits.DiskBytes != 256<<20 {
		t.Errorf("a refused change left %+v", after.Spec.Limits)
	}
}

// TestReattachMany: hundreds of sandboxes are found again in less than a second. They are made, not started, except some.
func TestReattachMany(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 200 sandboxes")
	}
	h := newHost(t, "btrfs")
	e := h.open()
	const all, running = 200, 40
	for i := range all {
		spec := h.spec()
		if err := e.Create(context.Background(), spec); err != nil {
			t.Fatal(err)
		}
		if i < running {
			if _, err := e.Start(context.Background(), spec.ID, engine.Net{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	e = h.open()
	took := time.Since(begin)
	list, _ := e.List(context.Background())
	n := 0
	for _, status := range list {
		if status.State == engine.Running {
			n++
		}
	}
	if len(list) != all || n != running {
		t.Errorf("found %d sandboxes, %d running", len(list), n)
	}
	if took > time.Second {
		t.Errorf("finding %d sandboxes took %s", all, took)
	}
	t.Logf("%d sandboxes, %d of them running, in %s", all, running, took)
}
