package snapshot_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/snapshot"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

var ctx = context.Background()

func TestCatalog(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db := storetest.Open(t, address)
		c := snapshot.NewCatalog(snapshot.Config{}, db.Snapshots(), slog.New(slog.DiscardHandler))
		if err := c.Sync(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Get(ctx, "o", "base"); err != nil || s.State != snapshot.Pending || !strings.Contains(s.ErrorReason, "base") {
			t.Errorf("without an image: %+v %v", s, err)
		}
		if _, err := c.Resolve(ctx, "o", ""); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "pending") || !strings.Contains(err.Error(), "no runner has the image") {
			t.Errorf("resolve without an image: %v", err)
		}
		before, err := c.Get(ctx, "o", "base")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Sync(ctx, []snapshot.Image{{Ref: "base", SizeBytes: 512_000_000}}); err != nil {
			t.Fatal(err)
		}
		s, err := c.Get(ctx, "o", before.ID)
		if err != nil || s.ID != before.ID || s.State != snapshot.Active || s.SizeGB != 0.512 || s.ErrorReason != "" || !s.General || s.OrganizationID != "" {
			t.Errorf("with its image: %+v %v", s, err)
		}
		for name, want := range map[string][3]int64{"base": {1, 1, 3}, "daytona-small": {1, 1, 3}, "daytona-medium": {2, 4, 8}, "daytona-large": {4, 8, 10}} {
			s, err := c.Resolve(ctx, "o", name)
			if err != nil || [3]int64{s.CPU, s.MemoryGiB, s.DiskGiB} != want || s.Image != "base" {
				t.Errorf("%s: %+v %v", name, s, err)
			}
		}
		if s, err := c.Resolve(ctx, "o", ""); err != nil || s.Name != "base" {
			t.Errorf("default: %s %v", s.Name, err)
		}
		if s, err := c.Get(ctx, "o", "base"); err != nil || s.LastUsedAt.IsZero() {
			t.Errorf("use not noted: %v %v", s.LastUsedAt, err)
		}
		for _, bad := range []string{"nope", "a\x00b", strings.Repeat("x", 600), "' OR 1=1 --"} {
			if _, err := c.Resolve(ctx, "o", bad); !errs.Is(err, errs.Invalid) {
				t.Errorf("resolve %.20q: %v", bad, err)
			}
			if _, err := c.Get(ctx, "o", bad); !errs.Is(err, errs.NotFound) {
				t.Errorf("get %.20q: %v", bad, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db := storetest.Open(t, address)
		c := snapshot.NewCatalog(snapshot.Config{}, db.Snapshots(), slog.New(slog.DiscardHandler))
		if err := c.Sync(ctx, []snapshot.Image{{Ref: "base"}}); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name  string
			q     snapshot.Query
			want  []string
			total int
		}{
			{"by name", snapshot.Query{Sort: "name", Ascending: true}, []string{"base", "daytona-large", "daytona-medium", "daytona-small", "tiny"}, 5},
			{"down", snapshot.Query{Sort: "name", Limit: 2}, []string{"tiny", "daytona-small"}, 5},
			{"second page", snapshot.Query{Sort: "name", Limit: 2, Page: 2}, []string{"daytona-medium", "daytona-large"}, 5},
			{"part, any case", snapshot.Query{Sort: "name", Ascending: true, Name: "TONA-"}, []string{"daytona-large", "daytona-medium", "daytona-small"}, 3},
			{"no pattern", snapshot.Query{Sort: "name", Name: "%"}, nil, 0},
			{"by state", snapshot.Query{Sort: "state", Limit: 1}, []string{"tiny"}, 5},
		} {
			page, err := c.List(ctx, "o", tc.q)
			var got []string
			for _, s := range page.Items {
				got = append(got, s.Name)
			}
			if err != nil || page.Total != tc.total || !cmp.Equal(tc.want, got) {
				t.Errorf("%s: %d %v, want %d %v (%v)", tc.name, page.Total, got, tc.total, tc.want, err)
			}
		}
		for name, q := range map[string]snapshot.Query{"page": {Page: -1}, "limit": {Limit: 201}, "sort": {Sort: "id; --"}, "name": {Name: "\x00"}} {
			if _, err := c.List(ctx, "o", q); !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
