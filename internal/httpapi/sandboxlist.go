package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

func (a *API) sandboxListRoutes() []rest.Route {
	tag := rest.Tag("sandbox")
	return []rest.Route{
		rest.Typed("GET", "/sandbox", "listSandboxes", a.listSandboxes, member, tag, rest.Summary("List sandboxes"),
			rest.Description("Lists in the query may be written states=a&states=b or states[]=a&states[]=b. states filters on the stored state: a sandbox that was asked to stop counts as started until it stopped, though it shows stopping.")),
		rest.Typed("GET", "/sandbox/paginated", "listSandboxesPaginated_deprecated", a.listNumbered, member, tag, rest.Deprecated(), rest.Summary("List sandboxes by numbered pages, for old clients")),
	}
}

// instant is a time in a query. The clients of the 0.x wire write it in several ways.
type instant struct{ time.Time }

var instantLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02"}

// UnmarshalText reads ISO 8601; a time without a zone is UTC.
func (t *instant) UnmarshalText(b []byte) error {
	s := strings.ReplaceAll(string(b), " ", "+") // the + of a zone that was not percent-encoded
	for _, layout := range instantLayouts {
		if v, err := time.Parse(layout, s); err == nil {
			t.Time = v
			return nil
		}
	}
	return fmt.Errorf("must be a time such as 2026-01-31T12:00:00Z, got %q", clip(string(b)))
}

// listFilter is what both lists take to narrow them.
type listFilter struct {
	ID                    string   `query:"id" doc:"Beginning of the id, whatever its case."`
	Name                  string   `query:"name" doc:"Beginning of the name, whatever its case."`
	Labels                string   `query:"labels" doc:"JSON object of labels that must all match."`
	IncludeErroredDeleted bool     `query:"includeErroredDeleted" default:"false" doc:"Include those that failed while they were destroyed."`
	States                []string `query:"states" enum:"creating,restoring,destroying,started,stopped,starting,stopping,error,build_failed,pending_build,building_snapshot,unknown,pulling_snapshot,archived,archiving,resizing,snapshotting,forking,pausing,paused,resuming" doc:"Stored states."`
	Snapshots             []string `query:"snapshots" doc:"Names of snapshots."`
	MinCPU                int64    `query:"minCpu" minimum:"1" doc:"Fewest cores."`
	MaxCPU                int64    `query:"maxCpu" minimum:"1" doc:"Most cores."`
	MinMemory             int64    `query:"minMemoryGiB" minimum:"1" doc:"Least memory in GiB."`
	MaxMemory             int64    `query:"maxMemoryGiB" minimum:"1" doc:"Most memory in GiB."`
	MinDisk               int64    `query:"minDiskGiB" minimum:"1" doc:"Least disk in GiB."`
	MaxDisk               int64    `query:"maxDiskGiB" minimum:"1" doc:"Most disk in GiB."`
	After                 instant  `query:"lastEventAfter" format:"date-time" doc:"Last active after this time."`
	Before                instant  `query:"lastEventBefore" format:"date-time" doc:"Last active before this time."`
}

// filter returns the domain's filter.
func (in *listFilter) filter() (sandbox.Filter, error) {
	labels, err := labelFilter(in.Labels)
	return sandbox.Filter{
		IDPrefix: in.ID, NamePrefix: in.Name, Labels: labels, States: states(in.States), Snapshots: in.Snapshots,
		MinCPU: in.MinCPU, MaxCPU: in.MaxCPU, MinMemoryGiB: in.MinMemory, MaxMemoryGiB: in.MaxMemory, MinDiskGiB: in.MinDisk, MaxDiskGiB: in.MaxDisk,
		ActiveAfter: in.After.Time, ActiveBefore: in.Before.Time, IncludeErroredDeleted: in.IncludeErroredDeleted,
	}, err
}

