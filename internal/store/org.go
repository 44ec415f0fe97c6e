package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// Organizations keeps organizations, users and regions, and through [Keys] their keys; it is the domain's [org.Rows].
type Organizations struct {
	Keys
}

// Organizations returns the adapter for organizations.
func (d *DB) Organizations() *Organizations { return &Organizations{Keys{d}} }

var _ org.Rows = (*Organizations)(nil)

// Organization implements [org.Rows].
func (t *Organizations) Organization(ctx context.Context, orgID string) (org.Organization, error) {
	row, err := t.db.reader().GetOrganization(ctx, orgID)
	if errors.Is(err, sql.ErrNoRows) {
		return org.Organization{}, errs.Wrap(err, errs.NotFound, "organization not found").WithCode("ORGANIZATION_NOT_FOUND")
	}
	return organization(&row), fault(err)
}

// Organizations implements [org.Rows].
func (t *Organizations) Organizations(ctx context.Context, userID string) ([]org.Organization, error) {
	rows, err := t.db.reader().ListOrganizationsOfUser(ctx, userID)
	out := make([]org.Organization, len(rows))
	for i := range rows {
		out[i] = organization(&rows[i])
	}
	return out, fault(err)
}

// User implements [org.Rows].
func (t *Organizations) User(ctx context.Context, userID string) (org.User, error) {
	row, err := t.db.reader().GetUser(ctx, userID)
	return user(&row), fault(err)
}

// Regions implements [org.Rows].
func (t *Organizations) Regions(ctx context.Context, orgID string) ([]org.Region, error) {
	rows, err := t.db.reader().ListRegions(ctx, orgID)
	out := make([]org.Region, len(rows))
	for i := range rows {
		out[i] = region(&rows[i])
	}
	return out, fault(err)
}

// Bootstrap implements [org.Rows].
func (t *Organizations) Bootstrap(ctx context.Context, f org.Foundation) (org.Foundation, error) {
	err := t.db.tx(ctx, func(q *db.Queries) error {
		u, o, r := f.User, f.Organization, f.Region
		if err := q.AddUser(ctx, db.AddUserParams{ID: u.ID, Name: u.Name, Email: u.Email, Admin: u.Admin, CreatedAt: millis(u.CreatedAt)}); err != nil {
			return err
		}
		if err := q.LockUser(ctx, u.ID); err != nil { // another process may be doing the same
			return err
		}
		if err := q.PutRegion(ctx, db.PutRegionParams{ID: r.ID, Name: r.Name, Type: r.Type, OrganizationID: r.OrganizationID, CreatedAt: millis(r.CreatedAt), UpdatedAt: millis(r.UpdatedAt)}); err != nil {
			return err
		}
		have, err := q.PersonalOrganization(ctx, u.ID)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			err = q.AddOrganization(ctx, db.AddOrganizationParams(organizationRow(&o)))
		case err == nil:
			o.ID, o.Name, o.CreatedAt, o.Suspended, o.SuspensionReason = have.ID, have.Name, moment(have.CreatedAt), have.Suspended, have.SuspensionReason
			if have.DefaultRegion != "" {
				o.DefaultRegion = have.DefaultRegion
			}
			err = q.SetOrganizationLimits(ctx, db.SetOrganizationLimitsParams{ID: o.ID, DefaultRegion: o.DefaultRegion, MaxCpuPerSandbox: o.MaxCPUPerSandbox,
				MaxMemoryGibPerSandbox: o.MaxMemoryGiBPerSandbox, MaxDiskGibPerSandbox: o.MaxDiskGiBPerSandbox, MaxSandboxes: o.MaxSandboxes,
				TotalCpu: o.TotalCPU, TotalMemoryGib: o.TotalMemoryGiB, TotalDiskGib: o.TotalDiskGiB, UpdatedAt: millis(o.UpdatedAt)})
		}
		if err != nil {
			return err
		}
		if err := q.AddMember(ctx, db.AddMemberParams{OrganizationID: o.ID, UserID: u.ID, Role: string(org.Owner), CreatedAt: millis(o.UpdatedAt)}); err != nil {
			return err
		}
		k := f.Key
		k.OrganizationID = o.ID
		f.Organization, f.Key = o, k
		return q.PutKey(ctx, db.PutKeyParams{OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, Hash: k.Hash, Prefix: k.Prefix, Suffix: k.Suffix,
			Permissions: text(k.Permissions), ExpiresAt: millis(k.ExpiresAt), CreatedAt: millis(k.CreatedAt)})
	})
	return f, err
}

