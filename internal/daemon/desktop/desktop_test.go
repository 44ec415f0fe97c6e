//go:build linux

package desktop_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

// bare is a daemon in a sandbox without anything that makes a desktop.
func bare(t *testing.T, vars map[string]string) *daemontest.Daemon {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{"PATH": "/nowhere", "HOME": dir, "DISPLAY": ":58123"}
	for k, v := range vars {
		env[k] = v
	}
	return daemontest.StartWith(t, daemon.Config{Workdir: dir, Env: environ.New(env)})
}

const id = "11111111-2222-4333-8444-555555555555"

// operations that need a desktop, with bodies that are right.
var operations = []struct {
	method, path string
	body         any
}{
	{"GET", "/status", nil}, {"GET", "/process-status", nil}, {"POST", "/start", nil}, {"POST", "/stop", nil},
	{"GET", "/process/xvfb/status", nil}, {"POST", "/process/xvfb/restart", nil}, {"GET", "/process/xvfb/logs", nil}, {"GET", "/process/xvfb/errors", nil},
	{"GET", "/screenshot", nil}, {"GET", "/screenshot/region?x=0&y=0&width=5&height=5", nil}, {"GET", "/screenshot/compressed", nil},
	{"GET", "/screenshot/region/compressed?x=0&y=0&width=5&height=5", nil}, {"GET", "/display/info", nil}, {"GET", "/display/windows", nil},
	{"GET", "/mouse/position", nil}, {"POST", "/mouse/move", `{"x":1,"y":1}`}, {"POST", "/mouse/click", `{"x":1,"y":1}`}, {"POST", "/mouse/down", `{}`}, {"POST", "/mouse/up", `{}`},
	{"POST", "/mouse/drag", `{"startX":1,"startY":1,"endX":2,"endY":2}`}, {"POST", "/mouse/scroll", `{"x":1,"y":1,"direction":"up"}`},
	{"POST", "/keyboard/type", `{"text":"x"}`}, {"POST", "/keyboard/key", `{"key":"x"}`}, {"POST", "/keyboard/hotkey", `{"keys":"ctrl+x"}`},
	{"POST", "/keyboard/down", `{"key":"shift"}`}, {"POST", "/keyboard/up", `{"key":"shift"}`},
	{"GET", "/a11y/tree", nil}, {"POST", "/a11y/find", `{}`}, {"POST", "/a11y/node/focus", `{"id":":1.1:/x"}`}, {"POST", "/a11y/node/invoke", `{"id":":1.1:/x"}`},
	{"POST", "/a11y/node/value", `{"id":":1.1:/x","value":"y"}`},
}

func TestWithoutADesktopEverythingSaysWhatIsMissing(t *testing.T) {
	d := bare(t, nil)
	for _, op := range operations {
		r := d.Do(op.method, "/computeruse"+op.path, op.body)
		var e toolbox.Unavailable
		r.JSON(t, &e)
		if r.Status != http.StatusServiceUnavailable || e.StatusCode != 503 || !strings.Contains(e.Details, "Xvfb") || !strings.Contains(e.Solution, "snapshot desktop") ||
			e.Message == "" || e.Reason != e.Message || e.Source != "DAYTONA_DAEMON" || e.Path == "" || e.Timestamp == "" {
			t.Errorf("%s %s: %d %+v", op.method, op.path, r.Status, e)
		}
	}
	if _, err := os.Stat(filepath.Join(d.Dir, ".daytona")); err == nil {
		t.Error("asking made files")
	}
}

