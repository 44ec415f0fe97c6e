package httpapi

import (
	"context"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

func (a *API) snapshotRoutes() []rest.Route {
	tag := rest.Tag("snapshots")
	return []rest.Route{
		rest.Typed("GET", "/snapshots", "getAllSnapshots", a.listSnapshots, member, tag, rest.Summary("List snapshots"), rest.Description("The organization's own first, then those that everybody may use.")),
		rest.Typed("GET", "/snapshots/{id}", "getSnapshot", a.getSnapshot, member, tag, rest.Summary("Get a snapshot by id or name"), rest.Description("A name is one path segment: its slashes are percent-encoded. The organization's own name wins.")),
	}
}

type snapshotsIn struct {
	Page   int    `query:"page" minimum:"1" default:"1" doc:"Number of the page, from 1."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"Snapshots per page."`
	Name   string `query:"name" doc:"Part of the name, whatever its case."`
	Source string `query:"sourceSandboxId" doc:"Sandbox that it was made from; this server makes none from sandboxes, so none match."`
	Sort   string `query:"sort" enum:"name,state,lastUsedAt,createdAt" default:"lastUsedAt" doc:"Order of the list."`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"Direction of the order."`
}

func (a *API) listSnapshots(ctx context.Context, in *snapshotsIn) (*api.SnapshotPage, error) {
	if in.Source != "" {
		return &api.SnapshotPage{Items: []api.Snapshot{}, Page: in.Page}, nil
	}
	orgID := orgOf(ctx)
	page, err := a.deps.Snapshots.List(ctx, orgID, snapshot.Query{Page: in.Page, Limit: in.Limit, Name: in.Name, Sort: in.Sort, Ascending: in.Order == "asc"})
	if err != nil {
		return nil, err
	}
	regions, err := a.regionIDs(ctx, orgID)
	if err != nil {
		return nil, err
	}
	out := &api.SnapshotPage{Items: make([]api.Snapshot, len(page.Items)), Total: page.Total, Page: in.Page, TotalPages: pages(page.Total, in.Limit)}
	for i := range page.Items {
		out.Items[i] = *wireSnapshot(&page.Items[i], regions)
	}
	return out, nil
}

type snapshotIn struct {
	ID string `path:"id" doc:"Id or name of the snapshot."`
}

func (a *API) getSnapshot(ctx context.Context, in *snapshotIn) (*api.Snapshot, error) {
	orgID := orgOf(ctx)
	s, err := a.deps.Snapshots.Get(ctx, orgID, in.ID)
	if err != nil {
		return nil, err
	}
	regions, err := a.regionIDs(ctx, orgID)
	if err != nil {
		return nil, err
	}
	return wireSnapshot(&s, regions), nil
}

// regionIDs are the regions that an organization can use a snapshot in: in this build, all that it has.
func (a *API) regionIDs(ctx context.Context, orgID string) ([]string, error) {
	regions, err := a.deps.Directory.Regions(ctx, orgID)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(regions))
	for i := range regions {
		ids[i] = regions[i].ID
	}
	return ids, nil
}

func wireSnapshot(s *snapshot.Snapshot, regions []string) *api.Snapshot {
	out := &api.Snapshot{
		ID: s.ID, OrganizationID: s.OrganizationID, General: s.General, Name: s.Name, ImageName: s.Image, State: api.SnapshotState(s.State),
		Entrypoint: s.Entrypoint, CPU: s.CPU, GPU: s.GPU, Mem: s.MemoryGiB, Disk: s.DiskGiB,
		CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt), LastUsedAt: api.AtOrNil(s.LastUsedAt),
		RegionIDs: regions, Ref: s.Image, SandboxClass: api.SandboxClass(s.Class),
	}
	if s.SizeGB > 0 {
		out.Size = &s.SizeGB
	}
	if s.ErrorReason != "" {
		out.ErrorReason = &s.ErrorReason
	}
	return out
}
