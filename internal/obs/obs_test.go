package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/obs"
	"github.com/dugout-dev/dugout/internal/rest"
)

func TestLogLinesCarryTheRequest(t *testing.T) {
	var out bytes.Buffer
	log := obs.NewLogger(&out, "info", "json")
	var rid string
	rest.WithRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		rid = rest.RequestID(r.Context())
		log.With("part", "x").InfoContext(r.Context(), "hello")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if rid == "" || line["request_id"] != rid || line["part"] != "x" {
		t.Errorf("request %q, line %v", rid, line)
	}
	out.Reset()
	log.Info("outside of a request")
	if strings.Contains(out.String(), "request_id") {
		t.Errorf("line %s", out.String())
	}
}

func TestLevels(t *testing.T) {
	for _, tc := range []struct {
		level string
		want  string
	}{{"debug", "diwe"}, {"info", "iwe"}, {"warn", "we"}, {"error", "e"}} {
		var out bytes.Buffer
		log := obs.NewLogger(&out, tc.level, "text")
		log.Debug("d")
		log.Info("i")
		log.Warn("w")
		log.Error("e")
		got := ""
		for line := range strings.Lines(out.String()) {
			_, msg, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			got += msg
		}
		if got != tc.want {
			t.Errorf("level %s lets %q through, want %q", tc.level, got, tc.want)
		}
	}
}

func scrape(t *testing.T, m *obs.Metrics) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := obs.NewMetrics("1.2.3", func(context.Context) (map[string]int64, error) { return map[string]int64{"started": 7}, nil })
	m.Operation("create", time.Second, nil)
	m.Operation("create", time.Second, errs.New(errs.Exhausted, "full"))
	m.Operation("stop", time.Second, errors.New("what"))
	m.Toolbox("process/execute", 200, time.Second)
	m.Request(&rest.Route{ID: "listSandboxes"}, 503, time.Millisecond)
	status, text := scrape(t, m)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for _, want := range []string{
		`dugout_build_info{version="1.2.3"} 1`,
		`dugout_sandboxes{state="started"} 7`,
		`dugout_sandbox_operation_duration_seconds_count{operation="create",outcome="ok"} 1`,
		`dugout_sandbox_operation_duration_seconds_count{operation="create",outcome="exhausted"} 1`,
		`dugout_sandbox_operation_duration_seconds_count{operation="stop",outcome="internal"} 1`,
		`dugout_toolbox_request_duration_seconds_count{operation="process/execute",status="200"} 1`,
		`dugout_http_request_duration_seconds_count{operation="listSandboxes",status="503"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}

// A database that is away costs its own numbers alone: the others matter most just then.
func TestMetricsWithoutDatabase(t *testing.T) {
	m := obs.NewMetrics("1", func(context.Context) (map[string]int64, error) { return nil, errors.New("away") })
	if status, text := scrape(t, m); status != http.StatusOK || !strings.Contains(text, "dugout_build_info") {
		t.Errorf("%d %s", status, text)
	}
}
