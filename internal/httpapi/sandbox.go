package httpapi

import (
	"context"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

func (a *API) sandboxRoutes() []rest.Route {
	tag, write := rest.Tag("sandbox"), needs(org.WriteSandboxes)
	return []rest.Route{
		rest.Typed("POST", "/sandbox", "createSandbox", a.createSandbox, write, tag, rest.Summary("Make a sandbox"),
			rest.Description("Waits until the sandbox runs. When it fails, nothing is left behind. With an Idempotency-Key a repeated request returns the sandbox that the first one made.")),
		rest.Typed("GET", "/sandbox/{sandboxIdOrName}", "getSandbox", a.getSandbox, member, tag, rest.Summary("Get a sandbox by id or name")),
		rest.Typed("DELETE", "/sandbox/{sandboxIdOrName}", "deleteSandbox", a.deleteSandbox, needs(org.DeleteSandboxes), tag, rest.Summary("Destroy a sandbox"),
			rest.Description("Legal in every state. Returns at once, normally in the state destroying; its name is free from then on.")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/start", "startSandbox", a.startSandbox, write, tag, rest.Summary("Start a stopped sandbox"),
			rest.Description("Waits for it at most 30 seconds. One that runs is returned as it is.")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/stop", "stopSandbox", a.stopSandbox, write, tag, rest.Summary("Stop a sandbox"),
			rest.Description("Waits a moment and returns the sandbox as it is then, stopping or stopped. One with autoDeleteInterval 0 is destroyed.")),
		rest.Typed("PUT", "/sandbox/{sandboxIdOrName}/labels", "replaceLabels", a.replaceLabels, write, tag, rest.Summary("Replace all labels of a sandbox")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/public/{isPublic}", "updatePublicStatus", a.setPublic, write, tag, rest.Summary("Open or close the previews of a sandbox to everybody")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/autostop/{interval}", "setAutostopInterval", a.setAutoStop, write, tag, rest.Summary("Set the minutes without activity after which a sandbox is stopped; 0: never")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/autoarchive/{interval}", "setAutoArchiveInterval", a.setAutoArchive, write, tag, rest.Summary("Set the minutes stopped after which a sandbox is archived; 0: the maximum"),
			rest.Description("Kept and shown; this server has no storage for archives yet, stopped sandboxes stay where they are.")),
		rest.Typed("POST", "/sandbox/{sandboxIdOrName}/autodelete/{interval}", "setAutoDeleteInterval", a.setAutoDelete, write, tag, rest.Summary("Set the minutes stopped after which a sandbox is destroyed; 0: at once; negative: never")),
		rest.Typed("POST", "/sandbox/{sandboxId}/last-activity", "updateLastActivity", a.touch, member, tag, rest.Status(201), rest.Summary("Note that a sandbox is in use")),
	}
}

type sandboxIn struct {
	ID      string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Verbose bool   `query:"verbose" doc:"Accepted for old clients; changes nothing."`
}

func (a *API) getSandbox(ctx context.Context, in *sandboxIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.Get(ctx, orgOf(ctx), in.ID)
	return a.sandbox(ctx, s, err)
}

type oneIn struct {
	ID string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
}

func (a *API) deleteSandbox(ctx context.Context, in *oneIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.Delete(ctx, orgOf(ctx), in.ID)
	return a.sandbox(ctx, s, err)
}

func (a *API) startSandbox(ctx context.Context, in *oneIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.Start(ctx, orgOf(ctx), in.ID)
	return a.sandbox(ctx, s, err)
}

type stopIn struct {
	ID    string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Force bool   `query:"force" doc:"Kill at once instead of asking first."`
}

func (a *API) stopSandbox(ctx context.Context, in *stopIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.Stop(ctx, orgOf(ctx), in.ID, in.Force)
	return a.sandbox(ctx, s, err)
}

type labelsIn struct {
	ID   string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Body api.SandboxLabels
}

// replaceLabels answers with the whole sandbox: what clients decode of it is its labels.
func (a *API) replaceLabels(ctx context.Context, in *labelsIn) (*api.Sandbox, error) {
	if in.Body.Labels == nil { // an empty body must not wipe labels out
		return nil, errs.New(errs.Invalid, "labels is required and must be an object of strings; {} removes all labels")
	}
	s, err := a.deps.Sandboxes.SetLabels(ctx, orgOf(ctx), in.ID, in.Body.Labels)
	return a.sandbox(ctx, s, err)
}

type publicIn struct {
	ID     string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Public bool   `path:"isPublic" doc:"true opens them; anything else closes them."`
}

func (a *API) setPublic(ctx context.Context, in *publicIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.SetPublic(ctx, orgOf(ctx), in.ID, in.Public)
	return a.sandbox(ctx, s, err)
}

type intervalIn struct {
	ID      string `path:"sandboxIdOrName" doc:"Id or name of the sandbox."`
	Minutes int64  `path:"interval" doc:"Minutes."`
}

func (a *API) setAutoStop(ctx context.Context, in *intervalIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.SetAutoStop(ctx, orgOf(ctx), in.ID, in.Minutes)
	return a.sandbox(ctx, s, err)
}

func (a *API) setAutoArchive(ctx context.Context, in *intervalIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.SetAutoArchive(ctx, orgOf(ctx), in.ID, in.Minutes)
	return a.sandbox(ctx, s, err)
}

func (a *API) setAutoDelete(ctx context.Context, in *intervalIn) (*api.Sandbox, error) {
	s, err := a.deps.Sandboxes.SetAutoDelete(ctx, orgOf(ctx), in.ID, in.Minutes)
	return a.sandbox(ctx, s, err)
}

type touchIn struct {
	ID   string                 `path:"sandboxId" doc:"Id of the sandbox."`
	Body api.UpdateLastActivity `required:"false"`
}

func (a *API) touch(ctx context.Context, in *touchIn) (rest.None, error) {
	return rest.None{}, a.deps.Sandboxes.Touch(ctx, orgOf(ctx), in.ID)
}

// sandbox is what a handler that ends with a sandbox returns.
func (a *API) sandbox(ctx context.Context, s sandbox.Sandbox, err error) (*api.Sandbox, error) {
	if err != nil {
		return nil, err
	}
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	return wireSandbox(&s, at), nil
}
