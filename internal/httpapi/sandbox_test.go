package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
)

func TestCreateSaysAllThatWasAsked(t *testing.T) {
	w := newWorld(t)
	got := w.create(`{"name":"box","snapshot":"daytona-medium","user":"root","env":{"A":"1"},"labels":{"team":"web"},"public":true,
		"networkAllowList":" 203.0.113.0/24, 198.51.100.7/32 ","target":"us","autoStopInterval":0,"autoArchiveInterval":0,"autoDeleteInterval":30,
		"autoPauseInterval":0,"ttlMinutes":0,"queueTimeout":5,"kvm":false,"volumes":[],"secrets":[],"gpu":0,"gpuType":[],"spot":false,"sandboxClass":"container","buildInfo":null,"class":"old","unheardOf":1}`)
	if !id.IsUUID(got.ID) || got.RunnerID != "r1" || got.CreatedAt.IsZero() || got.UpdatedAt.IsZero() || got.LastActivityAt.IsZero() {
		t.Errorf("%+v", got)
	}
	want := api.Sandbox{ID: got.ID, OrganizationID: w.orgID, Name: "box", Snapshot: "daytona-medium", User: "root", Env: map[string]string{"A": "1"},
		Labels: map[string]string{"team": "web"}, Public: true, NetworkAllowList: "203.0.113.0/24,198.51.100.7/32", Target: "us", CPU: 2, Memory: 4, Disk: 8,
		State: "started", DesiredState: "started", BackupState: "None", AutoArchiveInterval: 43200, AutoDeleteInterval: 30, Volumes: []api.SandboxVolume{},
		CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt, LastActivityAt: got.LastActivityAt, SandboxClass: "container", DaemonVersion: got.DaemonVersion,
		RunnerID: "r1", ToolboxProxyURL: w.server.URL + "/toolbox"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, idOrName := range []string{got.ID, "box"} {
		if diff := cmp.Diff(want, decode[api.Sandbox](w.get("/sandbox/"+idOrName+"?verbose=true").want(200))); diff != "" {
			t.Error(diff)
		}
	}
}

func TestCreateDefaults(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "{}", `{"snapshot":"","env":null,"labels":null,"autoStopInterval":null}`} {
		got := w.create(body)
		if got.Name != got.ID || got.Snapshot != "base" || got.User != "daytona" || got.AutoStopInterval != 15 || got.AutoArchiveInterval != 10080 ||
			got.AutoDeleteInterval != -1 || got.Public || got.NetworkBlockAll || got.Env == nil || got.Labels == nil || got.State != "started" {
			t.Errorf("%q: %+v", body, got)
		}
	}
}

func TestNamesInPaths(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"with space", "a/b:c", "ü", "100%", "paginated", "..", "a+b", "?x=1#y", "%2e%2e"} {
		s := w.create(`{"name":` + fmt.Sprintf("%q", name) + `}`)
		path := "/sandbox/" + url.PathEscape(name)
		if name == ".." || name == "paginated" { // a path that means something else: reached by id only
			path = "/sandbox/" + s.ID
		}
		if got := decode[api.Sandbox](w.get(path).want(200)); got.ID != s.ID || got.Name != name {
			t.Errorf("%q: %s %q", name, got.ID, got.Name)
		}
	}
}

