package snapshot

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Image is an image that some runner has.
type Image struct {
	Ref       string
	SizeBytes int64 // 0: not known
}

// Query selects and orders snapshots.
type Query struct {
	Page, Limit int    // from 1; 1..200; 0: 1 and 100
	Name        string // part of the name, case-insensitive
	Sort        string // name, state, lastUsedAt (default), createdAt
	Ascending   bool
}

// Page is one page of a list.
type Page struct {
	Items []Snapshot
	Total int
}

// Rows keeps snapshots.
type Rows interface {
	// Snapshots returns one page of those that an organization sees, general ones last, and how many there are.
	Snapshots(ctx context.Context, orgID string, q Query) ([]Snapshot, int, error)
	// Matches returns every snapshot that an organization sees whose id or name is the given one.
	Matches(ctx context.Context, orgID, idOrName string) ([]Snapshot, error)
	// Generals returns the general ones.
	Generals(ctx context.Context) ([]Snapshot, error)
	// Offer adds a general snapshot, or changes the one of that name. Id, creation and last use stay those of the first.
	Offer(ctx context.Context, s Snapshot) error
	// Used notes that a sandbox was made from it.
	Used(ctx context.Context, snapshotID string, at time.Time) error
}

// General is a snapshot that every organization sees.
type General struct {
	Name, Image             string
	User                    string
	CPU, MemoryGiB, DiskGiB int64
	Optional                bool // not offered before some runner has had the image
}

// DefaultGenerals are those of this build: its images, and the names that clients of the 0.x wire know.
var DefaultGenerals = []General{
	{Name: "base", Image: "base", User: "daytona", CPU: 1, MemoryGiB: 1, DiskGiB: 3},
	{Name: "tiny", Image: "tiny", User: "daytona", CPU: 1, MemoryGiB: 1, DiskGiB: 3},
	{Name: "desktop", Image: "desktop", User: "daytona", CPU: 2, MemoryGiB: 4, DiskGiB: 8, Optional: true},
	{Name: "daytona-small", Image: "base", User: "daytona", CPU: 1, MemoryGiB: 1, DiskGiB: 3},
	{Name: "daytona-medium", Image: "base", User: "daytona", CPU: 2, MemoryGiB: 4, DiskGiB: 8},
	{Name: "daytona-large", Image: "base", User: "daytona", CPU: 4, MemoryGiB: 8, DiskGiB: 10},
}

// ClassContainer is the class of every snapshot of this build.
const ClassContainer = "container"

// Config of a catalog.
type Config struct {
	Default  string    // name of the snapshot for creates that name none; "": base
	Generals []General // nil: DefaultGenerals
	Now      func() time.Time
}

// Catalog finds snapshots.
type Catalog struct {
	cfg  Config
	rows Rows
	log  *slog.Logger
}

