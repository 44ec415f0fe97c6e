package org

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Credentials finds what a key stands for.
type Credentials interface {
	// Credential returns the key with that hash, and who holds it; NotFound when there is none.
	Credential(ctx context.Context, hash string) (Credential, error)
	// KeyUsed notes when a key was last used.
	KeyUsed(ctx context.Context, k Key, at time.Time) error
}

// Credential is a key with all that is needed to judge it.
type Credential struct {
	Key              Key
	Role             Role
	Admin            bool // its user is an administrator
	Suspended        bool // its organization is
	SuspensionReason string
}

// Rows keeps organizations, users, keys and regions.
type Rows interface {
	Credentials
	Organization(ctx context.Context, orgID string) (Organization, error)
	// Organizations returns those that a user is a member of, the oldest first.
	Organizations(ctx context.Context, userID string) ([]Organization, error)
	User(ctx context.Context, userID string) (User, error)
	// Regions returns the shared ones and, for an organization, its own.
	Regions(ctx context.Context, orgID string) ([]Region, error)
	// Bootstrap makes what is missing of these and leaves what is there, except that the key's value, permissions and
	// expiry become the given ones, the organization's limits too, and that a default region is set where there is none.
	// It is one transaction. It returns what there is now.
	Bootstrap(ctx context.Context, b Foundation) (Foundation, error)
}

// Foundation is what an installation starts with.
type Foundation struct {
	User         User
	Organization Organization
	Region       Region
	Key          Key
}

// Limits of an organization; 0 is without limit.
type Limits struct {
	CPUPerSandbox, MemoryGiBPerSandbox, DiskGiBPerSandbox int64
	Sandboxes, TotalCPU, TotalMemoryGiB, TotalDiskGiB     int64
}

// How the administrator of a new installation is called.
const (
	AdminName    = "dugout-admin"
	PersonalName = "Personal"
)

// BootstrapConfig says what an installation starts with.
type BootstrapConfig struct {
	AdminKey             string // value of the administrator's API key
	RegionID, RegionName string // "": us
	Limits               Limits // of the administrator's organization
}

const (
	trustedFor = 4 * time.Second  // a credential, without asking again: a revoked key stops working in less than 5 s
	usedEvery  = 10 * time.Second // exactness of a key's last use
	maxCached  = 10_000           // credentials; beyond it all are asked for anew
	maxToken   = 512              // bytes; longer ones are refused without a look
)

// Directory answers who somebody is and what they belong to.
type Directory struct {
	rows Rows
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex // guards all below
	cached map[string]trusted
	used   map[string]usage // by hash; not written yet
}

type trusted struct {
	c  Credential
	at time.Time
}

type usage struct {
	key Key
	at  time.Time
}

// NewDirectory returns a directory. now may be nil.
func NewDirectory(rows Rows, log *slog.Logger, now func() time.Time) *Directory {
	if now == nil {
		now = time.Now
	}
	return &Directory{rows: rows, log: log, now: now, cached: map[string]trusted{}, used: map[string]usage{}}
}

