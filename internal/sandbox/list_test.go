package sandbox_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

func TestListPages(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	var want []string
	for _, n := range []string{"a", "B", "c", "D", "e"} {
		must(t)(p.Create(ctx, w.orgID, sandbox.Request{Name: n}))
		want = append(want, n)
	}
	for _, sort := range []string{"", "name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"} {
		for _, asc := range []bool{true, false} {
			f := sandbox.Filter{Sort: sort, Ascending: asc, Limit: 2}
			var got []string
			for {
				page, err := p.List(ctx, w.orgID, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Items {
					got = append(got, s.Name)
				}
				if f.Cursor = page.Next; f.Cursor == "" {
					break
				}
			}
			if sort == "name" && asc && !slices.Equal(got, want) {
				t.Errorf("by name: %v", got)
			}
			slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
			if !slices.Equal(got, want) {
				t.Errorf("sort %q: pages give %v", sort, got)
			}
		}
	}
	n, err := p.ListNumbered(ctx, w.orgID, sandbox.Filter{Sort: "name", Ascending: true, Limit: 2}, 2)
	if err != nil || n.Total != 5 || len(n.Items) != 2 || n.Items[0].Name != "c" {
		t.Errorf("numbered page: %+v %v", n, err)
	}
}

func TestBadFilters(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), org.Limits{})
	p := w.start(nil)
	must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
	must(t)(p.Create(ctx, w.orgID, sandbox.Request{}))
	page, err := p.List(ctx, w.orgID, sandbox.Filter{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]sandbox.Filter{
		"limit":           {Limit: 201},
		"negative limit":  {Limit: -1},
		"sort":            {Sort: "1; DROP TABLE sandbox"},
		"destroyed":       {States: []sandbox.State{sandbox.Destroyed}},
		"unknown state":   {States: []sandbox.State{"happy"}},
		"cursor":          {Cursor: "!!"},
		"cursor, no json": {Cursor: "AAAA"},
		"cursor, empty":   {Cursor: "e30"},
		"foreign order":   {Cursor: page.Next, Sort: "name"},
		"foreign way":     {Cursor: page.Next, Ascending: true},
		"long cursor":     {Cursor: strings.Repeat("A", 4096)},
		"negative cpu":    {MinCPU: -1},
		"nul":             {NamePrefix: "a\x00"},
		"label":           {Labels: map[string]string{"": "x"}},
	} {
		if _, err := p.List(ctx, w.orgID, f); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, page := range []int{0, -1, 1 << 40} {
		if _, err := p.ListNumbered(ctx, w.orgID, sandbox.Filter{}, page); !errs.Is(err, errs.Invalid) {
			t.Errorf("page %d: %v", page, err)
		}
	}
}
