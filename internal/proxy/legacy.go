package proxy

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// LegacyPrefix of the toolbox routes of clients from before the toolbox had an address of its own: they ask the API's
// listener, {api}/toolbox/{sandboxId}/toolbox/….
const LegacyPrefix = "/api/toolbox/"

// Limits of requests by the old paths. Newer clients, which ask the toolbox itself, have none of them.
const (
	legacyBody    = 200 << 20         // bytes of a request that is not streamed
	legacyTimeout = 360 * time.Second // of a request that is not streamed, in all
	legacyIdle    = 5 * time.Minute   // of a streamed one, without a byte in either direction
)

// legacyRoutes are what the old paths know, method by method; * is one name. Nothing else of the toolbox is reached by them.
var legacyRoutes = map[string]string{
	"/project-dir": "GET", "/user-home-dir": "GET", "/work-dir": "GET",
	"/files": "GET DELETE", "/files/": "GET DELETE", "/files/download": "GET", "/files/bulk-download": "POST", "/files/find": "GET", "/files/folder": "POST",
	"/files/info": "GET", "/files/move": "POST", "/files/permissions": "POST", "/files/replace": "POST", "/files/search": "GET",
	"/files/upload": "POST", "/files/bulk-upload": "POST",
	"/git/add": "POST", "/git/branches": "GET POST DELETE", "/git/clone": "POST", "/git/commit": "POST", "/git/history": "GET",
	"/git/pull": "POST", "/git/push": "POST", "/git/checkout": "POST", "/git/status": "GET",
	"/process/execute": "POST", "/process/session": "GET POST", "/process/session/*": "GET DELETE", "/process/session/*/exec": "POST",
	"/process/session/*/command/*": "GET", "/process/session/*/command/*/logs": "GET",
	"/process/pty": "GET POST", "/process/pty/*": "GET DELETE", "/process/pty/*/resize": "POST",
	"/lsp/completions": "POST", "/lsp/did-close": "POST", "/lsp/did-open": "POST", "/lsp/document-symbols": "GET", "/lsp/start": "POST",
	"/lsp/stop": "POST", "/lsp/workspace-symbols": "GET",
	"/computeruse/start": "POST", "/computeruse/stop": "POST", "/computeruse/status": "GET", "/computeruse/process/*/status": "GET",
	"/computeruse/process/*/restart": "POST", "/computeruse/process/*/logs": "GET", "/computeruse/process/*/errors": "GET",
	"/computeruse/mouse/position": "GET", "/computeruse/mouse/move": "POST", "/computeruse/mouse/click": "POST", "/computeruse/mouse/drag": "POST",
	"/computeruse/mouse/scroll": "POST", "/computeruse/keyboard/type": "POST", "/computeruse/keyboard/key": "POST", "/computeruse/keyboard/hotkey": "POST",
	"/computeruse/screenshot": "GET", "/computeruse/screenshot/region": "GET", "/computeruse/screenshot/compressed": "GET",
	"/computeruse/screenshot/region/compressed": "GET", "/computeruse/display/info": "GET", "/computeruse/display/windows": "GET",
}

// streamed are the operations whose bodies have no bound.
var streamed = map[string]bool{"/files/download": true, "/files/bulk-download": true, "/files/upload": true, "/files/bulk-upload": true,
	"/process/session/*/command/*/logs": true}

// legacyRoute finds the route that an escaped path means. It is "" for none.
func legacyRoute(path string) string {
	if _, ok := legacyRoutes[path]; ok && !strings.Contains(path, "*") {
		return path
	}
	parts := strings.Split(path, "/")
	for pattern := range legacyRoutes {
		want := strings.Split(pattern, "/")
		if len(want) != len(parts) || !strings.Contains(pattern, "*") {
			continue
		}
		same := true
		for i := range want {
			same = same && (want[i] == parts[i] || want[i] == "*" && parts[i] != "" && parts[i] != "." && parts[i] != "..")
		}
		if same {
			return pattern
		}
	}
	return ""
}

// Legacy serves everything below [LegacyPrefix]. Who may call is decided as for the toolbox itself.
func (p *Proxy) Legacy() http.Handler {
	return p.edge.Recover(http.HandlerFunc(p.legacy))
}

func (p *Proxy) legacy(w http.ResponseWriter, r *http.Request) {
	if preflight(w, r) {
		return
	}
	id, path, ok := splitLegacy(r.URL.EscapedPath())
	route := legacyRoute(path)
	if !ok || route == "" || !strings.Contains(" "+legacyRoutes[route]+" ", " "+r.Method+" ") {
		p.edge.Fail(w, r, errs.New(errs.NotFound, "no operation %s here; current clients ask /toolbox/{sandboxId}/… instead", r.Method))
		return
	}
	if route == "/lsp/workspace-symbols" { // spelled so here only
		path = "/lsp/workspacesymbols"
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		p.edge.Fail(w, r, errs.New(errs.Invalid, "malformed path"))
		return
	}
	sandbox, err := p.deps.Routes.Access(r.Context(), id, bearer(r), "")
	if err != nil {
		p.edge.Fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if streamed[route] {
		watch := &watchdog{timer: time.AfterFunc(p.legacyIdle, cancel), idle: p.legacyIdle}
		defer watch.timer.Stop()
		client := http.NewResponseController(w)
		defer func() { _ = client.SetWriteDeadline(time.Time{}) }()
		r.Body = &watchedBody{ReadCloser: r.Body, watch: watch}
		w = &watchedAnswer{ResponseWriter: w, watch: watch, client: client}
	} else {
		r.Body = &bounded{ReadCloser: r.Body, left: legacyBody}
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, legacyTimeout)
		defer stop()
	}
	front := LegacyPrefix + sandbox.ID + "/toolbox"
	p.carry(w, r.WithContext(ctx), sandbox, path, decoded, front, false)
}

// splitLegacy takes /api/toolbox/{id}/toolbox/rest apart; rest keeps its leading slash and its encoding.
func splitLegacy(escaped string) (sandboxID, rest string, ok bool) {
	s, ok := strings.CutPrefix(escaped, LegacyPrefix)
	if !ok {
		return "", "", false
	}
	sandboxID, rest, ok = strings.Cut(s, "/toolbox/")
	if !ok || sandboxID == "" || strings.Contains(sandboxID, "/") {
		return "", "", false
	}
	return sandboxID, "/" + rest, true
}

// bounded is a body of at most so many bytes. What a client sends a little beyond that is read and thrown away, so that it
// gets to see the answer instead of a broken connection.
type bounded struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, &http.MaxBytesError{Limit: legacyBody}
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		const beyond = 4 << 20
		_, _ = io.CopyN(io.Discard, b.ReadCloser, beyond)
		return n - 1, &http.MaxBytesError{Limit: legacyBody}
	}
	return n, err
}

// watchdog ends a request that moves no byte for too long.
type watchdog struct {
	timer *time.Timer
	idle  time.Duration
}

type watchedBody struct {
	io.ReadCloser
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.timer.Reset(b.watch.idle)
	}
	return n, err
}

type watchedAnswer struct {
	http.ResponseWriter
	watch  *watchdog
	client *http.ResponseController
}

func (a *watchedAnswer) Write(p []byte) (int, error) {
	a.watch.timer.Reset(a.watch.idle)
	_ = a.client.SetWriteDeadline(time.Now().Add(a.watch.idle)) // the timer ends the other side alone
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *watchedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
