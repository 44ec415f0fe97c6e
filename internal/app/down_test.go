package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/app"
	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/errs"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// A sandbox outlives the server, Down ends it and leaves nothing of the installation on the host, and the next Up has it,
// stopped and with its files.
func TestDown(t *testing.T) {
	cfg := realHost(t)
	quiet := app.Output{Log: io.Discard, Progress: func(string) {}}
	if n, err := app.Down(t.Context(), cfg, quiet); n != 0 || err != nil {
		t.Fatalf("before the first up: %d, %v", n, err)
	}

	client, stop := up(t, cfg)
	box, err := client.Create(t.Context(), dugout.CreateOptions{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := box.Exec(t.Context(), "echo kept >file; sleep 1000 >/dev/null 2>&1 &", dugout.ExecOptions{}); err != nil || res.ExitCode != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := app.Down(t.Context(), cfg, quiet); !errs.Is(err, errs.Conflict) {
		t.Errorf("down beside a server: %v, want a Conflict", err)
	}
	stop()
	if traces(t, cfg) == "" {
		t.Error("nothing of a running sandbox is to be seen on the host: this test looks in the wrong places")
	}

	if n, err := app.Down(t.Context(), cfg, quiet); n != 1 || err != nil {
		t.Fatalf("down: %d stopped, %v", n, err)
	}
	if left := traces(t, cfg); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
	if n, err := app.Down(t.Context(), cfg, quiet); n != 0 || err != nil {
		t.Errorf("down again: %d, %v", n, err)
	}

	client, _ = up(t, cfg)
	if box, err = client.Get(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	if err := box.Wait(t.Context(), dugout.Stopped); err != nil {
		t.Fatal(err)
	}
	if err := box.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := box.Exec(t.Context(), "cat file", dugout.ExecOptions{}); err != nil || res.Output != "kept\n" {
		t.Errorf("after down and up: %+v, %v", res, err)
	}
}

// realHost returns the configuration of an installation of its own with the tiny snapshot, or skips the test.
func realHost(t *testing.T) config.Config {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runc := os.Getenv("DUGOUT_TEST_RUNC")
	tiny, _ := filepath.Abs("../../bin/images/tiny")
	if _, err := os.Stat(tiny); runc == "" || err != nil {
		t.Skip("needs DUGOUT_TEST_RUNC and bin/images: run make test")
	}
	dir, err := os.MkdirTemp("", "down-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "down-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(run, 0o711); err != nil { // users inside sandboxes pass through it
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.DataDir, cfg.Server.Listen, cfg.Server.DefaultSnapshot = filepath.Join(dir, "data"), "127.0.0.1:0", "tiny"
	cfg.Runner.RunDir, cfg.Runner.RuncPath, cfg.Runner.DiskPoolSize = run, runc, 4<<30
	cfg.Server.ProxyDomain = "proxy.localhost"
	cfg.Fill()
	images := filepath.Join(cfg.DataDir, "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", tiny, images).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if _, err := app.Down(context.Background(), cfg, app.Output{Log: io.Discard, Progress: func(string) {}}); err != nil {
			t.Errorf("%v; look into %s", err, dir) // removing it could reach into a mount
			return
		}
		_ = os.RemoveAll(dir)
		_ = os.RemoveAll(run)
	})
	return cfg
}

// up runs a server until stop is called and returns a client of it.
func up(t *testing.T, cfg config.Config) (client *dugout.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Up(ctx, "test", cfg, app.Output{Log: &log, Progress: func(string) {}, Ready: func(url string) { ready <- url }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("up ended with: %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	select {
	case url := <-ready:
		key, err := config.EnsureAdminKey(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if client, err = dugout.New(dugout.Options{APIURL: url, APIKey: key.Reveal()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return client, stop
	case err := <-ended:
		t.Fatalf("up ended with: %v\n%s", err, log.String())
	case <-time.After(2 * time.Minute):
		cancel()
		<-ended
		t.Fatalf("not ready\n%s", log.String())
	}
	return nil, nil
}

// traces returns what names the installation on the host: mounts, links, processes and control groups.
func traces(t *testing.T, cfg config.Config) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cfg.DataDir, "instance"))
	if err != nil {
		t.Fatal(err)
	}
	instance := strings.TrimSpace(string(b))
	var found []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, cfg.DataDir+"/") || strings.Contains(line, cfg.Runner.RunDir+"/") {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name, "dg"+instance) {
			found = append(found, "link "+l.Name)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		text, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(text), "dugout-"+instance) {
			continue
		}
		if exe, err := os.Readlink(filepath.Join(filepath.Dir(p), "exe")); err == nil { // a dead one that waits for its parent has none
			found = append(found, "process "+p+" "+exe)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/dugout-", "/sys/fs/cgroup/*/dugout-"} {
		groups, err := filepath.Glob(pattern + instance)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, groups...)
	}
	return strings.Join(found, "\n")
}

// A run directory that the users of sandboxes cannot get to is refused at the start and named.
func TestClosedRunDir(t *testing.T) {
	cfg := realHost(t)
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Runner.RunDir = filepath.Join(closed, "run")
	quiet := app.Output{Log: io.Discard, Progress: func(string) {}, Ready: func(string) { t.Error("it started") }}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := app.Up(ctx, "test", cfg, quiet); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), closed) {
		t.Errorf("got %v, want an Invalid that names %s", err, closed)
	}
	for _, f := range app.Doctor(t.Context(), cfg) {
		if f.Name == "run directory" && (f.OK || !strings.Contains(f.Detail, closed)) {
			t.Errorf("doctor says %+v", f)
		}
	}
}
