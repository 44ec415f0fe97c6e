package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// sandboxColumns are all columns, in the order of [scanSandbox].
const sandboxColumns = `s.id, s.organization_id, s.name, s.name_lower, s.region_id, s.class, s.snapshot, s.image, s.os_user, s.env, s.labels,
s.public, s.network_block_all, s.network_allow, s.network_domains, s.cpu, s.gpu, s.memory_gib, s.disk_gib, s.auto_stop_minutes,
s.auto_archive_minutes, s.auto_delete_minutes, s.idempotency_key, s.request_hash, s.state, s.desired, s.pending, s.runner_id, s.error_reason,
s.stop_reason, s.recoverable, s.daemon_version, s.auth_token, s.state_since, s.version, s.created_at, s.updated_at, s.last_activity_at`

func scanSandbox(rows *sql.Rows) (r db.Sandbox, err error) {
	return r, rows.Scan(&r.ID, &r.OrganizationID, &r.Name, &r.NameLower, &r.RegionID, &r.Class, &r.Snapshot, &r.Image, &r.OsUser, &r.Env, &r.Labels,
		&r.Public, &r.NetworkBlockAll, &r.NetworkAllow, &r.NetworkDomains, &r.CPU, &r.GPU, &r.MemoryGib, &r.DiskGib, &r.AutoStopMinutes,
		&r.AutoArchiveMinutes, &r.AutoDeleteMinutes, &r.IdempotencyKey, &r.RequestHash, &r.State, &r.Desired, &r.Pending, &r.RunnerID, &r.ErrorReason,
		&r.StopReason, &r.Recoverable, &r.DaemonVersion, &r.AuthToken, &r.StateSince, &r.Version, &r.CreatedAt, &r.UpdatedAt, &r.LastActivityAt)
}

// sortColumns are the columns that a filter may sort by. Names are sorted without regard to case.
var sortColumns = map[string]string{
	"id": "s.id", "name": "s.name_lower", "state": "s.state", "snapshot": "s.snapshot", "region": "s.region_id", "updatedAt": "s.updated_at",
	"cpu": "s.cpu", "memoryGib": "s.memory_gib", "diskGib": "s.disk_gib", "lastActivityAt": "s.last_activity_at", "createdAt": "s.created_at",
}

