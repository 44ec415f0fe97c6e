// Package proxy is the door of the data path: it checks who may use a sandbox and carries toolbox requests to the runner
// that has it. Bodies stream through it in both directions and are never kept.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api"
	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/relay"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/route"
)

// Prefix of the toolbox routes on the platform's listener.
const Prefix = "/toolbox/"

// touchEvery is how often a request that stays open counts as activity.
const touchEvery = 50 * time.Second

// Metrics receives what the proxy saw; implemented by obs.
type Metrics interface {
	Toolbox(operation string, status int, took time.Duration)
}

// Deps of the proxy.
type Deps struct {
	Routes  *route.Table
	Dial    func(ctx context.Context, runnerAddress string) (net.Conn, error)
	Metrics Metrics
	Log     *slog.Logger

	LegacyIdle time.Duration // how long a streamed request by an old path may move no byte; 0: 5 minutes
}

// Proxy carries toolbox requests.
type Proxy struct {
	deps       Deps
	edge       *rest.Edge
	relay      *relay.Relay
	legacyIdle time.Duration
}

// New returns a proxy.
func New(deps Deps) *Proxy {
	return &Proxy{deps: deps, relay: relay.New(deps.Dial), legacyIdle: cmp.Or(deps.LegacyIdle, legacyIdle),
		edge: &rest.Edge{Source: api.SourceProxy, Log: deps.Log, Statuses: map[errs.Class]int{errs.Timeout: http.StatusGatewayTimeout}}}
}

// Handler serves everything below [Prefix].
func (p *Proxy) Handler() http.Handler {
	return p.edge.Recover(http.HandlerFunc(p.serve))
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if preflight(w, r) {
		return
	}
	sandboxID, path, ok := split(r.URL.EscapedPath())
	if !ok {
		p.edge.Fail(w, r, errs.New(errs.NotFound, "the path must be /toolbox/{sandboxId}/…"))
		return
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		p.edge.Fail(w, r, errs.New(errs.Invalid, "malformed path"))
		return
	}
	sandbox, query, err := p.admit(r, sandboxID, path)
	if err != nil {
		p.edge.Fail(w, r, err)
		return
	}
	byURL := bearer(r) == "" && query != r.URL.RawQuery
	r.URL.RawQuery = query
	p.carry(w, r, sandbox, path, decoded, Prefix+sandbox.ID, byURL)
}

// admit decides who may use the sandbox, by whatever credential the request carries, and returns the query without it.
func (p *Proxy) admit(r *http.Request, sandboxID, path string) (sandbox route.Sandbox, query string, err error) {
	query, token := previewToken(r)
	sig, rest, signed := signature(r.Method, path, query)
	if !signed {
		sandbox, err = p.deps.Routes.Access(r.Context(), sandboxID, bearer(r), token)
		return sandbox, query, err
	}
	if bearer(r) != "" || token != "" { // a client with a credential may follow a signed URL of long ago
		if sandbox, err = p.deps.Routes.Access(r.Context(), sandboxID, bearer(r), token); err == nil {
			return sandbox, rest, nil
		}
	}
	sandbox, err = p.deps.Routes.Signed(r.Context(), sandboxID, sig)
	return sandbox, rest, err
}

