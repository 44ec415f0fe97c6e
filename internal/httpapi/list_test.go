package httpapi_test

import (
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
)

func names(l api.SandboxList) (out []string) {
	for _, s := range l.Items {
		out = append(out, s.Name)
	}
	return out
}

// nextMillisecond lets the clock go on, so that the times of two rows differ: they are kept in milliseconds.
func nextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		runtime.Gosched()
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	a := w.create(`{"name":"Alpha","labels":{"team":"web","x":"1"},"public":true}`)
	nextMillisecond()
	b := w.create(`{"name":"beta","labels":{"team":"web"},"snapshot":"daytona-medium"}`)
	w.post("/sandbox/beta/stop", "").want(200)
	nextMillisecond()
	w.create(`{"name":"gamma","networkBlockAll":true}`)
	w.create(`{"name":"alien"}`, as(otherKey))
	between := url.QueryEscape(b.CreatedAt.Add(-time.Millisecond).Format(time.RFC3339Nano))
	for _, c := range []struct{ query, want string }{
		{"sort=name&order=asc", "Alpha beta gamma"},
		{"", "gamma beta Alpha"},
		{"sort=createdAt", "gamma beta Alpha"},
		{"sort=createdAt&order=asc", "Alpha beta gamma"},
		{"sort=cpu&order=desc&limit=1", "beta"},
		{"limit=&sort=&order=&cursor=&id=&name=&labels=&states=&isPublic=&minCpu=&createdAtAfter=", "gamma beta Alpha"},
		{"name=al", "Alpha"},
		{"name=lpha", ""},
		{"id=" + strings.ToUpper(a.ID[:8]), "Alpha"},
		{"labels=" + url.QueryEscape(`{"team":"web"}`), "beta Alpha"},
		{"labels=" + url.QueryEscape(`{"team":"web","x":"1"}`), "Alpha"},
		{"labels=" + url.QueryEscape(`{}`), "gamma beta Alpha"},
		{"states=started", "gamma Alpha"},
		{"states=started&states=stopped", "gamma beta Alpha"},
		{"states[]=started&states[]=stopped", "gamma beta Alpha"},
		{"states%5B%5D=stopped", "beta"},
		{"states=error", ""},
		{"snapshots=base", "gamma Alpha"},
		{"snapshots[]=base&snapshots[]=daytona-medium", "gamma beta Alpha"},
		{"regionIds=us", "gamma beta Alpha"},
		{"regionIds=eu", ""},
		{"sandboxClasses=container&sandboxClasses=android", "gamma beta Alpha"},
		{"sandboxClasses=windows", ""},
		{"minCpu=2", "beta"},
		{"maxCpu=1.0", "gamma Alpha"},
		{"minMemoryGiB=2&maxMemoryGiB=4", "beta"},
		{"minDiskGiB=4", "beta"},
		{"maxDiskGiB=3", "gamma Alpha"},
		{"isPublic=true", "Alpha"},
		{"isPublic=false", "gamma beta"},
		{"isRecoverable=true", ""},
		{"isRecoverable=false", "gamma beta Alpha"},
		{"createdAtAfter=" + between, "gamma beta"},
		{"createdAtBefore=" + between, "Alpha"},
		{"createdAtAfter=2020-01-01", "gamma beta Alpha"},
		{"createdAtAfter=2020-01-01T00:00:00.000000%2B0000", "gamma beta Alpha"},
		{"createdAtAfter=2020-01-01T00:00:00.000000+0000", "gamma beta Alpha"},
		{"createdAtAfter=2020-01-01T00:00:00.000000", "gamma beta Alpha"},
		{"lastEventAfter=2099-01-01T00:00:00Z", ""},
		{"lastEventBefore=2099-01-01T00:00:00Z", "gamma beta Alpha"},
		{"autoDestroyAtAfter=2020-01-01T00:00:00Z", ""},
		{"autoDestroyAtBefore=2099-01-01T00:00:00Z", ""},
		{"includeWarm=true&includeErroredDeleted=true&unheardOf=1", "gamma beta Alpha"},
	} {
		got := names(decode[api.SandboxList](w.get("/sandbox?" + c.query).want(200)))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
	for _, c := range []struct{ query, want string }{
		{"", "gamma beta Alpha"},
		{"sort=name&order=asc&limit=2", "Alpha beta"},
		{"sort=name&order=asc&limit=2&page=2", "gamma"},
		{"page=9", ""},
		{"limit=", "gamma beta Alpha"},
		{"regions=us&states=stopped&snapshots=daytona-medium&minCpu=1&maxCpu=8", "beta"},
		{"regions[]=eu", ""},
		{"name=ga&labels=%7B%7D&lastEventAfter=2020-01-01T00:00:00Z", "gamma"},
	} {
		p := decode[api.NumberedSandboxes](w.get("/sandbox/paginated?" + c.query).want(200))
		var got []string
		for _, s := range p.Items {
			got = append(got, s.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("paginated %s: %q, want %q", c.query, got, c.want)
		}
	}
	if p := decode[api.NumberedSandboxes](w.get("/sandbox/paginated?limit=2&page=2").want(200)); p.Total != 3 || p.Page != 2 || p.TotalPages != 2 {
		t.Errorf("%+v", p)
	}
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 7 {
		want = append(want, w.create(fmt.Sprintf(`{"name":"s%d"}`, i)).ID)
	}
	slices.Sort(want)
	for _, sort := range []string{"name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"} {
		for _, order := range []string{"asc", "desc"} {
			var got []string
			query := url.Values{"sort": {sort}, "order": {order}, "limit": {"3"}}
			for range 4 {
				p := decode[api.SandboxList](w.get("/sandbox?" + query.Encode()).want(200))
				for _, s := range p.Items {
					got = append(got, s.ID)
				}
				if p.NextCursor == nil {
					break
				}
				query.Set("cursor", *p.NextCursor)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: %q", sort, order, got)
			}
			query.Set("order", map[string]string{"asc": "desc", "desc": "asc"}[order])
			w.get("/sandbox?" + query.Encode()).want(400) // a cursor of another order
			w.get("/sandbox?"+query.Encode(), as(otherKey)).want(400)
		}
	}
}

// A cursor of one organization is only a place in an order: in another's hands it shows nothing of the first.
func TestForeignCursor(t *testing.T) {
	w := newWorld(t)
	w.create("")
	w.create("")
	p := decode[api.SandboxList](w.get("/sandbox?limit=1").want(200))
	own := w.create("", as(otherKey))
	for _, s := range decode[api.SandboxList](w.get("/sandbox?limit=200&cursor="+*p.NextCursor, as(otherKey)).want(200)).Items {
		if s.ID != own.ID {
			t.Errorf("%+v", s)
		}
	}
}
