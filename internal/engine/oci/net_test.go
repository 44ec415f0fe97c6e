package oci_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// pinNetns makes a network namespace that belongs to the host, as the runner does, and returns the path that names it.
func pinNetns(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

func TestNet(t *testing.T) {
	h := newHost(t, "btrfs")
	e := h.open()
	ctx := context.Background()
	spec := h.spec()
	spec.User, spec.Hostname = "root", "first.example"
	if err := e.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	net := engine.Net{Slot: 3, Netns: pinNetns(t), Addr: netip.MustParseAddr("10.9.8.7"), DNS: netip.MustParseAddr("10.9.8.1")}
	status, err := e.Start(ctx, spec.ID, net)
	if err != nil {
		t.Fatal(err)
	}
	if status.Net != net {
		t.Errorf("Net is %+v", status.Net)
	}
	var pinned, inside unix.Stat_t
	if err := unix.Stat(net.Netns, &pinned); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", status.Pid), &inside); err != nil {
		t.Fatal(err)
	}
	if pinned.Ino != inside.Ino {
		t.Error("the sandbox does not run in the namespace that it was given")
	}
	r := sh(t, e, spec.ID, "hostname; cat /etc/hosts /etc/resolv.conf; echo '1.2.3.4 mine' >> /etc/hosts && grep -c mine /etc/hosts; echo 1 > /proc/sys/net/ipv4/ip_forward")
	for _, want := range []string{"first.example\n", "10.9.8.7\tfirst.example", "nameserver 10.9.8.1\n", "\n1\n"} {
		if !strings.Contains(r.Result, want) {
			t.Errorf("inside, %q is missing: %s", want, r.Result)
		}
	}
	if r.ExitCode == 0 {
		t.Error("root inside changed a setting of the network namespace")
	}
	// The next run is in another network, and says so.
	if err := e.Stop(ctx, spec.ID, 0); err != nil {
		t.Fatal(err)
	}
	net.Addr, net.DNS = netip.MustParseAddr("10.9.8.9"), netip.MustParseAddr("10.9.8.2")
	if _, err := e.Start(ctx, spec.ID, net); err != nil {
		t.Fatal(err)
	}
	if r := sh(t, e, spec.ID, "cat /etc/hosts /etc/resolv.conf"); !strings.Contains(r.Result, "10.9.8.9\t") || !strings.Contains(r.Result, "nameserver 10.9.8.2\n") || strings.Contains(r.Result, "mine") {
		t.Errorf("after a start elsewhere: %s", r.Result)
	}
	if err := e.Stop(ctx, spec.ID, 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"relative", "/nonexistent/netns"} {
		if _, err := e.Start(ctx, spec.ID, engine.Net{Netns: path}); err == nil || path == "relative" && !errs.Is(err, errs.Invalid) {
			t.Errorf("Start in %q: %v", path, err)
		}
	}
	if status, _ := e.Inspect(ctx, spec.ID); status.State != engine.Stopped {
		t.Errorf("after failed starts: %+v", status)
	}
	// A failed start must not have cost the sandbox anything.
	if _, err := e.Start(ctx, spec.ID, engine.Net{}); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	h := newHost(t, "dir")
	e := h.open()
	status := h.started(e, func(s *engine.Spec) {
		s.Image.Env = map[string]string{"FROM_IMAGE": "1", "BOTH": "image", "DUGOUT_MEMORY": "1", "PATH": "/bin:/usr/bin"}
		s.Env = map[string]string{"FROM_SANDBOX": "a b\n\"c\"", "BOTH": "sandbox", "DUGOUT_READY_FD": "0"}
		s.Image.Workdir = "/made/for/it"
	})
	r := sh(t, e, status.Spec.ID, "pwd; echo $FROM_IMAGE $BOTH $HOME $USER $PATH; echo \"$FROM_SANDBOX\"")
	for _, want := range []string{"/made/for/it\n", "1 sandbox /home/daytona daytona /bin:/usr/bin\n", "a b\n\"c\"\n"} {
		if !strings.Contains(r.Result, want) {
			t.Errorf("inside, %q is missing: %s", want, r.Result)
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", status.Pid))
	if err != nil {
		t.Skipf("cannot read the environment of the first process: %v", err)
	}
	if want := "DUGOUT_MEMORY=268435456"; !strings.Contains(string(env), want) {
		t.Errorf("%q is missing in the first process: %q", want, env)
	}
	if strings.Contains(string(env), "DUGOUT_READY_FD") {
		t.Error("a sandbox's own variable reached the daemon's settings")
	}
}
