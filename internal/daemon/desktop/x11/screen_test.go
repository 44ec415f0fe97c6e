//go:build linux

package x11_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/keys"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
)

// inImage runs a program of the desktop image in the host's network, so that its abstract socket is ours too.
const inImage = `mount --make-rprivate / && mount -t tmpfs tmpfs "$0/tmp" && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev" &&
for n in null zero urandom; do : > "$0/dev/$n"; mount --bind /dev/$n "$0/dev/$n"; done; mkdir -p "$0/dev/shm" && exec chroot "$0" "$@"`

// program returns a command for a program of X: the host's, or that of the desktop image if it has been built.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	var cmd *exec.Cmd
	if _, err := exec.LookPath(args[0]); err == nil {
		cmd = exec.CommandContext(t.Context(), args[0], args[1:]...)
	} else {
		roots, _ := filepath.Glob("../../../../bin/images/desktop/*/rootfs")
		if len(roots) == 0 || os.Getuid() != 0 {
			t.Skipf("%s is not installed, and there is no desktop image (make desktop) for root to take it from", args[0])
		}
		root, err := filepath.Abs(roots[0])
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", inImage, root}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	}
	return cmd
}

// server runs an X server and returns its display.
func server(t *testing.T) (string, *exec.Cmd) {
	t.Helper()
	display := fmt.Sprintf(":%d", number.Add(1))
	cmd := start(t, display)
	return display, cmd
}

func start(t *testing.T, display string) *exec.Cmd {
	t.Helper()
	cmd := program(t, "Xvfb", display, "-screen", "0", "800x600x24", "-nolisten", "tcp", "-noreset")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s := &x11.Screen{Display: func() string { return display }}
	defer s.Close()
	for deadline := time.Now().Add(15 * time.Second); !s.Ready(t.Context()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Xvfb does not answer")
		}
	}
	return cmd
}

func TestRealServer(t *testing.T) {
	display, cmd := server(t)
	s := &x11.Screen{Display: func() string { return display }}
	defer s.Close()
	ctx := t.Context()
	if w, h, err := s.Size(ctx); err != nil || w != 800 || h != 600 {
		t.Fatal(w, h, err)
	}
	if d, err := s.Displays(ctx); err != nil || !slices.Equal(d, []x11.Rect{{Width: 800, Height: 600}}) {
		t.Error(d, err)
	}
	if w, err := s.Windows(ctx); err != nil || len(w) != 0 || s.Managed(ctx) {
		t.Error(w, err)
	}

	t.Run("pointer", func(t *testing.T) {
		for _, p := range []x11.Point{{X: 10, Y: 20}, {X: 799, Y: 599}, {X: 0, Y: 0}} {
			if got, err := s.Use(ctx, x11.Mouse{At: &p}); err != nil || got != p {
				t.Errorf("%v: %v, %v", p, got, err)
			}
		}
		to := x11.Point{X: 300, Y: 200}
		if got, err := s.Use(ctx, x11.Mouse{At: &x11.Point{X: 5, Y: 5}, To: &to, Button: x11.Left, Modifiers: []uint32{keys.Shift}}); err != nil || got != to {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("pictures", func(t *testing.T) {
		p, err := s.Grab(ctx, x11.Rect{}, true)
		if err != nil || p.Width != 800 || p.Height != 600 || len(p.Pix) != 800*600*4 {
			t.Fatal(p.Width, p.Height, len(p.Pix), err)
		}
		part := x11.Rect{X: 790, Y: 590, Width: 10, Height: 10}
		if p, err = s.Grab(ctx, part, false); err != nil || p.Width != 10 || len(p.Pix) != 400 {
			t.Error(p.Width, err)
		}
		for _, bad := range []x11.Rect{{X: -1, Width: 5, Height: 5}, {X: 791, Y: 0, Width: 10, Height: 1}, {Width: 801, Height: 1}, {Y: 600, Width: 1, Height: 1}, {X: 1}} {
			if _, err := s.Grab(ctx, bad, false); !errors.Is(err, x11.ErrOutside) {
				t.Errorf("%v: %v", bad, err)
			}
		}
	})
	t.Run("keys", func(t *testing.T) {
		text, err := keys.Text("Aa1!é€\nПривет")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Type(ctx, text, 0); err != nil {
			t.Fatal(err)
		}
		before := len(s.Given())
		if before == 0 {
			t.Error("no key was given a character")
		}
		if err := s.Type(ctx, text, 0); err != nil || len(s.Given()) != before {
			t.Errorf("the same text again: %d keys instead of %d, %v", len(s.Given()), before, err)
		}
		var many []uint32 // more than there are keys
		for r := rune(0x4e00); r < 0x4e00+400; r++ {
			many = append(many, keys.Of(r))
		}
		if err := s.Type(ctx, many, 0); err != nil {
			t.Error(err)
		}
		for _, key := range []uint32{'a', keys.Return, 0xffd5, 0xffb0, '~'} {
			if err := s.Press(ctx, []uint32{keys.Control, keys.Shift}, key); err != nil {
				t.Errorf("%#x: %v", key, err)
			}
		}
		if err := errors.Join(s.Down(ctx, keys.Shift), s.Up(ctx, keys.Shift)); err != nil {
			t.Error(err)
		}
		again := &x11.Screen{Display: func() string { return display }}
		defer again.Close()
		again.Regive(s.Given())
		if err := again.Type(ctx, []uint32{keys.Of(0x9999)}, 0); err != nil {
			t.Errorf("after a handover: %v", err)
		}
	})
	t.Run("a server that comes again", func(t *testing.T) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := s.Pointer(ctx); !errors.Is(err, x11.ErrNoServer) {
			t.Errorf("without a server: %v", err)
		}
		start(t, display)
		if _, err := s.Pointer(ctx); err != nil {
			t.Error(err)
		}
	})
}
