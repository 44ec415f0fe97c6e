package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/id"
)

// What the tests run on: set these to use other binaries or another image.
const (
	envRunc   = "DUGOUT_TEST_RUNC"   // else: runc in PATH, when it is new enough
	envDaemon = "DUGOUT_TEST_DAEMON" // else: testdata/standin
	envRootfs = "DUGOUT_TEST_ROOTFS" // else: a directory with the host's static busybox
)

var built struct {
	sync.Once
	dir, daemon, rootfs string
	err                 error
}

func TestMain(m *testing.M) {
	if point := os.Getenv(envCrashDir); point != "" {
		crashChild()
		return
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// needHost skips a test that cannot run here, and says why.
func needHost(t testing.TB) (runc, daemon, rootfs string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runc = os.Getenv(envRunc)
	if runc == "" {
		path, err := exec.LookPath("runc")
		if err != nil {
			t.Skip("needs runc; set " + envRunc)
		}
		runc = path
	}
	out, err := exec.Command(runc, "--version").Output()
	if err != nil || !oci.VersionAtLeast(oci.ParseRuncVersion(string(out)), oci.RuncFloor) {
		t.Skipf("needs runc %s or later, %s is older; set %s", oci.RuncFloor, runc, envRunc)
	}
	built.Do(buildRig)
	if built.err != nil {
		t.Skipf("no test image or daemon: %v", built.err)
	}
	return runc, built.daemon, built.rootfs
}

func buildRig() {
	built.dir, built.err = os.MkdirTemp("/var/tmp", "dugout-engine-rig-")
	if built.err != nil {
		return
	}
	_ = os.Chmod(built.dir, 0o755)
	if built.daemon = os.Getenv(envDaemon); built.daemon == "" {
		built.daemon = filepath.Join(built.dir, "standin")
		cmd := exec.Command("go", "build", "-o", built.daemon, "./testdata/standin")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building the stand-in: %w: %s", err, out)
			return
		}
	}
	if built.rootfs = os.Getenv(envRootfs); built.rootfs == "" {
		built.rootfs = filepath.Join(built.dir, "rootfs")
		built.err = busyboxRootfs(built.rootfs)
	}
}

func busyboxRootfs(dir string) error {
	for _, sub := range []string{"bin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "home/daytona", "usr/local/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	_ = os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky)
	if err := os.Chown(filepath.Join(dir, "home/daytona"), 1000, 1000); err != nil {
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"sh", "ls", "cat", "id", "echo", "sleep", "dd", "touch", "mkdir", "seq", "wc", "mount", "mknod", "kill", "ps", "hostname", "tail", "head", "nproc", "rm", "ln", "chmod", "cp", "df", "stat", "grep", "true"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaytona:x:1000:1000::/home/daytona:/bin/sh\n",
		"etc/group":  "root:x:0:\ntty:x:5:\nstaff:x:50:daytona\ndaytona:x:1000:\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// host is one installation: engines over it come and go, what they made stays until the test ends.
type host struct {
	t      testing.TB
	cfg    oci.Config
	rootfs string
}

func newHost(t testing.TB, driver string) *host {
	t.Helper()
	runc, daemon, rootfs := needHost(t)
	dir, err := os.MkdirTemp("/var/tmp", "dugout-engine-")
	if err != nil {
		t.Fatal(err)
	}
	instance := id.Token(4)
	h := &host{t: t, rootfs: rootfs, cfg: oci.Config{
		Dir: dir, RunDir: filepath.Join("/run/dugout-test", instance), Instance: instance, Runc: runc, Daemon: daemon,
		Disk: oci.Disk{Driver: driver, PoolBytes: 4 << 30},
	}}
	t.Cleanup(h.remove)
	return h
}

// open returns a new engine over the installation, closed at the end of the test.
func (h *host) open() *oci.Engine {
	h.t.Helper()
	e, err := oci.Open(context.Background(), h.cfg, testLog(h.t))
	if err != nil {
		h.t.Fatalf("Open: %v", err)
	}
	h.t.Cleanup(func() { _ = e.Close() })
	return e
}

// remove destroys every sandbox and takes the installation away.
func (h *host) remove() {
	h.cfg.Helpers = nil // may be gone
	e, err := oci.Open(context.Background(), h.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Errorf("opening the engine to clean up: %v", err)
		return
	}
	list, _ := e.List(context.Background())
	for _, status := range list {
		if err := e.Destroy(context.Background(), status.Spec.ID); err != nil {
			h.t.Errorf("destroying %s: %v", status.Spec.ID, err)
		}
	}
	if err := e.Close(); err != nil {
		h.t.Errorf("Close: %v", err)
	}
	for _, line := range h.traces() {
		h.t.Errorf("left after everything was destroyed: %s", line)
	}
	_ = unix.Unmount(h.cfg.RunDir, unix.MNT_DETACH)
	_ = unix.Unmount(filepath.Join(h.cfg.Dir, "disk"), unix.MNT_DETACH)
	_ = os.Remove(h.cfg.RunDir)
	_ = os.RemoveAll(h.cfg.Dir)
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/dugout-" + h.cfg.Instance)
	for _, dir := range append(groups, "/sys/fs/cgroup/dugout-"+h.cfg.Instance) {
		_ = unix.Rmdir(dir)
	}
}

// traces lists what sandboxes of this installation have on the host now.
func (h *host) traces() []string {
	var lines []string
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], h.cfg.RunDir+"/") {
			lines = append(lines, "mount "+fields[4])
		}
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/*/dugout-" + h.cfg.Instance + "/*-*", "/sys/fs/cgroup/dugout-" + h.cfg.Instance + "/*-*",
		h.cfg.RunDir + "/b/*", h.cfg.RunDir + "/s/*", h.cfg.RunDir + "/runc/*",
		h.cfg.Dir + "/sandboxes/*", h.cfg.Dir + "/trash/*", h.cfg.Dir + "/broken/*", h.cfg.Dir + "/disk/*-*-*",
	} {
		found, _ := filepath.Glob(pattern)
		lines = append(lines, found...)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, p := range procs {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte("/dugout-"+h.cfg.Instance+"/")) {
			if cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline")); len(cmdline) > 0 { // not a zombie
				lines = append(lines, "process "+p+" "+string(cmdline))
			}
		}
	}
	return lines
}

func (h *host) spec() engine.Spec {
	return engine.Spec{
		ID: id.New(), Class: engine.ClassContainer,
		Image:  engine.Image{Ref: "tiny", Rootfs: h.rootfs, User: "daytona"},
		Limits: engine.Limits{MemoryBytes: 256 << 20, DiskBytes: 64 << 20, Pids: 128},
	}
}

// started returns a running sandbox made from the test's spec as change left it.
func (h *host) started(e engine.Engine, change func(*engine.Spec)) engine.Status {
	h.t.Helper()
	spec := h.spec()
	if change != nil {
		change(&spec)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := e.Create(ctx, spec); err != nil {
		h.t.Fatalf("Create: %v", err)
	}
	status, err := e.Start(ctx, spec.ID, engine.Net{})
	if err != nil {
		h.t.Fatalf("Start: %v", err)
	}
	return status
}

// client speaks HTTP to the daemon of a sandbox.
func client(e engine.Engine, id string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx, id) },
	}}
}

type result struct {
	ExitCode int
	Result   string
}

// sh runs a command inside a sandbox by its daemon.
func sh(t testing.TB, e engine.Engine, id, command string) result {
	t.Helper()
	r, err := trySh(context.Background(), e, id, command)
	if err != nil {
		t.Fatalf("running %q: %v", command, err)
	}
	return r
}

func trySh(ctx context.Context, e engine.Engine, id, command string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	body, _ := json.Marshal(map[string]any{"command": command, "timeout": 60})
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/process/execute", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	resp, err := client(e, id).Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return result{}, err
	}
	var r result
	if err := json.Unmarshal(b, &r); err != nil || resp.StatusCode != http.StatusOK {
		return result{}, fmt.Errorf("the daemon says %d %s", resp.StatusCode, b)
	}
	return r, nil
}

// eventually polls until check returns "" and fails with its last answer.
func eventually(t testing.TB, within time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		why := check()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(writer{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type writer struct{ t testing.TB }

func (w writer) Write(b []byte) (int, error) {
	fmt.Fprint(os.Stderr, string(b))
	return len(b), nil
}
