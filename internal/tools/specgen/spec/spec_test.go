package spec_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/tools/specgen/spec"
)

// The committed documents are those that the routes give now.
func TestCommittedDocuments(t *testing.T) {
	for name, generate := range spec.Documents {
		fresh, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		again, err := generate()
		if err != nil || !bytes.Equal(fresh, again) {
			t.Errorf("%s: two runs differ (%v)", name, err)
		}
		committed, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "api", "openapi", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh, committed) {
			t.Errorf("api/openapi/%s is not up to date: run go run ./internal/tools/specgen", name)
		}
	}
}

// Everything that a reader of the documents sees is explained, and every reference leads somewhere.
func TestDocumentsAreComplete(t *testing.T) {
	for name, generate := range spec.Documents {
		b, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
		var walk func(at string, v any)
		walk = func(at string, v any) {
			switch v := v.(type) {
			case map[string]any:
				if ref, ok := v["$ref"].(string); ok {
					if _, there := schemas[strings.TrimPrefix(ref, "#/components/schemas/")]; !there {
						t.Errorf("%s: %s leads nowhere: %s", name, at, ref)
					}
				}
				for k, e := range v {
					walk(at+"/"+k, e)
				}
			case []any:
				for _, e := range v {
					walk(at, e)
				}
			}
		}
		walk("", doc)
		for component, s := range schemas {
			for property, p := range object(s.(map[string]any)["properties"]) {
				if text, _ := p.(map[string]any)["description"].(string); text == "" {
					t.Errorf("%s: %s.%s has no description", name, component, property)
				}
			}
		}
		for path, item := range doc["paths"].(map[string]any) {
			for method, op := range item.(map[string]any) {
				o := op.(map[string]any)
				if o["summary"] == nil || o["operationId"] == nil || len(o["responses"].(map[string]any)) < 2 {
					t.Errorf("%s: %s %s is not described", name, method, path)
				}
			}
		}
	}
}

// object is v, or nothing where v is not an object: enums have no properties.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
