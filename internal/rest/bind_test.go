package rest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

type day struct{ time.Time }

func (d *day) UnmarshalText(b []byte) (err error) {
	d.Time, err = time.Parse(time.DateOnly, string(b))
	return err
}

type body struct {
	Name  string            `json:"name"`
	Count int               `json:"count"`
	Flag  bool              `json:"flag"`
	Tags  map[string]string `json:"tags"`
}

func (b *body) Validate() error {
	if b.Count == 13 {
		return errs.New(errs.Invalid, "count must not be 13")
	}
	return nil
}

// Paging is embedded: its fields are bound as if they stood in the input.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"9" default:"5"`
	Min   *int64 `query:"min" minimum:"1"`
}

type input struct {
	Paging
	ID    string   `path:"id"`
	Sort  string   `query:"sort" enum:"a,b" default:"a"`
	Kinds []string `query:"kinds" enum:"x,y"`
	On    bool     `query:"on"`
	Maybe *bool    `query:"maybe"`
	Ratio float64  `query:"ratio"`
	Since day      `query:"since"`
	Text  string   `query:"text"`
	Must  string   `query:"must" required:"true"`
	Key   string   `header:"X-Key"`
	Body  body
}

func serve(t *testing.T, path, content string, header http.Header) (int, input, api.Error) {
	t.Helper()
	var got input
	e := &rest.Edge{Source: api.SourceAPI, MaxBody: 64}
	mux := http.NewServeMux()
	e.Mount(mux, "/v", []rest.Route{rest.Typed("POST", "/{id}/do", "do", func(_ context.Context, in *input) (rest.None, error) {
		got = *in
		return rest.None{}, nil
	})}, nil)
	r := httptest.NewRequest("POST", "/v"+path, strings.NewReader(content))
	r.Header = header
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, r)
	var failure api.Error
	if rec.Code != 200 {
		if err := json.Unmarshal(rec.Body.Bytes(), &failure); err != nil {
			t.Fatalf("%s: %q", path, rec.Body)
		}
	}
	return rec.Code, got, failure
}

func TestBind(t *testing.T) {
	one, yes := int64(7), false
	code, got, failure := serve(t, "/a%2Fb%3Ac/do?limit=9&min=7.0&sort=b&kinds=x&kinds[]=y&on=true&maybe=no&ratio=0.5&since=2026-01-02&text=%C3%BC+%2B&must=m&limit=1&other=1",
		` {"NAME":"n","count":1,"flag":true,"tags":{"k":"v"},"else":[]} `, http.Header{"X-Key": {"k"}})
	want := input{Paging: Paging{Limit: 9, Min: &one}, ID: "a/b:c", Sort: "b", Kinds: []string{"x", "y"}, On: true, Maybe: &yes, Ratio: 0.5, Since: day{time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)},
		Text: "ü +", Must: "m", Key: "k", Body: body{"n", 1, true, map[string]string{"k": "v"}}}
	if diff := cmp.Diff(want, got); code != 200 || diff != "" {
		t.Errorf("%d %+v\n%s", code, failure, diff)
	}
	for _, query := range []string{"must=m", "must=m&limit=&min=&sort=&kinds=&on=&maybe=&ratio=&since="} {
		code, got, failure = serve(t, "/x/do?"+query, "", nil)
		if diff := cmp.Diff(input{Paging: Paging{Limit: 5}, ID: "x", Sort: "a", Must: "m"}, got); code != 200 || diff != "" {
			t.Errorf("%s: %d %+v\n%s", query, code, failure, diff)
		}
	}
}

