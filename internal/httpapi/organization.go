package httpapi

import (
	"context"
	"strings"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
)

func (a *API) organizationRoutes() []rest.Route {
	orgs := rest.Tag("organizations")
	return []rest.Route{
		rest.Typed("GET", "/organizations", "listOrganizations", a.listOrganizations, member, orgs, rest.Summary("List the organizations that the credential is good for")),
		rest.Typed("GET", "/organizations/{organizationId}", "getOrganization", a.getOrganization, member, orgs, rest.Summary("Get an organization"), rest.Description("An API key sees its own organization only.")),
		rest.Typed("GET", "/regions", "listAvailableRegions", a.listRegions, member, orgs, rest.Summary("List the regions that the organization may use")),
		rest.Typed("GET", "/shared-regions", "listSharedRegions", a.listSharedRegions, public, rest.Tag("regions"), rest.Summary("List the regions that every organization may use")),
		rest.Typed("GET", "/api-keys/current", "getCurrentApiKey", a.currentKey, member, rest.Tag("api-keys"), rest.Summary("The API key of this request, with its value masked")),
		rest.Typed("GET", "/users/me", "getAuthenticatedUser", a.currentUser, member, rest.Tag("users"), rest.Summary("The user of this request")),
	}
}

// listOrganizations lists the one that the API key belongs to: the others of its user are none of the key's business.
func (a *API) listOrganizations(ctx context.Context, _ *nothing) ([]api.Organization, error) {
	o, err := a.organization(ctx)
	if err != nil {
		return nil, err
	}
	return []api.Organization{wireOrganization(&o)}, nil
}

type organizationIn struct {
	ID string `path:"organizationId" doc:"Id of the organization."`
}

func (a *API) getOrganization(ctx context.Context, in *organizationIn) (*api.Organization, error) {
	if in.ID != orgOf(ctx) { // also for one that does not exist: the answer tells nothing
		return nil, errs.New(errs.Denied, "access denied: the API key belongs to another organization")
	}
	o, err := a.organization(ctx)
	if err != nil {
		return nil, err
	}
	out := wireOrganization(&o)
	return &out, nil
}

func (a *API) organization(ctx context.Context) (org.Organization, error) {
	return a.deps.Directory.Organization(ctx, orgOf(ctx))
}

// What the wire wants to know of an organization and this server has no setting for.
const (
	suspensionGraceHours        = 24
	snapshotDeactivationMinutes = 20_160
)

func wireOrganization(o *org.Organization) api.Organization {
	out := api.Organization{
		ID: o.ID, Name: o.Name, CreatedBy: o.CreatedBy, Personal: o.Personal, CreatedAt: api.At(o.CreatedAt), UpdatedAt: api.At(o.UpdatedAt),
		Suspended: o.Suspended, SuspensionCleanupGracePeriodHours: suspensionGraceHours,
		MaxCPUPerSandbox: o.MaxCPUPerSandbox, MaxMemoryPerSandbox: o.MaxMemoryGiBPerSandbox, MaxDiskPerSandbox: o.MaxDiskGiBPerSandbox,
		SnapshotDeactivationTimeoutMinutes: snapshotDeactivationMinutes, DefaultRegionID: o.DefaultRegion, ExperimentalConfig: map[string]any{},
	}
	if o.Suspended && o.SuspensionReason != "" {
		out.SuspensionReason = &o.SuspensionReason
	}
	return out
}

func (a *API) listRegions(ctx context.Context, _ *nothing) ([]api.Region, error) {
	return wireRegions(a.deps.Directory.Regions(ctx, orgOf(ctx)))
}

func (a *API) listSharedRegions(ctx context.Context, _ *nothing) ([]api.Region, error) {
	return wireRegions(a.deps.Directory.SharedRegions(ctx))
}

func wireRegions(regions []org.Region, err error) ([]api.Region, error) {
	if err != nil {
		return nil, err
	}
	out := make([]api.Region, len(regions))
	for i, r := range regions {
		out[i] = api.Region{ID: r.ID, Name: r.Name, RegionType: api.RegionType(r.Type), CreatedAt: api.At(r.CreatedAt), UpdatedAt: api.At(r.UpdatedAt)}
		if r.OrganizationID != "" {
			out[i].OrganizationID = &r.OrganizationID
		}
	}
	return out, nil
}

func (a *API) currentKey(ctx context.Context, _ *nothing) (*api.APIKey, error) {
	k := actorOf(ctx).Key
	return &api.APIKey{
		Name: k.Name, Value: k.Prefix + strings.Repeat("*", 20) + k.Suffix, CreatedAt: api.At(k.CreatedAt), Permissions: list(k.Permissions),
		LastUsedAt: api.AtOrNil(k.LastUsedAt), ExpiresAt: api.AtOrNil(k.ExpiresAt), UserID: k.UserID, OrganizationID: k.OrganizationID,
	}, nil
}

func (a *API) currentUser(ctx context.Context, _ *nothing) (*api.User, error) {
	u, err := a.deps.Directory.User(ctx, actorOf(ctx).UserID)
	if err != nil {
		return nil, err
	}
	return &api.User{ID: u.ID, Name: u.Name, Email: u.Email, PublicKeys: []api.UserPublicKey{}, CreatedAt: api.At(u.CreatedAt)}, nil
}
