package app

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/errs"
)

func TestRemembered(t *testing.T) {
	dir, made := t.TempDir(), 0
	fresh := func() string { made++; return "value" }
	for range 2 {
		if v, err := remembered(dir, "runner.key", fresh); err != nil || v != "value" {
			t.Fatalf("%q, %v", v, err)
		}
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	st, err := os.Stat(filepath.Join(dir, "runner.key"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	// A file that a crash left empty is made again.
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := remembered(dir, "empty", fresh); err != nil || v != "value" {
		t.Errorf("%q, %v", v, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := remembered(filepath.Join(dir, "absent"), "x", fresh); !errs.Is(err, errs.Unavailable) {
		t.Errorf("no directory: %v", err)
	}
}

// Ranges of all installations lie apart from what distributions give out, and end below the last uid.
func TestUIDs(t *testing.T) {
	for range 1000 {
		instance := newInstance()
		first := firstUID(instance)
		if first != firstUID(instance) {
			t.Fatalf("%s has two", instance)
		}
		if last := uint64(first) + uidRanges<<16; first < 0x70000000 || last > 0xfffffffe {
			t.Fatalf("%s: from %#x to %#x", instance, first, last)
		}
	}
}

func TestFrontWhileStarting(t *testing.T) {
	f := &front{}
	f.detail.Store("building snapshot base")
	for path, want := range map[string]string{"/api/health": `"starting"`, "/api/sandbox": `"STARTING"`, "/toolbox/x/y": `"STARTING"`, "/metrics": `"STARTING"`} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), want) ||
			!strings.Contains(w.Body.String(), "building snapshot base") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body.String())
		}
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f.ready.Store(&h)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", "/api/health", nil))
	if w.Code != http.StatusTeapot {
		t.Errorf("when ready: %d", w.Code)
	}
}

func TestDoctorWithoutAnything(t *testing.T) {
	cfg := config.Default()
	cfg.DataDir, cfg.Runner.RunDir = filepath.Join(t.TempDir(), "data"), t.TempDir()
	cfg.Server.Listen = "127.0.0.1:0"
	cfg.Fill()
	names := map[string]bool{}
	for _, f := range Doctor(t.Context(), cfg) {
		names[f.Name] = true
		if f.Detail == "" {
			t.Errorf("%s says nothing", f.Name)
		}
		if !f.OK && f.Fix == "" {
			t.Errorf("%s (%s) does not say what to do", f.Name, f.Detail)
		}
	}
	for _, want := range []string{"port", "space", "snapshot"} {
		if !names[want] {
			t.Errorf("%s was not looked at", want)
		}
	}
	if _, err := os.Stat(cfg.DataDir); err == nil {
		t.Error("looking made the data directory")
	}
}
