package httpapi_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/httpapi"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	for _, name := range []string{"registry.example.org:5000/team/app:v1.2", "a/b@sha256:" + strings.Repeat("0", 64)} {
		must(t, w.db.Snapshots().Offer(t.Context(), snapshot.Snapshot{ID: id.New(), General: true, Name: name, Image: "x", State: snapshot.Error,
			ErrorReason: "no such image", Class: "container", CreatedAt: now, UpdatedAt: now}))
		got := decode[api.Snapshot](w.get("/snapshots/" + url.PathEscape(name)).want(200))
		if got.Name != name || got.State != "error" || got.ErrorReason == nil || *got.ErrorReason != "no such image" || got.Size != nil {
			t.Errorf("%+v", got)
		}
		if byID := decode[api.Snapshot](w.get("/snapshots/" + got.ID).want(200)); byID.Name != name {
			t.Errorf("%+v", byID)
		}
		w.get("/snapshots/" + name).want(404) // slashes that are not encoded make another path
	}
	base := decode[api.Snapshot](w.get("/snapshots/base").want(200))
	size := 0.5
	want := api.Snapshot{ID: base.ID, General: true, Name: "base", ImageName: "base", State: "active", Size: &size, CPU: 1, Mem: 1, Disk: 3,
		CreatedAt: base.CreatedAt, UpdatedAt: base.UpdatedAt, RegionIDs: []string{"us"}, Ref: "base", SandboxClass: "container"}
	if diff := cmp.Diff(want, base); diff != "" {
		t.Error(diff)
	}
	w.create("")
	if s := decode[api.Snapshot](w.get("/snapshots/base").want(200)); s.LastUsedAt == nil {
		t.Error("never used")
	}
	for _, c := range []struct {
		query      string
		want       string
		total, all int
	}{
		{"name=DAYTONA-&sort=name&order=asc", "daytona-large daytona-medium daytona-small", 3, 1},
		{"name=daytona-&sort=name&order=desc&limit=2&page=2", "daytona-large", 3, 2},
		{"name=nope", "", 0, 0},
		{"sourceSandboxId=x", "", 0, 0},
		{"name=bas&sort=lastUsedAt", "base", 1, 1},
	} {
		p := decode[api.SnapshotPage](w.get("/snapshots?" + c.query).want(200))
		var got []string
		for _, s := range p.Items {
			got = append(got, s.Name)
		}
		if strings.Join(got, " ") != c.want || p.Total != c.total || p.TotalPages != c.all {
			t.Errorf("%s: %q of %d on %d pages", c.query, got, p.Total, p.TotalPages)
		}
	}
}