// carry passes a request on that was let in. front stands before of the sandbox's own paths, for redirects. byURL: the URL
// alone opens it, so a browser may show the answer as a page of this origin; it is kept from being one.
func (p *Proxy) carry(w http.ResponseWriter, r *http.Request, sandbox route.Sandbox, path, decoded, front string, byURL bool) {
	defer p.active(r, sandbox.ID)()
	rid := rest.RequestID(r.Context())
	start := time.Now()
	sw := &statusWriter{ResponseWriter: w}
	base := wire.Prefix + "/sandboxes/" + sandbox.ID + "/toolbox"
	p.relay.Serve(sw, r, &relay.Target{
		Peer: sandbox.RunnerAddress, Path: base + decoded, RawPath: base + path,
		Header: func(h http.Header) {
			h.Set("Authorization", "Bearer "+sandbox.RunnerKey)
			h.Set(rest.RequestIDHeader, rid)
			h.Del("X-Daytona-Skip-Last-Activity-Update")
			h.Del("Cookie") // a browser's for this host name, perhaps of another port: never meant for a sandbox
		},
		Response: func(res *http.Response) {
			res.Header.Del(rest.RequestIDHeader) // the answer has it already
			for h := range res.Header {          // a sandbox does not speak for the platform's origin
				if h == "Set-Cookie" || strings.HasPrefix(h, "Access-Control-") {
					res.Header.Del(h)
				}
			}
			if loc := res.Header.Get("Location"); strings.HasPrefix(loc, "/") && !strings.HasPrefix(loc, "//") {
				res.Header.Set("Location", front+within(path)+loc)
			}
			if byURL {
				inert(res.Header)
			}
			if res.Header.Get(wire.FailedHeader) != "" {
				res.Header.Del(wire.FailedHeader)
				p.deps.Routes.Forget(sandbox.ID) // perhaps it stopped or moved: look again next time
			}
		},
		Fail: func(w http.ResponseWriter, r *http.Request, err error) {
			p.deps.Routes.Forget(sandbox.ID)
			if errors.Is(r.Context().Err(), context.DeadlineExceeded) { // only old paths have one
				err = errs.Wrap(err, errs.Timeout, "no answer within %s; current clients ask /toolbox/{sandboxId}/…, which sets no limit", legacyTimeout)
			} else if _, ok := errs.As(err); !ok {
				err = errs.Wrap(err, errs.Unavailable, "the runner of sandbox %s does not answer", sandbox.ID)
			}
			p.edge.Fail(w, r, err)
		},
	})
	if p.deps.Metrics != nil {
		if sw.status == 0 { // the connection was taken over
			sw.status = http.StatusSwitchingProtocols
		}
		p.deps.Metrics.Toolbox(operation(decoded), sw.status, time.Since(start))
	}
}

// within is what redirects of a program at a port stay below: it does not know that it is not at the root.
func within(path string) string {
	rest, ok := strings.CutPrefix(path, "/proxy/")
	if !ok {
		return ""
	}
	port, _, _ := strings.Cut(rest, "/")
	return "/proxy/" + port
}

// split takes /toolbox/{id}/rest apart; rest keeps its leading slash and its encoding.
func split(escaped string) (sandboxID, rest string, ok bool) {
	s, ok := strings.CutPrefix(escaped, Prefix)
	if !ok {
		return "", "", false
	}
	i := strings.IndexByte(s, '/')
	if i <= 0 {
		return "", "", false
	}
	return s[:i], s[i:], true
}

func bearer(r *http.Request) string {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// previewToken finds the sandbox's own token in its header or query parameter, and returns the query without it.
func previewToken(r *http.Request) (rawQuery, token string) {
	token = r.Header.Get("X-Daytona-Preview-Token")
	const param = "DAYTONA_SANDBOX_AUTH_KEY"
	if !strings.Contains(r.URL.RawQuery, param) {
		return r.URL.RawQuery, token
	}
	var kept []string
	for _, kv := range strings.Split(r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(kv, "=")
		if k != param {
			kept = append(kept, kv)
		} else if dec, err := url.QueryUnescape(v); err == nil && token == "" {
			token = dec
		}
	}
	return strings.Join(kept, "&"), token
}

// active notes activity now and while the request stays open. The returned function ends that.
func (p *Proxy) active(r *http.Request, sandboxID string) (stop func()) {
	if r.Header.Get("X-Daytona-Skip-Last-Activity-Update") == "true" {
		return func() {}
	}
	ctx := context.WithoutCancel(r.Context())
	p.deps.Routes.Touch(ctx, sandboxID)
	var mu sync.Mutex // guards the timer: it must not be set again after the end
	var timer *time.Timer
	ended := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(touchEvery, func() {
		p.deps.Routes.Touch(ctx, sandboxID)
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			timer.Reset(touchEvery)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// preflight answers CORS: any origin, no cookies, because a bearer is the only credential here.
func preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS")
	if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
		h.Set("Access-Control-Allow-Headers", want)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// operation is the family of a toolbox path, for metrics: at most two plain words of it, from a fixed set, never an id or a file name.
func operation(path string) string {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	family := parts[0]
	switch family {
	case "process":
		if len(parts) > 1 {
			switch parts[1] {
			case "execute", "code-run", "session", "pty", "interpreter":
				return family + "/" + parts[1]
			}
		}
		return family
	case "files":
		if len(parts) > 1 {
			switch parts[1] {
			case "upload", "upload-v2", "bulk-upload", "download", "bulk-download", "info", "find", "search", "replace", "move", "folder", "permissions":
				return family + "/" + parts[1]
			}
		}
		return family
	case "git", "lsp", "port", "computeruse", "version", "env", "system":
		return family
	}
	return "other"
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
