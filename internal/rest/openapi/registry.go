package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const refPrefix = "#/components/schemas/"

func init() { huma.DefaultArrayNullable = false } // a list is null only where its field says so: nullable:"true"

// registry makes the components. Unlike the library's own it names types as the clients know them, makes components of enums,
// and leaves structs open: clients and servers of this wire ignore keys that they do not know.
type registry struct {
	names   map[reflect.Type]string
	enums   map[reflect.Type][]string
	schemas map[string]*huma.Schema
	types   map[string]reflect.Type
}

func newRegistry(names map[reflect.Type]string, enums map[reflect.Type][]string) *registry {
	r := &registry{names: map[reflect.Type]string{}, enums: enums, schemas: map[string]*huma.Schema{}, types: map[string]reflect.Type{}}
	for t, n := range names {
		r.names[t] = n
	}
	return r
}

// Schema implements huma.Registry.
func (r *registry) Schema(t reflect.Type, allowRef bool, hint string) *huma.Schema {
	orig := t
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	values, enum := r.enums[t]
	if !enum && (t.Kind() != reflect.Struct || textual(t)) {
		return huma.SchemaFromType(r, orig)
	}
	name := r.names[t]
	if name == "" {
		name = huma.DefaultSchemaNamer(t, hint)
	}
	if was, ok := r.types[name]; ok && was != t {
		panic(fmt.Sprintf("two types are called %s: %s and %s", name, was, t))
	} else if !ok {
		r.types[name], r.schemas[name] = t, &huma.Schema{} // first, for types that hold themselves
		r.schemas[name] = r.component(t, values)
	}
	if allowRef {
		return &huma.Schema{Ref: refPrefix + name}
	}
	return r.schemas[name]
}

func (r *registry) component(t reflect.Type, values []string) *huma.Schema {
	if values == nil {
		s := huma.SchemaFromType(r, t)
		if s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
		orNull(s, t)
		return s
	}
	s := &huma.Schema{Type: huma.TypeString}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

// orNull says that a field of a component type may be null: a pointer that is always sent.
func orNull(s *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := s.Properties[name]
		if p == nil || p.Ref == "" || f.Type.Kind() != reflect.Pointer || strings.Contains(options, "omit") {
			continue
		}
		s.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description}
	}
}

// textual reports types that are text on the wire.
func textual(t reflect.Type) bool {
	type text interface{ UnmarshalText([]byte) error }
	return reflect.PointerTo(t).Implements(reflect.TypeFor[text]())
}

// SchemaFromRef implements huma.Registry.
func (r *registry) SchemaFromRef(ref string) *huma.Schema {
	if len(ref) < len(refPrefix) {
		return nil
	}
	return r.schemas[ref[len(refPrefix):]]
}

// TypeFromRef implements huma.Registry.
func (r *registry) TypeFromRef(ref string) reflect.Type { return r.types[ref[len(refPrefix):]] }

// Map implements huma.Registry.
func (r *registry) Map() map[string]*huma.Schema { return r.schemas }

// RegisterTypeAlias implements huma.Registry; nothing here uses it.
func (r *registry) RegisterTypeAlias(reflect.Type, reflect.Type) {}

// MarshalJSON writes the components in the order of their names.
func (r *registry) MarshalJSON() ([]byte, error) { return json.Marshal(r.schemas) }
