package httpapi

import (
	"context"
	"net/http"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

func (a *API) previewRoutes() []rest.Route {
	tag := rest.Tag("sandbox")
	return []rest.Route{
		rest.Typed("GET", "/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", "getPortPreviewUrl", a.previewURL, member, tag, rest.Summary("Where a port of a sandbox is served, and the token that opens it")),
		rest.Typed("GET", "/sandbox/{sandboxId}/toolbox-proxy-url", "getToolboxProxyUrl", a.toolboxURL, member, tag, rest.Summary("Where the toolbox API of a sandbox is")),
		rest.Stream("GET", "/sandbox/{sandboxIdOrName}/build-logs", "getBuildLogs", a.buildLogs, member, tag, rest.Deprecated(), rest.Returns("application/octet-stream"), rest.Summary("Log of the build of a sandbox's image"),
			rest.Description("404 for a sandbox that was not made from a build.")),
		rest.Typed("GET", "/sandbox/{sandboxIdOrName}/build-logs-url", "getBuildLogsUrl", a.buildLogsURL, member, tag, rest.Summary("Where the log of the build of a sandbox's image is"),
			rest.Description("404 for a sandbox that was not made from a build.")),
	}
}

type portIn struct {
	ID   string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Port int64  `path:"port" minimum:"1" maximum:"65535" doc:"Port inside the sandbox."`
}

func (a *API) previewURL(ctx context.Context, in *portIn) (*api.PortPreviewURL, error) {
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.deps.Sandboxes.Get(ctx, orgOf(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &api.PortPreviewURL{SandboxID: s.ID, URL: at.preview(in.Port, s.ID), Token: s.AuthToken}, nil
}

type byIDIn struct {
	ID string `path:"sandboxId" doc:"Id of the sandbox."`
}

func (a *API) toolboxURL(ctx context.Context, in *byIDIn) (*api.ToolboxProxyURL, error) {
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := a.deps.Sandboxes.Get(ctx, orgOf(ctx), in.ID); err != nil {
		return nil, err
	}
	return &api.ToolboxProxyURL{URL: at.toolbox}, nil
}

// built returns NotFound for every sandbox: none here is made from a build.
func (a *API) built(ctx context.Context, idOrName string) error {
	s, err := a.deps.Sandboxes.Get(ctx, orgOf(ctx), idOrName)
	if err != nil {
		return err
	}
	return errs.New(errs.NotFound, "sandbox %s has no build: it was made from the snapshot %s", s.ID, s.Snapshot).WithCode("BUILD_NOT_FOUND")
}

func (a *API) buildLogsURL(ctx context.Context, in *oneIn) (*api.URL, error) {
	return nil, a.built(ctx, in.ID)
}

type logsIn struct {
	ID     string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Follow bool   `query:"follow" doc:"Keep on until the build ends."`
}

func (a *API) buildLogs(_ http.ResponseWriter, r *http.Request, in *logsIn) error {
	return a.built(r.Context(), in.ID)
}
