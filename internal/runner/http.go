package runner

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api"
	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/relay"
	"github.com/dugout-dev/dugout/internal/rest"
)

type byID struct {
	ID string `path:"id"`
}

// Handler serves the runner's API and data path (api/runner lists the routes). Every request must carry the runner's key.
func (h *Host) Handler() http.Handler {
	edge := &rest.Edge{Source: api.SourceAPI, Log: h.log, Statuses: statuses}
	data := &rest.Edge{Source: api.SourceProxy, Log: h.log} // its errors go to the client as they are
	mux := http.NewServeMux()
	edge.Mount(mux, wire.Prefix, h.routes(), nil)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		edge.Fail(w, r, errs.New(errs.NotFound, "no such route: %s %s", r.Method, clip(r.URL.Path)))
	})
	want := []byte("Bearer " + h.cfg.Key)
	return rest.WithRequestID(edge.Recover(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			edge.Fail(w, r, errs.New(errs.Unauthenticated, "unknown runner key"))
			return
		}
		// Not by the mux: it would answer a path with "//" or ".." in it with a redirect, and those are the daemon's business.
		if sid, path, ok := toolboxPath(r.URL.EscapedPath()); ok {
			h.toolbox(data, w, r, sid, path)
			return
		}
		mux.ServeHTTP(w, r)
	})))
}

// statuses keep every class apart on this hop, so that runnerclient gives the control plane the class back.
var statuses = map[errs.Class]int{errs.Exhausted: http.StatusInsufficientStorage, errs.WrongState: http.StatusPreconditionFailed,
	errs.Timeout: http.StatusGatewayTimeout}

func (h *Host) routes() []rest.Route {
	return []rest.Route{
		rest.Typed("GET", "/info", "info", func(ctx context.Context, _ *struct{}) (wire.Info, error) { return h.Info(ctx) }),
		rest.Typed("GET", "/sandboxes", "list", func(ctx context.Context, _ *struct{}) ([]wire.Sandbox, error) { return h.List(ctx) }),
		rest.Typed("GET", "/sandboxes/{id}", "get", func(ctx context.Context, in *byID) (wire.Sandbox, error) { return h.Get(ctx, in.ID) }),
		rest.Typed("PUT", "/sandboxes/{id}", "put", func(ctx context.Context, in *struct {
			ID   string `path:"id"`
			Body wire.Spec
		}) (wire.Sandbox, error) {
			return h.Put(ctx, in.ID, in.Body)
		}),
		rest.Typed("POST", "/sandboxes/{id}/start", "start", func(ctx context.Context, in *byID) (wire.Sandbox, error) { return h.Start(ctx, in.ID) }),
		rest.Typed("POST", "/sandboxes/{id}/stop", "stop", func(ctx context.Context, in *struct {
			ID   string `path:"id"`
			Body wire.Stop
		}) (wire.Sandbox, error) {
			return h.Stop(ctx, in.ID, in.Body.Force)
		}),
		rest.Typed("POST", "/sandboxes/{id}/upgrade", "upgrade", func(ctx context.Context, in *struct {
			ID    string `path:"id"`
			Force bool   `query:"force"`
		}) (wire.Upgraded, error) {
			return h.Upgrade(ctx, in.ID, in.Force)
		}),
		rest.Typed("DELETE", "/sandboxes/{id}", "delete", func(ctx context.Context, in *byID) (rest.None, error) {
			return rest.None{}, h.Delete(ctx, in.ID)
		}, rest.Status(http.StatusNoContent)),
		rest.Typed("GET", "/images", "images", func(context.Context, *struct{}) ([]wire.Image, error) { return h.deps.Images.List(), nil }),
		rest.Typed("GET", "/events", "events", func(ctx context.Context, in *struct {
			Since int64 `query:"since"`
		}) (wire.Events, error) {
			return h.events.since(ctx, in.Since, wire.EventWait), nil
		}),
	}
}

// Info tells what this host is and has.
func (h *Host) Info(ctx context.Context) (wire.Info, error) {
	list, err := h.deps.Engine.List(ctx)
	if err != nil {
		return wire.Info{}, err
	}
	caps := h.deps.Engine.Capabilities()
	h.mu.Lock()
	running := len(h.running)
	h.mu.Unlock()
	info := wire.Info{Version: h.cfg.Version, Engine: caps.Name, EngineVer: caps.Version, Classes: caps.Classes, CPU: int64(runtime.NumCPU()),
		Running: running, Sandboxes: len(list), Images: h.deps.Images.List(), Problems: caps.Problems, Details: caps.Details}
	if total, err := meminfo("MemTotal:"); err == nil {
		info.MemoryBytes = total
	}
	var fs unix.Statfs_t
	if unix.Statfs(h.cfg.Dir, &fs) == nil {
		info.DiskBytes = int64(fs.Blocks) * fs.Bsize
	}
	return info, nil
}

// toolboxPath takes /v1/sandboxes/{id}/toolbox/rest apart; rest keeps its leading slash and its encoding, because file names
// may hold encoded slashes.
func toolboxPath(escaped string) (sid, rest string, ok bool) {
	s, ok := strings.CutPrefix(escaped, wire.Prefix+"/sandboxes/")
	if !ok {
		return "", "", false
	}
	sid, rest, ok = strings.Cut(s, "/toolbox/")
	return sid, "/" + rest, ok && id.IsUUID(sid)
}

// toolbox carries a request to the daemon of a sandbox. It asks nobody: the data path works while the control plane is down.
func (h *Host) toolbox(edge *rest.Edge, w http.ResponseWriter, r *http.Request, sid, raw string) {
	path, err := url.PathUnescape(raw)
	if err != nil {
		edge.Fail(w, r, errs.New(errs.Invalid, "malformed path"))
		return
	}
	once := func(res *http.Response) {
		res.Header.Del(rest.RequestIDHeader) // the answer has it already
		res.Header.Del(wire.FailedHeader)    // ours alone
	}
	h.relay.Serve(w, r, &relay.Target{Peer: sid, Path: path, RawPath: raw, Response: once, Fail: func(w http.ResponseWriter, r *http.Request, err error) {
		if _, ok := errs.As(err); !ok {
			err = errs.Wrap(err, errs.Unavailable, "the daemon of sandbox %s does not answer", sid)
		}
		w.Header().Set(wire.FailedHeader, "1")
		edge.Fail(w, r, err)
	}})
}