func TestBindRefuses(t *testing.T) {
	for _, c := range []struct {
		query, body string
		status      int
		names       []string
	}{
		{"", "", 400, []string{"must", "required"}},
		{"must=", "", 400, []string{"must"}},
		{"must=m&limit=0", "", 400, []string{"limit", "1 to 9", "0"}},
		{"must=m&limit=10", "", 400, []string{"limit"}},
		{"must=m&limit=5.5", "", 400, []string{"limit", "integer"}},
		{"must=m&limit=5.", "", 400, []string{"limit"}},
		{"must=m&limit=+5", "", 400, []string{"limit"}},
		{"must=m&limit=%2B5", "", 400, []string{"limit"}},
		{"must=m&limit=0x5", "", 400, []string{"limit"}},
		{"must=m&limit=99999999999999999999", "", 400, []string{"limit"}},
		{"must=m&min=0", "", 400, []string{"min", "at least 1"}},
		{"must=m&sort=c", "", 400, []string{"sort", "a, b", "c"}},
		{"must=m&kinds=x&kinds[]=z", "", 400, []string{"kinds", "z"}},
		{"must=m&ratio=NaN", "", 400, []string{"ratio", "number"}},
		{"must=m&since=today", "", 400, []string{"since"}},
		{"must=m&text=%zz", "", 400, []string{"query"}},
		{"must=m;limit=1", "", 400, []string{"query"}},
		{"must=m", "{", 400, []string{"JSON"}},
		{"must=m", "{}{}", 400, []string{"JSON"}},
		{"must=m", "{} x", 400, []string{"JSON"}},
		{"must=m", "[]", 400, []string{"object", "array"}},
		{"must=m", `{"count":"1"}`, 400, []string{"count", "whole number", "string"}},
		{"must=m", `{"count":1.5}`, 400, []string{"count", "whole number"}},
		{"must=m", `{"count":13}`, 400, []string{"count", "13"}},
		{"must=m", `{"flag":1}`, 400, []string{"flag", "boolean"}},
		{"must=m", `{"tags":{"a":1}}`, 400, []string{"tags", "string"}},
		{"must=m", `{"name":"` + strings.Repeat("x", 64) + `"}`, 413, []string{"64"}},
		{"must=m", strings.Repeat(" ", 64) + "{}", 413, []string{"64"}},
		{"must=m", "{}" + strings.Repeat(" ", 64), 413, []string{"64"}},
		{"must=m&limit=" + strings.Repeat("9", 5000), "", 400, []string{"limit", "…"}},
	} {
		code, _, failure := serve(t, "/x/do?"+c.query, c.body, nil)
		if code != c.status {
			t.Errorf("%.60s %.20s: %d %+v", c.query, c.body, code, failure)
			continue
		}
		for _, n := range c.names {
			if !strings.Contains(failure.Message, n) {
				t.Errorf("%.60s %.20s: %q does not mention %q", c.query, c.body, failure.Message, n)
			}
		}
		if len(failure.Message) > 300 {
			t.Errorf("%.60s: message of %d bytes", c.query, len(failure.Message))
		}
	}
}

// Whatever comes, a handler sees only what is within the declared bounds.
func FuzzBind(f *testing.F) {
	f.Add("must=m&limit=3&kinds[]=x", `{"name":"x"}`)
	f.Add("must=m&since=2026-01-01&min=1.0", `{"tags":{"a":null}}`)
	f.Add("%zz;&=", "[")
	f.Fuzz(func(t *testing.T, query, content string) {
		if strings.ContainsAny(query, " #\r\n\x00") {
			return
		}
		for _, b := range []byte(query) {
			if b < 0x21 || b > 0x7e {
				return
			}
		}
		code, got, failure := serve(t, "/x/do?"+query, content, nil)
		switch code {
		case 200:
			if got.Limit < 1 || got.Limit > 9 || got.Must == "" || got.Sort != "a" && got.Sort != "b" {
				t.Errorf("%q: out of bounds: %+v", query, got)
			}
		case 400, 413:
			if failure.Message == "" {
				t.Errorf("%q: no message", query)
			}
		default:
			t.Errorf("%q %q: %d", query, content, code)
		}
	})
}
