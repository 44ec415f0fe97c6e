package config_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/config"
)

var update = flag.Bool("update", false, "write the table of settings into the documentation")

const (
	docFile       = "../../docs/operate/configuration.md"
	begin, finish = "<!-- settings -->\n", "<!-- end of settings -->\n"
)

// TestDocumentation compares the table in the operator's documentation with the settings.
func TestDocumentation(t *testing.T) {
	eff, err := config.Load(config.Input{File: os.DevNull, LookupEnv: func(string) (string, bool) { return "", false }, Environ: func() []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| In the file | Variable | Flag | Default | |\n|---|---|---|---|---|\n")
	for _, v := range eff.Values {
		s := v.Setting
		cell := func(text string) string {
			if text == "" {
				return ""
			}
			return "`" + text + "`"
		}
		option := s.Flag
		if option != "" {
			option = "--" + option
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", s.Key, s.Env, cell(option), cell(v.Text), strings.ReplaceAll(s.Doc, "<", "\\<"))
	}
	raw, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(raw), begin)
	table, tail, ok2 := strings.Cut(rest, finish)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", docFile)
	}
	if *update {
		if err := os.WriteFile(docFile, []byte(head+begin+b.String()+finish+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String(), table); diff != "" {
		t.Errorf("the table is out of date; go test ./internal/config -update writes it anew:\n%s", diff)
	}
}
