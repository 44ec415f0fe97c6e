//go:build linux

package telemetry_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/telemetry"
	"github.com/dugout-dev/dugout/internal/errs"
)

// collector is what a program hears that speaks OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string
	tokens []string
	status int
}

func newCollector(t *testing.T) *collector {
	c := &collector{bodies: map[string][]string{}, status: 200}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.Header.Get("Content-Type") != "application/json" || !json.Valid(b) {
			t.Errorf("%s: %s %.200s", r.URL.Path, r.Header.Get("Content-Type"), b)
		}
		c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], string(b))
		c.tokens = append(c.tokens, r.Header.Get("Sandbox-Auth-Token"))
		w.WriteHeader(c.status)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) heard(path string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.bodies[path]...)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never came: ", what)
		}
	}
}

func TestAllSignals(t *testing.T) {
	c := newCollector(t)
	e := &telemetry.Exporter{Metrics: func() []telemetry.Metric {
		return []telemetry.Metric{{Name: "daytona.sandbox.memory.limit", Unit: "By", Value: 1 << 30}}
	}, Every: 20 * time.Millisecond, Flush: 30 * time.Millisecond}
	if err := e.Start(telemetry.Config{Endpoint: c.URL + "/base/", Token: "secret", Resource: map[string]string{"service.name": "sandbox-1"}}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	e.Span(telemetry.Span{Name: "GET /version", Begin: begin, End: begin.Add(time.Millisecond), Status: 500, Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	log := slog.New(e.LogHandler(slog.NewTextHandler(io.Discard, nil))).With("part", "test").WithGroup("g")
	log.Warn("something happened", "count", 3)
	until(t, "three readings", func() bool { return len(c.heard("/base/v1/metrics")) >= 3 })
	until(t, "the span and the record of the log", func() bool { return len(c.heard("/base/v1/traces")) > 0 && len(c.heard("/base/v1/logs")) > 0 })
	e.Stop()
	for path, want := range map[string][]string{
		"/base/v1/metrics": {`"service.name"`, `"sandbox-1"`, `"daytona.sandbox.memory.limit"`, `"asDouble":1073741824`},
		"/base/v1/traces":  {`"traceId":"0af7651916cd43dd8448eb211c80319c"`, `"parentSpanId":"b7ad6b7169203331"`, `"name":"GET /version"`, `"code":2`, `"intValue":"500"`},
		"/base/v1/logs":    {`"severityNumber":13`, `"something happened"`, `"part"`, `"g.count"`, `"3"`},
	} {
		all := strings.Join(c.heard(path), "\n")
		for _, s := range want {
			if !strings.Contains(all, s) {
				t.Errorf("%s lacks %s: %.500s", path, s, all)
			}
		}
	}
	for _, token := range c.tokens {
		if token != "secret" {
			t.Errorf("token %q", token)
		}
	}
	n := len(c.heard("/base/v1/metrics"))
	e.Span(telemetry.Span{Name: "late"})
	if e.Dropped() != 0 || len(c.heard("/base/v1/metrics")) != n {
		t.Errorf("after Stop: %d dropped, %d more readings", e.Dropped(), len(c.heard("/base/v1/metrics"))-n)
	}
}

func TestBadCollectorCostsNothingButItsData(t *testing.T) {
	c := newCollector(t)
	c.status = 503
	e := &telemetry.Exporter{Metrics: func() []telemetry.Metric { return nil }}
	if err := e.Start(telemetry.Config{Endpoint: c.URL}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20)
	for range 3 * telemetry.MaxQueued {
		e.Span(telemetry.Span{Name: long})
	}
	e.Stop()
	if got := e.Dropped(); got != 3*telemetry.MaxQueued {
		t.Errorf("%d dropped, want all %d", got, 3*telemetry.MaxQueued)
	}
	for _, body := range c.heard("/v1/traces") {
		if len(body) > telemetry.MaxQueued*2048 {
			t.Errorf("a body of %d bytes", len(body))
		}
	}
}

func TestTokenDoesNotFollowRedirects(t *testing.T) {
	thief := newCollector(t)
	c := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer c.Close()
	e := &telemetry.Exporter{Metrics: func() []telemetry.Metric { return nil }}
	if err := e.Start(telemetry.Config{Endpoint: c.URL, Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	e.Span(telemetry.Span{Name: "x"})
	e.Stop()
	if len(thief.tokens) != 0 {
		t.Error("the token went to another host")
	}
}

func TestEndpoint(t *testing.T) {
	for _, s := range []string{"", "x", "ftp://h", "http://", "http://%zz", "//h"} {
		e := &telemetry.Exporter{}
		if err := e.Start(telemetry.Config{Endpoint: s}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// Requests that start it at the same moment leave one running.
func TestStartsAtOnce(t *testing.T) {
	var readings atomic.Int32
	e := &telemetry.Exporter{Metrics: func() []telemetry.Metric { readings.Add(1); return nil }, Every: time.Millisecond}
	c := newCollector(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := e.Start(telemetry.Config{Endpoint: c.URL}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e.Stop()
	before := readings.Load()
	<-time.After(50 * time.Millisecond) // nothing may come
	if after := readings.Load(); after != before {
		t.Errorf("%d readings after the end", after-before)
	}
}
