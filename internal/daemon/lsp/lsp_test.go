//go:build linux

package lsp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/lsp"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

type rig struct {
	t   testing.TB
	h   *lsp.Handler
	dir string
	mux *http.ServeMux
}

// newRig has the servers of fake_test.go, each mode as a language.
func newRig(t testing.TB, idle time.Duration) *rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	servers := map[string]any{"missing": map[string]any{"command": []string{"no-such-server"}}}
	for _, mode := range []string{"plain", "exit", "garbage", "huge", "deaf", "hang", "busy", "poor", "stubborn"} {
		servers[mode] = map[string]any{"command": []string{self, "server:" + mode}, "extensions": map[string]string{".x": "ex"}, "settings": map[string]any{"a": map[string]any{"b": "set"}}}
	}
	b, _ := json.Marshal(map[string]any{"servers": servers})
	config := filepath.Join(dir, "lsp.json")
	if err := os.WriteFile(config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reaper := reap.New(false)
	runner := run.New(reaper, log)
	r := &rig{t: t, dir: dir, mux: http.NewServeMux()}
	r.h = &lsp.Handler{Log: log, Runner: runner, Env: environ.New(map[string]string{"PATH": "/nowhere", "GORACE": "atexit_sleep_ms=0"}), Workdir: dir, Config: config, Idle: idle}
	r.h.Edge = &rest.Edge{Source: api.SourceDaemon, Log: log, EchoMessage: true}
	r.h.Edge.Mount(r.mux, "", r.h.Routes(), nil)
	t.Cleanup(func() {
		r.h.Close()
		if n := r.h.Live(); n != 0 {
			t.Errorf("%d servers are left", n)
		}
		runner.Close()
		reaper.Close()
	})
	if err := os.Mkdir(filepath.Join(dir, "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) do(method, path string, body any) (int, string) {
	b, _ := json.Marshal(body)
	if s, ok := body.(string); ok {
		b = []byte(s)
	}
	rec := httptest.NewRecorder()
	r.mux.ServeHTTP(rec, httptest.NewRequestWithContext(r.t.Context(), method, path, bytes.NewReader(b)))
	return rec.Code, rec.Body.String()
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(language, project string) {
	r.t.Helper()
	if status, body := r.do("POST", "/lsp/start", toolbox.LSPServer{LanguageID: language, PathToProject: project}); status != 200 {
		r.t.Fatalf("start %s: %d %s", language, status, body)
	}
}

// complete returns the labels of completions.
func (r *rig) complete(language, uri string) (labels []string, status int, body string) {
	line, char := 0, 0
	status, body = r.do("POST", "/lsp/completions", toolbox.LSPCompletionParams{LanguageID: language, PathToProject: "p", URI: uri, Position: toolbox.LSPCompletionPosition{Line: &line, Character: &char}})
	var out toolbox.LSPCompletionList
	if status == 200 {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			r.t.Fatal(err)
		}
		for _, it := range out.Items {
			labels = append(labels, it.Label)
		}
	}
	return labels, status, body
}

func TestPlain(t *testing.T) {
	r := newRig(t, 0)
	r.write("p/a.x", "text one")
	server := toolbox.LSPServer{LanguageID: "plain", PathToProject: "p"}
	document := toolbox.LSPDocument{LanguageID: "plain", PathToProject: "p", URI: "file://" + r.dir + "/p/a.x"}
	r.start("plain", "p")
	r.start("plain", r.dir+"/p") // the same one
	if n := r.h.Live(); n != 1 {
		t.Errorf("%d servers", n)
	}
	if status, body := r.do("POST", "/lsp/did-open", document); status != 200 || body != "" {
		t.Errorf("%d %q", status, body)
	}
	status, body := r.do("POST", "/lsp/completions", `{"languageId":"plain","pathToProject":"p","uri":"file://a.x","position":{"line":0,"character":0},"context":{"triggerKind":2,"triggerCharacter":"."}}`)
	var pid string
	if labels, _, _ := r.complete("plain", document.URI); len(labels) == 4 {
		pid = labels[3]
	}
	want := `{"isIncomplete":true,"items":[{"label":"ex text one","kind":3,"documentation":{"kind":"plaintext","value":"plain"},"insertText":"inserted"},` +
		`{"label":"map[character:0 line:0] map[triggerCharacter:. triggerKind:2]","documentation":{"kind":"markdown","value":"**x**"}},{"label":"1"},{"label":"` + pid + `"}]}`
	if status != 200 || body != want {
		t.Errorf("%d %s\nwant %s", status, body, want)
	}
	// What changes on disk is told before the next answer.
	r.write("p/a.x", "another text")
	if labels, _, body := r.complete("plain", document.URI); len(labels) == 0 || labels[0] != "changed another text" {
		t.Error(body)
	}
	q := "languageId=plain&pathToProject=p"
	status, body = r.do("GET", "/lsp/document-symbols?"+q+"&uri="+url.QueryEscape(document.URI), nil)
	at := `"location":{"uri":"file://` + r.dir + `/p/a.x","range":{"start":{"line":0,"character":0},"end":{"line":1,"character":2}}}`
	if want := `[{"kind":5,"name":"outer",` + at + `},{"kind":6,"name":"inner",` + at + `}]`; status != 200 || body != want {
		t.Errorf("%d %s\nwant %s", status, body, want)
	}
	status, body = r.do("GET", "/lsp/workspacesymbols?"+q+"&query=a%20b", nil)
	if want := `[{"kind":12,"name":"a b","location":{"uri":"file:///x","range":{"start":{"line":1,"character":2},"end":{"line":3,"character":4}}}}]`; status != 200 || body != want {
		t.Errorf("%d %s", status, body)
	}
	if status, body := r.do("POST", "/lsp/did-close", document); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := r.do("POST", "/lsp/did-close", document); status != 200 { // again
		t.Errorf("%d %s", status, body)
	}
	if labels, _, _ := r.complete("plain", document.URI); len(labels) == 0 || labels[0] != "ex another text" { // opened again
		t.Error(labels)
	}
	for range 2 {
		if status, body := r.do("POST", "/lsp/stop", server); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	if _, status, body := r.complete("plain", document.URI); status != 400 || !strings.Contains(body, "LSP_SERVER_NOT_INITIALIZED") {
		t.Errorf("%d %s", status, body)
	}
	daemontest.Until(t, "no server", func() bool { return r.h.Live() == 0 })
}

func TestURIs(t *testing.T) {
	r := newRig(t, 0)
	r.start("plain", "p")
	r.write("p/a b#c?d%20é.x", "odd")
	r.write("p/sp ace.x", "space")
	r.write("here.x", "workdir")
	for uri, want := range map[string]string{
		"file://" + r.dir + "/p/a b#c?d%20é.x":              "odd", // as the clients of the 0.x wire send it
		"file://" + r.dir + "/p/a%20b%23c%3Fd%2520%C3%A9.x": "odd",
		"file://localhost" + r.dir + "/p/sp%20ace.x":        "space",
		"file://sp ace.x":                  "space",
		"file://p/sp ace.x":                "space",
		"file://here.x":                    "workdir",
		r.dir + "/p/sp ace.x":              "space",
		"file://" + r.dir + "/p/../here.x": "workdir",
	} {
		labels, status, body := r.complete("plain", uri)
		if status != 200 || labels[0] != "ex "+want && labels[0] != "changed "+want {
			t.Errorf("%s: %d %s", uri, status, body)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(r.dir, "p/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]int{"file:///no/such.x": 404, "file://": 400, "http://x/y": 400, "": 400, "file://" + r.dir + "/p": 400, "file://fifo": 400, "file:///dev/zero": 400, "file://a\x00b": 400} {
		if _, status, body := r.complete("plain", uri); status != want {
			t.Errorf("%q: %d %s", uri, status, body)
		}
	}
}

func TestTooLarge(t *testing.T) {
	r := newRig(t, 0)
	r.start("plain", "p")
	r.write("p/most.x", strings.Repeat("x", 8<<20))
	r.write("p/more.x", strings.Repeat("x", 8<<20+1))
	open := func(name string) int {
		status, _ := r.do("POST", "/lsp/did-open", toolbox.LSPDocument{LanguageID: "plain", PathToProject: "p", URI: "file://" + name})
		return status
	}
	if a, b := open("most.x"), open("more.x"); a != 200 || b != 413 {
		t.Error(a, b)
	}
	for i := range 511 {
		r.write(fmt.Sprintf("p/%d.x", i), "")
		if s := open(fmt.Sprintf("%d.x", i)); s != 200 {
			t.Fatal(i, s)
		}
	}
	r.write("p/last.x", "")
	if s := open("last.x"); s != 429 {
		t.Error(s)
	}
}

func TestRefuses(t *testing.T) {
	r := newRig(t, 0)
	r.write("file", "")
	for body, want := range map[string]string{
		`{"languageId":"","pathToProject":"p"}`:                                      "400 languageId",
		`{"languageId":"plain","pathToProject":""}`:                                  "400 pathToProject",
		`{"languageId":"plain"}`:                                                     "400 pathToProject",
		`{"languageId":"klingon","pathToProject":"p"}`:                               "400 languageId must be one of bash, ",
		`{"languageId":"missing","pathToProject":"p"}`:                               "400 LSP_SERVER_NOT_INSTALLED",
		`{"languageId":"go","pathToProject":"p"}`:                                    "400 gopls",
		`{"languageId":"plain","pathToProject":"nowhere"}`:                           "404 FILE_NOT_FOUND",
		`{"languageId":"plain","pathToProject":"file"}`:                              "400 directory",
		`{"languageId":"plain","pathToProject":"` + strings.Repeat("x", 5000) + `"}`: "400 pathToProject",
		`{"languageId":"exit","pathToProject":"p"}`:                                  "500 exit code 3; the last it wrote:\\nno licence",
		`[]`: "400 object",
	} {
		status, got := r.do("POST", "/lsp/start", body)
		code, text, _ := strings.Cut(want, " ")
		if fmt.Sprint(status) != code || !strings.Contains(got, text) {
			t.Errorf("%.60s: %d %s, want %s", body, status, got, want)
		}
	}
	if _, status, body := r.complete("exit", "file://file"); status != 400 || !strings.Contains(body, "LSP_SERVER_NOT_INITIALIZED") {
		t.Errorf("after a failed start: %d %s", status, body)
	}
	r.start("plain", "p")
	r.write("p/a.x", "")
	for position, want := range map[string]int{
		`{"line":0,"character":0}`: 200, `{"line":2147483647,"character":0}`: 200, `{"line":2147483648,"character":0}`: 400, `{"line":-1,"character":0}`: 400,
		`{"line":0}`: 400, `{"character":0}`: 400, `{}`: 400, `null`: 400, `{"line":"0","character":0}`: 400, `{"line":0.5,"character":0}`: 400,
	} {
		if status, body := r.do("POST", "/lsp/completions", `{"languageId":"plain","pathToProject":"p","uri":"file://a.x","position":`+position+`}`); status != want {
			t.Errorf("%s: %d %s", position, status, body)
		}
	}
	for kind, want := range map[string]int{"1": 200, "3": 200, "0": 400, "4": 400} {
		if status, body := r.do("POST", "/lsp/completions", `{"languageId":"plain","pathToProject":"p","uri":"file://a.x","position":{"line":0,"character":0},"context":{"triggerKind":`+kind+`}}`); status != want {
			t.Errorf("kind %s: %d %s", kind, status, body)
		}
	}
}

func TestBadServers(t *testing.T) {
	defer lsp.SetRequestTimeout(300 * time.Millisecond)()
	for mode, want := range map[string]string{"garbage": "500 malformed message", "huge": "500 the limit is 16777216", "hang": "408 did not answer", "deaf": "408 did not answer", "poor": "200 ", "busy": "200 ", "stubborn": "200 "} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, 0)
			r.write("p/a.x", "x")
			// One that breaks down right after its start may do so before or after the start is answered.
			_, _ = r.do("POST", "/lsp/start", toolbox.LSPServer{LanguageID: mode, PathToProject: "p"})
			_, status, body := r.complete(mode, "file://a.x")
			code, text, _ := strings.Cut(want, " ")
			if fmt.Sprint(status) != code || !strings.Contains(body, text) {
				t.Errorf("%d %s, want %s", status, body, want)
			}
		})
	}
}

// TestSearch: where the server finds no symbols, the daemon looks at file after file.
func TestSearch(t *testing.T) {
	r := newRig(t, 0)
	r.start("poor", "p")
	for _, dir := range []string{"p/sub", "p/.hidden", "p/node_modules/x"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"p/a.x", "p/sub/b.x", "p/.hidden/c.x", "p/node_modules/x/d.x", "p/e.other"} {
		r.write(name, "")
	}
	r.write("p/large.x", strings.Repeat("x", 1<<20+1))
	find := func(query string) (uris []string, truncated string) {
		t.Helper()
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/lsp/workspacesymbols?languageId=poor&pathToProject=p&query="+query, nil))
		var out []toolbox.LSPSymbol
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != 200 || out == nil {
			t.Fatal(rec.Code, rec.Body)
		}
		for _, s := range out {
			uris = append(uris, s.Name+" "+strings.TrimPrefix(s.Location.URI, "file://"+r.dir+"/p/"))
		}
		return uris, rec.Header().Get("X-Dugout-Truncated")
	}
	got, cut := find("OUT")
	if diff := cmp.Diff([]string{"outer a.x", "outer sub/b.x"}, got); diff != "" || cut != "" {
		t.Error(diff, cut)
	}
	if got, _ := find(""); len(got) != 4 {
		t.Error(got)
	}
	if got, _ := find("nothing"); got != nil {
		t.Error(got)
	}
	labels, _, _ := r.complete("poor", "file://a.x")
	if labels[2] != "1" { // none but this one is open
		t.Error(labels)
	}
	for i := range 999 {
		r.write(fmt.Sprintf("p/sub/%d.x", i), "")
	}
	if got, cut := find("inner"); len(got) != 1000 || cut != "true" {
		t.Error(len(got), cut)
	}
}

func TestCrash(t *testing.T) {
	r := newRig(t, 0)
	r.start("plain", "p")
	r.write("p/a.x", "one")
	r.write("p/b.x", "two")
	before, _, _ := r.complete("plain", "file://a.x")
	_, _, _ = r.complete("plain", "file://b.x")
	kill(t, before[3])
	after, status, body := r.complete("plain", "file://a.x")
	if status != 200 || after[0] != "ex one" || after[2] != "2" || after[3] == before[3] { // both documents are open again
		t.Errorf("%d %s", status, body)
	}
	// One that goes while the server is down is closed.
	kill(t, after[3])
	if err := os.Remove(filepath.Join(r.dir, "p/b.x")); err != nil {
		t.Fatal(err)
	}
	if labels, status, body := r.complete("plain", "file://a.x"); status != 200 || labels[2] != "1" {
		t.Errorf("%d %s", status, body)
	}
	// A request that ends the server is tried once more.
	r.write("p/c.x", "crash once")
	if labels, status, body := r.complete("plain", "file://c.x"); status != 200 || labels[0] != "ex crash once" {
		t.Errorf("%d %s", status, body)
	}
	r.write("p/d.x", "crash always")
	if _, status, body := r.complete("plain", "file://d.x"); status != 500 || !strings.Contains(body, "LSP_SERVER_FAILED") || !strings.Contains(body, "exit code 7; the last it wrote:\\nout of luck") {
		t.Errorf("%d %s", status, body)
	}
	if _, status, body := r.complete("plain", "file://a.x"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func kill(t testing.TB, pid string) {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil || n < 2 {
		t.Fatal(pid, err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	daemontest.Until(t, "end of "+pid, func() bool { return syscall.Kill(n, 0) == syscall.ESRCH })
}

func TestIdle(t *testing.T) {
	r := newRig(t, 50*time.Millisecond)
	r.start("plain", "p")
	r.write("p/a.x", "one")
	before, _, _ := r.complete("plain", "file://a.x")
	daemontest.Until(t, "end of the idle server", func() bool { return r.h.Live() == 0 })
	after, status, body := r.complete("plain", "file://a.x")
	if status != 200 || after[0] != "ex one" || after[3] == before[3] {
		t.Errorf("%d %s", status, body)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, 0)
	for i := range 65 {
		p := fmt.Sprint("p", i)
		if err := os.Mkdir(filepath.Join(r.dir, p), 0o700); err != nil {
			t.Fatal(err)
		}
		if i == 64 {
			if status, body := r.do("POST", "/lsp/start", toolbox.LSPServer{LanguageID: "plain", PathToProject: p}); status != 429 {
				t.Errorf("%d %s", status, body)
			}
			continue
		}
		r.start("plain", p)
		if n := r.h.Live(); n > 8 {
			t.Fatalf("%d servers run", n)
		}
	}
	// The first one made room long ago, and comes back.
	r.write("p0/a.x", "x")
	if status, body := r.do("GET", "/lsp/document-symbols?languageId=plain&pathToProject=p0&uri=file://a.x", nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if n := r.h.Live(); n != 8 {
		t.Errorf("%d servers run", n)
	}
	if status, _ := r.do("POST", "/lsp/stop", toolbox.LSPServer{LanguageID: "plain", PathToProject: "p0"}); status != 200 {
		t.Error(status)
	}
	r.start("plain", "p64")
}

// TestAllBusy: when no server can be spared, a further one is refused.
func TestAllBusy(t *testing.T) {
	defer lsp.SetRequestTimeout(3 * time.Second)()
	r := newRig(t, 0)
	var wg sync.WaitGroup
	for i := range 8 {
		p := fmt.Sprint("p", i)
		if err := os.Mkdir(filepath.Join(r.dir, p), 0o700); err != nil {
			t.Fatal(err)
		}
		r.write(p+"/a.x", "x")
		r.start("hang", p)
		wg.Go(func() {
			_, _ = r.do("POST", "/lsp/completions", `{"languageId":"hang","pathToProject":"`+p+`","uri":"file://a.x","position":{"line":0,"character":0}}`)
		})
	}
	daemontest.Until(t, "requests to all", func() bool { return r.h.Busy() == 8 })
	if status, body := r.do("POST", "/lsp/start", toolbox.LSPServer{LanguageID: "plain", PathToProject: "p"}); status != 429 {
		t.Errorf("%d %s", status, body)
	}
	wg.Wait()
}

func TestParallel(t *testing.T) {
	r := newRig(t, 0)
	r.start("plain", "p")
	var wg sync.WaitGroup
	for i := range 8 {
		r.write(fmt.Sprintf("p/%d.x", i), fmt.Sprint("text ", i))
		wg.Go(func() {
			for range 50 {
				labels, status, body := r.complete("plain", fmt.Sprintf("file://%d.x", i))
				if status != 200 || labels[0] != fmt.Sprint("ex text ", i) {
					t.Errorf("%d %s", status, body)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := r.h.Live(); n != 1 {
		t.Errorf("%d servers", n)
	}
}

func TestHandover(t *testing.T) {
	r := newRig(t, 0)
	r.start("plain", "p")
	r.write("p/a.x", "one")
	r.write("p/b.x", "two")
	before, _, _ := r.complete("plain", "file://a.x")
	_, _, _ = r.complete("plain", "file://b.x")
	began := time.Now()
	r.h.Freeze()
	if took := time.Since(began); took > time.Second {
		t.Errorf("freeze took %v", took)
	}
	if _, status, _ := r.complete("plain", "file://a.x"); status != 503 {
		t.Errorf("frozen: %d", status)
	}
	var out handover.Out
	if err := r.h.Save(&out); err != nil {
		t.Fatal(err)
	}
	r.h.Thaw()
	after, status, body := r.complete("plain", "file://a.x")
	if status != 200 || after[2] != "2" || after[3] == before[3] {
		t.Errorf("thawed: %d %s", status, body)
	}
}

func TestSymbols(t *testing.T) {
	const at = `{"start":{"line":1,"character":2},"end":{"line":3,"character":4}}`
	for name, tt := range map[string]struct{ in, want string }{
		"null":   {`null`, `[]`},
		"absent": {``, `[]`},
		"empty":  {`[]`, `[]`},
		"flat":   {`[{"name":"a","kind":1,"location":{"uri":"file:///a","range":` + at + `},"containerName":"c","tags":[1]}]`, `[{"kind":1,"name":"a","location":{"uri":"file:///a","range":` + at + `}}]`},
		"nested": {`[{"name":"a","kind":1,"range":` + at + `,"selectionRange":` + at + `,"children":[{"name":"b","kind":2,"range":` + at + `,"children":[{"name":"c","kind":3,"range":` + at + `}]}]},{"name":"d","kind":4,"range":` + at + `}]`,
			`[{"kind":1,"name":"a","location":{"uri":"u","range":` + at + `}},{"kind":2,"name":"b","location":{"uri":"u","range":` + at + `}},{"kind":3,"name":"c","location":{"uri":"u","range":` + at + `}},{"kind":4,"name":"d","location":{"uri":"u","range":` + at + `}}]`},
		"no range": {`[{"name":"a","kind":1,"location":{"uri":"file:///a"}}]`, `[{"kind":1,"name":"a","location":{"uri":"file:///a","range":{"start":{"line":0,"character":0},"end":{"line":0,"character":0}}}}]`},
	} {
		got, err := lsp.Symbols([]byte(tt.in), "u")
		b, _ := json.Marshal(got)
		if diff := cmp.Diff(tt.want, string(b)); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if _, err := lsp.Symbols([]byte(`{"a":1}`), "u"); err == nil {
		t.Error("an object was taken")
	}
}

func TestCompletions(t *testing.T) {
	for in, want := range map[string]string{
		`null`: `{"isIncomplete":false,"items":[]}`,
		``:     `{"isIncomplete":false,"items":[]}`,
		`[{"label":"a","documentation":""},{"label":"b","documentation":null,"insertText":"i","textEdit":{"newText":"t"}}]`: `{"isIncomplete":false,"items":[{"label":"a"},{"label":"b","insertText":"i"}]}`,
		`{"items":[{"label":"a","documentation":5}]}`: `{"isIncomplete":false,"items":[{"label":"a"}]}`,
		`{"isIncomplete":true}`:                       `{"isIncomplete":true,"items":[]}`,
	} {
		got, err := lsp.Completions([]byte(in))
		b, _ := json.Marshal(got)
		if string(b) != want || err != nil {
			t.Errorf("%s: %s %v, want %s", in, b, err, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct{ settings, method, params, want string }{
		{`{"a":{"b":[1]}}`, "workspace/configuration", `{"items":[{"section":"a.b"},{"section":"a"},{"section":"x"},{"section":"a.b.c"},{}]}`, `[[1],{"b":[1]},null,null,{"a":{"b":[1]}}]`},
		{``, "workspace/configuration", `{"items":[{"section":"a.b"}]}`, `[null]`},
		{``, "workspace/configuration", `5`, ``},
		{``, "workspace/workspaceFolders", ``, `[{"name":"project","uri":"file:///w/project"}]`},
		{``, "workspace/applyEdit", `{}`, `{"applied":false,"failureReason":"this client takes no edits"}`},
		{``, "window/workDoneProgress/create", `{}`, `null`},
		{``, "client/registerCapability", `{}`, `null`},
		{``, "window/showDocument", `{}`, `{"success":false}`},
		{``, "made/up", `{}`, ``},
	} {
		got, ok := lsp.Answer(tt.settings, tt.method, tt.params)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%s %s: %s %v, want %s", tt.method, tt.params, got, ok, tt.want)
		}
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for _, tt := range []struct {
		in   string
		want []string
		err  string
	}{
		{"", nil, "EOF"},
		{"Content-Length: 2\r\n\r\n{}", []string{"{}"}, "EOF"},
		{"content-length:2\nContent-Type: x; charset=utf-8\n\n{}Content-Length: 0\r\n\r\n", []string{"{}", ""}, "EOF"},
		{"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", []string{"{}"}, "EOF"},
		{"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", nil, "header line"},
		{"Content-Length: 3\r\n\r\n{}", nil, "unexpected EOF"},
		{"Content-Length: 3\r\n", nil, "unexpected EOF"},
		{"Content-Length: -1\r\n\r\n", nil, "header line"},
		{"Content-Length: 99999999999999999999\r\n\r\n", nil, "header line"},
		{"Content-Length: 16777217\r\n\r\n", nil, "limit"},
		{"Content-Length: 16777216\r\n\r\n", nil, "unexpected EOF"},
		{"\r\n{}", nil, "no Content-Length"},
		{"hello\r\n\r\n", nil, "header line"},
		{long + "\r\n\r\n", nil, "4096"},
		{strings.Repeat("a: b\r\n", 1000), nil, "4096"},
	} {
		got, err := lsp.ReadFrames([]byte(tt.in))
		var text []string
		for _, b := range got {
			text = append(text, string(b))
		}
		if diff := cmp.Diff(tt.want, text); diff != "" || err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%.40q: %v %s", tt.in, err, diff)
		}
	}
}

func TestConfig(t *testing.T) {
	for in, want := range map[string]int{
		`{}`: 0, `{"servers":{}}`: 0, `{"servers":{"a":{"command":["x","y"]}}}`: 1,
		`{"servers":{"a":{}}}`: -1, `{"servers":{"a":{"command":[""]}}}`: -1, `{"servers":{"":{"command":["x"]}}}`: -1, `{"servers":{"a":{"command":["x\u0000"]}}}`: -1,
		`{"servers":[]}`: -1, `x`: -1, ``: -1, `{"servers":{"a":{"command":"x"}}}`: -1,
	} {
		n, err := lsp.ParseConfig([]byte(in))
		if want < 0 && err == nil || want >= 0 && (err != nil || n != want) {
			t.Errorf("%s: %d %v", in, n, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte("Content-Length: 2\r\nX: y\r\n\r\n{}Content-Length: 0\r\n\r\n"))
	f.Add([]byte("Content-Length: 4294967295\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		bodies, err := lsp.ReadFrames(b)
		n := 0
		for _, body := range bodies {
			n += len(body)
		}
		if err == nil || n > len(b) {
			t.Errorf("%d bytes of content in %d, %v", n, len(b), err)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`[{"name":"a","kind":1,"location":{"uri":"x"}}]`))
	f.Add([]byte(`[{"name":"a","children":[{"name":"b"}]}]`))
	f.Add([]byte(`{"isIncomplete":true,"items":[{"label":"x","documentation":{"kind":"markdown"},"textEdit":{"newText":"y"}}]}`))
	f.Add([]byte(`{"items":[{"label":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := lsp.Symbols(b, "u"); err == nil {
			if _, err := json.Marshal(s); err != nil || s == nil {
				t.Error(err)
			}
		}
		if c, err := lsp.Completions(b); err == nil {
			if _, err := json.Marshal(c); err != nil || c.Items == nil {
				t.Error(err)
			}
		}
		_, _ = lsp.ParseConfig(b)
		_, _ = lsp.Answer(`{"a":1}`, "workspace/configuration", string(b))
	})
}