func TestLifecycle(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"name":"box"}`)
	at := "/sandbox/box"
	state := func(a *answer) string {
		t.Helper()
		return string(decode[api.Sandbox](a.want(200)).State)
	}
	if got := state(w.post(at+"/start", "")); got != "started" {
		t.Errorf("start of a started one: %s", got)
	}
	if got := state(w.post(at+"/stop?force=true", "")); got != "stopped" {
		t.Errorf("stop: %s", got)
	}
	e := w.post(at+"/stop", "").want(400).error()
	if e.Code != "SANDBOX_WRONG_STATE" || !strings.Contains(e.Message, "stopped") {
		t.Errorf("stop of a stopped one: %+v", e)
	}
	token := decode[api.PortPreviewURL](w.get(at + "/ports/3000/preview-url").want(200)).Token
	if got := state(w.post(at+"/start", "{}")); got != "started" {
		t.Errorf("start: %s", got)
	}
	if again := decode[api.PortPreviewURL](w.get(at + "/ports/3000/preview-url").want(200)).Token; again == token || len(again) != 32 {
		t.Errorf("token after a start: %q, before: %q", again, token)
	}
	if got := state(w.request("DELETE", at, "")); got != "destroying" && got != "destroyed" {
		t.Errorf("delete: %s", got)
	}
	for deadline := time.Now().Add(10 * time.Second); w.get("/sandbox/"+s.ID).status != 404; {
		if time.Now().After(deadline) {
			t.Fatal("not gone")
		}
	}
	w.request("DELETE", "/sandbox/"+s.ID, "").want(404)
}

func TestEphemeralIsDestroyedByStop(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"autoDeleteInterval":0}`)
	if got := decode[api.Sandbox](w.post("/sandbox/"+s.ID+"/stop", "").want(200)); got.DesiredState != "destroyed" {
		t.Errorf("%+v", got)
	}
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"labels":{"old":"1"}}`)
	at := "/sandbox/" + s.ID
	for _, c := range []struct {
		method, path, body string
		ok                 func(api.Sandbox) bool
	}{
		{"PUT", "/labels", `{"labels":{"a":"b"}}`, func(s api.Sandbox) bool { return cmp.Equal(s.Labels, map[string]string{"a": "b"}) }},
		{"PUT", "/labels", `{"labels":{}}`, func(s api.Sandbox) bool { return len(s.Labels) == 0 }},
		{"POST", "/public/true", "", func(s api.Sandbox) bool { return s.Public }},
		{"POST", "/public/false", "", func(s api.Sandbox) bool { return !s.Public }},
		{"POST", "/autostop/30", "", func(s api.Sandbox) bool { return s.AutoStopInterval == 30 }},
		{"POST", "/autostop/45.0", "", func(s api.Sandbox) bool { return s.AutoStopInterval == 45 }},
		{"POST", "/autoarchive/99999999", "", nil},
		{"POST", "/autoarchive/99999", "", func(s api.Sandbox) bool { return s.AutoArchiveInterval == 43200 }},
		{"POST", "/autoarchive/60", "", func(s api.Sandbox) bool { return s.AutoArchiveInterval == 60 }},
		{"POST", "/autodelete/-5", "", func(s api.Sandbox) bool { return s.AutoDeleteInterval == -1 }},
		{"POST", "/autodelete/0", "", func(s api.Sandbox) bool { return s.AutoDeleteInterval == 0 }},
	} {
		a := w.request(c.method, at+c.path, c.body)
		if c.ok == nil {
			a.want(400)
			continue
		}
		if got := decode[api.Sandbox](a.want(200)); !c.ok(got) {
			t.Errorf("%s: %+v", c.path, got)
		}
		if got := decode[api.Sandbox](w.get(at).want(200)); !c.ok(got) {
			t.Errorf("%s, read again: %+v", c.path, got)
		}
	}
}

func TestLastActivity(t *testing.T) {
	w := newWorld(t)
	s := w.create("")
	for _, body := range []string{"", "{}", `{"activityType":"toolbox"}`} {
		a := w.post("/sandbox/"+s.ID+"/last-activity", body).want(201)
		if len(a.body) != 0 {
			t.Errorf("body %q", a.body)
		}
	}
	if got := decode[api.Sandbox](w.get("/sandbox/" + s.ID).want(200)); got.LastActivityAt.Before(s.LastActivityAt.Time) {
		t.Errorf("%s before %s", got.LastActivityAt, s.LastActivityAt)
	}
}

func TestPreviewsAndToolbox(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"name":"box"}`)
	_, port, _ := strings.Cut(strings.TrimPrefix(w.server.URL, "http://"), ":")
	p := decode[api.PortPreviewURL](w.get("/sandbox/box/ports/8080/preview-url").want(200))
	if p.SandboxID != s.ID || p.URL != "http://8080-"+s.ID+".proxy.localhost:"+port || len(p.Token) != 32 {
		t.Errorf("%+v", p)
	}
	if got := decode[api.ToolboxProxyURL](w.get("/sandbox/" + s.ID + "/toolbox-proxy-url").want(200)); got.URL != w.server.URL+"/toolbox" {
		t.Errorf("%+v", got)
	}
	for _, path := range []string{"/build-logs", "/build-logs?follow=true", "/build-logs-url"} {
		if e := w.get("/sandbox/box" + path).want(404).error(); e.Code != "BUILD_NOT_FOUND" {
			t.Errorf("%s: %+v", path, e)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	key := with("Idempotency-Key", "k-1")
	ids := make([]string, 20)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = decode[api.Sandbox](w.post("/sandbox", `{"name":"one"}`, key)).ID })
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("ids differ: %q", ids)
		}
	}
	if e := w.post("/sandbox", `{"name":"two"}`, key).want(409).error(); e.Code != "IDEMPOTENCY_KEY_REUSED" {
		t.Errorf("%+v", e)
	}
	w.post("/sandbox", "{}", with("Idempotency-Key", strings.Repeat("k", 256))).want(400)
	w.post("/sandbox", "{}", with("Idempotency-Key", "two words")).want(400)
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		class   errs.Class
		status  int
		message string
	}{
		{errs.Exhausted, 400, "the disk pool is full"},
		{errs.Unavailable, 503, ""},
		{errs.NotFound, 503, "image base is gone"},
	} {
		w.runner.SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
			if v == sandboxtest.Put && !after {
				return errs.New(c.class, "%s", c.message)
			}
			return nil
		})
		if e := w.post("/sandbox", `{"name":"box"}`).want(c.status).error(); !strings.Contains(e.Message, c.message) {
			t.Errorf("%s: %+v", c.class, e)
		}
		w.runner.SetFault(nil)
		if got := decode[api.SandboxList](w.get("/sandbox?states=error&states=creating&states=started").want(200)); len(got.Items) != 0 {
			t.Errorf("%s left %+v", c.class, got.Items)
		}
		s := w.create(`{"name":"box"}`) // the next one works, under the same name
		w.request("DELETE", "/sandbox/"+s.ID, "").want(200)
	}
}

