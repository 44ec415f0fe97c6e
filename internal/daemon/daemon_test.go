//go:build linux

package daemon_test

import (
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/info"
)

func TestInfo(t *testing.T) {
	d := daemontest.StartWith(t, daemon.Config{Version: "1.2.3", Env: environ.New(map[string]string{"HOME": "/home/someone"})})
	for path, want := range map[string]string{
		"/version":       `{"version":"1.2.3"}`,
		"/user-home-dir": `{"dir":"/home/someone"}`,
		"/project-dir":   `{"dir":"/home/someone"}`,
		"/work-dir":      `{"dir":"` + d.Dir + `"}`,
	} {
		if r := d.Do("GET", path, nil); r.Status != 200 || string(r.Body) != want || r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	for range 2 {
		if r := d.Do("POST", "/init", toolbox.Init{Token: "t"}); r.Status != 200 || string(r.Body) != `{"message":"initialized"}` {
			t.Errorf("init: %d %s", r.Status, r.Body)
		}
	}
	for _, body := range []string{`{"set":{"A B":"1"}}`, `{"set":{"A":"\u0000"}}`, `{"set":[]}`, `{"unset":"A"}`} {
		if r := d.Do("POST", "/env", body); r.Status != 400 {
			t.Errorf("env %s: %d", body, r.Status)
		}
	}
}

func TestMetrics(t *testing.T) {
	d := daemontest.StartWith(t, daemon.Config{Limits: info.Limits{MilliCPU: 1500, MemoryBytes: 64 << 20}})
	var first, later toolbox.Metrics
	d.Do("GET", "/system/metrics", nil).JSON(t, &first)
	if first.CPUCount != 2 || first.MemTotal != 64<<20 || first.CPUUsedPct != 0 || first.MemUsed == 0 || first.DiskTotal < first.DiskFree || first.DiskTotal == 0 || first.TimestampUnix == 0 {
		t.Errorf("%+v", first)
	}
	if _, err := time.Parse(time.RFC3339, first.Timestamp); err != nil {
		t.Error(err)
	}
	daemontest.Until(t, "a CPU figure", func() bool {
		d.Do("POST", "/process/execute", toolbox.Execute{Command: "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"})
		d.Do("GET", "/system/metrics", nil).JSON(t, &later)
		return later.CPUUsedPct > 0
	})
}

func TestUnknownRoutes(t *testing.T) {
	d := daemontest.Start(t)
	for _, route := range [][2]string{{"GET", "/"}, {"GET", "/nope"}, {"PUT", "/version"}, {"GET", "/process/execute"}, {"POST", "/git/steal"}, {"GET", "/version/x"}} {
		r := d.Do(route[0], route[1], nil)
		var e api.Error
		r.JSON(t, &e)
		if r.Status != 404 || e.Code != "NOT_FOUND" || e.Source != api.SourceDaemon || e.Path != route[1] || e.RequestID == "" || e.RequestID != r.Header.Get("X-Request-Id") {
			t.Errorf("%v: %d %s", route, r.Status, r.Body)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	d := daemontest.Start(t)
	big := `{"command":"` + strings.Repeat("x", 33<<20) + `"}`
	if r := d.Do("POST", "/process/execute", big); r.Status != 413 {
		t.Errorf("%d %.200s", r.Status, r.Body)
	}
	if r := d.Do("POST", "/init", `{"token":"`+strings.Repeat("x", 2<<20)+`"}`); r.Status != 413 {
		t.Errorf("%d %.200s", r.Status, r.Body)
	}
}

// The list of routes is what the API description is made from: it needs no daemon, and nothing in it may be without words.
func TestRoutesDescribeThemselves(t *testing.T) {
	routes := daemon.Routes(nil)
	if len(routes) < 104 {
		t.Errorf("%d operations", len(routes))
	}
	ids := map[string]bool{}
	for _, rt := range routes {
		if rt.ID == "" || ids[rt.ID] || rt.Summary == "" || rt.Tag == "" {
			t.Errorf("%s %s: id %q, summary %q, tag %q", rt.Method, rt.Path, rt.ID, rt.Summary, rt.Tag)
		}
		ids[rt.ID] = true
		empty := slices.Contains([]int{http.StatusSwitchingProtocols, http.StatusCreated, http.StatusNoContent}, rt.Status)
		if rt.Out == nil && rt.ContentType == "" && !empty {
			t.Errorf("%s %s says nothing about its answer", rt.Method, rt.Path)
		}
		documented(t, rt.ID, rt.In, true, map[reflect.Type]bool{})
		documented(t, rt.ID, rt.Out, false, map[reflect.Type]bool{})
	}
}

func documented(t *testing.T, where string, typ reflect.Type, input bool, seen map[reflect.Type]bool) {
	for typ != nil && (typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map) {
		typ = typ.Elem()
	}
	if typ == nil || typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() {
		return
	}
	seen[typ] = true
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous || input && f.Name == "Body" {
			documented(t, where, f.Type, false, seen)
			continue
		}
		if f.Tag.Get("doc") == "" {
			t.Errorf("%s: %s.%s has no doc", where, typ.Name(), f.Name)
		}
		documented(t, where, f.Type, false, seen)
	}
}

func TestFromProcess(t *testing.T) {
	t.Setenv("DUGOUT_TOKEN", "secret")
	t.Setenv("HOME", "")
	t.Setenv("PATH", "")
	t.Setenv("KEPT", "a=b")
	all := environ.FromProcess().All()
	for name := range all {
		if strings.HasPrefix(name, "DUGOUT_") {
			t.Errorf("%s reaches children", name)
		}
	}
	if all["PATH"] != environ.DefaultPath || all["KEPT"] != "a=b" || os.Getuid() == 0 && all["HOME"] != "/root" || all["LANG"] == "" {
		t.Errorf("%v", all)
	}
}
