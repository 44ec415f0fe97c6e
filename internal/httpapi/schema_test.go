package httpapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/tools/specgen/spec"
)

// document is an OpenAPI document to judge answers by. It understands what our document and the reference use.
type document struct {
	name  string
	root  map[string]any
	paths map[string]map[string]any // by "METHOD /path" with {} for every parameter
}

func parseDocument(name string, b []byte) (*document, error) {
	d := &document{name: name, paths: map[string]map[string]any{}}
	if err := json.Unmarshal(b, &d.root); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if op, ok := op.(map[string]any); ok {
				d.paths[strings.ToUpper(method)+" "+anonymous(path)] = op
			}
		}
	}
	return d, nil
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

func anonymous(path string) string { return parameter.ReplaceAllString(path, "{}") }

var ownDocument = sync.OnceValues(func() (*document, error) {
	b, err := spec.Documents["api.json"]()
	if err != nil {
		return nil, err
	}
	return parseDocument("own", b)
})

// referenceDocument is the description of the 0.x wire that DUGOUT_REFERENCE_SPECS points to, a folder; nil without one.
var referenceDocument = sync.OnceValues(func() (*document, error) {
	dir := os.Getenv("DUGOUT_REFERENCE_SPECS")
	if dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "api-0.205.json"))
	if err != nil {
		return nil, err
	}
	return parseDocument("reference", b)
})

// nullAnyway are properties that the wire sends as null though the reference does not say that they may be.
var nullAnyway = map[string]bool{"suspendedAt": true, "suspensionReason": true, "suspendedUntil": true}

// judge checks an answer against what the document says of its operation.
func (d *document) judge(t testing.TB, operation string, status int, contentType string, body []byte) {
	t.Helper()
	op := d.paths[operation]
	if op == nil {
		t.Errorf("%s document: no operation %s", d.name, operation)
		return
	}
	if d.name == "reference" && status >= 300 {
		return // it describes no errors
	}
	response, ok := op["responses"].(map[string]any)[strconv.Itoa(status)].(map[string]any)
	if !ok {
		t.Errorf("%s document: %s does not declare status %d", d.name, operation, status)
		return
	}
	content, _ := response["content"].(map[string]any)
	media, _ := content["application/json"].(map[string]any)
	if media == nil {
		if len(content) == 0 && len(body) > 0 && d.name == "own" {
			t.Errorf("%s declares an empty body, got %q", operation, body)
		}
		return
	}
	if !strings.HasPrefix(contentType, "application/json") {
		t.Errorf("%s: content type %q", operation, contentType)
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s: body is not JSON: %v: %q", operation, err, body)
		return
	}
	for _, problem := range d.check(media["schema"].(map[string]any), v, "") {
		t.Errorf("%s document: %s: %s", d.name, operation, problem)
	}
}

func (d *document) check(s map[string]any, v any, at string) (problems []string) {
	for range 20 {
		ref, ok := s["$ref"].(string)
		if !ok {
			break
		}
		s = d.root["components"].(map[string]any)["schemas"].(map[string]any)[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
	}
	bad := func(format string, args ...any) { problems = append(problems, at+": "+fmt.Sprintf(format, args...)) }
	if v == nil {
		if !mayBeNull(s) {
			bad("is null")
		}
		return problems
	}
	for _, sub := range subs(s["allOf"]) {
		problems = append(problems, d.check(sub, v, at)...)
	}
	if either := subs(s["anyOf"]); either != nil && !slices.ContainsFunc(either, func(sub map[string]any) bool { return len(d.check(sub, v, at)) == 0 }) {
		bad("fits none of anyOf")
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		bad("%v is not in the enum %v", v, enum)
	}
	if want := types(s); want != nil && !slices.ContainsFunc(want, func(typ string) bool { return is(typ, v) }) {
		bad("is %T, want %v", v, want)
		return problems
	}
	switch v := v.(type) {
	case string:
		if s["format"] == "date-time" {
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", v); err != nil {
				bad("is not a time of the wire: %q", v)
			}
		}
	case []any:
		if items, ok := s["items"].(map[string]any); ok {
			for i, e := range v {
				problems = append(problems, d.check(items, e, at+"["+strconv.Itoa(i)+"]")...)
			}
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				bad("lacks %s", name)
			}
		}
		for name, e := range v {
			sub, ok := properties[name].(map[string]any)
			if !ok {
				sub, ok = s["additionalProperties"].(map[string]any)
			}
			if !ok && properties != nil && d.name == "own" {
				bad("has %s, which is not described", name)
			}
			if ok && (e != nil || d.name == "own" || !nullAnyway[name]) {
				problems = append(problems, d.check(sub, e, at+"."+name)...)
			}
		}
	}
	return problems
}

func subs(v any) (out []map[string]any) {
	list, _ := v.([]any)
	for _, s := range list {
		out = append(out, s.(map[string]any))
	}
	return out
}

func types(s map[string]any) []string {
	switch t := s["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, x := range t {
			out = append(out, x.(string))
		}
		return out
	}
	return nil
}

func mayBeNull(s map[string]any) bool {
	if s["nullable"] == true || slices.Contains(types(s), "null") || len(s) == 0 {
		return true
	}
	return slices.ContainsFunc(subs(s["anyOf"]), mayBeNull)
}

func is(typ string, v any) bool {
	switch v := v.(type) {
	case string:
		return typ == "string"
	case bool:
		return typ == "boolean"
	case float64:
		return typ == "number" || typ == "integer" && v == float64(int64(v))
	case []any:
		return typ == "array"
	case map[string]any:
		return typ == "object"
	}
	return false
}

func TestJudgeSeesFaults(t *testing.T) {
	d, err := parseDocument("own", []byte(`{"paths":{},"components":{"schemas":{"S":{"type":"object","required":["a"],"properties":{
		"a":{"type":"string","format":"date-time"},"n":{"type":["integer","null"]},"e":{"type":"string","enum":["x"]},"l":{"type":"array","items":{"type":"integer"}}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	ref := map[string]any{"$ref": "#/components/schemas/S"}
	for _, c := range []struct {
		json string
		want int
	}{
		{`{"a":"2026-01-01T00:00:00.000Z","n":null,"e":"x","l":[1]}`, 0},
		{`{"n":1}`, 1}, {`{"a":"2026-01-01"}`, 1}, {`{"a":null}`, 1}, {`[]`, 1}, {`null`, 1}, {`{"a":"2026-01-01T00:00:00.000Z","n":1.5,"e":"y","l":["1"],"z":1}`, 4},
	} {
		var v any
		if err := json.Unmarshal([]byte(c.json), &v); err != nil {
			t.Fatal(err)
		}
		if got := d.check(ref, v, ""); len(got) != c.want {
			t.Errorf("%s: %q, want %d problems", c.json, got, c.want)
		}
	}
}
