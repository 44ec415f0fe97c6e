//go:build linux

package daemon_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

// A sandbox whose environment names a collector is exported to it from POST /init on, and not before.
func TestTelemetry(t *testing.T) {
	var mu sync.Mutex
	var heard strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		heard.WriteString(r.URL.Path + " " + r.Header.Get("Sandbox-Auth-Token") + " " + string(b) + "\n")
	}))
	defer collector.Close()
	log := func() string {
		mu.Lock()
		defer mu.Unlock()
		return heard.String()
	}
	t.Run("until its end", func(t *testing.T) { // a daemon that ends sends what waits
		d := daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "DAYTONA_OTEL_ENDPOINT": collector.URL,
			"DAYTONA_SANDBOX_ID": "abc", "DAYTONA_ORGANIZATION_ID": "org", "DAYTONA_SANDBOX_OTEL_EXTRA_LABELS": "team=web, tier=1,broken"})})
		d.Do("GET", "/version", nil)
		if s := log(); s != "" {
			t.Errorf("sent before it was told to: %s", s)
		}
		if r := d.Do("POST", "/init", toolbox.Init{Token: "secret"}); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		daemontest.Until(t, "the first reading", func() bool { return strings.Contains(log(), "/v1/metrics") })
		d.Do("GET", "/files", nil)
	})
	for _, want := range []string{"/v1/metrics secret ", "/v1/traces secret ", `"sandbox-abc"`, `"daytona_organization_id"`, `"team"`, `"tier"`,
		"daytona.sandbox.cpu.limit", "daytona.sandbox.cpu.utilization", "daytona.sandbox.memory.limit", "daytona.sandbox.memory.usage", "daytona.sandbox.memory.utilization",
		"daytona.sandbox.memory.cache", "daytona.sandbox.filesystem.usage", "daytona.sandbox.filesystem.total", "daytona.sandbox.filesystem.available",
		"daytona.sandbox.filesystem.utilization", `"name":"GET /files"`} {
		if !strings.Contains(log(), want) {
			t.Errorf("%s was not sent", want)
		}
	}
	bad := daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"DAYTONA_OTEL_ENDPOINT": "nowhere"})})
	if r := bad.Do("POST", "/init", toolbox.Init{Token: "t"}); r.Status != 400 || !strings.Contains(string(r.Body), "nowhere") {
		t.Errorf("a bad endpoint: %d %s", r.Status, r.Body)
	}
}
