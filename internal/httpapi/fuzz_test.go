package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/api"
)

// serve hands a request to the API without a connection, so that it can be one that no client would send.
func (w *world) serve(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	r.Header.Set("Authorization", "Bearer "+adminKey)
	rec := httptest.NewRecorder()
	w.api.Handler().ServeHTTP(rec, r)
	if rec.Code >= 500 {
		t.Fatalf("%d: %s", rec.Code, rec.Body)
	}
	var v any
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
			t.Fatalf("%d: body is not JSON: %q", rec.Code, rec.Body)
		}
	}
	return rec
}

func plainRequest(method, path, rawQuery, body string) *http.Request {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL = &url.URL{Path: "/api" + path, RawQuery: rawQuery}
	return r
}

func FuzzListQuery(f *testing.F) {
	for _, s := range []string{"", "limit=5&sort=name&order=asc", "states[]=started&states=stopped", "labels=%7B%22a%22%3A%22b%22%7D", "cursor=eyJzIjoibmFtZSJ9", "createdAtAfter=2024-01-01T00:00:00Z&isPublic=true",
		"id=%25_&name=%5C", "minCpu=1&maxCpu=9223372036854775807", "a;b=%zz&&==", "limit=1&limit=2&limit[]=3", "lastEventBefore=0001-01-01T00:00:00Z"} {
		f.Add(s)
	}
	w := newWorld(f)
	w.create(`{"name":"box","labels":{"a":"b"}}`)
	alien := w.create(`{"name":"alien"}`, as(otherKey))
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/sandbox", "/sandbox/paginated", "/snapshots"} {
			rec := w.serve(t, plainRequest("GET", path, query, ""))
			if rec.Code != 200 && rec.Code != 400 {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
			if strings.Contains(rec.Body.String(), alien.ID) && !strings.Contains(query, alien.ID) {
				t.Errorf("%s shows another organization's sandbox: %s", path, rec.Body)
			}
		}
	})
}

func FuzzLabelsAndCursor(f *testing.F) {
	w := newWorld(f)
	w.create(`{"labels":{"a":"b"}}`)
	w.create(`{"labels":{"a":"c"}}`)
	page := decode[api.SandboxList](w.get("/sandbox?limit=1&sort=name"))
	f.Add(`{"a":"b"}`, *page.NextCursor)
	f.Add(`{"a":null}`, "")
	f.Add(`{"a":"b","a":"c"}`, "eyJzIjoibmFtZSIsImkiOiIxIiwidCI6IlwwIn0")
	f.Add("[]", "AAAA")
	f.Fuzz(func(t *testing.T, labels, cursor string) {
		q := url.Values{"labels": {labels}, "cursor": {cursor}, "sort": {"name"}}
		rec := w.serve(t, plainRequest("GET", "/sandbox", q.Encode(), ""))
		if rec.Code != 200 && rec.Code != 400 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

// Whatever the Host header is: the address that the answer names has exactly this host, or there is none.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost:3986", "127.0.0.1", "[::1]:80", "box.lan.", "", "a@b", "a/b", "a:b:c", "[::1", "[fe80::1%25eth0]:1", "x:0", "x:65536", "x:080", "ü", "a b", "[1.2.3.4]:1", "a..b", "-", "evil.com#", "a\\b", "a:"} {
		f.Add(s)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, host string) {
		r := plainRequest("GET", "/config", "", "")
		r.Host = host
		rec := w.serve(t, r)
		if rec.Code == 400 {
			return
		}
		var c api.Configuration
		if err := json.Unmarshal(rec.Body.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(c.ProxyToolboxURL)
		if err != nil || u.Host != host || u.Path != "/toolbox" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q: %q: %v", host, c.ProxyToolboxURL, err)
		}
		p, err := url.Parse(strings.NewReplacer("{{PORT}}", "80", "{{sandboxId}}", "x").Replace(c.ProxyTemplateURL))
		if err != nil || !strings.HasPrefix(p.Host, "80-x.proxy.localhost") {
			t.Errorf("%q: %q: %v", host, c.ProxyTemplateURL, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/sandbox", "/sandbox/x", "/sandbox/..", "/sandbox/%2e%2e", "//sandbox", "/sandbox/x/ports/80/preview-url", "/snapshots/a%2Fb", "/sandbox/\x00", "/./config", "", "/health/ready"} {
		f.Add("GET", s)
		f.Add("DELETE", s)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, method, path string) {
		r := plainRequest("GET", "", "", "")
		r.Method = method
		u, err := url.ParseRequestURI("/api" + path)
		if err != nil || u.Host != "" {
			return
		}
		r.URL = u
		rec := w.serve(t, r)
		if rec.Code >= 300 && rec.Code < 400 {
			t.Errorf("%s %q: redirect to %s", method, path, rec.Header().Get("Location"))
		}
	})
}

func FuzzCreateBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"a","env":{"A":"b"},"labels":{"c":"d"},"autoStopInterval":1}`, `{"gpuType":"H100"}`, `{"gpuType":[1]}`, `{"volumes":[{}]}`, `{"networkAllowList":"1.2.3.4/8, 5.6.7.8/32"}`,
		`{"buildInfo":{}}`, `{"secrets":[{"a":1}]}`, `null`, `[1]`, `{"ttlMinutes":1e3}`, `{"cpu":1e99}`, `{"NAME":"x","name":"y"}`} {
		f.Add(s)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, body string) {
		rec := w.serve(t, plainRequest("POST", "/sandbox", "", body))
		switch rec.Code {
		case 200:
			var s api.Sandbox
			if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil {
				t.Fatal(err)
			}
			if rec := w.serve(t, plainRequest("DELETE", "/sandbox/"+s.ID, "", "")); rec.Code != 200 {
				t.Errorf("delete: %d %s", rec.Code, rec.Body)
			}
		case 400, 404, 409, 413, 422:
		default:
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}