func organization(r *db.Organization) org.Organization {
	return org.Organization{ID: r.ID, Name: r.Name, CreatedBy: r.CreatedBy, Personal: r.Personal, DefaultRegion: r.DefaultRegion, Suspended: r.Suspended,
		SuspensionReason: r.SuspensionReason, MaxCPUPerSandbox: r.MaxCpuPerSandbox, MaxMemoryGiBPerSandbox: r.MaxMemoryGibPerSandbox,
		MaxDiskGiBPerSandbox: r.MaxDiskGibPerSandbox, MaxSandboxes: r.MaxSandboxes, TotalCPU: r.TotalCpu, TotalMemoryGiB: r.TotalMemoryGib,
		TotalDiskGiB: r.TotalDiskGib, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt)}
}

func organizationRow(o *org.Organization) db.Organization {
	return db.Organization{ID: o.ID, Name: o.Name, CreatedBy: o.CreatedBy, Personal: o.Personal, DefaultRegion: o.DefaultRegion, Suspended: o.Suspended,
		SuspensionReason: o.SuspensionReason, MaxCpuPerSandbox: o.MaxCPUPerSandbox, MaxMemoryGibPerSandbox: o.MaxMemoryGiBPerSandbox,
		MaxDiskGibPerSandbox: o.MaxDiskGiBPerSandbox, MaxSandboxes: o.MaxSandboxes, TotalCpu: o.TotalCPU, TotalMemoryGib: o.TotalMemoryGiB,
		TotalDiskGib: o.TotalDiskGiB, CreatedAt: millis(o.CreatedAt), UpdatedAt: millis(o.UpdatedAt)}
}

func user(r *db.User) org.User {
	return org.User{ID: r.ID, Name: r.Name, Email: r.Email, Admin: r.Admin, CreatedAt: moment(r.CreatedAt)}
}

func region(r *db.Region) org.Region {
	return org.Region{ID: r.ID, Name: r.Name, Type: r.Type, OrganizationID: r.OrganizationID, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt)}
}

// AddOrganization adds an organization that a user owns, both made when missing. It is for installations with more than the
// first organization; nothing of the 0.x wire reaches it yet.
func (t *Organizations) AddOrganization(ctx context.Context, o org.Organization, owner org.User) error {
	return t.db.tx(ctx, func(q *db.Queries) error {
		if err := q.AddUser(ctx, db.AddUserParams{ID: owner.ID, Name: owner.Name, Email: owner.Email, Admin: owner.Admin, CreatedAt: millis(owner.CreatedAt)}); err != nil {
			return err
		}
		if err := q.AddOrganization(ctx, db.AddOrganizationParams(organizationRow(&o))); err != nil {
			return err
		}
		return q.AddMember(ctx, db.AddMemberParams{OrganizationID: o.ID, UserID: owner.ID, Role: string(org.Owner), CreatedAt: millis(o.CreatedAt)})
	})
}

// Suspend sets or lifts the suspension of an organization. Who is authenticated already notices within seconds.
func (t *Organizations) Suspend(ctx context.Context, orgID string, suspended bool, reason string, now time.Time) error {
	n, err := t.db.writer().SuspendOrganization(ctx, db.SuspendOrganizationParams{ID: orgID, Suspended: suspended, SuspensionReason: reason, UpdatedAt: millis(now)})
	if err == nil && n == 0 {
		return errs.New(errs.NotFound, "organization not found").WithCode("ORGANIZATION_NOT_FOUND")
	}
	return fault(err)
}
