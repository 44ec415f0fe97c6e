package runnerclient_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/runnerclient"
)

func serve(t *testing.T, h http.HandlerFunc) *runnerclient.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c := runnerclient.New(server.URL, "key")
	t.Cleanup(c.Close)
	return c
}

// What a runner answers comes back as the class it was.
func TestClassesComeBack(t *testing.T) {
	edge := &rest.Edge{Source: api.SourceAPI, Statuses: map[errs.Class]int{errs.Exhausted: 507, errs.WrongState: 412, errs.Timeout: 504}}
	for _, class := range []errs.Class{errs.Invalid, errs.Denied, errs.NotFound, errs.Conflict, errs.WrongState, errs.TooLarge, errs.Exhausted,
		errs.Unimplemented, errs.Unavailable, errs.Timeout, errs.Gone, errs.Busy, errs.Internal} {
		t.Run(class.String(), func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				edge.Fail(w, r, errs.New(class, "it went wrong").WithCode("SOME_CODE"))
			})
			_, err := c.Get(t.Context(), "x")
			got, ok := errs.As(err)
			if !ok || got.Class != class || got.Message != "it went wrong" || got.Code != "SOME_CODE" {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestBrokenAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"no JSON":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"half of it":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"id":"x","state":`)) },
		"wrong type":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"id":7}`)) },
		"nothing":       func(http.ResponseWriter, *http.Request) {},
		"an error page": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); _, _ = w.Write([]byte("<html>")) },
		"cut off":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"our key refused": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			_, _ = w.Write([]byte(`{"message":"who are you"}`))
		},
		"error without end": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"message":"`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := serve(t, h).Get(t.Context(), "x"); !errs.Is(err, errs.Unavailable) {
				t.Errorf("got %+v, %v; want an error of class unavailable", out, err)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	type seen struct{ method, uri, authorization string }
	got := make(chan seen, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got <- seen{r.Method, r.RequestURI, r.Header.Get("Authorization")}
		if r.Method == "DELETE" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if r.URL.Path == wire.Prefix+"/sandboxes" {
			_, _ = w.Write([]byte(`[]`))
			return
		}
		_, _ = w.Write([]byte(`{}`))
	})
	for _, tc := range []struct {
		method, uri string
		call        func(ctx context.Context) error
	}{
		{"GET", "/v1/info", func(ctx context.Context) error { _, err := c.Info(ctx); return err }},
		{"GET", "/v1/sandboxes", func(ctx context.Context) error { _, err := c.List(ctx); return err }},
		{"GET", "/v1/sandboxes/a%2Fb", func(ctx context.Context) error { _, err := c.Get(ctx, "a/b"); return err }},
		{"PUT", "/v1/sandboxes/x", func(ctx context.Context) error { _, err := c.Put(ctx, "x", wire.Spec{}); return err }},
		{"POST", "/v1/sandboxes/x/start", func(ctx context.Context) error { _, err := c.Start(ctx, "x"); return err }},
		{"POST", "/v1/sandboxes/x/stop", func(ctx context.Context) error { _, err := c.Stop(ctx, "x", true); return err }},
		{"DELETE", "/v1/sandboxes/x", func(ctx context.Context) error { return c.Delete(ctx, "x") }},
		{"GET", "/v1/events?since=7", func(ctx context.Context) error { _, err := c.Events(ctx, 7); return err }},
	} {
		if err := tc.call(t.Context()); err != nil {
			t.Errorf("%s %s: %v", tc.method, tc.uri, err)
			continue
		}
		if g, want := <-got, (seen{tc.method, tc.uri, "Bearer key"}); g != want {
			t.Errorf("sent %+v, want %+v", g, want)
		}
	}
}

func TestDeadline(t *testing.T) {
	hold := make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Info(ctx); !errs.Is(err, errs.Timeout) {
		t.Errorf("got %v", err)
	}
}

func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := runnerclient.Dial(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for _, address := range []string{"", "x", "http://", "https://host:1", "ftp://host:1", "://"} {
		if _, err := runnerclient.Dial(t.Context(), address); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := runnerclient.New("unix://"+path+"-none", "key").Info(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}
