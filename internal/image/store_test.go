package image_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/image"
)

func open(t *testing.T, dir string) *image.Store {
	t.Helper()
	s, err := image.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put lays an image into a store without building it.
func put(t *testing.T, store, name, digest, created, extra string) {
	t.Helper()
	dir := filepath.Join(store, "images", name, digest)
	write(t, filepath.Join(dir, "rootfs", "etc", "os-release"), "ID=test\n")
	write(t, filepath.Join(dir, "image.json"),
		`{"name":"`+name+`","ref":"`+name+`-ref","digest":"`+digest+`","env":{"PATH":"/bin"},"created":"`+created+`"`+extra+`}`)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// names lists what is in dir. A directory that cannot be read fails the test.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func TestGetAndList(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Get("base"); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "build one first") {
		t.Errorf("empty store: %v", err)
	}
	put(t, dir, "base", "d1", "2026-01-01T00:00:00Z", "")
	put(t, dir, "base", "d2", "2026-01-02T00:00:00Z", "")
	put(t, dir, "tiny", "d3", "2026-01-03T00:00:00Z", "")

	var got []string
	for _, img := range s.List() {
		got = append(got, img.Name+"@"+img.Digest)
	}
	if diff := cmp.Diff([]string{"tiny@d3", "base@d2", "base@d1"}, got); diff != "" {
		t.Error(diff)
	}
	for ref, want := range map[string]string{"base": "d2", "base-ref": "d2", "base@d1": "d1", "base-ref@d1": "d1", "tiny": "d3"} {
		img, err := s.Get(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if img.Digest != want {
			t.Errorf("%s is %s, want %s", ref, img.Digest, want)
		}
		if _, err := os.Stat(filepath.Join(img.Rootfs, "etc", "os-release")); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "bas", "base@", "base@d", "base@../d1", "../images/base", "base/d1", "BASE"} {
		if img, err := s.Get(ref); !errs.Is(err, errs.NotFound) {
			t.Errorf("%q: got %+v, %v, want NotFound", ref, img, err)
		}
	}
	if _, err := s.Get("nothing"); err == nil || !strings.Contains(err.Error(), "base-ref, tiny-ref") {
		t.Errorf("the error does not say what there is: %v", err)
	}
}

func TestDamagedImagesAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	s, err := image.Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "good", "d1", "2026-01-01T00:00:00Z", "")
	put(t, dir, "cut", "d1", "2026-01-01T00:00:00Z", `,"env`)
	put(t, dir, "norootfs", "d1", "2026-01-01T00:00:00Z", "")
	if err := os.RemoveAll(filepath.Join(dir, "images", "norootfs", "d1", "rootfs")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "moved", "d1", "2026-01-01T00:00:00Z", "")
	if err := os.Rename(filepath.Join(dir, "images", "moved"), filepath.Join(dir, "images", "elsewhere")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "undescribed", "d1", "2026-01-01T00:00:00Z", "")
	if err := os.Remove(filepath.Join(dir, "images", "undescribed", "d1", "image.json")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "images", "stray"), "")

	list := s.List()
	if len(list) != 1 || list[0].Name != "good" {
		t.Errorf("listed: %+v", list)
	}
	for _, name := range []string{"cut", "norootfs", "elsewhere"} {
		if !strings.Contains(log.String(), "name="+name) {
			t.Errorf("nothing was logged about %s: %s", name, log.String())
		}
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, dir, "base", "d1", "2026-01-01T00:00:00Z", "")
	put(t, dir, "base", "d2", "2026-01-02T00:00:00Z", "")
	for _, want := range []string{"d1", ""} {
		if err := s.Remove("base"); err != nil {
			t.Fatal(err)
		}
		img, err := s.Get("base")
		if want == "" && !errs.Is(err, errs.NotFound) || img.Digest != want {
			t.Errorf("left is %q, %v, want %q", img.Digest, err, want)
		}
	}
	if err := s.Remove("base"); !errs.Is(err, errs.NotFound) {
		t.Errorf("got %v, want NotFound", err)
	}
	if left := append(names(t, filepath.Join(dir, "tmp")), names(t, filepath.Join(dir, "images"))...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOpenClosesTheStoreToOthers(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"images", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
	for _, sub := range []string{"images", "tmp"} {
		st, err := os.Stat(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %o: a user of the host could run its set-user-ID programs", sub, st.Mode().Perm())
		}
	}
}

func TestOpenSweeps(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	put(t, dir, "base", "d1", "2026-01-01T00:00:00Z", "")
	write(t, filepath.Join(dir, "tmp", "build-dead", "rootfs", "x"), "")
	write(t, filepath.Join(dir, "tmp", "build-dead.lock"), "")
	write(t, filepath.Join(dir, "tmp", "build-older", "rootfs", "x"), "")
	write(t, filepath.Join(dir, "tmp", "removed-abc", "rootfs", "x"), "")
	write(t, filepath.Join(dir, "tmp", "build-alive", "rootfs", "x"), "")
	lock, err := os.Create(filepath.Join(dir, "tmp", "build-alive.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if diff := cmp.Diff([]string{"build-alive", "build-alive.lock"}, names(t, filepath.Join(dir, "tmp"))); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Get("base"); err != nil {
		t.Errorf("a finished image went with the unfinished ones: %v", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if left := names(t, filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
