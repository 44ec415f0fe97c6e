package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// Snapshots keeps snapshots; it is the domain's [snapshot.Rows].
type Snapshots struct{ db *DB }

// Snapshots returns the adapter for snapshots.
func (d *DB) Snapshots() *Snapshots { return &Snapshots{d} }

var _ snapshot.Rows = (*Snapshots)(nil)

const snapshotColumns = `s.id, s.organization_id, s.general, s.name, s.name_lower, s.image, s.state, s.error_reason, s.size_gb, s.entrypoint, s.cpu,
s.gpu, s.memory_gib, s.disk_gib, s.class, s.default_user, s.created_at, s.updated_at, s.last_used_at`

func scanSnapshot(rows *sql.Rows) (r db.Snapshot, err error) {
	return r, rows.Scan(&r.ID, &r.OrganizationID, &r.General, &r.Name, &r.NameLower, &r.Image, &r.State, &r.ErrorReason, &r.SizeGb, &r.Entrypoint, &r.CPU,
		&r.GPU, &r.MemoryGib, &r.DiskGib, &r.Class, &r.DefaultUser, &r.CreatedAt, &r.UpdatedAt, &r.LastUsedAt)
}

var snapshotSorts = map[string]string{"name": "s.name_lower", "state": "s.state", "lastUsedAt": "s.last_used_at", "createdAt": "s.created_at"}

// Snapshots implements [snapshot.Rows].
func (t *Snapshots) Snapshots(ctx context.Context, orgID string, query snapshot.Query) ([]snapshot.Snapshot, int, error) {
	c := &clause{}
	c.and("(s.organization_id = " + c.arg(orgID) + " OR s.general)")
	if query.Name != "" {
		escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(query.Name))
		c.and("s.name_lower LIKE " + c.arg("%"+escaped+"%") + ` ESCAPE '\'`)
	}
	from := " FROM snapshot s WHERE " + strings.Join(c.where, " AND ")
	var total int
	if err := t.db.read.QueryRowContext(ctx, "SELECT COUNT(*)"+from, c.args...).Scan(&total); err != nil {
		return nil, 0, fault(err)
	}
	direction := " DESC"
	if query.Ascending {
		direction = " ASC"
	}
	rows, err := t.db.read.QueryContext(ctx, "SELECT "+snapshotColumns+from+" ORDER BY CASE WHEN s.general THEN 1 ELSE 0 END, "+snapshotSorts[query.Sort]+direction+
		", s.name_lower, s.id LIMIT "+c.arg(query.Limit)+" OFFSET "+c.arg((query.Page-1)*query.Limit), c.args...)
	if err != nil {
		return nil, 0, fault(err)
	}
	defer rows.Close()
	out := []snapshot.Snapshot{}
	for rows.Next() {
		r, err := scanSnapshot(rows)
		if err != nil {
			return nil, 0, fault(err)
		}
		s, err := fromSnapshot(&r)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, s)
	}
	return out, total, fault(rows.Err())
}

// Matches implements [snapshot.Rows].
func (t *Snapshots) Matches(ctx context.Context, orgID, idOrName string) ([]snapshot.Snapshot, error) {
	return snapshots(t.db.reader().MatchSnapshots(ctx, db.MatchSnapshotsParams{OrganizationID: orgID, ID: idOrName}))
}

// Generals implements [snapshot.Rows].
func (t *Snapshots) Generals(ctx context.Context) ([]snapshot.Snapshot, error) {
	return snapshots(t.db.reader().ListGeneralSnapshots(ctx))
}

// Offer implements [snapshot.Rows].
func (t *Snapshots) Offer(ctx context.Context, s snapshot.Snapshot) error {
	return fault(t.db.writer().OfferSnapshot(ctx, db.OfferSnapshotParams{ID: s.ID, Name: s.Name, NameLower: strings.ToLower(s.Name), Image: s.Image,
		State: string(s.State), ErrorReason: s.ErrorReason, SizeGb: s.SizeGB, Entrypoint: text(s.Entrypoint), CPU: s.CPU, GPU: s.GPU,
		MemoryGib: s.MemoryGiB, DiskGib: s.DiskGiB, Class: s.Class, DefaultUser: s.User,
		CreatedAt: millis(s.CreatedAt), UpdatedAt: millis(s.UpdatedAt), LastUsedAt: millis(s.LastUsedAt)}))
}

// Used implements [snapshot.Rows].
func (t *Snapshots) Used(ctx context.Context, snapshotID string, at time.Time) error {
	return fault(t.db.writer().UseSnapshot(ctx, db.UseSnapshotParams{ID: snapshotID, LastUsedAt: millis(at)}))
}

func snapshots(rows []db.Snapshot, err error) ([]snapshot.Snapshot, error) {
	if err != nil {
		return nil, fault(err)
	}
	out := make([]snapshot.Snapshot, len(rows))
	for i := range rows {
		if out[i], err = fromSnapshot(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func fromSnapshot(r *db.Snapshot) (snapshot.Snapshot, error) {
	entrypoint, err := parse[[]string](r.Entrypoint, "entrypoint")
	return snapshot.Snapshot{ID: r.ID, OrganizationID: r.OrganizationID, General: r.General, Name: r.Name, Image: r.Image, State: snapshot.State(r.State),
		ErrorReason: r.ErrorReason, SizeGB: r.SizeGb, Entrypoint: entrypoint, CPU: r.CPU, GPU: r.GPU, MemoryGiB: r.MemoryGib, DiskGiB: r.DiskGib,
		Class: r.Class, User: r.DefaultUser, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), LastUsedAt: moment(r.LastUsedAt)}, err
}
