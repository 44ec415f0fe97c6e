package dugout_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestNewTakesOneSource(t *testing.T) {
	const local, a, b = dugout.DefaultAPIURL, "http://a.example/api", "http://b.example/api"
	cases := []struct {
		name          string
		env           map[string]string
		opts          dugout.Options
		url, key, err string
	}{
		{name: "options alone", opts: dugout.Options{APIURL: a, APIKey: "k"}, url: a, key: "k"},
		{name: "key alone", opts: dugout.Options{APIKey: "k"}, url: local, key: "k"},
		{name: "environment", env: map[string]string{"DUGOUT_API_URL": a, "DUGOUT_API_KEY": "k"}, url: a, key: "k"},
		{name: "environment without a URL", env: map[string]string{"DUGOUT_API_KEY": "k"}, url: local, key: "k"},
		{name: "older environment", env: map[string]string{"DAYTONA_API_URL": a, "DAYTONA_API_KEY": "k"}, url: a, key: "k"},
		{name: "first pair wins whole", env: map[string]string{"DUGOUT_API_URL": a, "DUGOUT_API_KEY": "k", "DAYTONA_API_URL": b, "DAYTONA_API_KEY": "x"}, url: a, key: "k"},
		{name: "pairs do not mix", env: map[string]string{"DUGOUT_API_URL": a, "DAYTONA_API_KEY": "x"}, err: "no API key for http://a.example/api: set DUGOUT_API_KEY"},
		{name: "the environment's key is not for another URL", opts: dugout.Options{APIURL: b},
			env: map[string]string{"DUGOUT_API_URL": a, "DUGOUT_API_KEY": "k"}, err: "no API key for http://b.example/api: set DUGOUT_API_KEY"},
		{name: "same server under another path", opts: dugout.Options{APIURL: "http://a.example/v2/api"},
			env: map[string]string{"DUGOUT_API_URL": a, "DUGOUT_API_KEY": "k"}, url: "http://a.example/v2/api", key: "k"},
		{name: "slash at the end", opts: dugout.Options{APIURL: a + "/", APIKey: "k"}, url: a, key: "k"},
		{name: "no key", err: "no API key for http://127.0.0.1:3986/api: set DUGOUT_API_KEY"},
		{name: "bad URL", opts: dugout.Options{APIURL: "box:80", APIKey: "k"}, err: `the API URL must look like http://host:port/api, got "box:80"`},
		{name: "key with a line end", opts: dugout.Options{APIURL: a, APIKey: "k\r\nX-Evil: 1"}, err: "the API key holds a space, a control character or one that is not ASCII"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, k := range []string{"DUGOUT_API_URL", "DUGOUT_API_KEY", "DAYTONA_API_URL", "DAYTONA_API_KEY"} {
				t.Setenv(k, c.env[k])
			}
			var sent string
			c.opts.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				sent = r.Header.Get("Authorization")
				return nil, errors.New("no network in this test")
			})}
			client, err := dugout.New(c.opts)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = client.Get(ctx, "x")
			if diff := cmp.Diff([]string{c.url, "Bearer " + c.key}, []string{client.APIURL(), sent}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	if _, err := dugout.Local(dir); !errors.Is(err, dugout.ErrNoKey) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a key: %v", err)
	}
	write(t, filepath.Join(dir, "admin.key"), "dtn_0123456789abcdef\n")
	got, err := dugout.Local(dir)
	if diff := cmp.Diff(dugout.Options{APIURL: dugout.DefaultAPIURL, APIKey: "dtn_0123456789abcdef"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	write(t, filepath.Join(dir, "api.url"), "http://127.0.0.1:9/api\n")
	if got, _ := dugout.Local(dir); got.APIURL != "http://127.0.0.1:9/api" {
		t.Errorf("URL %q", got.APIURL)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestErrorKinds(t *testing.T) {
	kinds := map[string]error{"invalid": dugout.ErrInvalid, "unauthenticated": dugout.ErrUnauthenticated, "denied": dugout.ErrDenied,
		"not found": dugout.ErrNotFound, "timeout": dugout.ErrTimeout, "conflict": dugout.ErrConflict, "gone": dugout.ErrGone,
		"too large": dugout.ErrTooLarge, "busy": dugout.ErrBusy, "unavailable": dugout.ErrUnavailable, "internal": dugout.ErrInternal}
	cases := []struct {
		status              int
		contentType, body   string
		kind, message, code string
	}{
		{400, "application/json", `{"message":"name is taken","code":"BAD_REQUEST","statusCode":400}`, "invalid", "name is taken", "BAD_REQUEST"},
		{401, "application/json", `{"error":"Unauthorized"}`, "unauthenticated", "Unauthorized", ""},
		{403, "application/json", `{}`, "denied", "the server answered 403 Forbidden", ""},
		{404, "text/plain", "404 page not found\n", "not found", "the server answered 404: 404 page not found", ""},
		{408, "application/json", `{"message":"slow"}`, "timeout", "slow", ""},
		{409, "application/json", `{"message":"taken"}`, "conflict", "taken", ""},
		{410, "application/json", `{"message":"over"}`, "gone", "over", ""},
		{413, "application/json", `{"message":"big"}`, "too large", "big", ""},
		{422, "application/json", `{"message":"class"}`, "invalid", "class", ""},
		{429, "application/json", `{"message":"busy"}`, "busy", "busy", ""},
		{500, "application/json", `not json`, "internal", "the server answered 500: not json", ""},
		{502, "text/html", "<html>bad gateway</html>", "unavailable", "the server answered 502 Bad Gateway", ""},
		{503, "", "", "unavailable", "the server answered 503 Service Unavailable", ""},
		{504, "", "", "timeout", "the server answered 504 Gateway Timeout", ""},
	}
	for _, c := range cases {
		t.Run(http.StatusText(c.status), func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.Header().Set("X-Request-Id", "req7")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			client := connect(t, srv.URL)
			_, err := client.Get(t.Context(), "x")
			var e *dugout.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T: %v", err, err)
			}
			if diff := cmp.Diff(&dugout.Error{Status: c.status, Code: c.code, Message: e.Message, RequestID: "req7"}, e); diff != "" || e.Error() != c.message {
				t.Error(diff, e.Error())
			}
			for name, kind := range kinds {
				if errors.Is(err, kind) != (name == c.kind) {
					t.Errorf("errors.Is(err, %s) = %v", name, errors.Is(err, kind))
				}
			}
		})
	}
}

func connect(t *testing.T, url string) *dugout.Client {
	t.Helper()
	client, err := dugout.New(dugout.Options{APIURL: url + "/api", APIKey: "dtn_0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
