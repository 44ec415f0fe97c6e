package httpapi

import (
	"context"
	"maps"
	"net/http"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/rest"
)

type nothing struct{}

func (a *API) configRoutes() []rest.Route {
	return []rest.Route{
		rest.Typed("GET", "/config", "ConfigController_getConfig", a.config, public, rest.Tag("config"),
			rest.Summary("What a client needs to know of the server before it signs in")),
	}
}

func (a *API) config(ctx context.Context, _ *nothing) (*api.Configuration, error) {
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Configuration{
		Version: a.cfg.Version, BuildSHA: a.cfg.BuildSHA, Announcements: map[string]api.Announcement{},
		ProxyTemplateURL: at.previews, ProxyToolboxURL: at.toolbox, DashboardURL: at.dashboard,
		DefaultSnapshot: a.cfg.DefaultSnapshot, MaxAutoArchiveInterval: a.cfg.MaxAutoArchiveMinutes, Environment: a.cfg.Environment,
	}, nil
}

func (a *API) healthRoutes() []rest.Route {
	tag := rest.Tag("Health")
	return []rest.Route{
		rest.Typed("GET", "/health", "HealthController_live", a.live, public, tag, rest.Summary("Whether the server lives")),
		rest.Stream("GET", "/health/ready", "HealthController_check", a.ready, rest.Meta(Access{Health: true}), tag, rest.Answers[api.HealthReport](),
			rest.Summary("Whether the server can work"), rest.Description("503 with the same body, status error, when something that it stands on does not answer.")),
	}
}

func (a *API) live(context.Context, *nothing) (api.Health, error) {
	return api.Health{Status: "ok"}, nil
}

func (a *API) ready(w http.ResponseWriter, r *http.Request, _ *nothing) error {
	report := api.HealthReport{Status: "ok", Info: map[string]api.Indicator{}, Error: map[string]api.Indicator{}, Details: map[string]api.Indicator{}}
	status := http.StatusOK
	const database = "database"
	if err := a.deps.Database.Ping(r.Context()); err != nil {
		a.deps.Log.WarnContext(r.Context(), "database does not answer", "error", err)
		status, report.Status = http.StatusServiceUnavailable, "error"
		report.Error[database] = api.Indicator{Status: "down", Message: "no answer"} // the cause stays in the log
	} else {
		report.Info[database] = api.Indicator{Status: "up"}
	}
	maps.Copy(report.Details, report.Info)
	maps.Copy(report.Details, report.Error)
	a.edge.Write(w, status, report)
	return nil
}
