// Package openapi describes a surface of package rest as an OpenAPI 3.1 document. What a route says of itself and the tags
// of its input and output types are all it looks at, so the description cannot drift from what is served.
//
// It is apart from package rest because of what it links: nothing that runs in a sandbox may import it.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Document says what no route knows.
type Document struct {
	Title, Version, Description string
	Server                      string // base of all paths, e.g. /api

	Names  map[reflect.Type]string   // of components, where clients know another than that of the Go type
	Enums  map[reflect.Type][]string // values of named string types; they become components
	Public func(rest.Route) bool     // routes that need no credential; nil: none
	Errors []int                     // statuses that any route may answer with an error
}

const bearerScheme = "bearer"

// Generate returns the document, indented, with a line break at the end. The same routes give the same bytes. A route that
// cannot be described is an error.
func (d Document) Generate(routes []rest.Route) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // the schema library panics on types that it cannot describe
			out, err = nil, fmt.Errorf("openapi: %v", p)
		}
	}()
	schemas := newRegistry(d.Names, d.Enums)
	schemas.names[reflect.TypeFor[api.Error]()] = "Error"
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: d.Title, Version: d.Version, Description: d.Description, License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}},
		Servers: []*huma.Server{{URL: d.Server}},
		Paths:   map[string]*huma.PathItem{},
		Components: &huma.Components{Schemas: schemas, SecuritySchemes: map[string]*huma.SecurityScheme{
			bearerScheme: {Type: "http", Scheme: "bearer", Description: "An API key."}}},
		Security: []map[string][]string{{bearerScheme: {}}},
	}
	errorSchema := schemas.Schema(reflect.TypeFor[api.Error](), true, "")
	ids, tags := map[string]string{}, map[string]bool{}
	for i := range routes {
		rt := &routes[i]
		if was, dup := ids[rt.ID]; dup || rt.ID == "" {
			return nil, fmt.Errorf("openapi: %s %s: the operation id %q is empty or that of %s", rt.Method, rt.Path, rt.ID, was)
		}
		ids[rt.ID] = rt.Method + " " + rt.Path
		op, err := d.operation(schemas, rt, errorSchema)
		if err != nil {
			return nil, err
		}
		if rt.Tag != "" && !tags[rt.Tag] {
			tags[rt.Tag] = true
			doc.Tags = append(doc.Tags, &huma.Tag{Name: rt.Tag})
		}
		path := templated(rt.Path)
		if doc.Paths[path] == nil {
			doc.Paths[path] = &huma.PathItem{}
		}
		if err := place(doc.Paths[path], rt.Method, op); err != nil {
			return nil, fmt.Errorf("openapi: %s: %w", path, err)
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, b, "", "  "); err != nil {
		return nil, err
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

// templated turns a mux pattern into a path template.
func templated(pattern string) string {
	return strings.NewReplacer("...}", "}", "{$}", "").Replace(pattern)
}

func place(at *huma.PathItem, method string, op *huma.Operation) error {
	slot := map[string]**huma.Operation{http.MethodGet: &at.Get, http.MethodPut: &at.Put, http.MethodPost: &at.Post, http.MethodDelete: &at.Delete,
		http.MethodPatch: &at.Patch, http.MethodHead: &at.Head, http.MethodOptions: &at.Options}[method]
	switch {
	case slot == nil:
		return fmt.Errorf("the method %q cannot be described", method)
	case *slot != nil:
		return fmt.Errorf("%s is declared twice", method)
	}
	*slot = op
	return nil
}

func (d Document) operation(schemas *registry, rt *rest.Route, errorSchema *huma.Schema) (*huma.Operation, error) {
	op := &huma.Operation{OperationID: rt.ID, Summary: rt.Summary, Description: rt.Description, Deprecated: rt.Deprecated, Responses: map[string]*huma.Response{}}
	if rt.Tag != "" {
		op.Tags = []string{rt.Tag}
	}
	if d.Public != nil && d.Public(*rt) {
		op.Security = []map[string][]string{}
	}
	if rt.BodyType != "" {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{rt.BodyType: {Schema: binary(rt.BodyType)}}}
	}
	if rt.In != nil {
		if err := d.input(schemas, rt, op); err != nil {
			return nil, err
		}
	}
	status := rt.Status
	ok := &huma.Response{Description: http.StatusText(status)}
	switch {
	case rt.ContentType != "":
		ok.Content = map[string]*huma.MediaType{rt.ContentType: {Schema: binary(rt.ContentType)}}
	case rt.Out == nil || rt.Out == reflect.TypeFor[rest.None]():
	case rt.Out.Kind() == reflect.String:
		ok.Content = map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}
	default:
		ok.Content = map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(rt.Out, true, rt.ID+"Response")}}
	}
	op.Responses[strconv.Itoa(status)] = ok
	for _, code := range d.Errors {
		if code == http.StatusUnauthorized && op.Security != nil {
			continue
		}
		op.Responses[strconv.Itoa(code)] = &huma.Response{Description: http.StatusText(code), Content: map[string]*huma.MediaType{"application/json": {Schema: errorSchema}}}
	}
	return op, nil
}

// input describes what package rest binds; see its tags.
func (d Document) input(schemas *registry, rt *rest.Route, op *huma.Operation) error {
	var inPath []string
	for _, f := range reflect.VisibleFields(rt.In) {
		if f.Name == "Body" {
			if rt.BodyType == "" {
				op.RequestBody = &huma.RequestBody{Required: f.Tag.Get("required") != "false",
					Content: map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(f.Type, true, rt.ID+"Request")}}}
			}
			continue
		}
		for _, in := range []string{"path", "query", "header"} {
			name, ok := f.Tag.Lookup(in)
			if !ok {
				continue
			}
			schema := huma.SchemaFromField(schemas, f, rt.ID+f.Name)
			if schema == nil {
				return fmt.Errorf("openapi: %s %s: the input %s cannot be described", rt.Method, rt.Path, f.Name)
			}
			p := &huma.Param{Name: name, In: in, Required: in == "path" || f.Tag.Get("required") == "true", Description: schema.Description, Schema: schema}
			schema.Description, schema.Nullable = "", false
			if schema.Format == "date-time-http" {
				schema.Format = "date-time"
			}
			op.Parameters = append(op.Parameters, p)
			if in == "path" {
				inPath = append(inPath, name)
			}
		}
	}
	for _, name := range wildcards(rt.Path) {
		if !slices.Contains(inPath, name) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	return nil
}

func wildcards(pattern string) (names []string) {
	for _, segment := range strings.Split(pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok && name != "$}" {
			names = append(names, strings.TrimSuffix(strings.TrimSuffix(name, "}"), "..."))
		}
	}
	return names
}

// binary is the schema of a body that is not JSON.
func binary(contentType string) *huma.Schema {
	raw := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	switch {
	case strings.HasPrefix(contentType, "multipart/"):
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: raw}
	case strings.HasPrefix(contentType, "text/"):
		return &huma.Schema{Type: huma.TypeString}
	}
	return raw
}