type listIn struct {
	listFilter
	Cursor        string   `query:"cursor" doc:"nextCursor of the page before."`
	Limit         int      `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"Sandboxes per page."`
	IncludeWarm   bool     `query:"includeWarm" default:"false" doc:"Include those that wait in a warm pool; this server has none."`
	Regions       []string `query:"regionIds" doc:"Ids of regions."`
	Classes       []string `query:"sandboxClasses" enum:"linux-vm,container,android,windows" doc:"Classes."`
	Public        *bool    `query:"isPublic" doc:"Only those whose previews are public, or only the others."`
	Recoverable   *bool    `query:"isRecoverable" doc:"Only those whose error can be recovered from, or only the others."`
	CreatedAfter  instant  `query:"createdAtAfter" format:"date-time" doc:"Made after this time."`
	CreatedBefore instant  `query:"createdAtBefore" format:"date-time" doc:"Made before this time."`
	DestroyAfter  instant  `query:"autoDestroyAtAfter" format:"date-time" doc:"To be destroyed after this time; this server plans no such thing, so none match."`
	DestroyBefore instant  `query:"autoDestroyAtBefore" format:"date-time" doc:"To be destroyed before this time; this server plans no such thing, so none match."`
	Sort          string   `query:"sort" enum:"name,cpu,memoryGib,diskGib,lastActivityAt,createdAt" default:"lastActivityAt" doc:"Order of the list."`
	Order         string   `query:"order" enum:"asc,desc" default:"desc" doc:"Direction of the order."`
}

func (a *API) listSandboxes(ctx context.Context, in *listIn) (*api.SandboxList, error) {
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	if !in.DestroyAfter.IsZero() || !in.DestroyBefore.IsZero() {
		return &api.SandboxList{Items: []api.SandboxListItem{}}, nil // no sandbox here has such a time
	}
	f.Regions, f.Classes, f.Public, f.Recoverable = in.Regions, in.Classes, in.Public, in.Recoverable
	f.CreatedAfter, f.CreatedBefore = in.CreatedAfter.Time, in.CreatedBefore.Time
	f.Sort, f.Ascending, f.Cursor, f.Limit = in.Sort, in.Order == "asc", in.Cursor, in.Limit
	page, err := a.deps.Sandboxes.List(ctx, orgOf(ctx), f)
	if err != nil {
		return nil, err
	}
	out := &api.SandboxList{Items: make([]api.SandboxListItem, len(page.Items))}
	for i := range page.Items {
		out.Items[i] = wireSandboxItem(&page.Items[i], at)
	}
	if page.Next != "" {
		out.NextCursor = &page.Next
	}
	return out, nil
}

type numberedIn struct {
	listFilter
	Page    int      `query:"page" minimum:"1" default:"1" doc:"Number of the page, from 1."`
	Limit   int      `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"Sandboxes per page."`
	Regions []string `query:"regions" doc:"Ids of regions."`
	Sort    string   `query:"sort" enum:"id,name,state,snapshot,region,updatedAt,createdAt,lastActivityAt" default:"createdAt" doc:"Order of the list."`
	Order   string   `query:"order" enum:"asc,desc" default:"desc" doc:"Direction of the order."`
}

func (a *API) listNumbered(ctx context.Context, in *numberedIn) (*api.NumberedSandboxes, error) {
	at, err := a.places(ctx)
	if err != nil {
		return nil, err
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	f.Regions, f.Sort, f.Ascending, f.Limit = in.Regions, in.Sort, in.Order == "asc", in.Limit
	page, err := a.deps.Sandboxes.ListNumbered(ctx, orgOf(ctx), f, in.Page)
	if err != nil {
		return nil, err
	}
	out := &api.NumberedSandboxes{Items: make([]api.Sandbox, len(page.Items)), Total: page.Total, Page: in.Page, TotalPages: pages(page.Total, in.Limit)}
	for i := range page.Items {
		out.Items[i] = *wireSandbox(&page.Items[i], at)
	}
	return out, nil
}

func pages(total, limit int) int { return (total + limit - 1) / limit }

func states(names []string) []sandbox.State {
	out := make([]sandbox.State, len(names))
	for i, n := range names {
		out[i] = sandbox.State(n)
	}
	return out
}

// labelFilter reads a JSON object of strings; "" is no filter.
func labelFilter(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(s), &m); err != nil || m == nil {
		return nil, errs.New(errs.Invalid, `labels must be a JSON object of strings such as {"team":"web"}, got %q`, clip(s))
	}
	return m, nil
}
