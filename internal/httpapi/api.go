// Package httpapi is the HTTP of the control plane: the 0.x wire below /api. It authenticates, decodes, asks the domain and
// encodes; it decides nothing about sandboxes. One file per resource.
//
// Every answer carries the headers X-Daytona-Api-Version and X-Request-Id. Every error is an [api.Error]. What belongs to
// another organization answers exactly as what does not exist.
package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

// Prefix of all routes.
const Prefix = "/api"

// VersionHeader tells clients the version of the server, on every answer.
const VersionHeader = "X-Daytona-Api-Version"

// Config of the API. Zero fields get their defaults.
type Config struct {
	Version     string // of the server; "": 0.0.0-dev
	BuildSHA    string
	Environment string // "": production

	// PublicURL is how clients reach the server, scheme://host[:port]. "": each client is told the address that it used,
	// so that 127.0.0.1, localhost and a name on the local network all work at the same time.
	PublicURL string
	// ToolboxURL is the base of the toolbox API, without the sandbox id. "": the server's own address and /toolbox.
	ToolboxURL string
	// ProxyDomain is the domain, with a port where needed, of preview URLs. "": proxy.localhost and the port of the server's
	// address, which works for clients on the same host only.
	ProxyDomain string
	// DashboardURL "": the server's own address and /dashboard.
	DashboardURL string
	// TrustedProxies are the networks whose X-Forwarded-Proto and X-Forwarded-Host are believed.
	TrustedProxies []netip.Prefix

	DefaultSnapshot       string // as the catalog has it; only told to clients
	MaxAutoArchiveMinutes int64  // as the controller has it; only told to clients; 0: 43,200
	HealthKey             string // bearer token of GET /health/ready; "": open to all
}

// Sandboxes does what callers ask of sandboxes; *sandbox.Controller.
type Sandboxes interface {
	Create(ctx context.Context, orgID string, r sandbox.Request) (sandbox.Sandbox, error)
	Get(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
	List(ctx context.Context, orgID string, f sandbox.Filter) (sandbox.Page, error)
	ListNumbered(ctx context.Context, orgID string, f sandbox.Filter, page int) (sandbox.NumberedPage, error)
	Delete(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
	Start(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
	Stop(ctx context.Context, orgID, idOrName string, force bool) (sandbox.Sandbox, error)
	SetLabels(ctx context.Context, orgID, idOrName string, labels map[string]string) (sandbox.Sandbox, error)
	SetPublic(ctx context.Context, orgID, idOrName string, public bool) (sandbox.Sandbox, error)
	SetAutoStop(ctx context.Context, orgID, idOrName string, minutes int64) (sandbox.Sandbox, error)
	SetAutoArchive(ctx context.Context, orgID, idOrName string, minutes int64) (sandbox.Sandbox, error)
	SetAutoDelete(ctx context.Context, orgID, idOrName string, minutes int64) (sandbox.Sandbox, error)
	Touch(ctx context.Context, orgID, idOrName string) error
	SigningKey(ctx context.Context, orgID, idOrName string) (string, error)
	RotateSigningKey(ctx context.Context, orgID, idOrName string) (string, error)
}

// Snapshots finds snapshots; *snapshot.Catalog.
type Snapshots interface {
	List(ctx context.Context, orgID string, q snapshot.Query) (snapshot.Page, error)
	Get(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error)
}

// Directory knows who somebody is and what they belong to; *org.Directory.
type Directory interface {
	Authenticate(ctx context.Context, token string) (*org.Actor, error)
	Organization(ctx context.Context, orgID string) (org.Organization, error)
	User(ctx context.Context, userID string) (org.User, error)
	Regions(ctx context.Context, orgID string) ([]org.Region, error)
	SharedRegions(ctx context.Context) ([]org.Region, error)
}

// Pinger says whether something that the server stands on answers; *store.DB.
type Pinger interface {
	Ping(ctx context.Context) error
}

// Deps of the API. All are needed, After excepted.
type Deps struct {
	Sandboxes Sandboxes
	Snapshots Snapshots
	Directory Directory
	Database  Pinger
	Log       *slog.Logger

	// After is told the route, the status and the duration of every request to a known route: for metrics.
	After func(*rest.Route, int, time.Duration)
}

// API serves the control plane's routes. It is safe for concurrent use.
type API struct {
	cfg    Config
	deps   Deps
	edge   *rest.Edge
	public origin // zero: taken from each request
	mux    *http.ServeMux
}

// New returns an API. Its errors are about the configuration.
func New(cfg Config, deps Deps) (*API, error) {
	switch {
	case deps.Sandboxes == nil, deps.Snapshots == nil, deps.Directory == nil, deps.Database == nil, deps.Log == nil:
		return nil, errs.New(errs.Internal, "httpapi: a dependency is missing")
	}
	cfg.Version = cmp.Or(cfg.Version, "0.0.0-dev")
	cfg.Environment = cmp.Or(cfg.Environment, "production")
	cfg.MaxAutoArchiveMinutes = cmp.Or(cfg.MaxAutoArchiveMinutes, 43_200)
	a := &API{cfg: cfg, deps: deps, edge: &rest.Edge{Source: api.SourceAPI, Log: deps.Log, WithQuery: true, AfterHandler: deps.After}}
	if cfg.PublicURL != "" {
		var err error
		if a.public, err = parseOrigin(cfg.PublicURL); err != nil {
			return nil, err
		}
	}
	if cfg.ProxyDomain != "" && !plainHost(cfg.ProxyDomain) {
		return nil, errs.New(errs.Invalid, "the proxy domain must be name or name:port, got %q", cfg.ProxyDomain)
	}
	for _, u := range []string{cfg.ToolboxURL, cfg.DashboardURL} {
		if p, err := url.Parse(u); u != "" && (err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "") {
			return nil, errs.New(errs.Invalid, "the toolbox and dashboard URLs must be http(s) URLs, got %q", u)
		}
	}
	a.cfg.ToolboxURL = strings.TrimRight(cfg.ToolboxURL, "/")
	a.mux = http.NewServeMux()
	a.edge.Mount(a.mux, Prefix, a.Routes(), a.guard)
	return a, nil
}

// Routes lists all operations, relative to [Prefix]. A zero API will do for describing them.
func (a *API) Routes() []rest.Route {
	var all []rest.Route
	all = append(all, a.configRoutes()...)
	all = append(all, a.healthRoutes()...)
	all = append(all, a.sandboxRoutes()...)
	all = append(all, a.sandboxListRoutes()...)
	all = append(all, a.previewRoutes()...)
	all = append(all, a.signingRoutes()...)
	all = append(all, a.snapshotRoutes()...)
	all = append(all, a.organizationRoutes()...)
	return all
}

// Handler serves everything at and below [Prefix].
func (a *API) Handler() http.Handler {
	return rest.WithRequestID(a.describe(a.cors(a.edge.Recover(http.HandlerFunc(a.route)))))
}

// describe puts the server's version on every answer, and keeps answers out of caches: some hold tokens.
func (a *API) describe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(VersionHeader, a.cfg.Version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
