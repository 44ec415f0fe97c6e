package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// output is the choice of a format.
type output struct{ format string }

// flags adds -o/--output and, for scripts of the 0.x command line, -f/--format.
func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "table, json or yaml")
	cmd.Flags().StringVarP(&o.format, "format", "f", "table", "the same as --output")
	_ = cmd.Flags().MarkHidden("format")
	for _, f := range []string{"output", "format"} {
		_ = cmd.RegisterFlagCompletionFunc(f, cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	}
}

// print writes v as JSON or YAML, or calls human for a person.
func (o *output) print(w io.Writer, v any, human func() error) error {
	switch o.format {
	case "table", "":
		return human()
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		return printYAML(w, v)
	}
	return o.check()
}

// check refuses an unknown format before anything is done.
func (o *output) check() error {
	switch o.format {
	case "table", "json", "yaml", "":
		return nil
	}
	return usagef("the output format must be table, json or yaml, got %q", o.format)
}

// printYAML writes v with the keys and the order of its JSON form, which YAML can read.
func printYAML(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(buf.Bytes(), &node); err != nil {
		return err
	}
	block(&node)
	out := yaml.NewEncoder(w)
	out.SetIndent(2)
	if err := out.Encode(&node); err != nil {
		return err
	}
	return out.Close()
}

func block(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0 // quoted again only where it is needed
	}
	for _, c := range n.Content {
		block(c)
	}
}

// table is rows of text under a header.
type table struct {
	header []string
	rows   [][]string
	paint  func(column int, cell string) func(string) string // nil, or a colour for a cell
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table with columns as wide as they need to be. Cells are cleaned of control characters.
func (t *table) write(w io.Writer, s style) error {
	rows := append([][]string{t.header}, t.rows...)
	widths := make([]int, len(t.header))
	for _, row := range rows {
		for i := range row {
			row[i] = cleanLine(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for r, row := range rows {
		for i, cell := range row {
			pad := widths[i] - utf8.RuneCountInString(cell)
			if i == len(row)-1 {
				pad = -2 // nothing after the last column
			}
			switch {
			case r == 0:
				cell = s.bold(cell)
			case t.paint != nil:
				if f := t.paint(i, cell); f != nil {
					cell = f(cell)
				}
			}
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", pad+2))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ago is the distance of a moment in the past, in the largest unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// size writes a number of bytes for a person.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= 999.5 && i < 4; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}

// resources writes what a sandbox gets; memory and disk in GiB.
func resources(cores, memory, disk int64) string {
	unit := "cores"
	if cores == 1 {
		unit = "core"
	}
	return fmt.Sprintf("%d %s, %d GiB memory, %d GiB disk", cores, unit, memory, disk)
}
