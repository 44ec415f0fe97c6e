package cli_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/cli"
)

func TestParsePlace(t *testing.T) {
	for in, want := range map[string][2]string{
		"notes.txt":     {"", "notes.txt"},
		"box:notes.txt": {"box", "notes.txt"},
		"box:":          {"box", "."},
		"box:/etc/x":    {"box", "/etc/x"},
		"box:a:b":       {"box", "a:b"},
		"./a:b":         {"", "./a:b"},
		"dir/a:b":       {"", "dir/a:b"},
		"/abs:x":        {"", "/abs:x"},
		":x":            {"", ":x"},
		"":              {"", ""},
		"-":             {"", "-"},
		`a\b:c`:         {"", `a\b:c`},
		"box:../up":     {"box", "../up"},
		"box: spaced ":  {"box", " spaced "},
	} {
		sandbox, path := cli.ParsePlace(in)
		if diff := cmp.Diff(want, [2]string{sandbox, path}); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

func TestBase(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "a/b": "b", "a/b/": "b", "/": "", ".": "", "..": "", "a/..": "", "a/.": "", "/a": "a", "a/../b": "b", "../..": ""} {
		if got := cli.Base(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"box:/x", "./a:b", ":", "box:", "a/b:c", "C:\\x", "\x00:", "box:a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sandbox, path := cli.ParsePlace(s)
		switch {
		case sandbox == "" && path != s:
			t.Errorf("the local path %q became %q", s, path)
		case sandbox != "" && strings.ContainsAny(sandbox, `:/\`):
			t.Errorf("%q names the sandbox %q", s, sandbox)
		case sandbox != "" && path == "":
			t.Errorf("%q has no path", s)
		case sandbox != "" && path != "." && sandbox+":"+path != s:
			t.Errorf("%q became %q and %q", s, sandbox, path)
		}
		if b := cli.Base(path); strings.Contains(b, "/") || b == ".." || b == "." {
			t.Errorf("base of %q is %q", path, b)
		}
	})
}
