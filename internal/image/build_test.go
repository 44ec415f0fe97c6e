package image_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/image"
)

// tiny returns the recipe tiny with steps of the test's own, or skips where it cannot be built.
func tiny(t *testing.T, steps ...image.Step) image.Recipe {
	t.Helper()
	r, err := image.LoadRecipe(images.Recipes, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("building an image needs root")
	}
	if missing := image.Missing(r); len(missing) > 0 {
		t.Skipf("this host cannot build images: %v", missing)
	}
	r.Steps = steps
	return r
}

func build(t *testing.T, s *image.Store, r image.Recipe) image.Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	img, err := s.Build(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// empty fails unless the store has neither an image nor anything of a build.
func empty(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"images", "tmp"} {
		if left := names(t, filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}

// processes counts those whose command line holds marker.
func processes(t *testing.T, marker string) int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range found {
		if line, err := os.ReadFile(p); err == nil && bytes.Contains(line, []byte(marker)) {
			n++
		}
	}
	return n
}

func TestBuildTiny(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var reports []image.Progress
	start := time.Now()
	img, err := s.Build(t.Context(), tiny(t), func(p image.Progress) { reports = append(reports, p) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %v, %d bytes", time.Since(start), img.SizeBytes)
	if img.SizeBytes < 500<<10 || img.SizeBytes > 4<<20 {
		t.Errorf("%d bytes", img.SizeBytes)
	}
	if img.User != "daytona" || img.Env["PATH"] == "" || img.Rootfs != filepath.Join(dir, "images", "tiny", img.Digest, "rootfs") {
		t.Errorf("%+v", img)
	}
	got, err := s.Get("tiny")
	if err != nil || got.Digest != img.Digest || !got.Created.Equal(img.Created) {
		t.Errorf("Get says %+v, %v", got, err)
	}

	cmd := exec.CommandContext(t.Context(), "chroot", "--userspec=1000:1000", img.Rootfs, "/bin/sh", "-c",
		`id -un; cd && pwd; echo one two | awk '{print $2}'; : > x && rm x && echo writable; ls /dev /proc /sys /run /tmp | grep -v :; stat -c %a /tmp /root`)
	cmd.Env = []string{"HOME=/home/daytona", "PATH=" + img.Env["PATH"]}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(strings.Fields("daytona /home/daytona two writable 1777 700"), strings.Fields(string(out))); diff != "" {
		t.Error(diff)
	}
	for _, file := range []string{"etc/resolv.conf", "etc/hosts", "etc/hostname"} {
		if st, err := os.Lstat(filepath.Join(img.Rootfs, file)); err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}

	if len(reports) < 3 || reports[0].Percent != 0 || reports[len(reports)-1].Percent != 100 || reports[0].Image != "tiny" {
		t.Errorf("reports: %+v", reports)
	}
	if !slices.IsSortedFunc(reports, func(a, b image.Progress) int { return a.Percent - b.Percent }) {
		t.Errorf("progress went back: %+v", reports)
	}
	if left := names(t, filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left of the build: %v", left)
	}

	again, err := s.Build(t.Context(), tiny(t), func(p image.Progress) { t.Errorf("built a second time: %+v", p) })
	if err != nil || !again.Created.Equal(img.Created) {
		t.Errorf("second build: %+v, %v", again, err)
	}
	changed := tiny(t)
	changed.Env = map[string]string{"PATH": "/bin"}
	if other := build(t, s, changed); other.Digest == img.Digest || len(s.List()) != 2 {
		t.Errorf("a changed recipe did not make an image of its own: %+v", s.List())
	}
}

// What the steps of a recipe leave is made safe, and what they see of the host is not changed.
func TestBuildDisarms(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	write(t, marker, "untouched")
	r := tiny(t, image.Step{Name: "hostile", Run: `
		cp /bin/busybox /bin/owned; chmod 6755 /bin/owned
		cp /bin/busybox /bin/kept; chmod 4755 /bin/kept
		mkdir -m 2775 /var/shared
		mkfifo /var/fifo; mknod /var/null c 1 3
		rm /etc/hostname; ln -s ` + marker + ` /etc/hostname
		ln -s / /var/host
		echo gone > /tmp/gone; echo gone > /run/gone
		chmod 700 /var/tmp; touch /var/tmp/gone
		touch /etc/shadow- /home/daytona/mine`,
	})
	r.Setuid = []string{"bin/kept"}
	r.Exclude = append(r.Exclude, "var/host/etc/passwd", "var/host/tmp/*", "etc/*-")
	img := build(t, open(t, t.TempDir()), r)

	for file, want := range map[string]fs.FileMode{
		"bin/owned":    0o755,
		"bin/kept":     0o755 | fs.ModeSetuid,
		"var/shared":   0o775 | fs.ModeSetgid | fs.ModeDir,
		"etc/hostname": 0o644,
		"tmp":          0o777 | fs.ModeSticky | fs.ModeDir,
		"var/tmp":      0o777 | fs.ModeSticky | fs.ModeDir,
	} {
		if st, err := os.Lstat(filepath.Join(img.Rootfs, file)); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", file, st.Mode(), err, want)
		}
	}
	for _, file := range []string{"var/fifo", "var/null", "tmp/gone", "run/gone", "var/tmp/gone", "etc/shadow-"} {
		if _, err := os.Lstat(filepath.Join(img.Rootfs, file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", file, err)
		}
	}
	if text, err := os.ReadFile(marker); err != nil || string(text) != "untouched" {
		t.Errorf("a link in the image led the builder to a file of the host: %q, %v", text, err)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Fatalf("an exclude pattern went through a link to the host: %v", err)
	}
}

func TestTidyStripsCapabilitiesAndForeignIDs(t *testing.T) {
	r := tiny(t)
	work := t.TempDir()
	file := filepath.Join(work, "rootfs", "bin", "ping")
	write(t, file, "x")
	// Version 2 of the on-disk format: cap_net_raw, effective.
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(file, "security.capability", capability, 0); err != nil {
		t.Skipf("the file system of %s has no capabilities: %v", work, err)
	}
	if _, err := image.TidyTree(t.Context(), work, r); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Getxattr(file, "security.capability", make([]byte, 64)); !errors.Is(err, unix.ENODATA) {
		t.Errorf("the capability is still there: %v", err)
	}
	if err := os.Lchown(file, 100000, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := image.TidyTree(t.Context(), work, r); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "/bin/ping") {
		t.Errorf("an owner that cannot be mapped: %v", err)
	}
	if err := os.Lchown(file, 0, 0); err != nil {
		t.Fatal(err)
	}
	r.Setuid = []string{"bin/ping"}
	if _, err := image.TidyTree(t.Context(), work, r); !errs.Is(err, errs.Invalid) {
		t.Errorf("a recipe whose set-user-ID list is wrong: %v", err)
	}
}

func TestBuildFailures(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	good := tiny(t)
	cases := map[string]struct {
		change func(*image.Recipe)
		class  errs.Class
		says   string
	}{
		"step fails": {func(r *image.Recipe) {
			r.Steps = []image.Step{{Name: "doomed", Run: "echo the reason >&2; exit 3"}}
		}, errs.Unavailable, "the reason"},
		"no such package": {func(r *image.Recipe) { r.Debian.Packages = []string{"no-such-package-anywhere"} }, errs.Unavailable, "no-such-package-anywhere"},
		"busybox missing": {func(r *image.Recipe) { r.Busybox = "bin/nothing" }, errs.Invalid, "bin/nothing"},
		"account clashes": {func(r *image.Recipe) {
			r.Accounts = []image.Account{{Name: "nobody", UID: 1000, Home: "/home/x", Shell: "/bin/sh"}}
		},
			errs.Invalid, "nobody"},
		"disk too small": {func(r *image.Recipe) { r.DiskMB = 1 << 20 }, errs.Exhausted, "1048576 MiB"},
		"invalid":        {func(r *image.Recipe) { r.Name = "../x" }, errs.Invalid, "name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := good
			if c.change(&r); name == "account clashes" {
				r.User = ""
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			_, err := s.Build(ctx, r, nil)
			if !errs.Is(err, c.class) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%v), want %v that says %q", err, errs.ClassOf(err), c.class, c.says)
			}
			if e, ok := errs.As(err); ok && strings.Contains(e.Message, "\n") {
				t.Errorf("the sentence to show has a tool's output in it: %q", e.Message)
			}
			empty(t, dir)
		})
	}
}

// endless is a recipe whose step says "started" and never ends; its processes have marker in their command line.
func endless(t *testing.T, marker string) image.Recipe {
	return tiny(t, image.Step{Name: "endless", Run: "echo started " + marker + "; while :; do sleep 1; done"})
}

func TestCancelLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	marker := "endless-" + id.Token(12)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	started := false
	_, err := s.Build(ctx, endless(t, marker), func(p image.Progress) {
		if strings.HasPrefix(p.Detail, "started") {
			if processes(t, marker) == 0 {
				t.Error("the marker finds no process: this test proves nothing")
			}
			started = true
			cancel()
		}
	})
	if !started || !errs.Is(err, errs.Timeout) || !errors.Is(err, context.Canceled) {
		t.Fatalf("started %v, got %v", started, err)
	}
	if n := processes(t, marker); n > 0 {
		t.Errorf("%d processes outlived the build", n)
	}
	empty(t, dir)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts are left below %s: %v", dir, err)
	}
}

