//go:build linux

package daemon_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

var (
	pathParameter = regexp.MustCompile(`\{[^}$]*\}`)
	stableCode    = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
)

// Every error of every route is the envelope of the newest wire, with the key error that the oldest clients read.
func TestEveryErrorIsTheEnvelope(t *testing.T) {
	d := daemontest.Start(t)
	probes, bodies, missing := 0, 0, 0
	probe := func(method, path, query, body string, header ...string) {
		t.Helper()
		probes++
		envelope(t, d.Do(method, path+query, body, header...), method, path)
	}
	for _, rt := range daemon.Routes(nil) {
		if rt.Method == "HEAD" {
			continue // no answer has a body
		}
		path := pathParameter.ReplaceAllString(strings.ReplaceAll(rt.Path, "{$}", ""), "unknown")
		probe(rt.Method, path, "?%zz", "")
		if rt.In != nil && rt.In.Kind() == reflect.Struct {
			if _, ok := rt.In.FieldByName("Body"); ok {
				bodies++
				probe(rt.Method, path, required(rt.In, "x"), `{"`)
				probe(rt.Method, path, required(rt.In, "x"), `{} {}`)
				probe(rt.Method, path, required(rt.In, "x"), `"text"`)
			}
			if q := required(rt.In, ""); q != "" {
				missing++
				probe(rt.Method, path, "", "")
				probe(rt.Method, path, q, "")
			}
		}
		if rt.Method != "GET" {
			probe("PATCH", path, "", "") // an operation that no path has
		}
	}
	probe("GET", "/", "", "")
	probe("GET", "/files/nothing", "", "")
	probe("TRACE", "/files", "", "")
	if probes < 60 || bodies < 3 || missing < 10 {
		t.Errorf("%d probes, %d with a body, %d with a missing parameter", probes, bodies, missing)
	}
}

// A request that is nearly a WebSocket is refused in the same way.
func TestBadHandshakesGetTheEnvelope(t *testing.T) {
	d := daemontest.Start(t)
	d.Do("POST", "/process/session", `{"sessionId":"s"}`)
	var started toolbox.SessionExecuted
	d.Do("POST", "/process/session/s/exec", `{"command":"true"}`).JSON(t, &started)
	d.Do("POST", "/process/execute", `{"command":"true"}`, toolbox.ExecutionIDHeader, "e1")
	for _, path := range []string{"/process/session/s/command/" + started.CmdID + "/logs", "/process/execution/e1/connect", "/process/interpreter/execute",
		"/process/pty/create-connect"} {
		r := d.Do("GET", path+"?id=x", nil, "Connection", "Upgrade", "Upgrade", "websocket")
		if envelope(t, r, "GET", path); r.Status != 400 {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

// required is a query that gives every required parameter the value; "" where there is none.
func required(in reflect.Type, value string) string {
	var pairs []string
	for i := range in.NumField() {
		if f := in.Field(i); f.Tag.Get("required") == "true" && f.Tag.Get("query") != "" {
			pairs = append(pairs, f.Tag.Get("query")+"="+value)
		}
	}
	if pairs == nil {
		return ""
	}
	return "?" + strings.Join(pairs, "&")
}

func envelope(t *testing.T, r daemontest.Reply, method, path string) {
	t.Helper()
	var keys map[string]any
	var e api.Error
	if r.Status < 400 || json.Unmarshal(r.Body, &keys) != nil || json.Unmarshal(r.Body, &e) != nil {
		t.Errorf("%s %s: %d %.200q", method, path, r.Status, r.Body)
		return
	}
	for _, k := range []string{"statusCode", "message", "timestamp", "path", "code", "method", "source", "error"} {
		if _, ok := keys[k]; !ok {
			t.Errorf("%s %s: no %s in %s", method, path, k, r.Body)
		}
	}
	if _, err := time.Parse(time.RFC3339, e.Timestamp); err != nil {
		t.Errorf("%s %s: timestamp %q", method, path, e.Timestamp)
	}
	if e.StatusCode != r.Status || e.Path != path || e.Method != method || e.Source != "DAYTONA_DAEMON" || !stableCode.MatchString(e.Code) ||
		strings.TrimSpace(e.Message) == "" || e.Reason != e.Message || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%s %s: %d %s %s", method, path, r.Status, r.Header.Get("Content-Type"), r.Body)
	}
}
