package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/httpapi"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/sandbox/sandboxtest"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const (
	adminKey = "dtn_admin_0123456789abcdef0123456789"
	otherKey = "dtn_other_0123456789abcdef0123456789"
	version  = "0.1.0-test"
)

// world is a control plane over a real database and a runner in memory, and a client of it.
type world struct {
	testing.TB
	db      *store.DB
	runner  *sandboxtest.Runner
	catalog *snapshot.Catalog
	orgID   string
	other   string // organization of otherKey
	mux     *http.ServeMux
	api     *httpapi.API
	server  *httptest.Server
	log     *bytes.Buffer
}

func newWorld(t testing.TB, change ...func(*httpapi.Config, *httpapi.Deps)) *world {
	t.Helper()
	ctx, quiet := t.Context(), slog.New(slog.DiscardHandler)
	w := &world{TB: t, db: storetest.Open(t, storetest.SQLite(t)), runner: sandboxtest.NewRunner(), other: id.New(), mux: http.NewServeMux(), log: &bytes.Buffer{}}
	dir := org.NewDirectory(w.db.Organizations(), quiet, nil)
	f, err := dir.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey, Limits: org.Limits{CPUPerSandbox: 4, MemoryGiBPerSandbox: 8, DiskGiBPerSandbox: 10}})
	must(t, err)
	w.orgID = f.Organization.ID
	now := time.Now()
	must(t, w.db.Organizations().AddOrganization(ctx, org.Organization{ID: w.other, Name: "other", CreatedBy: "someone", DefaultRegion: "us", CreatedAt: now, UpdatedAt: now},
		org.User{ID: "someone", Name: "someone", CreatedAt: now}))
	w.addKey(org.NewKey(w.other, "someone", "k", otherKey, org.AllPermissions, now))
	w.catalog = snapshot.NewCatalog(snapshot.Config{}, w.db.Snapshots(), quiet)
	fleet := placement.NewFleet(w.db.Runners(), probe{}, w.catalog, quiet, nil)
	must(t, fleet.Register(ctx, placement.Runner{ID: "r1", Region: "us", Address: "unix:///run/r1"}))
	must(t, fleet.Refresh(ctx))
	c, err := sandbox.New(sandbox.Config{Patience: 100 * time.Millisecond}, sandbox.Deps{Store: w.db.Sandboxes(), Fleet: w.db.Runners(),
		Runners: sandboxtest.Runners{"r1": w.runner}, Snapshots: w.catalog, Organizations: dir, Log: quiet})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	cfg := httpapi.Config{Version: version, DefaultSnapshot: w.catalog.Default()}
	deps := httpapi.Deps{Sandboxes: c, Snapshots: w.catalog, Directory: dir, Database: w.db, Log: slog.New(slog.NewTextHandler(w.log, nil))}
	for _, f := range change {
		f(&cfg, &deps)
	}
	w.api, err = httpapi.New(cfg, deps)
	must(t, err)
	for _, rt := range w.api.Routes() {
		w.mux.Handle(rt.Method+" "+httpapi.Prefix+rt.Path, http.NotFoundHandler())
	}
	w.server = httptest.NewServer(w.api.Handler())
	t.Cleanup(w.server.Close)
	return w
}

type probe struct{}

func (probe) Info(context.Context, placement.Runner) (placement.Report, error) {
	return placement.Report{Version: "test", Classes: []string{"container"}, CPU: 8, MemoryBytes: 32 << 30, DiskBytes: 100 << 30,
		Images: []snapshot.Image{{Ref: "base", SizeBytes: 5e8}}}, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) addKey(k org.Key) {
	w.Helper()
	must(w, w.db.Organizations().AddKey(w.Context(), k))
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	what   string
}

// request sends one request with the administrator's key, unless edit changes that, and judges the answer by the documents.
func (w *world) request(method, path, body string, edit ...func(*http.Request)) *answer {
	w.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(w.Context(), method, w.server.URL+httpapi.Prefix+path, from)
	must(w, err)
	r.Header.Set("Authorization", "Bearer "+adminKey)
	for _, f := range edit {
		f(r)
	}
	resp, err := w.server.Client().Do(r)
	must(w, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(w, err)
	a := &answer{w, resp.StatusCode, resp.Header, b, method + " " + path}
	if got := resp.Header.Get(httpapi.VersionHeader); got != version {
		w.Errorf("%s: %s %q", a.what, httpapi.VersionHeader, got)
	}
	if resp.Header.Get(rest.RequestIDHeader) == "" {
		w.Errorf("%s: no request id", a.what)
	}
	if a.status >= 400 {
		a.error()
	}
	_, pattern := w.mux.Handler(r)
	if pattern == "" || a.status == http.StatusMethodNotAllowed {
		return a
	}
	operation := strings.ToUpper(r.Method) + " " + anonymous(strings.TrimPrefix(pattern[strings.Index(pattern, " ")+1:], httpapi.Prefix))
	own, err := ownDocument()
	must(w, err)
	own.judge(w, operation, a.status, resp.Header.Get("Content-Type"), b)
	ref, err := referenceDocument()
	must(w, err)
	if ref != nil {
		ref.judge(w, operation, a.status, resp.Header.Get("Content-Type"), b)
	}
	return a
}

func as(key string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func (w *world) get(path string, edit ...func(*http.Request)) *answer {
	w.Helper()
	return w.request("GET", path, "", edit...)
}

func (w *world) post(path, body string, edit ...func(*http.Request)) *answer {
	w.Helper()
	return w.request("POST", path, body, edit...)
}

// create makes a sandbox.
func (w *world) create(body string, edit ...func(*http.Request)) api.Sandbox {
	w.Helper()
	return decode[api.Sandbox](w.post("/sandbox", body, edit...).want(200))
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

func decode[T any](a *answer) (v T) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v: %q", a.what, err, a.body)
	}
	return v
}

// error decodes the error body and checks what every one must have.
func (a *answer) error() api.Error {
	a.t.Helper()
	e := decode[api.Error](a)
	_, path, _ := strings.Cut(a.what, " ")
	if e.StatusCode != a.status || e.Reason != http.StatusText(a.status) || e.Message == "" || e.Code == "" || e.Source != api.SourceAPI || e.Timestamp == "" ||
		e.RequestID != a.header.Get(rest.RequestIDHeader) || e.Path != httpapi.Prefix+path {
		a.t.Errorf("%s: %d: error body %+v", a.what, a.status, e)
	}
	return e
}
