package store

import (
	"context"

	"github.com/dugout-dev/dugout/internal/sandbox"
)

// StateCounts counts sandboxes by the state they show, those that are gone left out: for metrics.
func (d *DB) StateCounts(ctx context.Context) (map[string]int64, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT state, desired, COUNT(*) FROM sandbox WHERE state <> 'destroyed' GROUP BY state, desired`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var s sandbox.Sandbox
		var n int64
		if err := rows.Scan(&s.State, &s.Desired, &n); err != nil {
			return nil, err
		}
		out[string(s.Shown())] += n
	}
	return out, rows.Err()
}
