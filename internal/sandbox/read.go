package sandbox

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Get returns a sandbox by id or name. One that is destroyed, or that failed while being destroyed, is NotFound.
func (c *Controller) Get(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	return c.find(ctx, orgID, idOrName)
}

func (c *Controller) find(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	if idOrName == "" || len(idOrName) > 2*MaxNameBytes || !plain(idOrName, false) || orgID == "" {
		return Sandbox{}, unknown(idOrName)
	}
	s, err := c.deps.Store.Find(ctx, orgID, idOrName)
	if errs.Is(err, errs.NotFound) || err == nil && hidden(&s) {
		return Sandbox{}, unknown(idOrName)
	} else if err != nil {
		return Sandbox{}, err
	}
	c.touches.overlay(&s)
	return s, nil
}

func hidden(s *Sandbox) bool {
	return s.State == Destroyed || s.State == Error && s.Desired == WantDestroyed
}

func unknown(idOrName string) error {
	return errs.New(errs.NotFound, "sandbox with ID or name %s not found", clip(strings.ToValidUTF8(idOrName, "�"))).WithCode("SANDBOX_NOT_FOUND")
}

// Limits of lists.
const (
	MaxPage     = 200
	DefaultPage = 100
)

// List returns one page. Sort is one of name, cpu, memoryGib, diskGib, lastActivityAt, createdAt.
func (c *Controller) List(ctx context.Context, orgID string, f Filter) (Page, error) {
	if err := f.check(cursorSorts, DefaultSort); err != nil {
		return Page{}, err
	}
	after, err := parseCursor(f)
	if err != nil {
		return Page{}, err
	}
	items, err := c.deps.Store.Select(ctx, orgID, f, after, f.Limit+1)
	if err != nil {
		return Page{}, err
	}
	page := Page{Items: items}
	if len(items) > f.Limit {
		page.Items = items[:f.Limit]
		page.Next = cursor(&f, &page.Items[f.Limit-1])
	}
	for i := range page.Items {
		c.touches.overlay(&page.Items[i])
	}
	return page, nil
}

// ListNumbered returns page number n, from 1, of the deprecated list. Sort is one of id, name, state, snapshot, region,
// updatedAt, createdAt (default), lastActivityAt.
func (c *Controller) ListNumbered(ctx context.Context, orgID string, f Filter, n int) (NumberedPage, error) {
	if err := f.check(numberedSorts, "createdAt"); err != nil {
		return NumberedPage{}, err
	}
	const furthest = 1 << 30
	if n < 1 || n > furthest/MaxPage {
		return NumberedPage{}, errs.New(errs.Invalid, "page must be 1 to %d, got %d", furthest/MaxPage, n)
	}
	items, total, err := c.deps.Store.Count(ctx, orgID, f, (n-1)*f.Limit, f.Limit)
	if err != nil {
		return NumberedPage{}, err
	}
	for i := range items {
		c.touches.overlay(&items[i])
	}
	return NumberedPage{Items: items, Total: total}, nil
}

// DefaultSort of a cursor list.
const DefaultSort = "lastActivityAt"

var (
	cursorSorts   = []string{"name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"}
	numberedSorts = []string{"id", "name", "state", "snapshot", "region", "updatedAt", "createdAt", "lastActivityAt"}

	// allStates are those that a filter may name: all but destroyed.
	allStates = []State{Creating, Restoring, Destroying, Started, Stopped, Starting, Stopping, Error, BuildFailed, PendingBuild,
		BuildingSnapshot, Unknown, PullingSnapshot, Archived, Archiving, Resizing, Snapshotting, Forking, Pausing, Paused, Resuming}
)

// maxFilterValues bounds each list in a filter.
const maxFilterValues = 100

