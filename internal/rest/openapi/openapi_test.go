package openapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/rest/openapi"
)

type color string

type inner struct {
	X int `json:"x" doc:"X."`
}

type thing struct {
	Name  string   `json:"name" doc:"Name."`
	Maybe *string  `json:"maybe" nullable:"true" doc:"Maybe."`
	Never *inner   `json:"never,omitempty" doc:"Absent."`
	Null  *inner   `json:"null" doc:"May be null."`
	List  []inner  `json:"list" doc:"List."`
	Color color    `json:"color" doc:"Color."`
	Self  []*thing `json:"self,omitempty" doc:"More."`
}

type in struct {
	ID   string `path:"id" doc:"Id."`
	N    *int64 `query:"n" minimum:"1" maximum:"9" default:"5" doc:"N."`
	Key  string `header:"X-Key" required:"true" doc:"Key."`
	Body thing  `required:"false"`
}

func typed(method, path, id string, opts ...rest.Option) rest.Route {
	return rest.Typed(method, path, id, func(context.Context, *in) (*thing, error) { return nil, nil }, opts...)
}

func raw(http.ResponseWriter, *http.Request, *struct{}) error { return nil }

func generate(t *testing.T, routes ...rest.Route) map[string]any {
	t.Helper()
	d := openapi.Document{Title: "T", Version: "1", Server: "/s", Names: map[reflect.Type]string{reflect.TypeFor[inner](): "Other"},
		Enums: map[reflect.Type][]string{reflect.TypeFor[color](): {"red", "blue"}}, Errors: []int{401, 404},
		Public: func(rt rest.Route) bool { return rt.Meta == "public" }}
	b, err := d.Generate(routes)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// at follows keys into nested objects and returns what is there as JSON.
func at(t *testing.T, v any, keys ...string) string {
	t.Helper()
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%v: nothing at %q", keys, k)
		}
		v = m[k]
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGenerate(t *testing.T) {
	doc := generate(t,
		typed("POST", "/things/{id}", "make", rest.Status(201), rest.Tag("a"), rest.Summary("S"), rest.Meta("public")),
		rest.Stream("PUT", "/files/{path...}", "up", raw, rest.Accepts("multipart/form-data"), rest.Returns("application/octet-stream"), rest.Deprecated()),
		rest.Stream("GET", "/files/{$}", "none", raw, rest.Answers[rest.None]()),
		rest.Typed("GET", "/text", "text", func(context.Context, *struct{}) (string, error) { return "", nil }),
	)
	for _, c := range []struct{ path, want string }{
		{"openapi", `"3.1.0"`},
		{"servers", `[{"url":"/s"}]`},
		{"components|schemas|color", `null`},
		{"components|schemas|Color", `{"enum":["red","blue"],"type":"string"}`},
		{"components|schemas|Other", `{"properties":{"x":{"description":"X.","format":"int64","type":"integer"}},"required":["x"],"type":"object"}`},
		{"components|schemas|Thing|required", `["name","maybe","null","list","color"]`},
		{"components|schemas|Thing|additionalProperties", `null`},
		{"components|schemas|Thing|properties|maybe|type", `["string","null"]`},
		{"components|schemas|Thing|properties|never", `{"$ref":"#/components/schemas/Other","description":"Absent."}`},
		{"components|schemas|Thing|properties|null|anyOf", `[{"$ref":"#/components/schemas/Other"},{"type":"null"}]`},
		{"components|schemas|Thing|properties|list", `{"description":"List.","items":{"$ref":"#/components/schemas/Other"},"type":"array"}`},
		{"components|schemas|Thing|properties|self|items", `{"$ref":"#/components/schemas/Thing"}`},
		{"paths|/things/{id}|post|security", `[]`},
		{"paths|/things/{id}|post|parameters", `[{"description":"Id.","in":"path","name":"id","required":true,"schema":{"type":"string"}},` +
			`{"description":"N.","in":"query","name":"n","schema":{"default":5,"format":"int64","maximum":9,"minimum":1,"type":"integer"}},` +
			`{"description":"Key.","in":"header","name":"X-Key","required":true,"schema":{"type":"string"}}]`},
		{"paths|/things/{id}|post|requestBody", `{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}}`},
		{"paths|/things/{id}|post|responses|201", `{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}},"description":"Created"}`},
		{"paths|/things/{id}|post|responses|401", `null`}, // needs no credential
		{"paths|/things/{id}|post|responses|404|content|application/json|schema", `{"$ref":"#/components/schemas/Error"}`},
		{"paths|/files/{path}|put|responses|401|description", `"Unauthorized"`},
		{"paths|/files/{path}|put|parameters", `[{"in":"path","name":"path","required":true,"schema":{"type":"string"}}]`},
		{"paths|/files/{path}|put|deprecated", `true`},
		{"paths|/files/{path}|put|requestBody|content|multipart/form-data|schema|type", `"object"`},
		{"paths|/files/{path}|put|responses|200|content|application/octet-stream|schema|format", `"binary"`},
		{"paths|/files/|get|responses|200", `{"description":"OK"}`},
		{"paths|/text|get|responses|200|content|text/plain|schema|type", `"string"`},
	} {
		if got := at(t, doc, strings.Split(c.path, "|")...); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, routes := range map[string][]rest.Route{
		"same id":        {typed("GET", "/a", "x"), typed("GET", "/b", "x")},
		"no id":          {typed("GET", "/a", "")},
		"same path":      {typed("GET", "/a/{id}", "x"), typed("GET", "/a/{id}", "y")},
		"unknown method": {typed("BREW", "/a", "x")},
		"channel": {rest.Typed("GET", "/a", "x", func(context.Context, *struct {
			C chan int `query:"c"`
		}) (rest.None, error) {
			return rest.None{}, nil
		})},
	} {
		if _, err := (openapi.Document{}).Generate(routes); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