func TestAccount(t *testing.T) {
	w := newWorld(t)
	if orgs := decode[[]api.Organization](w.get("/organizations").want(200)); len(orgs) != 1 || orgs[0].ID != w.orgID || orgs[0].Name != "Personal" ||
		!orgs[0].Personal || orgs[0].CreatedBy != "dugout-admin" || orgs[0].DefaultRegionID != "us" || orgs[0].MaxCPUPerSandbox != 4 || orgs[0].Suspended {
		t.Errorf("%+v", orgs)
	}
	if o := decode[api.Organization](w.get("/organizations/" + w.orgID).want(200)); o.ID != w.orgID {
		t.Errorf("%+v", o)
	}
	for _, path := range []string{"/regions", "/shared-regions"} {
		if r := decode[[]api.Region](w.get(path).want(200)); len(r) != 1 || r[0].ID != "us" || r[0].RegionType != "shared" {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if u := decode[api.User](w.get("/users/me").want(200)); u.ID != "dugout-admin" {
		t.Errorf("%+v", u)
	}
	k := decode[api.APIKey](w.get("/api-keys/current").want(200))
	if k.Name != "dugout-admin" || k.Value != "dtn********************789" || k.UserID != "dugout-admin" || !cmp.Equal(k.Permissions, org.AllPermissions) || k.ExpiresAt != nil {
		t.Errorf("%+v", k)
	}
	until := time.Now().Add(time.Hour)
	short := org.NewKey(w.other, "someone", "short", "dtn_short_key_0123456789", nil, time.Now())
	short.ExpiresAt = until
	w.addKey(short)
	if k := decode[api.APIKey](w.get("/api-keys/current", as("dtn_short_key_0123456789")).want(200)); k.ExpiresAt == nil || k.Permissions == nil || len(k.Permissions) != 0 ||
		k.ExpiresAt.String() != api.At(until).String() {
		t.Errorf("%+v", k)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	base := w.server.URL
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	got := decode[api.Configuration](w.get("/config", as("")).want(200))
	want := api.Configuration{Version: version, Announcements: map[string]api.Announcement{}, ProxyTemplateURL: "http://{{PORT}}-{{sandboxId}}.proxy.localhost:" + port,
		ProxyToolboxURL: base + "/toolbox", DefaultSnapshot: "base", DashboardURL: base + "/dashboard", MaxAutoArchiveInterval: 43200, Environment: "production"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Each client is told the address that it used itself.
func TestAddresses(t *testing.T) {
	set := func(f func(*httpapi.Config)) func(*httpapi.Config, *httpapi.Deps) {
		return func(c *httpapi.Config, _ *httpapi.Deps) { f(c) }
	}
	trusting := set(func(c *httpapi.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for _, c := range []struct {
		name             string
		change           func(*httpapi.Config, *httpapi.Deps)
		host             string
		header           map[string]string
		toolbox, preview string // preview: scheme and domain
	}{
		{"loopback", nil, "127.0.0.1:3986", nil, "http://127.0.0.1:3986/toolbox", "http proxy.localhost:3986"},
		{"localhost", nil, "localhost:3986", nil, "http://localhost:3986/toolbox", "http proxy.localhost:3986"},
		{"name on the network", nil, "box.lan", nil, "http://box.lan/toolbox", "http proxy.localhost"},
		{"IPv6", nil, "[::1]:3986", nil, "http://[::1]:3986/toolbox", "http proxy.localhost:3986"},
		{"forwarded, not trusted", nil, "localhost:1", map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}, "http://localhost:1/toolbox", "http proxy.localhost:1"},
		{"forwarded, trusted", trusting, "localhost:1", map[string]string{"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "api.example.org, inner"}, "https://api.example.org/toolbox", "https proxy.localhost"},
		{"forwarded, nonsense scheme", trusting, "localhost:1", map[string]string{"X-Forwarded-Proto": "gopher"}, "http://localhost:1/toolbox", "http proxy.localhost:1"},
		{"forwarded, bad host", trusting, "localhost:1", map[string]string{"X-Forwarded-Host": "a@b"}, "", ""},
		{"public URL", set(func(c *httpapi.Config) { c.PublicURL, c.ProxyDomain = "https://api.example.org/", "sb.example.org" }), "localhost:1", nil, "https://api.example.org/toolbox", "https sb.example.org"},
		{"toolbox elsewhere", set(func(c *httpapi.Config) { c.ToolboxURL = "https://tb.example.org/toolbox/" }), "localhost:1", nil, "https://tb.example.org/toolbox", "http proxy.localhost:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				w = newWorld(t, c.change)
			}
			a := w.get("/config", func(r *http.Request) {
				r.Host = c.host
				for k, v := range c.header {
					r.Header.Set(k, v)
				}
			})
			if c.toolbox == "" {
				a.want(400)
				return
			}
			got := decode[api.Configuration](a.want(200))
			scheme, domain, _ := strings.Cut(c.preview, " ")
			if got.ProxyToolboxURL != c.toolbox || got.ProxyTemplateURL != scheme+"://{{PORT}}-{{sandboxId}}."+domain {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	good := newWorld(t)
	for name, cfg := range map[string]httpapi.Config{
		"path in public URL": {PublicURL: "https://x/api"},
		"no scheme":          {PublicURL: "example.org"},
		"bad proxy domain":   {ProxyDomain: "a/b"},
		"bad toolbox URL":    {ToolboxURL: "ftp://x"},
	} {
		var deps httpapi.Deps
		newWorld(t, func(_ *httpapi.Config, d *httpapi.Deps) { deps = *d })
		if _, err := httpapi.New(cfg, deps); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := httpapi.New(httpapi.Config{}, httpapi.Deps{}); err == nil {
		t.Error("no dependencies: no error")
	}
	good.get("/health").want(200)
}