// check refuses a filter out of range and fills in its defaults.
func (f *Filter) check(sorts []string, sort string) error {
	if f.Sort == "" {
		f.Sort = sort
	}
	if f.Limit == 0 {
		f.Limit = DefaultPage
	}
	switch {
	case !slices.Contains(sorts, f.Sort):
		return errs.New(errs.Invalid, "sort must be one of %s, got %q", strings.Join(sorts, ", "), clip(f.Sort))
	case f.Limit < 1 || f.Limit > MaxPage:
		return errs.New(errs.Invalid, "limit must be 1 to %d, got %d", MaxPage, f.Limit)
	}
	for _, s := range f.States {
		if !slices.Contains(allStates, s) {
			return errs.New(errs.Invalid, "states must be of %s, got %q", joinStates(), clip(string(s)))
		}
	}
	for _, l := range []struct {
		field  string
		values []string
	}{{"snapshots", f.Snapshots}, {"regionIds", f.Regions}, {"sandboxClasses", f.Classes}, {"id", []string{f.IDPrefix}}, {"name", []string{f.NamePrefix}}} {
		if len(l.values) > maxFilterValues {
			return errs.New(errs.Invalid, "%s must have at most %d values, got %d", l.field, maxFilterValues, len(l.values))
		}
		for _, v := range l.values {
			if len(v) > 2*MaxNameBytes || !plain(v, false) {
				return errs.New(errs.Invalid, "%s must be at most %d bytes of text without control characters", l.field, 2*MaxNameBytes)
			}
		}
	}
	if len(f.States) > maxFilterValues {
		return errs.New(errs.Invalid, "states must have at most %d values, got %d", maxFilterValues, len(f.States))
	}
	for _, r := range []struct {
		field    string
		min, max int64
	}{{"Cpu", f.MinCPU, f.MaxCPU}, {"MemoryGiB", f.MinMemoryGiB, f.MaxMemoryGiB}, {"DiskGiB", f.MinDiskGiB, f.MaxDiskGiB}} {
		if r.min < 0 || r.max < 0 {
			return errs.New(errs.Invalid, "min%s and max%s must be at least 1, got %d and %d", r.field, r.field, r.min, r.max)
		}
	}
	return checkLabels(f.Labels)
}

func joinStates() string {
	names := make([]string, len(allStates))
	for i, s := range allStates {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// mark is a cursor inside: the order it belongs to, and the last row that was given out.
type mark struct {
	Sort string `json:"s"`
	Asc  bool   `json:"a,omitempty"`
	Text string `json:"t,omitempty"`
	Num  int64  `json:"n,omitempty"`
	ID   string `json:"i"`
}

const maxCursor = 2048

func cursor(f *Filter, last *Sandbox) string {
	m := mark{Sort: f.Sort, Asc: f.Ascending, ID: last.ID}
	switch f.Sort {
	case "name":
		m.Text = strings.ToLower(last.Name) // names are sorted without regard to case
	case "cpu":
		m.Num = last.CPU
	case "memoryGib":
		m.Num = last.MemoryGiB
	case "diskGib":
		m.Num = last.DiskGiB
	case "lastActivityAt":
		m.Num = last.LastActivityAt.UnixMilli()
	case "createdAt":
		m.Num = last.CreatedAt.UnixMilli()
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings, an integer and a boolean
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(f Filter) (Mark, error) {
	if f.Cursor == "" {
		return Mark{}, nil
	}
	bad := errs.New(errs.Invalid, "cursor must be the nextCursor of an earlier page with the same sort and order")
	if len(f.Cursor) > maxCursor {
		return Mark{}, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(f.Cursor)
	if err != nil {
		return Mark{}, bad
	}
	var m mark
	if err := json.Unmarshal(b, &m); err != nil || m.Sort != f.Sort || m.Asc != f.Ascending || m.ID == "" || !plain(m.ID, false) ||
		!plain(m.Text, false) || !utf8.Valid(b) {
		return Mark{}, bad
	}
	return Mark{Text: m.Text, Number: m.Num, ID: m.ID}, nil
}
