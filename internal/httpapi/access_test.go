package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/httpapi"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
)

// filled is a path of a route with a value for each parameter.
func filled(rt rest.Route, first string) string {
	return parameter.ReplaceAllStringFunc(rt.Path, func(p string) string {
		switch p {
		case "{port}":
			return "3000"
		case "{isPublic}":
			return "true"
		case "{interval}":
			return "5"
		}
		return first
	})
}

// bodyFor is a valid body for a route, where it needs one.
func bodyFor(rt rest.Route) string {
	if rt.ID == "replaceLabels" {
		return `{"labels":{"a":"b"}}`
	}
	return ""
}

// Every route refuses every credential that is none, always with the same words.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	expired := org.NewKey(w.orgID, "dugout-admin", "expired", "dtn_expired_0123456789", org.AllPermissions, time.Now())
	expired.ExpiresAt = time.Now().Add(-time.Second)
	w.addKey(expired)
	none := func(r *http.Request) { r.Header.Del("Authorization") }
	raw := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v) }
	}
	messages := map[string]bool{}
	routes := 0
	for _, rt := range w.api.Routes() {
		access := rt.Meta.(httpapi.Access)
		if access.Public || access.Health {
			w.request(rt.Method, filled(rt, "x"), "", none).want(200)
			continue
		}
		routes++
		for _, edit := range []func(*http.Request){none, raw(""), raw("Bearer"), raw("Bearer "), raw("Basic YTpi"), raw(adminKey), as("dtn_unknown"), as("dtn_expired_0123456789"),
			as(strings.Repeat("k", 10_000)), as(adminKey + " x"), with("Authorization", "Bearer "+adminKey)} {
			a := w.request(rt.Method, filled(rt, "x"), bodyFor(rt), edit).want(401)
			messages[a.error().Message] = true
			if a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s: no WWW-Authenticate", a.what)
			}
		}
	}
	if len(messages) != 1 || routes < 20 {
		t.Errorf("messages of %d routes: %v", routes, messages)
	}
	w.get("/users/me", raw("bearer "+adminKey)).want(200)
	w.get("/users/me", with("X-Daytona-Organization-ID", w.other)).want(200) // keys have their organization already
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	s := w.create("")
	for _, rt := range w.api.Routes() {
		access := rt.Meta.(httpapi.Access)
		if access.Permission == "" {
			continue
		}
		var others []string
		for _, p := range org.AllPermissions {
			if p != access.Permission {
				others = append(others, p)
			}
		}
		key := "dtn_lacks_" + access.Permission + rt.ID
		w.addKey(org.NewKey(w.orgID, "dugout-admin", rt.ID, key, others, time.Now()))
		if e := w.request(rt.Method, filled(rt, s.ID), bodyFor(rt), as(key)).want(403).error(); !strings.Contains(e.Message, access.Permission) {
			t.Errorf("%s: %q", rt.ID, e.Message)
		}
	}
	w.addKey(org.NewKey(w.orgID, "dugout-admin", "reader", "dtn_reader_0123456789", nil, time.Now()))
	for _, path := range []string{"/sandbox", "/sandbox/" + s.ID, "/sandbox/" + s.ID + "/ports/1/preview-url", "/snapshots", "/snapshots/base", "/regions", "/users/me"} {
		w.get(path, as("dtn_reader_0123456789")).want(200)
	}
}

// volatile are the parts of an error body that differ between two equal requests.
var volatile = regexp.MustCompile(`"(timestamp|requestId)":"[^"]*",?`)