// A stopped desktop is told from a missing one.
func TestAStoppedDesktop(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "Xvfb"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := bare(t, map[string]string{"PATH": bin})
	r := d.Do("GET", "/computeruse/screenshot", nil)
	var e toolbox.Unavailable
	r.JSON(t, &e)
	if r.Status != 503 || !strings.Contains(e.Solution, "/computeruse/start") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	r = d.Do("GET", "/computeruse/a11y/tree", nil)
	r.JSON(t, &e)
	if r.Status != 503 || e.Code != "A11Y_UNAVAILABLE" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	var s toolbox.DesktopStatus
	if r = d.Do("GET", "/computeruse/status", nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	if r.JSON(t, &s); s.Status != "inactive" {
		t.Errorf("%+v", s)
	}
	r = d.Do("POST", "/computeruse/start", nil)
	if r.JSON(t, &e); r.Status != 503 || !strings.Contains(e.Details, "x11vnc") || strings.Contains(e.Details, "Xvfb") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for path, want := range map[string]int{"/process/x/status": 503, "/process/x/logs": 400, "/process/x/errors": 400, "/process/xvfb/logs": 200} {
		if r := d.Do("GET", "/computeruse"+path, nil); r.Status != want {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

// Bad input is told before anything is looked for.
func TestBadInput(t *testing.T) {
	d := bare(t, nil)
	for _, c := range []struct{ path, body, want string }{
		{"/keyboard/key", `{"key":"@"}`, "shift"}, {"/keyboard/key", `{"key":"a","modifiers":["x"]}`, "modifier"}, {"/keyboard/type", `{"text":"\t"}`, "tab"},
		{"/keyboard/type", `{"text":"a","delay":5001}`, "5000"}, {"/keyboard/type", `{"text":"a","delay":-1}`, "delay"},
		{"/keyboard/type", `{"text":"` + strings.Repeat("a", 300) + `","delay":5000}`, "5m0s"}, {"/keyboard/type", `{"text":"` + strings.Repeat("a", 65537) + `"}`, "65536"},
		{"/keyboard/hotkey", `{"keys":"a+b"}`, "chord"}, {"/keyboard/down", `{}`, "empty"},
		{"/mouse/move", `{"x":1}`, "required"}, {"/mouse/scroll", `{"x":1,"y":1,"direction":"in"}`, "direction"}, {"/mouse/scroll", `{"x":1,"y":1,"direction":"up","amount":1001}`, "1000"},
		{"/recordings/start", `{"label":"../x"}`, "label"}, {"/recordings/stop", `{}`, "id"}, {"/a11y/find", `{"limit":5001}`, ""},
	} {
		r := d.Do("POST", "/computeruse"+c.path, c.body)
		if want := 400; r.Status != want && !(c.want == "" && r.Status == 503) || !strings.Contains(string(r.Body), c.want) {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, r.Status, r.Body)
		}
	}
	for _, path := range []string{"/screenshot/region?x=0&y=0&width=0&height=5", "/screenshot/region?x=0&y=0&width=5", "/screenshot/region?x=-1&y=0&width=5&height=5",
		"/screenshot/region?x=40000&y=0&width=5&height=5", "/screenshot/compressed?format=gif", "/screenshot/compressed?quality=101", "/screenshot/compressed?quality=-1",
		"/screenshot/compressed?scale=0.05", "/screenshot/compressed?scale=1.5"} {
		if r := d.Do("GET", "/computeruse"+path, nil); r.Status != 400 {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

func TestRecordingsNeedNoDesktop(t *testing.T) {
	d := bare(t, nil)
	r := d.Do("GET", "/computeruse/recordings", nil)
	if r.Status != 200 || strings.TrimSpace(string(r.Body)) != `{"recordings":[]}` {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	r = d.Do("POST", "/computeruse/recordings/start", `{}`)
	var e toolbox.Unavailable
	if r.JSON(t, &e); r.Status != 503 || e.Code != "RECORDING_FFMPEG_NOT_FOUND" || e.Reason != "ffmpeg_not_found" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	r = d.Do("POST", "/computeruse/recordings/start", `{"label":"."}`)
	if r.JSON(t, &e); r.Status != 400 || e.Reason != "invalid_label" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for _, c := range [][2]string{{"GET", "/" + id}, {"DELETE", "/" + id}, {"GET", "/" + id + "/download"}} {
		if r := d.Do(c[0], "/computeruse/recordings"+c[1], nil); r.Status != 404 {
			t.Errorf("%v: %d %s", c, r.Status, r.Body)
		}
	}
	if r := d.Do("POST", "/computeruse/recordings/stop", `{"id":"`+id+`"}`); r.Status != 404 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// A film that is there can be listed, fetched in parts and deleted; the page is served without anything from outside.
func TestFilms(t *testing.T) {
	films := t.TempDir()
	name := id + "_demo_20260102_030405.mp4"
	for file, text := range map[string]string{name: "0123456789", "." + id + ".json": `{"id":"` + id + `","file":"` + name + `","start":"2026-01-02T03:04:05Z","end":"2026-01-02T03:04:07.5Z","status":"completed"}`} {
		if err := os.WriteFile(filepath.Join(films, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := bare(t, map[string]string{"DAYTONA_RECORDINGS_DIR": films})
	var rec toolbox.Recording
	r := d.Do("GET", "/computeruse/recordings/"+id, nil)
	if r.JSON(t, &rec); rec.Status != "completed" || *rec.DurationSeconds != 2.5 || *rec.SizeBytes != 10 || rec.FilePath != filepath.Join(films, name) {
		t.Errorf("%s", r.Body)
	}
	path := "/computeruse/recordings/" + id + "/download"
	if r := d.Do("GET", path, nil); r.Status != 200 || string(r.Body) != "0123456789" || r.Header.Get("Content-Type") != "video/mp4" || !strings.Contains(r.Header.Get("Content-Disposition"), name) {
		t.Errorf("%d %s %v", r.Status, r.Body, r.Header)
	}
	if r := d.Do("GET", path, nil, "Range", "bytes=3-5"); r.Status != 206 || string(r.Body) != "345" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	page := d.Do("GET", "/computeruse/recordings/page", nil)
	if page.Status != 200 || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") ||
		strings.Contains(string(page.Body), "http://") || strings.Contains(string(page.Body), "https://") || strings.Contains(string(page.Body), "innerHTML") {
		t.Errorf("%d %v", page.Status, page.Header)
	}
	if r := d.Do("DELETE", "/computeruse/recordings/"+id, nil); r.Status != 204 || len(r.Body) != 0 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if left, _ := os.ReadDir(films); len(left) != 0 {
		t.Error(left)
	}
}
