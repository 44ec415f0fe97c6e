package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/api"
)

// Every bad input is answered with the status of the wire and a message that names the field and what is allowed.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	s := w.create(`{"name":"box"}`)
	many := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		names              []string // what the message must mention
	}{
		{"POST", "/sandbox", `{`, 400, []string{"JSON"}},
		{"POST", "/sandbox", `{} {}`, 400, []string{"JSON"}},
		{"POST", "/sandbox", `[]`, 400, []string{"object"}},
		{"POST", "/sandbox", `"x"`, 400, []string{"object"}},
		{"POST", "/sandbox", `{"name":5}`, 400, []string{"name", "string"}},
		{"POST", "/sandbox", `{"name":"<b>x</b>"}`, 400, []string{"name", "HTML"}},
		{"POST", "/sandbox", `{"name":"http://x"}`, 400, []string{"name", "URL"}},
		{"POST", "/sandbox", `{"name":"a\u0000b"}`, 400, []string{"name", "control"}},
		{"POST", "/sandbox", `{"name":"` + strings.Repeat("n", 257) + `"}`, 400, []string{"name", "256"}},
		{"POST", "/sandbox", `{"labels":{"a":1}}`, 400, []string{"labels", "string"}},
		{"POST", "/sandbox", `{"labels":"a=b"}`, 400, []string{"labels", "object"}},
		{"POST", "/sandbox", `{"labels":` + many(65) + `}`, 400, []string{"labels", "64"}},
		{"POST", "/sandbox", `{"env":{"A=B":"x"}}`, 400, []string{"env"}},
		{"POST", "/sandbox", `{"env":` + many(257) + `}`, 400, []string{"env", "256"}},
		{"POST", "/sandbox", `{"user":"no such; user"}`, 400, []string{"user"}},
		{"POST", "/sandbox", `{"autoStopInterval":-1}`, 400, []string{"autoStopInterval", "0"}},
		{"POST", "/sandbox", `{"autoStopInterval":"soon"}`, 400, []string{"autoStopInterval", "number"}},
		{"POST", "/sandbox", `{"autoStopInterval":1.5}`, 400, []string{"autoStopInterval", "whole number"}},
		{"POST", "/sandbox", `{"autoArchiveInterval":-1}`, 400, []string{"autoArchiveInterval"}},
		{"POST", "/sandbox", `{"autoDeleteInterval":99999999999}`, 400, []string{"autoDeleteInterval"}},
		{"POST", "/sandbox", `{"networkAllowList":"10.0.0.1"}`, 400, []string{"networkAllowList", "10.0.0.1"}},
		{"POST", "/sandbox", `{"networkAllowList":"::/0"}`, 400, []string{"networkAllowList", "IPv4"}},
		{"POST", "/sandbox", `{"networkAllowList":"1.1.1.1/32,"}`, 400, []string{"networkAllowList"}},
		{"POST", "/sandbox", `{"networkAllowList":"` + strings.Repeat("1.1.1.1/32,", 10) + `1.1.1.1/32"}`, 400, []string{"networkAllowList", "10"}},
		{"POST", "/sandbox", `{"cpu":4}`, 400, []string{"cpu", "snapshot"}},
		{"POST", "/sandbox", `{"memory":4}`, 400, []string{"memory"}},
		{"POST", "/sandbox", `{"disk":-4}`, 400, []string{"disk"}},
		{"POST", "/sandbox", `{"gpu":-1}`, 400, []string{"gpu"}},
		{"POST", "/sandbox", `{"snapshot":"nope"}`, 400, []string{"snapshot", "nope"}},
		{"POST", "/sandbox", `{"snapshot":"tiny"}`, 400, []string{"tiny", "not active"}},
		{"POST", "/sandbox", `{"target":"mars"}`, 404, []string{"region", "mars"}},
		{"POST", "/sandbox", `{"buildInfo":{"dockerfileContent":"FROM x"}}`, 422, []string{"buildInfo"}},
		{"POST", "/sandbox", `{"volumes":[{"volumeId":"v","mountPath":"/m"}]}`, 422, []string{"volumes"}},
		{"POST", "/sandbox", `{"secrets":[{"A":"b"}]}`, 422, []string{"secrets"}},
		{"POST", "/sandbox", `{"linkedSandbox":"x"}`, 422, []string{"linkedSandbox"}},
		{"POST", "/sandbox", `{"gpu":1}`, 422, []string{"gpu"}},
		{"POST", "/sandbox", `{"gpuType":"H100"}`, 422, []string{"gpuType"}},
		{"POST", "/sandbox", `{"gpuType":["H100"]}`, 422, []string{"gpuType"}},
		{"POST", "/sandbox", `{"kvm":true}`, 422, []string{"kvm"}},
		{"POST", "/sandbox", `{"queueTimeout":0}`, 400, []string{"queueTimeout"}},
		{"POST", "/sandbox", `{"spot":true}`, 422, []string{"spot"}},
		{"POST", "/sandbox", `{"sandboxClass":"linux-vm"}`, 422, []string{"sandboxClass", "container"}},
		{"POST", "/sandbox", `{"domainAllowList":"example.com"}`, 422, []string{"domainAllowList"}},
		{"POST", "/sandbox", `{"outboundProxyUrl":"http://p"}`, 422, []string{"outboundProxyUrl"}},
		{"POST", "/sandbox", `{"otelEndpointOverride":"http://p"}`, 422, []string{"otelEndpointOverride"}},
		{"POST", "/sandbox", `{"autoPauseInterval":5}`, 422, []string{"autoPauseInterval"}},
		{"POST", "/sandbox", `{"autoPauseInterval":-5}`, 400, []string{"autoPauseInterval"}},
		{"POST", "/sandbox", `{"ttlMinutes":5}`, 422, []string{"ttlMinutes"}},
		{"POST", "/sandbox", `{"ttlMinutes":-5}`, 400, []string{"ttlMinutes"}},
		{"POST", "/sandbox", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, []string{"1048576"}},
		{"POST", "/sandbox", strings.Repeat(" ", 1<<20) + `{}`, 413, []string{"1048576"}},
		{"POST", "/sandbox", strings.Repeat("[", 20000), 400, []string{"JSON"}},

		{"PUT", "/sandbox/box/labels", ``, 400, []string{"labels"}},
		{"PUT", "/sandbox/box/labels", `{}`, 400, []string{"labels"}},
		{"PUT", "/sandbox/box/labels", `{"labels":null}`, 400, []string{"labels"}},
		{"PUT", "/sandbox/box/labels", `{"labels":{"":"x"}}`, 400, []string{"labels"}},
		{"POST", "/sandbox/box/autostop/-1", "", 400, []string{"autoStopInterval", "0"}},
		{"POST", "/sandbox/box/autostop/soon", "", 400, []string{"interval", "integer", "soon"}},
		{"POST", "/sandbox/box/autostop/1.5", "", 400, []string{"interval", "integer"}},
		{"POST", "/sandbox/box/autostop/99999999999999999999", "", 400, []string{"interval"}},
		{"POST", "/sandbox/box/autoarchive/-1", "", 400, []string{"autoArchiveInterval"}},
		{"POST", "/sandbox/box/autodelete/x", "", 400, []string{"interval"}},
		{"GET", "/sandbox/box/ports/0/preview-url", "", 400, []string{"port", "1 to 65535"}},
		{"GET", "/sandbox/box/ports/65536/preview-url", "", 400, []string{"port", "65535"}},
		{"GET", "/sandbox/box/ports/http/preview-url", "", 400, []string{"port"}},
		{"GET", "/sandbox/box/ports/+80/preview-url", "", 400, []string{"port"}},
		{"POST", "/sandbox/" + s.ID + "/last-activity", `{`, 400, []string{"JSON"}},

		{"GET", "/sandbox?limit=0", "", 400, []string{"limit", "1 to 200"}},
		{"GET", "/sandbox?limit=201", "", 400, []string{"limit", "200"}},
		{"GET", "/sandbox?limit=x", "", 400, []string{"limit"}},
		{"GET", "/sandbox?states=destroyed", "", 400, []string{"states", "started"}},
		{"GET", "/sandbox?states[]=asleep", "", 400, []string{"states", "asleep"}},
		{"GET", "/sandbox?labels=team", "", 400, []string{"labels", "JSON"}},
		{"GET", "/sandbox?labels=" + `%7B%22a%22:1%7D`, "", 400, []string{"labels", "strings"}},
		{"GET", "/sandbox?labels=null", "", 400, []string{"labels"}},
		{"GET", "/sandbox?cursor=zzz", "", 400, []string{"cursor"}},
		{"GET", "/sandbox?sort=color", "", 400, []string{"sort", "createdAt"}},
		{"GET", "/sandbox?order=up", "", 400, []string{"order", "asc"}},
		{"GET", "/sandbox?minCpu=0", "", 400, []string{"minCpu", "at least 1"}},
		{"GET", "/sandbox?maxDiskGiB=-1", "", 400, []string{"maxDiskGiB"}},
		{"GET", "/sandbox?sandboxClasses=mac", "", 400, []string{"sandboxClasses", "container"}},
		{"GET", "/sandbox?createdAtAfter=yesterday", "", 400, []string{"createdAtAfter", "yesterday"}},
		{"GET", "/sandbox?autoDestroyAtBefore=x", "", 400, []string{"autoDestroyAtBefore"}},
		{"GET", "/sandbox?labels=%zz", "", 400, []string{"query"}},
		{"GET", "/sandbox/paginated?page=0", "", 400, []string{"page"}},
		{"GET", "/sandbox/paginated?limit=1000", "", 400, []string{"limit"}},
		{"GET", "/sandbox/paginated?sort=cpu", "", 400, []string{"sort", "createdAt"}},
		{"GET", "/sandbox/paginated?page=999999999", "", 400, []string{"page"}},
		{"GET", "/snapshots?page=-1", "", 400, []string{"page"}},
		{"GET", "/snapshots?limit=201", "", 400, []string{"limit"}},
		{"GET", "/snapshots?sort=size", "", 400, []string{"sort"}},
		{"GET", "/snapshots?name=%01", "", 400, []string{"name"}},

		{"GET", "/sandbox/nope", "", 404, []string{"nope"}},
		{"GET", "/sandbox/%00", "", 404, nil},
		{"GET", "/sandbox/%ff", "", 404, nil},
		{"GET", "/snapshots/nope", "", 404, []string{"nope"}},
		{"GET", "/organizations/nope", "", 403, nil},
		{"GET", "/nothing/here", "", 404, []string{"GET", "/api/nothing/here"}},
		{"GET", "/sandbox//start", "", 404, nil},
		{"GET", "/sandbox/", "", 404, nil},
		{"PATCH", "/sandbox", "", 405, []string{"GET", "POST"}},
		{"PUT", "/config", "", 405, []string{"GET"}},
	} {
		a := w.request(c.method, c.path, c.body)
		name := a.what
		if len(c.body) < 80 {
			name += " " + c.body
		}
		if a.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, a.status, c.status, a.body)
			continue
		}
		for _, part := range c.names {
			if e := a.error(); !strings.Contains(e.Message, part) {
				t.Errorf("%s: message %q does not mention %q", name, e.Message, part)
			}
		}
		if len(a.body) > 8<<10 {
			t.Errorf("%s: answer of %d bytes", name, len(a.body))
		}
	}
	if got := decode[api.SandboxList](w.get("/sandbox").want(200)); len(got.Items) != 1 {
		t.Errorf("bad creates left sandboxes: %+v", got.Items)
	}
	if strings.Contains(w.log.String(), "request failed") {
		t.Errorf("bad input was logged as a failure of the server: %s", w.log)
	}
}

func TestWrongMethodSaysWhichAreAllowed(t *testing.T) {
	w := newWorld(t)
	a := w.request("PATCH", "/sandbox/x", "").want(405)
	if got := a.header.Get("Allow"); got != "DELETE, GET, HEAD" {
		t.Errorf("Allow: %q", got)
	}
}

func TestContentTypeDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	for _, ct := range []string{"", "text/plain", "application/json", "application/x-www-form-urlencoded"} {
		w.create(`{"labels":{"a":"b"}}`, func(r *http.Request) { r.Header.Set("Content-Type", ct) })
	}
}