// clause collects conditions and their arguments. What comes from outside is always an argument.
type clause struct {
	where []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (c *clause) arg(v any) string {
	c.args = append(c.args, v)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *clause) and(condition string) { c.where = append(c.where, condition) }

func (c *clause) in(column string, values []string) {
	if len(values) == 0 {
		return
	}
	holders := make([]string, len(values))
	for i, v := range values {
		holders[i] = c.arg(v)
	}
	c.and(column + " IN (" + strings.Join(holders, ", ") + ")")
}

func (c *clause) between(column string, low, high int64) {
	if low != 0 {
		c.and(column + " >= " + c.arg(low))
	}
	if high != 0 {
		c.and(column + " <= " + c.arg(high))
	}
}

// prefix matches the beginning, in byte order, with the help of an index.
func (c *clause) prefix(column, start string) {
	if start == "" {
		return
	}
	c.and(column + " >= " + c.arg(start))
	c.and(column + " < " + c.arg(start+"\U0010FFFF"))
}

func (c *clause) when(column string, after, before time.Time) {
	if !after.IsZero() {
		c.and(column + " >= " + c.arg(millis(after)))
	}
	if !before.IsZero() {
		c.and(column + " <= " + c.arg(millis(before)))
	}
}

func sandboxClause(orgID string, f *sandbox.Filter) *clause {
	c := &clause{}
	c.and("s.organization_id = " + c.arg(orgID))
	c.and("s.state <> 'destroyed'") // as the indexes have it
	if !f.IncludeErroredDeleted {
		c.and("NOT (s.state = 'error' AND s.desired = 'destroyed')")
	}
	c.prefix("s.id", strings.ToLower(f.IDPrefix))
	c.prefix("s.name_lower", strings.ToLower(f.NamePrefix))
	states := make([]string, len(f.States))
	for i, s := range f.States {
		states[i] = string(s)
	}
	c.in("s.state", states)
	c.in("s.snapshot", f.Snapshots)
	c.in("s.region_id", f.Regions)
	c.in("s.class", f.Classes)
	c.between("s.cpu", f.MinCPU, f.MaxCPU)
	c.between("s.memory_gib", f.MinMemoryGiB, f.MaxMemoryGiB)
	c.between("s.disk_gib", f.MinDiskGiB, f.MaxDiskGiB)
	c.when("s.created_at", f.CreatedAfter, f.CreatedBefore)
	c.when("s.last_activity_at", f.ActiveAfter, f.ActiveBefore)
	if f.Public != nil {
		c.and("s.public = " + c.arg(*f.Public))
	}
	if f.Recoverable != nil {
		c.and("s.recoverable = " + c.arg(*f.Recoverable))
	}
	for _, k := range slices.Sorted(maps.Keys(f.Labels)) {
		c.and("EXISTS (SELECT 1 FROM sandbox_label l WHERE l.sandbox_id = s.id AND l.key = " + c.arg(k) + " AND l.value = " + c.arg(f.Labels[k]) + ")")
	}
	return c
}

// Select implements [sandbox.Lists].
func (t *Sandboxes) Select(ctx context.Context, orgID string, f sandbox.Filter, after sandbox.Mark, limit int) ([]sandbox.Sandbox, error) {
	c := sandboxClause(orgID, &f)
	column, direction, than := sortColumns[f.Sort], "DESC", "<"
	if f.Ascending {
		direction, than = "ASC", ">"
	}
	if after.ID != "" {
		var value any = after.Number
		if f.Sort == "name" {
			value = after.Text
		}
		c.and("(" + column + ", s.id) " + than + " (" + c.arg(value) + ", " + c.arg(after.ID) + ")")
	}
	return t.ordered(ctx, c, strings.Join(c.where, " AND "), column+" "+direction+", s.id "+direction, " LIMIT "+c.arg(limit))
}

// ordered finds the ids of a page first and reads the wide rows of these alone: not every order has an index.
func (t *Sandboxes) ordered(ctx context.Context, c *clause, where, order, limit string) ([]sandbox.Sandbox, error) {
	return t.query(ctx, "SELECT "+sandboxColumns+" FROM (SELECT s.id AS page_id FROM sandbox s WHERE "+where+" ORDER BY "+order+limit+
		") p JOIN sandbox s ON s.id = p.page_id ORDER BY "+order, c)
}

// Count implements [sandbox.Lists].
func (t *Sandboxes) Count(ctx context.Context, orgID string, f sandbox.Filter, offset, limit int) ([]sandbox.Sandbox, int, error) {
	c := sandboxClause(orgID, &f)
	where := strings.Join(c.where, " AND ")
	var total int
	if err := t.db.read.QueryRowContext(ctx, "SELECT COUNT(*) FROM sandbox s WHERE "+where, c.args...).Scan(&total); err != nil {
		return nil, 0, fault(err)
	}
	direction := "DESC"
	if f.Ascending {
		direction = "ASC"
	}
	items, err := t.ordered(ctx, c, where, sortColumns[f.Sort]+" "+direction+", s.id "+direction, " LIMIT "+c.arg(limit)+" OFFSET "+c.arg(offset))
	return items, total, err
}

func (t *Sandboxes) query(ctx context.Context, statement string, c *clause) ([]sandbox.Sandbox, error) {
	rows, err := t.db.read.QueryContext(ctx, statement, c.args...)
	if err != nil {
		return nil, fault(err)
	}
	defer rows.Close()
	out := []sandbox.Sandbox{}
	for rows.Next() {
		r, err := scanSandbox(rows)
		if err != nil {
			return nil, fault(err)
		}
		s, err := fromRow(&r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, fault(rows.Err())
}
