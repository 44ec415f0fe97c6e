package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

type none struct{}

func failing(err error) rest.Route {
	return rest.Typed("GET", "/x", "x", func(context.Context, *none) (rest.None, error) { return rest.None{}, err })
}

func TestErrors(t *testing.T) {
	plain := errors.New("open /secret/path: boom")
	for _, c := range []struct {
		err           error
		edge          rest.Edge
		status        int
		code, message string
	}{
		{errs.New(errs.NotFound, "no such thing"), rest.Edge{}, 404, "NOT_FOUND", "no such thing"},
		{errs.New(errs.NotFound, "no such thing").WithCode("THING_NOT_FOUND"), rest.Edge{}, 404, "THING_NOT_FOUND", "no such thing"},
		{errs.Wrap(plain, errs.Unavailable, "the store does not answer"), rest.Edge{}, 503, "SERVICE_UNAVAILABLE", "the store does not answer"},
		{plain, rest.Edge{}, 500, "INTERNAL_SERVER_ERROR", "internal error; the request id finds it in the logs"},
		{errs.Wrap(plain, errs.Internal, "detail"), rest.Edge{}, 500, "INTERNAL_SERVER_ERROR", "internal error; the request id finds it in the logs"},
		{errs.New(errs.Timeout, "too long"), rest.Edge{Statuses: map[errs.Class]int{errs.Timeout: 504}}, 504, "GATEWAY_TIMEOUT", "too long"},
	} {
		for _, echo := range []bool{false, true} {
			var log bytes.Buffer
			e := c.edge
			e.Source, e.EchoMessage, e.WithQuery, e.Log = api.SourceDaemon, echo, true, slog.New(slog.NewTextHandler(&log, nil))
			rec := httptest.NewRecorder()
			rest.WithRequestID(e.Handler(failing(c.err))).ServeHTTP(rec, httptest.NewRequest("GET", "/x?a=1", nil))
			var got api.Error
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatalf("%q: %v", rec.Body, err)
			}
			reason := http.StatusText(c.status)
			if echo {
				reason = c.message
			}
			if rec.Code != c.status || got.StatusCode != c.status || got.Code != c.code || got.Message != c.message || got.Reason != reason || got.Path != "/x?a=1" ||
				got.Source != api.SourceDaemon || got.Method != "GET" || got.RequestID == "" || got.RequestID != rec.Header().Get(rest.RequestIDHeader) {
				t.Errorf("%v: %d %+v", c.err, rec.Code, got)
			}
			if strings.Contains(rec.Body.String(), "secret") {
				t.Errorf("the cause is in the answer: %s", rec.Body)
			}
			if logged := strings.Contains(log.String(), "request failed"); logged != (c.status >= 500) {
				t.Errorf("%v: log %q", c.err, &log)
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	for given, kept := range map[string]bool{"abc-1_Z": true, "": false, "a b": false, "ü": false, strings.Repeat("a", 65): false, "a\"b": false} {
		var inside string
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(rest.RequestIDHeader, given)
		rest.WithRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = rest.RequestID(r.Context()) })).ServeHTTP(rec, r)
		got := rec.Header().Get(rest.RequestIDHeader)
		if got == "" || got != inside || (got == given) != kept {
			t.Errorf("%q: %q, inside %q", given, got, inside)
		}
	}
}

// An answer that fails in the middle is cut off, so that the client does not take it for whole.
func TestLateErrorCutsTheAnswer(t *testing.T) {
	e := &rest.Edge{}
	for name, h := range map[string]http.Handler{
		"error": e.Recover(e.Handler(rest.Stream("GET", "/x", "x", func(w http.ResponseWriter, _ *http.Request, _ *none) error {
			_, _ = io.WriteString(w, "half")
			return errors.New("disk gone")
		}))),
		"panic": e.Recover(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("bug")
		})),
	} {
		srv := httptest.NewServer(h)
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(r)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client saw a whole answer", name)
		}
		srv.Close()
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	var log bytes.Buffer
	e := &rest.Edge{Log: slog.New(slog.NewTextHandler(&log, nil))}
	rec := httptest.NewRecorder()
	e.Recover(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug 4711") })).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "4711") || !strings.Contains(log.String(), "4711") {
		t.Errorf("%d %s; log %s", rec.Code, rec.Body, &log)
	}
}
