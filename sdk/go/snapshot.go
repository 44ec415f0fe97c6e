package dugout

import (
	"context"
	"errors"
	"net/url"
	"strconv"

	"github.com/dugout-dev/dugout/api"
)

// Snapshot is a frozen environment that sandboxes are made from.
type Snapshot = api.Snapshot

// SnapshotListOptions choose a page of snapshots.
type SnapshotListOptions struct {
	Name        string // part of the name
	Page, Limit int    // Page counts from 1; 0: the first; Limit 0: the server's default
}

// Snapshots returns one page of the snapshots that the caller can use, and how many there are in all.
func (c *Client) Snapshots(ctx context.Context, opts SnapshotListOptions) (*api.SnapshotPage, error) {
	q := url.Values{}
	if opts.Name != "" {
		q.Set("name", opts.Name)
	}
	if opts.Page != 0 {
		q.Set("page", strconv.Itoa(opts.Page))
	}
	if opts.Limit != 0 {
		q.Set("limit", strconv.Itoa(opts.Limit))
	}
	var out api.SnapshotPage
	err := retry(ctx, func() error {
		return c.call(ctx, request{method: "GET", url: c.apiURL + "/snapshots", query: q}, &out)
	})
	return &out, err
}

// Snapshot returns the snapshot with this id or name.
func (c *Client) Snapshot(ctx context.Context, idOrName string) (*Snapshot, error) {
	if idOrName == "" {
		return nil, errors.New("the id or name of the snapshot must not be empty")
	}
	var out Snapshot
	err := retry(ctx, func() error {
		return c.call(ctx, request{method: "GET", url: c.apiURL + "/snapshots/" + url.PathEscape(idOrName)}, &out)
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}
