package oci_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/engine"
)

var update = flag.Bool("update", false, "write the golden table of TestEscapeMatrix anew")

// prober builds the static program that asks the kernel, and the 32-bit one that must not run.
func prober(t *testing.T) (probe, hello string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	probe, hello = filepath.Join(dir, "prober"), filepath.Join(dir, "hello386")
	for _, b := range []struct{ out, pkg, arch string }{{probe, "./testdata/prober", ""}, {hello, "./testdata/hello", "386"}} {
		cmd := exec.Command("go", "build", "-o", b.out, b.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b.arch != "" {
			cmd.Env = append(cmd.Env, "GOARCH="+b.arch)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("cannot build %s: %v %s", b.pkg, err, out)
		}
	}
	return probe, hello
}

// TestEscapeMatrix runs the prober in every kind of sandbox, and the harmless part of it on the host in namespaces of its
// own, as a canary: a row that is denied there too proves nothing here. The table is a golden file, so that any change of a
// verdict is seen.
func TestEscapeMatrix(t *testing.T) {
	h := newHost(t, "btrfs")
	probe, hello := prober(t)
	h.cfg.Helpers = []string{probe, hello}
	before := sysctls(t)
	sums := sums(t, h.cfg.Runc, h.cfg.Daemon, probe)
	e := h.open()
	columns := []string{"user", "root", "strict", "canary"}
	table := map[string][]string{}
	add := func(column int, output string) {
		for line := range strings.Lines(output) {
			name, verdict, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok {
				continue
			}
			if table[name] == nil {
				table[name] = []string{"-", "-", "-", "-"}
			}
			table[name][column] = verdict
		}
	}
	for i, change := range []func(*engine.Spec){
		func(*engine.Spec) {}, func(s *engine.Spec) { s.User = "root" }, func(s *engine.Spec) { s.Strict = true },
	} {
		status := h.started(e, change)
		r := sh(t, e, status.Spec.ID, "cd /tmp && /usr/local/bin/prober")
		if r.ExitCode != 0 {
			t.Fatalf("the prober as %s ended with %d: %s", columns[i], r.ExitCode, r.Result)
		}
		add(i, r.Result)
	}
	canary := exec.Command(probe, "-canary")
	canary.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	out, err := canary.CombinedOutput()
	if err != nil {
		t.Fatalf("the canary: %v %s", err, out)
	}
	add(3, string(out))

	got := formatTable(columns, table)
	golden := filepath.Join("testdata", "escape.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sandboxColumns(string(want)), sandboxColumns(string(got))); diff != "" {
		t.Errorf("verdicts changed (-golden +now); if that is right, run with -update: %s", diff)
	}
	// What no golden file may ever allow.
	for name, verdicts := range table {
		for i, verdict := range verdicts[:3] {
			bad := strings.HasPrefix(name, "call.") && verdict != "EPERM" && verdict != "ENOSYS" ||
				strings.HasPrefix(name, "write.") && (verdict == "ALLOWED" || verdict != "none" && name == "write.any-cgroup-file") ||
				strings.HasPrefix(name, "mknod.") && verdict == "ALLOWED" || strings.HasPrefix(name, "first.") && verdict == "ALLOWED" ||
				verdict == "LEAKS" || name == "uid_map" && verdict != "mapped" || name == "fds" && verdict != "0,1,2" ||
				strings.HasSuffix(name, ".Seccomp") && verdict != "2" || (name == "x32" || name == "i386") && verdict != "KILLED"
			if bad {
				t.Errorf("%s as %s: %s", name, columns[i], verdict)
			}
		}
	}
	// The canary must be allowed where the kernel has the thing at all: it is how we know that the probe can tell.
	denied := 0
	for name, verdicts := range table {
		if strings.HasPrefix(name, "call.") && verdicts[3] == "EPERM" {
			denied++
			t.Logf("the canary too is denied %s", name)
		}
	}
	if denied > 4 {
		t.Errorf("the canary is denied %d calls: the prober does not tell sandboxes from hosts", denied)
	}
	if diff := cmp.Diff(before, sysctls(t)); diff != "" {
		t.Errorf("settings of the host changed: %s", diff)
	}
	if diff := cmp.Diff(sums, sumsAgain(t, sums)); diff != "" {
		t.Errorf("binaries of the host changed: %s", diff)
	}
}

func formatTable(columns []string, table map[string][]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-42s %s\n", "probe", strings.Join(columns, " | "))
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%-42s %s\n", name, strings.Join(table[name], " | "))
	}
	return b.Bytes()
}

