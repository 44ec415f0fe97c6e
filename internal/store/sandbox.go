package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// Sandboxes keeps sandboxes; it is the domain's [sandbox.Store].
type Sandboxes struct{ db *DB }

// Sandboxes returns the adapter for sandboxes.
func (d *DB) Sandboxes() *Sandboxes { return &Sandboxes{d} }

var _ sandbox.Store = (*Sandboxes)(nil)

// Insert implements [sandbox.Rows].
func (t *Sandboxes) Insert(ctx context.Context, s sandbox.Sandbox, key sandbox.Key, quota sandbox.Quota) error {
	const tries = 5 // each fails because a row with that name or key came, and was gone when it was looked for
	var err error
	for range tries {
		if err = t.insert(ctx, &s, key, quota); !duplicate(err) {
			return err
		}
		// Which of the unique names it was, is read instead of guessed from the error: the key first, because another request
		// with the key has the same name.
		if taken := t.taken(ctx, &s, key); taken != nil {
			return taken
		}
	}
	return errs.Wrap(err, errs.Busy, "a sandbox with name %s comes and goes right now", s.Name)
}

// taken returns what keeps s from being inserted as an error; nil: nothing any more.
func (t *Sandboxes) taken(ctx context.Context, s *sandbox.Sandbox, key sandbox.Key) error {
	if key.Value != "" {
		if _, _, err := t.ByKey(ctx, s.OrganizationID, key.Value); err == nil {
			return sandbox.ErrKeyTaken
		} else if !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	other, err := t.Find(ctx, s.OrganizationID, s.Name)
	if errs.Is(err, errs.NotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if key.Value != "" { // it may have come after the look at the key, and with it
		if keyed, _, err := t.ByKey(ctx, s.OrganizationID, key.Value); err == nil && keyed.ID == other.ID {
			return sandbox.ErrKeyTaken
		}
	}
	return errs.New(errs.Conflict, "a sandbox with name %s already exists", s.Name).WithCode("SANDBOX_NAME_TAKEN")
}

func (t *Sandboxes) insert(ctx context.Context, s *sandbox.Sandbox, key sandbox.Key, quota sandbox.Quota) error {
	row := toRow(s)
	row.IdempotencyKey = sql.NullString{String: key.Value, Valid: key.Value != ""}
	row.RequestHash = key.Hash
	return t.db.tx(ctx, func(q *db.Queries) error {
		if err := within(ctx, q, s, quota, false); err != nil {
			return err
		}
		if err := q.AddSandbox(ctx, db.AddSandboxParams(row)); err != nil {
			return err
		}
		if err := addLabels(ctx, q, s); err != nil {
			return err
		}
		// Last, because every create on that runner waits for this row.
		n, err := q.LoadRunner(ctx, db.LoadRunnerParams{ID: s.RunnerID, UsedCpu: s.CPU, UsedMemoryGib: s.MemoryGiB, UsedDiskGib: s.DiskGiB})
		if err == nil && n == 0 {
			err = sandbox.ErrRunnerFull
		}
		return err
	})
}

// within holds the quota against what the organization uses, s counted. self: s has a row already, which is not counted.
func within(ctx context.Context, q *db.Queries, s *sandbox.Sandbox, quota sandbox.Quota, self bool) error {
	if quota == (sandbox.Quota{}) {
		return nil
	}
	if n, err := q.LockOrganization(ctx, s.OrganizationID); err != nil || n == 0 {
		return errors.Join(err, errs.New(errs.NotFound, "organization not found"))
	}
	running, err := q.SandboxUsage(ctx, s.OrganizationID)
	if err != nil {
		return err
	}
	all, err := q.SandboxDisk(ctx, s.OrganizationID)
	if err != nil {
		return err
	}
	if self { // it is stopped: its place and its disk are counted, its processors and memory are not
		all.Sandboxes--
		all.DiskGib -= s.DiskGiB
	}
	for _, l := range []struct {
		what, unit      string
		used, add, most int64
	}{
		{"number of sandboxes", "", all.Sandboxes, 1, quota.Sandboxes},
		{"CPU", "", running.CPU, s.CPU, quota.CPU},
		{"memory", " GiB", running.MemoryGib, s.MemoryGiB, quota.MemoryGiB},
		{"disk", " GiB", all.DiskGib, s.DiskGiB, quota.DiskGiB},
	} {
		if l.most > 0 && l.used+l.add > l.most {
			return errs.New(errs.Exhausted, "total %s limit exceeded: %d%s in use, %d%s asked for, maximum %d%s", l.what, l.used, l.unit, l.add, l.unit, l.most, l.unit).
				WithCode("QUOTA_EXCEEDED")
		}
	}
	return nil
}

func addLabels(ctx context.Context, q *db.Queries, s *sandbox.Sandbox) error {
	for k, v := range s.Labels {
		if err := q.AddLabel(ctx, db.AddLabelParams{SandboxID: s.ID, OrganizationID: s.OrganizationID, Key: k, Value: v}); err != nil {
			return err
		}
	}
	return nil
}

// Save implements [sandbox.Rows].
func (t *Sandboxes) Save(ctx context.Context, s sandbox.Sandbox, quota sandbox.Quota) (bool, error) {
	r := toRow(&s)
	params := db.SaveSandboxParams{
		OrganizationID: r.OrganizationID, ID: r.ID, Version: r.Version, State: r.State, Desired: r.Desired, Pending: r.Pending,
		RunnerID: r.RunnerID, ErrorReason: r.ErrorReason, StopReason: r.StopReason, Recoverable: r.Recoverable, DaemonVersion: r.DaemonVersion,
		AuthToken: r.AuthToken, StateSince: r.StateSince, Name: r.Name, NameLower: r.NameLower, UpdatedAt: r.UpdatedAt, LastActivityAt: r.LastActivityAt,
	}
	if quota == (sandbox.Quota{}) && s.RunnerID != "" { // nothing else to write: one statement
		n, err := t.db.writer().SaveSandbox(ctx, params)
		return n == 1, fault(err)
	}
	saved := false
	err := t.db.tx(ctx, func(q *db.Queries) error {
		saved = false
		if err := within(ctx, q, &s, quota, true); err != nil {
			return err
		}
		var left string
		if s.RunnerID == "" {
			was, err := q.GetSandboxOf(ctx, db.GetSandboxOfParams{ID: s.ID, OrganizationID: s.OrganizationID})
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			} else if err != nil {
				return err
			}
			left = was.RunnerID
		}
		n, err := q.SaveSandbox(ctx, params)
		if err != nil || n == 0 {
			return err
		}
		saved = true
		if left == "" {
			return nil
		}
		return q.UnloadRunner(ctx, db.UnloadRunnerParams{ID: left, UsedCpu: s.CPU, UsedMemoryGib: s.MemoryGiB, UsedDiskGib: s.DiskGiB})
	})
	return saved && err == nil, err
}

// Configure implements [sandbox.Rows].
func (t *Sandboxes) Configure(ctx context.Context, orgID, id string, set sandbox.Settings, now time.Time) (out sandbox.Sandbox, err error) {
	const tries = 20
	for range tries {
		done := false
		err = t.db.tx(ctx, func(q *db.Queries) error {
			row, err := q.GetSandboxOf(ctx, db.GetSandboxOfParams{OrganizationID: orgID, ID: id})
			if err != nil {
				return err
			}
			if row.Desired == string(sandbox.WantDestroyed) {
				return sql.ErrNoRows
			}
			if out, err = fromRow(&row); err != nil {
				return err
			}
			assign(&out, set)
			out.UpdatedAt = moment(millis(now))
			n, err := q.ConfigureSandbox(ctx, db.ConfigureSandboxParams{OrganizationID: orgID, ID: id, Labels: text(out.Labels), Public: out.Public,
				AutoStopMinutes: out.AutoStopMinutes, AutoArchiveMinutes: out.AutoArchiveMinutes, AutoDeleteMinutes: out.AutoDeleteMinutes,
				UpdatedAt: millis(now), Version: row.Version})
			if err != nil || n == 0 {
				return err
			}
			done = true
			out.Version++
			if set.Labels == nil {
				return nil
			}
			if err := q.DropLabels(ctx, id); err != nil {
				return err
			}
			return addLabels(ctx, q, &out)
		})
		if err != nil || done {
			return out, err
		}
	}
	return out, errs.New(errs.Conflict, "sandbox %s changes too often right now; try again", id)
}

func assign(s *sandbox.Sandbox, set sandbox.Settings) {
	if set.Labels != nil {
		s.Labels = set.Labels
	}
	if set.Public != nil {
		s.Public = *set.Public
	}
	if set.AutoStopMinutes != nil {
		s.AutoStopMinutes = *set.AutoStopMinutes
	}
	if set.AutoArchiveMinutes != nil {
		s.AutoArchiveMinutes = *set.AutoArchiveMinutes
	}
	if set.AutoDeleteMinutes != nil {
		s.AutoDeleteMinutes = *set.AutoDeleteMinutes
	}
}

// Remove implements [sandbox.Rows].
func (t *Sandboxes) Remove(ctx context.Context, s sandbox.Sandbox) (bool, error) {
	n, err := t.db.writer().RemoveSandbox(ctx, db.RemoveSandboxParams{OrganizationID: s.OrganizationID, ID: s.ID, Version: s.Version})
	return n == 1, fault(err)
}

// Find implements [sandbox.Rows].
func (t *Sandboxes) Find(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error) {
	q := t.db.reader()
	row, err := q.GetSandboxOf(ctx, db.GetSandboxOfParams{OrganizationID: orgID, ID: idOrName})
	if errors.Is(err, sql.ErrNoRows) {
		row, err = q.GetSandboxByName(ctx, db.GetSandboxByNameParams{OrganizationID: orgID, Name: idOrName})
	}
	return one(row, err)
}

// ByID implements [sandbox.Sweeps].
func (t *Sandboxes) ByID(ctx context.Context, id string) (sandbox.Sandbox, error) {
	return one(t.db.reader().GetSandbox(ctx, id))
}

// ByKey implements [sandbox.Rows].
func (t *Sandboxes) ByKey(ctx context.Context, orgID, key string) (sandbox.Sandbox, string, error) {
	row, err := t.db.reader().GetSandboxByKey(ctx, db.GetSandboxByKeyParams{OrganizationID: orgID, IdempotencyKey: sql.NullString{String: key, Valid: true}})
	s, err := one(row, err)
	return s, row.RequestHash, err
}

func one(row db.Sandbox, err error) (sandbox.Sandbox, error) {
	if err != nil {
		return sandbox.Sandbox{}, fault(err)
	}
	return fromRow(&row)
}

func many(rows []db.Sandbox, err error) ([]sandbox.Sandbox, error) {
	if err != nil {
		return nil, fault(err)
	}
	out := make([]sandbox.Sandbox, len(rows))
	for i := range rows {
		if out[i], err = fromRow(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// InTransition implements [sandbox.Sweeps].
func (t *Sandboxes) InTransition(ctx context.Context, after string, limit int) ([]sandbox.Sandbox, error) {
	return many(t.db.reader().ListPending(ctx, db.ListPendingParams{ID: after, Limit: int32(limit)}))
}

// OnRunner implements [sandbox.Sweeps].
func (t *Sandboxes) OnRunner(ctx context.Context, runnerID, after string, limit int) ([]sandbox.Sandbox, error) {
	return many(t.db.reader().ListOnRunner(ctx, db.ListOnRunnerParams{RunnerID: runnerID, ID: after, Limit: int32(limit)}))
}

// Idle implements [sandbox.Sweeps].
func (t *Sandboxes) Idle(ctx context.Context, now, quietFrom time.Time, limit int) ([]sandbox.Sandbox, error) {
	return many(t.db.reader().ListIdle(ctx, db.ListIdleParams{LastActivityAt: millis(now), AutoStopMinutes: millis(now) - millis(quietFrom), Limit: int32(limit)}))
}

// DeleteDue implements [sandbox.Sweeps].
func (t *Sandboxes) DeleteDue(ctx context.Context, now, quietFrom time.Time, limit int) ([]sandbox.Sandbox, error) {
	return many(t.db.reader().ListDeleteDue(ctx, db.ListDeleteDueParams{LastActivityAt: millis(now), AutoDeleteMinutes: millis(now) - millis(quietFrom), Limit: int32(limit)}))
}

// Purge implements [sandbox.Sweeps].
func (t *Sandboxes) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	n, err := t.db.writer().PurgeSandboxes(ctx, db.PurgeSandboxesParams{UpdatedAt: millis(before), Limit: int32(limit)})
	return n, fault(err)
}

// Touch implements [sandbox.Sweeps].
func (t *Sandboxes) Touch(ctx context.Context, at map[string]time.Time) error {
	ids := make([]string, 0, len(at))
	for id := range at {
		ids = append(ids, id)
	}
	slices.Sort(ids) // two processes that touch the same rows lock them in the same order
	const together = 500
	for part := range slices.Chunk(ids, together) {
		err := t.db.tx(ctx, func(q *db.Queries) error {
			for _, id := range part {
				if err := q.TouchSandbox(ctx, db.TouchSandboxParams{ID: id, LastActivityAt: millis(at[id])}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func toRow(s *sandbox.Sandbox) db.Sandbox {
	return db.Sandbox{
		ID: s.ID, OrganizationID: s.OrganizationID, Name: s.Name, NameLower: strings.ToLower(s.Name), RegionID: s.Region, Class: s.Class,
		Snapshot: s.Snapshot, Image: s.Image, OsUser: s.User, Env: text(orEmpty(s.Env)), Labels: text(orEmpty(s.Labels)), Public: s.Public,
		NetworkBlockAll: s.Network.BlockAll, NetworkAllow: text(s.Network.Allow), NetworkDomains: text(s.Network.Domains),
		CPU: s.CPU, GPU: s.GPU, MemoryGib: s.MemoryGiB, DiskGib: s.DiskGiB,
		AutoStopMinutes: s.AutoStopMinutes, AutoArchiveMinutes: s.AutoArchiveMinutes, AutoDeleteMinutes: s.AutoDeleteMinutes,
		State: string(s.State), Desired: string(s.Desired), Pending: s.Pending(), RunnerID: s.RunnerID, ErrorReason: s.ErrorReason,
		StopReason: s.StopReason, Recoverable: s.Recoverable, DaemonVersion: s.DaemonVersion, AuthToken: s.AuthToken, StateSince: millis(s.StateSince),
		Version: s.Version, CreatedAt: millis(s.CreatedAt), UpdatedAt: millis(s.UpdatedAt), LastActivityAt: millis(s.LastActivityAt),
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func fromRow(r *db.Sandbox) (sandbox.Sandbox, error) {
	env, err1 := parse[map[string]string](r.Env, "env")
	labels, err2 := parse[map[string]string](r.Labels, "labels")
	allow, err3 := parse[[]string](r.NetworkAllow, "network_allow")
	domains, err4 := parse[[]string](r.NetworkDomains, "network_domains")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return sandbox.Sandbox{}, err
	}
	return sandbox.Sandbox{
		ID: r.ID, OrganizationID: r.OrganizationID, Name: r.Name, Region: r.RegionID, Class: r.Class, Snapshot: r.Snapshot, Image: r.Image,
		User: r.OsUser, Env: env, Labels: labels, Public: r.Public, Network: sandbox.Network{BlockAll: r.NetworkBlockAll, Allow: allow, Domains: domains},
		CPU: r.CPU, GPU: r.GPU, MemoryGiB: r.MemoryGib, DiskGiB: r.DiskGib,
		State: sandbox.State(r.State), Desired: sandbox.Desired(r.Desired), ErrorReason: r.ErrorReason, StopReason: r.StopReason, Recoverable: r.Recoverable,
		Version: r.Version, AutoStopMinutes: r.AutoStopMinutes, AutoArchiveMinutes: r.AutoArchiveMinutes, AutoDeleteMinutes: r.AutoDeleteMinutes,
		RunnerID: r.RunnerID, DaemonVersion: r.DaemonVersion, AuthToken: r.AuthToken, StateSince: moment(r.StateSince),
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), LastActivityAt: moment(r.LastActivityAt),
	}, nil
}