func TestNoRoomAnswersWithTheReason(t *testing.T) {
	w := newWorld(t)
	w.runner.SetLimit(1)
	w.create("")
	if e := w.post("/sandbox", "").want(400).error(); !strings.Contains(e.Message, "no capacity") {
		t.Errorf("%+v", e)
	}
}

func TestConflicts(t *testing.T) {
	w := newWorld(t)
	w.create(`{"name":"box"}`)
	w.post("/sandbox", `{"name":"box"}`).want(409)

	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.runner.SetFault(func(_ context.Context, v sandboxtest.Verb, _ string, after bool) error {
		if v == sandboxtest.Stop && !after {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := decode[api.Sandbox](w.post("/sandbox/box/stop", "")); got.State != "stopping" && got.State != "stopped" {
			t.Errorf("stop: %s", got.State)
		}
	})
	<-reached
	for _, verb := range []string{"start", "stop"} {
		if e := w.post("/sandbox/box/"+verb, "").want(409).error(); e.Code != "SANDBOX_STATE_CHANGE_IN_PROGRESS" {
			t.Errorf("%s: %+v", verb, e)
		}
	}
	close(release)
	wg.Wait()
}

// Nobody can be told of a sandbox whose addresses cannot be named, so it must not come to be.
func TestBadHostCreatesNothing(t *testing.T) {
	w := newWorld(t)
	w.post("/sandbox", "", func(r *http.Request) { r.Host = "a@b" }).want(400)
	if got := decode[api.SandboxList](w.get("/sandbox").want(200)); len(got.Items) != 0 {
		t.Errorf("%+v", got.Items)
	}
}