// What belongs to another organization answers exactly as what never existed, on every route that takes an id or a name.
func TestForeignLooksUnknown(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"name":"private"}`, as(otherKey))
	unknown := id.New()
	tested := 0
	for _, rt := range w.api.Routes() {
		if !strings.Contains(rt.Path, "{") {
			continue
		}
		tested++
		same := func(a, b *answer, aID, bID string) {
			t.Helper()
			if strings.HasPrefix(rt.Path, "/organizations/") {
				a.want(403)
			} else {
				a.want(404)
			}
			norm := func(a *answer, id string) string {
				return strings.ReplaceAll(volatile.ReplaceAllString(string(a.body), ""), id, "ID")
			}
			if a.status != b.status || norm(a, aID) != norm(b, bID) {
				t.Errorf("%s: foreign %d %s, unknown %d %s", rt.ID, a.status, a.body, b.status, b.body)
			}
			for _, h := range []string{"Content-Type", "Content-Length", "Etag"} {
				if len(aID) == len(bID) && a.header.Get(h) != b.header.Get(h) {
					t.Errorf("%s: header %s: %q and %q", rt.ID, h, a.header.Get(h), b.header.Get(h))
				}
			}
		}
		foreign := s.ID
		if strings.HasPrefix(rt.Path, "/organizations/") {
			foreign = w.other
		}
		same(w.request(rt.Method, filled(rt, foreign), bodyFor(rt)), w.request(rt.Method, filled(rt, unknown), bodyFor(rt)), foreign, unknown)
		same(w.request(rt.Method, filled(rt, "private"), bodyFor(rt)), w.request(rt.Method, filled(rt, "nothing"), bodyFor(rt)), "private", "nothing")
	}
	if tested < 15 {
		t.Errorf("only %d routes take an id", tested)
	}
	if got := decode[api.Sandbox](w.get("/sandbox/private", as(otherKey)).want(200)); got.State != "started" || len(got.Labels) != 0 || got.Public {
		t.Errorf("changed by a stranger: %+v", got)
	}
	for _, path := range []string{"/sandbox", "/sandbox/paginated", "/sandbox?id=" + s.ID, "/sandbox?name=private"} {
		if a := w.get(path).want(200); strings.Contains(string(a.body), s.ID) {
			t.Errorf("%s shows it", path)
		}
	}
	w.create(`{"name":"private"}`) // names are per organization
}

func TestSuspendedOrganization(t *testing.T) {
	w := newWorld(t)
	must(t, w.db.Organizations().Suspend(t.Context(), w.other, true, "unpaid bill", time.Now()))
	if e := w.get("/sandbox", as(otherKey)).want(403).error(); !strings.Contains(e.Message, "unpaid bill") {
		t.Errorf("%+v", e)
	}
}

// down is a directory and a database that do not answer.
type down struct{ httpapi.Directory }

var errDown = errors.New("dial tcp 10.1.2.3:5432: secret detail")

func (down) Authenticate(ctx context.Context, token string) (*org.Actor, error) {
	return nil, errDown
}
func (down) Ping(context.Context) error { return errDown }

func TestFailuresInsideStayInside(t *testing.T) {
	w := newWorld(t, func(_ *httpapi.Config, d *httpapi.Deps) { d.Directory = down{d.Directory} })
	a := w.get("/sandbox").want(500)
	if e := a.error(); strings.Contains(string(a.body), "10.1.2.3") || !strings.Contains(e.Message, "request id") {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(w.log.String(), "secret detail") {
		t.Errorf("the cause is not in the log: %s", w.log)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	if h := decode[api.Health](w.get("/health", as("")).want(200)); h.Status != "ok" {
		t.Errorf("%+v", h)
	}
	if h := decode[api.HealthReport](w.get("/health/ready", as("")).want(200)); h.Status != "ok" || h.Details["database"].Status != "up" || h.Info["database"].Status != "up" {
		t.Errorf("%+v", h)
	}
	keyed := newWorld(t, func(c *httpapi.Config, d *httpapi.Deps) { c.HealthKey, d.Database = "health-key", down{} })
	keyed.get("/health/ready", as("health-key2")).want(401)
	keyed.get("/health/ready").want(401) // an API key is not the health key
	r, err := http.NewRequestWithContext(t.Context(), "GET", keyed.server.URL+"/api/health/ready", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer health-key")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	var h api.HealthReport
	must(t, json.NewDecoder(resp.Body).Decode(&h))
	if resp.StatusCode != 503 || h.Status != "error" || h.Error["database"].Status != "down" || strings.Contains(h.Error["database"].Message, "10.1") {
		t.Errorf("%d %+v", resp.StatusCode, h)
	}
}

func TestCrossOrigin(t *testing.T) {
	w := newWorld(t)
	a := w.request("OPTIONS", "/sandbox/x/labels", "", with("Origin", "https://page.example"), with("Access-Control-Request-Method", "PUT"),
		with("Access-Control-Request-Headers", "authorization,x-daytona-source"), func(r *http.Request) { r.Header.Del("Authorization") }).want(204)
	for name, want := range map[string]string{"Access-Control-Allow-Origin": "https://page.example", "Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS",
		"Access-Control-Allow-Headers": "authorization,x-daytona-source", "Access-Control-Allow-Credentials": ""} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, path := range []string{"/config", "/sandbox/nope", "/nothing"} {
		a := w.get(path, with("Origin", "https://page.example"))
		if a.header.Get("Access-Control-Allow-Origin") != "https://page.example" || !slices.Contains(a.header.Values("Vary"), "Origin") {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestEveryRequestIsObserved(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]int{}
	w := newWorld(t, func(_ *httpapi.Config, d *httpapi.Deps) {
		d.After = func(rt *rest.Route, status int, took time.Duration) {
			mu.Lock()
			seen[rt.ID] = append(seen[rt.ID], status)
			mu.Unlock()
			if took < 0 {
				t.Error(took)
			}
		}
	})
	w.get("/sandbox").want(200)
	w.get("/sandbox?limit=x").want(400)
	w.get("/sandbox", as("nope")).want(401)
	mu.Lock()
	defer mu.Unlock()
	if got := seen["listSandboxes"]; !slices.Equal(got, []int{200, 400, 401}) {
		t.Errorf("%v", got)
	}
}
