package cli_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/cli"
)

func TestTable(t *testing.T) {
	var b bytes.Buffer
	err := cli.Table(&b, []string{"NAME", "STATE", "X"}, [][]string{
		{"a", "started", ""},
		{"ünïcode-name", "x", "last"},
		{"evil\x1b[2J\r\nname", "\x07", "\u202eright"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := "\uFFFD"
	got := b.String()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %q", len(lines), got)
	}
	at := strings.Index(lines[0], "STATE")
	for i, l := range lines {
		cells := []rune(l)
		if i == 0 {
			continue
		}
		if cells[at-1] != ' ' || cells[at] == ' ' {
			t.Errorf("line %d: the second column does not begin under its header: %q", i, l)
		}
	}
	if strings.ContainsAny(got, "\x1b\x07\r\u202e") {
		t.Errorf("control characters came through: %q", got)
	}
	if !strings.Contains(got, "evil"+r+"[2J"+r+r+"name") {
		t.Errorf("the cleaned name is missing: %q", got)
	}
}

func TestFormats(t *testing.T) {
	size := 1.5
	v := []api.Snapshot{{ID: "1", Name: "a: <b> & 'c'", Size: &size, State: "active", Entrypoint: []string{"x", "true"},
		CreatedAt: api.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}}
	var j, y bytes.Buffer
	if err := cli.Render(&j, "json", v); err != nil {
		t.Fatal(err)
	}
	if err := cli.Render(&y, "yaml", v); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(j.String(), `    "name": "a: <b> & 'c'",`) {
		t.Error(j.String())
	}
	want := `- id: "1"
  general: false
  name: 'a: <b> & ''c'''
  state: active
  size: 1.5
  entrypoint:
    - x
    - "true"
  cpu: 0
  gpu: 0
  mem: 0
  disk: 0
  errorReason: null
  createdAt: "2026-01-02T03:04:05.000Z"
`
	if !strings.HasPrefix(y.String(), want) {
		t.Error(cmp.Diff(want, y.String()))
	}
	if err := cli.Render(&j, "xml", v); cli.ExitCode(err) != 2 {
		t.Errorf("xml: %v", err)
	}
}

func TestSizeAndAgo(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 256 << 20: "256.0 MiB", 1 << 40: "1.0 TiB"} {
		if got := cli.Size(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "just now", 5 * time.Second: "5s ago", 90 * time.Second: "1m ago", 3 * time.Hour: "3h ago", 72 * time.Hour: "3d ago", -time.Hour: "just now"} {
		if got := cli.Ago(now.Add(-d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := cli.Ago(time.Time{}, now); got != "-" {
		t.Error(got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31mb\x9b2J\u202e\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range cli.Clean(s) {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x202e {
				t.Errorf("%q came through in %q", r, s)
			}
		}
	})
}

func TestPairs(t *testing.T) {
	look := func(k string) (string, bool) { return "here", k == "SET" }
	got, err := cli.Pairs("env", []string{"A=1", "B=", "C=x=y", "SET"}, look)
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "", "C": "x=y", "SET": "here"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{"", "=x", "UNSET"} {
		if _, err := cli.Pairs("env", []string{bad}, look); cli.ExitCode(err) != 2 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := cli.Pairs("label", []string{"SET"}, nil); cli.ExitCode(err) != 2 {
		t.Errorf("a label without a value: %v", err)
	}
}