// sandboxColumns leaves out the canary, which depends on the host, and rows that depend on the daemon or on the host.
func sandboxColumns(table string) []string {
	var lines []string
	for line := range strings.Lines(table) {
		if i := strings.LastIndex(line, " | "); i >= 0 {
			line = line[:i]
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func sysctls(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range []string{
		"kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/sysrq", "kernel/panic", "kernel/randomize_va_space", "vm/overcommit_memory",
		"vm/panic_on_oom", "fs/suid_dumpable", "fs/protected_symlinks", "net/ipv4/ip_forward", "kernel/yama/ptrace_scope", "kernel/hostname",
	} {
		b, _ := os.ReadFile("/proc/sys/" + name)
		values[name] = string(b)
	}
	return values
}

func sums(t *testing.T, paths ...string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[path] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return sums
}

func sumsAgain(t *testing.T, old map[string]string) map[string]string {
	t.Helper()
	var paths []string
	for path := range old {
		paths = append(paths, path)
	}
	return sums(t, paths...)
}

// TestRangesAreDisjoint: what one sandbox's root owns, another's does not.
func TestRangesAreDisjoint(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	seen := map[string]bool{}
	for range 5 {
		status := h.started(e, nil)
		fields := strings.Fields(sh(t, e, status.Spec.ID, "cat /proc/self/uid_map").Result)
		if len(fields) != 3 || fields[2] != "65536" || seen[fields[1]] {
			t.Errorf("uid_map %v, seen before: %v", fields, seen)
		}
		seen[fields[1]] = true
		sh(t, e, status.Spec.ID, "echo x > /home/daytona/made")
		layer := filepath.Join(h.cfg.Dir, "disk", status.Spec.ID, "upper/home/daytona/made")
		fi, err := os.Lstat(layer)
		if err != nil {
			t.Fatal(err)
		}
		var first uint32
		fmt.Sscan(fields[1], &first)
		if uid := fi.Sys().(*syscall.Stat_t).Uid; uid != first+1000 || uid < 100000 {
			t.Errorf("the file of uid 1000 inside belongs to %d outside, the range begins at %d", uid, first)
		}
	}
}

// TestHogs lets one sandbox take all it can of everything and looks whether its neighbour and its own daemon notice.
func TestHogs(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	hog := h.started(e, func(s *engine.Spec) {
		s.Limits.MemoryBytes = 64 << 20
		s.Limits.Pids = 64
		s.Limits.DiskBytes = 32 << 20
	})
	neighbour := h.started(e, nil)
	id := hog.Spec.ID
	alive := func(after string) {
		t.Helper()
		if r := sh(t, e, id, "echo fine"); r.Result != "fine\n" {
			t.Errorf("after %s the daemon answers %+v", after, r)
		}
		if r := sh(t, e, neighbour.Spec.ID, "dd if=/dev/zero of=/home/daytona/x bs=1M count=20 2>/dev/null && echo fine"); r.Result != "fine\n" {
			t.Errorf("after %s the neighbour answers %+v", after, r)
		}
		if status, err := e.Inspect(context.Background(), id); err != nil || status.State != engine.Running || status.Pid != hog.Pid {
			t.Errorf("after %s: %+v %v", after, status, err)
		}
	}

	t.Run("processes", func(t *testing.T) {
		r := sh(t, e, id, "i=0; while [ $i -lt 300 ]; do sleep 2 & i=$((i+1)); done 2>&1 | head -c 200; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null")
		if !strings.Contains(r.Result, "64") {
			t.Errorf("the limit inside is not 64: %s", r.Result)
		}
		if usage, err := e.Usage(context.Background(), id); err != nil || usage.Pids > 64 {
			t.Errorf("usage %+v %v", usage, err)
		}
		// The daemon needs processes to answer: wait for the sleeps to end.
		eventually(t, 20*time.Second, func() string {
			if r, err := trySh(context.Background(), e, id, "echo fine"); err != nil || r.Result != "fine\n" {
				return fmt.Sprintf("%+v %v", r, err)
			}
			return ""
		})
		alive("a fork bomb")
	})

	t.Run("memory", func(t *testing.T) {
		r := sh(t, e, id, "tail /dev/zero")
		if r.ExitCode == 0 {
			t.Errorf("a process that takes all memory ended with %+v", r)
		}
		alive("a memory hog")
		if status, _ := e.Inspect(context.Background(), id); status.OOMKills < 1 {
			t.Errorf("no kill for memory is counted: %+v", status)
		}
		// Memory that no process owns counts too.
		r = sh(t, e, id, "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>&1; rm -f /dev/shm/x")
		alive("a full /dev/shm")
		r = sh(t, e, id, "dd if=/dev/zero of=/run/dugout/x bs=1k count=1000 2>&1; rm -f /run/dugout/x")
		if !strings.Contains(r.Result, "No space left") {
			t.Errorf("the socket directory took 1 MB: %s", r.Result)
		}
		alive("a full socket directory")
	})

	t.Run("disk", func(t *testing.T) {
		r := sh(t, e, id, "dd if=/dev/zero of=/home/daytona/big bs=1M count=100 2>&1; sync")
		if !strings.Contains(r.Result, "quota") && !strings.Contains(r.Result, "No space left") {
			t.Errorf("100 MB fit in 32: %s", r.Result)
		}
		alive("a full disk")
		if usage, err := e.Usage(context.Background(), id); err != nil || usage.DiskBytes > 33<<20 || usage.DiskBytes < 20<<20 {
			t.Errorf("usage of a full disk of 32 MiB: %+v %v", usage, err)
		}
		// It can make room, fill up again, and stop and start when it is full.
		r = sh(t, e, id, "rm /home/daytona/big && dd if=/dev/zero of=/home/daytona/small bs=1M count=5 2>&1 && dd if=/dev/zero of=/home/daytona/big bs=1M count=100; sync; echo x > /home/daytona/y")
		if !strings.Contains(r.Result, "5+0 records out") {
			t.Errorf("after making room: %s", r.Result)
		}
		if err := e.Stop(context.Background(), id, 0); err != nil {
			t.Fatal(err)
		}
		status, err := e.Start(context.Background(), id, engine.Net{})
		if err != nil {
			t.Fatalf("a sandbox with a full disk does not start: %v", err)
		}
		hog = status
		if r := sh(t, e, id, "rm /home/daytona/big && dd if=/dev/zero of=/home/daytona/small bs=1M count=9 2>&1"); r.ExitCode != 0 {
			t.Errorf("making room after a start: %s", r.Result)
		}
		alive("making room again")
	})

	t.Run("files", func(t *testing.T) {
		if testing.Short() {
			t.Skip("makes many files")
		}
		r := sh(t, e, id, "mkdir /home/daytona/m; cd /home/daytona/m; d=0; while [ $d -lt 1000 ]; do mkdir $d && cd $d && touch $(seq 1000) || break; cd ..; d=$((d+1)); done; echo; echo $d")
		lines := strings.Fields(r.Result)
		var rounds int
		fmt.Sscan(lines[len(lines)-1], &rounds)
		if rounds >= 1000 || rounds < 1 {
			t.Errorf("a million empty files fit in 32 MiB, or none: %s", r.Result)
		}
		t.Logf("%d thousand empty files fit in 32 MiB", rounds)
		alive("a flood of files")
	})
}

// TestHostileSocket: whatever a sandbox puts in the place of its daemon's socket, the host reaches nothing but that sandbox.
func TestHostileSocket(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	victim, hostile := h.started(e, nil), h.started(e, nil)
	for _, c := range []struct{ name, do string }{
		{"a link to another's socket", "ln -s " + filepath.Join(h.cfg.RunDir, "s", victim.Spec.ID, "sock/d.sock") + " d.sock"},
		{"a link to the host's files", "ln -s /etc/passwd d.sock"},
		{"a directory", "mkdir d.sock"},
		{"a fifo", "mkfifo d.sock || mknod d.sock p"},
		{"nothing", "true"},
	} {
		// The daemon's own answer comes over the connection that is open already.
		_, _ = trySh(context.Background(), e, hostile.Spec.ID, "cd /run/dugout && mv d.sock kept; "+c.do)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := e.Dial(ctx, hostile.Spec.ID)
		cancel()
		if err == nil {
			conn.Close()
			t.Errorf("%s: connected", c.name)
		}
		restore := exec.Command("sh", "-c", "rm -rf d.sock; mv kept d.sock")
		restore.Dir = filepath.Join(h.cfg.RunDir, "s", hostile.Spec.ID, "sock")
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("restoring the socket: %v %s", err, out)
		}
	}
	sh(t, e, hostile.Spec.ID, "true")
}

// TestHostileImages starts images whose directories are traps. A start may fail; nothing outside may change.
func TestHostileImages(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	sentinel := t.TempDir()
	if err := os.WriteFile(filepath.Join(sentinel, "file"), []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := sysctls(t)
	for _, c := range []struct {
		name  string
		setup func(dir string) error
		spec  func(*engine.Spec)
		fails bool // must not start
	}{
		{name: "etc is a link outside", setup: replace("etc", sentinel), spec: func(s *engine.Spec) { s.User = "0" }},
		{name: "run is a link outside", setup: replace("run", sentinel)},
		{name: "dev is a link outside", setup: replace("dev", sentinel)},
		{name: "proc is a link outside", setup: replace("proc", sentinel)},
		{name: "sys is a link", setup: replace("sys", "/proc/sys")},
		{name: "proc is a link inside", setup: replace("proc", "/tmp")},
		{name: "bin of the daemon is a link", setup: replace("usr/local/bin", sentinel)},
		{name: "the daemon is a link", setup: func(dir string) error {
			return os.Symlink("/proc/self/exe", filepath.Join(dir, "usr/local/bin/dugoutd"))
		}},
		{name: "hosts is a link", setup: func(dir string) error {
			return os.Symlink(filepath.Join(sentinel, "file"), filepath.Join(dir, "etc/hosts"))
		}},
		{name: "passwd is a link outside", setup: replace("etc/passwd", "/etc/shadow"), fails: true},
		{name: "passwd is a fifo", setup: func(dir string) error {
			_ = os.Remove(filepath.Join(dir, "etc/passwd"))
			return syscall.Mkfifo(filepath.Join(dir, "etc/passwd"), 0o644)
		}, fails: true},
		{name: "user beyond 32 bits", spec: func(s *engine.Spec) { s.User = "4294967296" }, fails: true},
		{name: "user that wraps", spec: func(s *engine.Spec) { s.User = "-1" }, fails: true},
		{name: "user past the range", spec: func(s *engine.Spec) { s.User = "65536" }, fails: true},
		{name: "workdir is a descriptor", spec: func(s *engine.Spec) { s.Image.Workdir = "/proc/self/fd/7" }},
		{name: "workdir is a file", spec: func(s *engine.Spec) { s.Image.Workdir = "/etc/passwd" }, fails: true},
		{name: "workdir climbs", spec: func(s *engine.Spec) { s.Image.Workdir = "/../../../../etc" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := h.spec()
			spec.Image.Rootfs = filepath.Join(t.TempDir(), "rootfs")
			for p := spec.Image.Rootfs; p != "/tmp" && p != "/"; p = filepath.Dir(p) {
				_ = os.Chmod(p, 0o755)
			}
			if err := busyboxRootfs(spec.Image.Rootfs); err != nil {
				t.Fatal(err)
			}
			if c.setup != nil {
				if err := c.setup(spec.Image.Rootfs); err != nil {
					t.Fatal(err)
				}
			}
			if c.spec != nil {
				c.spec(&spec)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			err := e.Create(ctx, spec)
			if err == nil {
				_, err = e.Start(ctx, spec.ID, engine.Net{})
			}
			if (err != nil) != c.fails && c.fails {
				t.Errorf("it started")
			}
			t.Logf("%v", err)
			if err == nil {
				if r := sh(t, e, spec.ID, "cat /proc/self/uid_map /proc/kcore; echo x > /proc/sys/kernel/core_pattern; cat /etc/shadow "+filepath.Join(sentinel, "file")); strings.Contains(r.Result, "untouched") || strings.Contains(r.Result, "root:") {
					t.Errorf("the host shows inside: %s", r.Result)
				}
			}
			if err := e.Destroy(ctx, spec.ID); err != nil {
				t.Errorf("Destroy: %v", err)
			}
		})
	}
	entries, _ := os.ReadDir(sentinel)
	if b, _ := os.ReadFile(filepath.Join(sentinel, "file")); string(b) != "untouched" || len(entries) != 1 {
		t.Errorf("the host's directory was changed: %q, %d entries", b, len(entries))
	}
	if diff := cmp.Diff(before, sysctls(t)); diff != "" {
		t.Errorf("settings of the host changed: %s", diff)
	}
}

func replace(path, target string) func(string) error {
	return func(dir string) error {
		if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
			return err
		}
		return os.Symlink(target, filepath.Join(dir, path))
	}
}

// TestHostileLayer restarts a sandbox whose root rearranged its own file system into traps.
func TestHostileLayer(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	sentinel := t.TempDir()
	if err := os.WriteFile(filepath.Join(sentinel, "file"), []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, do string }{
		{"mount points are links", "mv /usr/local /usr/was; ln -s " + sentinel + " /usr/local"},
		{"etc is a link", "cp -r /etc /tmp/e; ln -s " + sentinel + " /tmp/l; cd /; mv etc etc.was; ln -s " + sentinel + " etc"},
		{"home is a link", "rm -rf /root; ln -s /proc/self/fd /root"},
		{"workdir is a file", "rm -rf /root; echo > /root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := h.started(e, func(s *engine.Spec) { s.User = "root" })
			id := status.Spec.ID
			sh(t, e, id, c.do)
			if err := e.Stop(context.Background(), id, 0); err != nil {
				t.Fatal(err)
			}
			_, err := e.Start(context.Background(), id, engine.Net{})
			t.Logf("%v", err)
			if err := e.Destroy(context.Background(), id); err != nil {
				t.Errorf("Destroy: %v", err)
			}
		})
	}
	entries, _ := os.ReadDir(sentinel)
	if b, _ := os.ReadFile(filepath.Join(sentinel, "file")); string(b) != "untouched" || len(entries) != 1 {
		t.Errorf("the host's directory was changed: %q, %d entries", b, len(entries))
	}
}
