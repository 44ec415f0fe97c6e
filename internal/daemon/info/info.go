//go:build linux

// Package info serves what the daemon tells about itself and its sandbox: version, directories, environment, metrics.
package info

import (
	"context"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/telemetry"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Version string
	Workdir string
	Env     *environ.Env
	Limits  Limits
	// Telemetry is started by POST /init where the environment names a collector; nil: never.
	Telemetry *telemetry.Exporter

	mu    sync.Mutex // guards token
	token string

	cpu      window // of those who ask
	exported window // of telemetry
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("info")
	return []rest.Route{
		rest.Typed("GET", "/version", "GetVersion", h.version, tag, rest.Summary("Version of the daemon; it answers as soon as the daemon is ready")),
		rest.Typed("GET", "/user-home-dir", "GetUserHomeDir", h.home, tag, rest.Summary("Home directory of the sandbox's user")),
		rest.Typed("GET", "/project-dir", "GetProjectDir", h.home, tag, rest.Summary("Home directory, under its old name"), rest.Deprecated()),
		rest.Typed("GET", "/work-dir", "GetWorkDir", h.workdir, tag, rest.Summary("Directory where relative paths and commands start")),
		rest.Typed("POST", "/init", "Initialize", h.init, tag, rest.Summary("Give the daemon the sandbox's token, and start telemetry"), rest.Description("Where the sandbox's environment has DAYTONA_OTEL_ENDPOINT, metrics, spans and the daemon's log go there from now on. It may be called again.")),
		rest.Typed("POST", "/env", "UpdateEnv", h.env, tag, rest.Summary("Change the environment of processes started from now on"),
			rest.Description("Answers the environment that they will get.")),
		rest.Typed("GET", "/system/metrics", "GetSystemMetrics", h.metrics, tag, rest.Summary("Use of CPU, memory and disk")),
	}
}

func (h *Handler) version(context.Context, *struct{}) (toolbox.Version, error) {
	return toolbox.Version{Version: h.Version}, nil
}

func (h *Handler) home(context.Context, *struct{}) (toolbox.Dir, error) {
	return toolbox.Dir{Dir: h.Env.Get("HOME")}, nil
}

func (h *Handler) workdir(context.Context, *struct{}) (toolbox.Dir, error) {
	return toolbox.Dir{Dir: h.Workdir}, nil
}

type initIn struct{ Body toolbox.Init }

func (h *Handler) init(_ context.Context, in *initIn) (toolbox.Message, error) {
	h.mu.Lock()
	h.token = in.Body.Token
	h.mu.Unlock()
	if err := h.startTelemetry(in.Body.Token); err != nil {
		return toolbox.Message{}, err
	}
	return toolbox.Message{Message: "initialized"}, nil
}

// Token returns what the last POST /init gave, or "".
func (h *Handler) Token() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.token
}

type envIn struct{ Body toolbox.EnvUpdate }

func (h *Handler) env(_ context.Context, in *envIn) (toolbox.Env, error) {
	b := in.Body
	if len(b.Set) > 10000 || len(b.Unset) > 10000 {
		return nil, errs.New(errs.Invalid, "set and unset must have at most 10000 entries")
	}
	if err := h.Env.Update(b.Set, b.Unset, b.UnsetValuePrefix); err != nil {
		return nil, err
	}
	return h.Env.All(), nil
}
