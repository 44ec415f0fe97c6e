package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// SigningKey implements [sandbox.Rows].
func (t *Sandboxes) SigningKey(ctx context.Context, id string) (string, error) {
	key, err := t.db.reader().GetSigningKey(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return key, fault(err)
}

// MakeSigningKey implements [sandbox.Rows].
func (t *Sandboxes) MakeSigningKey(ctx context.Context, id, fresh string, now time.Time) (key string, err error) {
	err = t.db.tx(ctx, func(q *db.Queries) error {
		if err := q.AddSigningKey(ctx, db.AddSigningKeyParams{SandboxID: id, Secret: fresh, MadeAt: millis(now)}); err != nil {
			return err
		}
		key, err = q.GetSigningKey(ctx, id)
		return err
	})
	return key, err
}

// ReplaceSigningKey implements [sandbox.Rows].
func (t *Sandboxes) ReplaceSigningKey(ctx context.Context, id, fresh string, now time.Time) error {
	return fault(t.db.writer().ReplaceSigningKey(ctx, db.ReplaceSigningKeyParams{SandboxID: id, Secret: fresh, MadeAt: millis(now)}))
}