// Run writes when keys were last used, until ctx ends. Without it Authenticate works, and uses are not noted.
func (d *Directory) Run(ctx context.Context) error {
	tick := time.NewTicker(usedEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.flush(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Directory) flush(ctx context.Context) {
	d.mu.Lock()
	used := d.used
	d.used = map[string]usage{}
	d.mu.Unlock()
	for _, u := range used {
		if err := d.rows.KeyUsed(ctx, u.key, u.at); err != nil {
			d.log.WarnContext(ctx, "last use of keys not noted", "count", len(used), "error", err)
			return
		}
	}
}

// Authenticate returns who a token stands for. Unauthenticated for every token that is not valid, always with the same
// message; Denied when its organization is suspended; other classes say that it cannot be told now.
func (d *Directory) Authenticate(ctx context.Context, token string) (*Actor, error) {
	if token == "" || len(token) > maxToken {
		return nil, unauthenticated()
	}
	hash, now := id.HashKey(token), d.now()
	d.mu.Lock()
	t, ok := d.cached[hash]
	d.mu.Unlock()
	if !ok || now.Sub(t.at) >= trustedFor || now.Before(t.at) {
		c, err := d.rows.Credential(ctx, hash)
		if errs.Is(err, errs.NotFound) {
			d.forget(hash)
			return nil, unauthenticated()
		} else if err != nil {
			return nil, errs.Wrap(err, errs.Unavailable, "credentials cannot be checked now")
		}
		t = trusted{c, now}
	}
	if at := t.c.Key.ExpiresAt; !at.IsZero() && !now.Before(at) {
		d.forget(hash)
		return nil, unauthenticated()
	}
	d.remember(hash, t, now)
	if t.c.Suspended {
		return nil, suspended(t.c.SuspensionReason)
	}
	k := t.c.Key
	return &Actor{UserID: k.UserID, OrganizationID: k.OrganizationID, Key: k, Role: t.c.Role, Admin: t.c.Admin}, nil
}

func (d *Directory) remember(hash string, t trusted, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cached) >= maxCached {
		clear(d.cached)
	}
	d.cached[hash] = t
	if u, ok := d.used[hash]; ok {
		u.at = now
		d.used[hash] = u
	} else if len(d.used) < maxCached {
		d.used[hash] = usage{t.c.Key, now}
	}
}

func (d *Directory) forget(hash string) {
	d.mu.Lock()
	delete(d.cached, hash)
	d.mu.Unlock()
}

// Forget drops every cached credential: a key, a member or an organization changed.
func (d *Directory) Forget() {
	d.mu.Lock()
	clear(d.cached)
	d.mu.Unlock()
}

func unauthenticated() error { return errs.New(errs.Unauthenticated, "invalid or missing credential") }

func suspended(reason string) error {
	if reason == "" {
		return errs.New(errs.Denied, "organization is suspended").WithCode("ORGANIZATION_SUSPENDED")
	}
	return errs.New(errs.Denied, "organization is suspended: %s", reason).WithCode("ORGANIZATION_SUSPENDED")
}

// Organization returns an organization by id.
func (d *Directory) Organization(ctx context.Context, orgID string) (Organization, error) {
	return d.rows.Organization(ctx, orgID)
}

// Organizations returns those that a user is a member of.
func (d *Directory) Organizations(ctx context.Context, userID string) ([]Organization, error) {
	return d.rows.Organizations(ctx, userID)
}

// User returns a user by id.
func (d *Directory) User(ctx context.Context, userID string) (User, error) {
	return d.rows.User(ctx, userID)
}

// Regions returns those that an organization may use: its own and the shared ones.
func (d *Directory) Regions(ctx context.Context, orgID string) ([]Region, error) {
	return d.rows.Regions(ctx, orgID)
}

// SharedRegions returns those that every organization may use.
func (d *Directory) SharedRegions(ctx context.Context) ([]Region, error) {
	return d.rows.Regions(ctx, "")
}

// Region finds a region that an organization may use: its own by name, then a shared one by name, then by id. "" is its
// default. Invalid when the organization has no default region, NotFound for one that it cannot see.
func (d *Directory) Region(ctx context.Context, orgID, nameOrID string) (Region, error) {
	o, err := d.rows.Organization(ctx, orgID)
	if err != nil {
		return Region{}, err
	}
	if o.DefaultRegion == "" {
		return Region{}, errs.New(errs.Invalid, "organization has no default region").WithCode("NO_DEFAULT_REGION")
	}
	regions, err := d.rows.Regions(ctx, orgID)
	if err != nil {
		return Region{}, err
	}
	if nameOrID == "" {
		nameOrID = o.DefaultRegion
	} else {
		for _, own := range []bool{true, false} {
			for _, r := range regions {
				if r.Name == nameOrID && (r.OrganizationID != "") == own {
					return r, nil
				}
			}
		}
	}
	for _, r := range regions {
		if r.ID == nameOrID {
			return r, nil
		}
	}
	return Region{}, errs.New(errs.NotFound, "region %q not found", clip(nameOrID)).WithCode("REGION_NOT_FOUND")
}

// Bootstrap makes the administrator, the organization, the region and the key of an installation, as far as they are
// missing. A changed key value replaces the old key. It may run at every start, also of several processes at once.
func (d *Directory) Bootstrap(ctx context.Context, cfg BootstrapConfig) (Foundation, error) {
	if len(cfg.AdminKey) < minAdminKey || len(cfg.AdminKey) > maxToken {
		return Foundation{}, errs.New(errs.Invalid, "the administrator's API key must have %d to %d characters, got %d", minAdminKey, maxToken, len(cfg.AdminKey))
	}
	if cfg.RegionID == "" {
		cfg.RegionID = "us"
	}
	if cfg.RegionName == "" {
		cfg.RegionName = cfg.RegionID
	}
	now, l := d.now(), cfg.Limits
	f := Foundation{
		User: User{ID: AdminName, Name: AdminName, Admin: true, CreatedAt: now},
		Organization: Organization{ID: id.New(), Name: PersonalName, CreatedBy: AdminName, Personal: true, DefaultRegion: cfg.RegionID, CreatedAt: now, UpdatedAt: now,
			MaxCPUPerSandbox: l.CPUPerSandbox, MaxMemoryGiBPerSandbox: l.MemoryGiBPerSandbox, MaxDiskGiBPerSandbox: l.DiskGiBPerSandbox,
			MaxSandboxes: l.Sandboxes, TotalCPU: l.TotalCPU, TotalMemoryGiB: l.TotalMemoryGiB, TotalDiskGiB: l.TotalDiskGiB},
		Region: Region{ID: cfg.RegionID, Name: cfg.RegionName, Type: "shared", CreatedAt: now, UpdatedAt: now},
		Key:    NewKey("", AdminName, AdminName, cfg.AdminKey, AllPermissions, now),
	}
	f, err := d.rows.Bootstrap(ctx, f)
	d.Forget()
	return f, err
}

// minAdminKey keeps guessable keys out, in characters.
const minAdminKey = 8

// NewKey returns what is kept of a key value.
func NewKey(orgID, userID, name, value string, permissions []string, now time.Time) Key {
	return Key{OrganizationID: orgID, UserID: userID, Name: name, Hash: id.HashKey(value), Prefix: value[:min(3, len(value))],
		Suffix: value[max(0, len(value)-3):], Permissions: permissions, CreatedAt: now}
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
