package image_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/image"
)

// readOnlyScript runs a command as user $2 in the root filesystem $1, which it cannot change.
const readOnlyScript = `set -e
mount --make-rprivate /
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
for node in null zero random urandom; do : > "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
ln -s /proc/self/fd "$root/dev/fd"
exec chroot --userspec="$user" "$root" /bin/bash -c "$@"`

// TestBuildBase builds the default snapshot, which takes a minute or two and 200 MB of downloads. It runs when
// DUGOUT_TEST_BASE is set: to 1 for a store of its own, or to the directory of a store, where the image may be already.
func TestBuildBase(t *testing.T) {
	dir := os.Getenv("DUGOUT_TEST_BASE")
	if dir == "" {
		t.Skip("DUGOUT_TEST_BASE is not set")
	}
	if dir == "1" {
		dir = t.TempDir()
	}
	r, err := image.LoadRecipe(images.Recipes, "base")
	if err != nil {
		t.Fatal(err)
	}
	if missing := image.Missing(r); len(missing) > 0 {
		t.Fatalf("this host cannot build it: %v", missing)
	}
	s, err := image.Open(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	start, step := time.Now(), ""
	img, err := s.Build(t.Context(), r, func(p image.Progress) {
		if p.Step != step {
			step = p.Step
			t.Logf("%3d%% %v %s", p.Percent, p.Elapsed.Round(time.Second), p.Step)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB after %v", img.SizeBytes/1e6, time.Since(start).Round(time.Second))
	if img.SizeBytes > 700e6 {
		t.Errorf("%d bytes, the limit is 700 MB", img.SizeBytes)
	}

	for _, sub := range []string{"dev", "proc", "sys", "run", "tmp"} {
		if left := names(t, filepath.Join(img.Rootfs, sub)); len(left) > 0 {
			t.Errorf("/%s has %v", sub, left)
		}
	}
	// Everything but what needs a network or writes.
	for name, c := range map[string]struct{ user, script, want string }{
		"user":               {"1000:1000", "id -un; cd; pwd", "daytona\n/home/daytona\n"},
		"python":             {"1000:1000", "python3 -c 'import numpy, pandas, matplotlib.pyplot as p; print(p.get_backend())'", "Agg\n"},
		"python name":        {"1000:1000", "python -c 'print(1)'", "1\n"},
		"wheels":             {"0:0", "python3 -m pip check", "No broken requirements found.\n"},
		"precompiled":        {"0:0", "cd /usr/local/lib/python3.11/dist-packages; find numpy pandas matplotlib -name '*.pyc' | head -n 500 | wc -l", "500\n"},
		"font cache":         {"1000:1000", "ls ~/.cache/matplotlib | wc -l; stat -c %U ~/.cache/matplotlib", "1\ndaytona\n"},
		"font cache of root": {"0:0", "ls /root/.cache/matplotlib | wc -l", "1\n"},
		"pip of the user":    {"1000:1000", "python3 -m pip install --no-index --dry-run numpy 2>&1 | grep -c already", "1\n"},
		"venv":               {"0:0", "python3 -c 'import venv, ensurepip; print(1)'", "1\n"},
		"node":               {"1000:1000", "node --version | cut -d. -f1; echo 'const a: number = 3; console.log(a)' | node --input-type=module-typescript -", "v24\n3\n"},
		"npm":                {"1000:1000", "npm --version | cut -d. -f1; npm prefix -g", "11\n/home/daytona/.local\n"},
		"npm of root":        {"0:0", "npm prefix -g; npx --version | cut -d. -f1", "/usr/local\n11\n"},
		"git":                {"1000:1000", "git --version | cut -d' ' -f1,2", "git version\n"},
		"rg":                 {"1000:1000", "rg -c root /etc/passwd", "1\n"},
		"sudo":               {"1000:1000", "sudo -n id -u", "0\n"},
		"pylsp":              {"1000:1000", "pylsp --version", "pylsp v1.15.0\n"},
		"typescript":         {"1000:1000", "typescript-language-server --version; tsc --version", "6.0.2\nVersion 6.0.3\n"},
		"locales":            {"1000:1000", "locale -a | sort | tr '\\n' ' '; python3 -c 'import sys; print(sys.stdout.encoding)'", "C C.utf8 POSIX en_US.utf8 utf-8\n"},
		"authorities":        {"1000:1000", "test $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) -gt 50 && echo many", "many\n"},
		"set-user-ID":        {"0:0", "find / -xdev -type f -perm /6000 | sort | tr '\\n' ' '", "/usr/bin/passwd /usr/bin/su /usr/bin/sudo "},
		"no devices":         {"0:0", "find / -xdev ! -type f ! -type d ! -type l | wc -l", "0\n"},
		"no services":        {"0:0", "/usr/sbin/policy-rc.d; echo $?", "101\n"},
		"apt":                {"0:0", "apt-get -qq check && grep -c main /etc/apt/sources.list; apt-cache policy | grep -c '@'", "3\n0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", readOnlyScript, "sh", img.Rootfs, c.user, c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			home := "/home/daytona"
			if strings.HasPrefix(c.user, "0:") {
				home = "/root"
			}
			var said strings.Builder
			cmd.Stderr = &said
			cmd.Env = []string{"HOME=" + home}
			for k, v := range img.Env {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			out, err := cmd.Output()
			if string(out) != c.want {
				t.Errorf("%q, %v, want %q; it said %s", out, err, c.want, said.String())
			}
		})
	}
}