// NewCatalog returns a catalog.
func NewCatalog(cfg Config, rows Rows, log *slog.Logger) *Catalog {
	if cfg.Default == "" {
		cfg.Default = "base"
	}
	if cfg.Generals == nil {
		cfg.Generals = DefaultGenerals
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Catalog{cfg: cfg, rows: rows, log: log}
}

// Default is the name of the snapshot for creates that name none.
func (c *Catalog) Default() string { return c.cfg.Default }

const (
	maxPage     = 200
	defaultPage = 100
	furthest    = 1 << 30 / maxPage
	maxName     = 512 // bytes
)

var sorts = []string{"name", "state", "lastUsedAt", "createdAt"}

// List returns one page of what an organization sees: its own snapshots, then the general ones.
func (c *Catalog) List(ctx context.Context, orgID string, q Query) (Page, error) {
	q.Page, q.Limit, q.Sort = cmp.Or(q.Page, 1), cmp.Or(q.Limit, defaultPage), cmp.Or(q.Sort, "lastUsedAt")
	switch {
	case q.Page < 1 || q.Page > furthest:
		return Page{}, errs.New(errs.Invalid, "page must be 1 to %d, got %d", furthest, q.Page)
	case q.Limit < 1 || q.Limit > maxPage:
		return Page{}, errs.New(errs.Invalid, "limit must be 1 to %d, got %d", maxPage, q.Limit)
	case !slices.Contains(sorts, q.Sort):
		return Page{}, errs.New(errs.Invalid, "sort must be one of %s, got %q", strings.Join(sorts, ", "), clip(q.Sort))
	case !nameable(q.Name) && q.Name != "":
		return Page{}, errs.New(errs.Invalid, "name must be at most %d bytes of text without control characters", maxName)
	}
	items, total, err := c.rows.Snapshots(ctx, orgID, q)
	return Page{Items: items, Total: total}, err
}

// Get returns a snapshot by id or name; the organization's own name wins over a general one. Another organization's is
// NotFound.
func (c *Catalog) Get(ctx context.Context, orgID, idOrName string) (Snapshot, error) {
	s, ok, err := c.find(ctx, orgID, idOrName)
	if err == nil && !ok {
		err = errs.New(errs.NotFound, "snapshot with ID or name %s not found", clip(strings.ToValidUTF8(idOrName, "�"))).WithCode("SNAPSHOT_NOT_FOUND")
	}
	return s, err
}

func (c *Catalog) find(ctx context.Context, orgID, idOrName string) (Snapshot, bool, error) {
	if !nameable(idOrName) {
		return Snapshot{}, false, nil
	}
	list, err := c.rows.Matches(ctx, orgID, idOrName)
	if err != nil || len(list) == 0 {
		return Snapshot{}, false, err
	}
	return slices.MinFunc(list, func(a, b Snapshot) int { return cmp.Compare(rank(&a, idOrName), rank(&b, idOrName)) }), true, nil
}

// rank orders matches, the best lowest: by id, then own before general.
func rank(s *Snapshot, idOrName string) int {
	switch {
	case s.ID == idOrName:
		return 0
	case !s.General:
		return 1
	}
	return 2
}

// Resolve finds what a new sandbox is made from; "" is the default. All its refusals are those of a create: a snapshot that
// is unknown or not active is Invalid. Of several that match, an active one is preferred.
func (c *Catalog) Resolve(ctx context.Context, orgID, nameOrID string) (Snapshot, error) {
	nameOrID = cmp.Or(nameOrID, c.cfg.Default)
	if !nameable(nameOrID) {
		return Snapshot{}, unresolved(nameOrID)
	}
	list, err := c.rows.Matches(ctx, orgID, nameOrID)
	if err != nil {
		return Snapshot{}, err
	}
	if len(list) == 0 {
		return Snapshot{}, unresolved(nameOrID)
	}
	s := slices.MinFunc(list, func(a, b Snapshot) int {
		return cmp.Compare(rank(&a, nameOrID)+inactive(&a), rank(&b, nameOrID)+inactive(&b))
	})
	if s.State != Active {
		why := ""
		if s.ErrorReason != "" {
			why = ": " + s.ErrorReason
		}
		return Snapshot{}, errs.New(errs.Invalid, "snapshot %s is not active, it is %s%s", s.Name, s.State, why).WithCode("SNAPSHOT_NOT_ACTIVE")
	}
	now := c.cfg.Now()
	if now.Sub(s.LastUsedAt) >= usedEvery {
		if err := c.rows.Used(ctx, s.ID, now); err != nil {
			c.log.WarnContext(ctx, "use of a snapshot not noted", "snapshot", s.ID, "error", err)
		}
	}
	return s, nil
}

// usedEvery is how exact the last use of a snapshot is kept.
const usedEvery = time.Minute

func inactive(s *Snapshot) int {
	if s.State == Active {
		return 0
	}
	return 10
}

func unresolved(nameOrID string) error {
	return errs.New(errs.Invalid, "snapshot %s not found", clip(strings.ToValidUTF8(nameOrID, "�"))).WithCode("SNAPSHOT_NOT_FOUND")
}

// Sync offers the general snapshots, active where some runner has the image. It writes only what changed.
func (c *Catalog) Sync(ctx context.Context, images []Image) error {
	sizes := make(map[string]int64, len(images))
	for _, im := range images {
		sizes[im.Ref] = im.SizeBytes
	}
	rows, err := c.rows.Generals(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]Snapshot, len(rows))
	for _, s := range rows {
		known[s.Name] = s
	}
	now := c.cfg.Now()
	for _, g := range c.cfg.Generals {
		old, exists := known[g.Name]
		size, there := sizes[g.Image]
		if g.Optional && !exists && !there {
			continue
		}
		next := old
		if !exists {
			next.ID, next.CreatedAt = id.New(), now
		}
		next.General, next.Name, next.Image, next.User, next.Class = true, g.Name, g.Image, g.User, ClassContainer
		next.CPU, next.MemoryGiB, next.DiskGiB = g.CPU, g.MemoryGiB, g.DiskGiB
		if there {
			next.State, next.ErrorReason = Active, ""
			if size > 0 {
				next.SizeGB = float64(size) / 1e9
			}
		} else {
			next.State, next.ErrorReason = Pending, "no runner has the image "+g.Image+" yet"
		}
		if exists && same(&old, &next) {
			continue
		}
		next.UpdatedAt = now
		if err := c.rows.Offer(ctx, next); err != nil {
			return err
		}
		c.log.InfoContext(ctx, "snapshot changed", "snapshot", g.Name, "state", string(next.State), "reason", next.ErrorReason)
	}
	return nil
}

func same(a, b *Snapshot) bool {
	return a.Image == b.Image && a.User == b.User && a.Class == b.Class && a.CPU == b.CPU && a.MemoryGiB == b.MemoryGiB && a.DiskGiB == b.DiskGiB &&
		a.State == b.State && a.ErrorReason == b.ErrorReason && a.SizeGB == b.SizeGB
}

// nameable reports text that may be the name or id of a snapshot.
func nameable(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