func TestCallersShareOneBuild(t *testing.T) {
	dir := t.TempDir()
	r := tiny(t)
	// Two stores on one directory stand for two processes.
	stores := []*image.Store{open(t, dir), open(t, dir)}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		whens = map[int64]int{}
	)
	for i := range 8 {
		wg.Go(func() {
			img, err := stores[i%2].Build(t.Context(), r, nil)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			whens[img.Created.UnixNano()]++
		})
	}
	wg.Wait()
	if len(whens) != 1 {
		t.Errorf("the image was built %d times: %v", len(whens), whens)
	}
	if left := names(t, filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left of the build: %v", left)
	}
}

func TestOneCallerLeaves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	r := tiny(t, image.Step{Name: "pause", Run: "while ! [ -e /srv/go ]; do sleep 0.05; done; rm /srv/go"})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	joined := make(chan struct{})
	stayed := make(chan error, 1)
	var second sync.Once
	_, err := s.Build(ctx, r, func(p image.Progress) {
		if p.Step == "accounts" { // the build is at work, and cannot end before /srv/go is there
			second.Do(func() {
				go func() {
					var tell sync.Once
					_, err := s.Build(t.Context(), r, func(image.Progress) { tell.Do(func() { close(joined) }) })
					stayed <- err
				}()
				<-joined
				leave()
			})
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left got %v", err)
	}
	write(t, filepath.Join(dir, "tmp", "build-"+r.Digest(), "rootfs", "srv", "go"), "")
	if err := <-stayed; err != nil {
		t.Errorf("the caller that stayed got %v", err)
	}
	if _, err := s.Get("tiny"); err != nil {
		t.Error(err)
	}
	if left := names(t, filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left of the build: %v", left)
	}
}

// TestKilledBuilder kills a whole process in the middle of a build: its tools must die with it, and the next Open cleans up.
func TestKilledBuilder(t *testing.T) {
	const dirVar, markerVar = "DUGOUT_TEST_BUILD_DIR", "DUGOUT_TEST_BUILD_MARKER"
	if dir := os.Getenv(dirVar); dir != "" { // the process to be killed
		s := open(t, dir)
		_, err := s.Build(t.Context(), endless(t, os.Getenv(markerVar)), func(p image.Progress) {
			if strings.HasPrefix(p.Detail, "started") {
				fmt.Println("READY")
			}
		})
		t.Fatalf("an endless build ended: %v", err)
	}
	tiny(t) // skips where nothing can be built
	dir, marker := t.TempDir(), "endless-"+id.Token(12)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledBuilder$", "-test.v")
	cmd.Env = append(os.Environ(), dirVar+"="+dir, markerVar+"="+marker)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	ready := false
	for !ready && scan.Scan() {
		ready = strings.Contains(scan.Text(), "READY")
	}
	if !ready {
		t.Fatalf("the builder never came to its step: %v", scan.Err())
	}
	if processes(t, marker) == 0 {
		t.Error("the marker finds no process: this test proves nothing")
	}
	other := open(t, dir)
	if len(names(t, filepath.Join(dir, "tmp"))) == 0 {
		t.Error("another process's running build was swept away")
	}
	if len(other.List()) > 0 {
		t.Errorf("a half-built image is listed: %+v", other.List())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for processes(t, marker) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the tools of a killed builder go on")
		}
		time.Sleep(20 * time.Millisecond) // polling: they are not our children
	}
	open(t, dir)
	empty(t, dir)
}

func TestBuildNeedsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("this is about users other than root")
	}
	r, err := image.LoadRecipe(images.Recipes, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	s, err := image.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(t.Context(), r, nil); !errs.Is(err, errs.Denied) {
		t.Errorf("got %v, want Denied", err)
	}
}
