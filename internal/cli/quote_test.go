package cli_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/cli"
)

// words are what a shell could take for something else.
var words = [][]string{
	{"ls", "-la"}, {"echo", ""}, {"", ""}, {"a b", "c\td"}, {"$HOME", "${x}", "$(id)", "`id`"}, {"it's", "''", "'", "'\\''"},
	{`"q"`, `\`, `\n`, `a\`}, {"*", "?", "[a]", "{a,b}", "~"}, {"a\nb", "\n", "\r"}, {"#x", "!x", ";", "|", "&", ">", "<", "(", ")"},
	{"-n", "--", "=x"}, {"ünïcode", "\xff\xfe", "\x01\x7f"}, {strings.Repeat("'", 1000), "x"},
}

// printer prints its arguments so that each of them can be seen.
const printer = `for a; do printf '%s\0' "$a"; done`

// through runs what the remote shell would, and returns the words that the command got.
func through(t testing.TB, shell string, args []string) []string {
	t.Helper()
	line := cli.CommandLine(append([]string{"sh", "-c", printer, "sh"}, args...))
	out, err := exec.Command(shell, "-c", line).Output()
	if err != nil {
		t.Fatalf("%s -c %q: %v", shell, line, err)
	}
	got := strings.Split(string(out), "\x00")
	return got[:len(got)-1]
}

func TestWordsReachTheCommandUnchanged(t *testing.T) {
	for _, shell := range []string{"/bin/sh", "bash", "dash", "zsh"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here", shell)
			continue
		}
		for _, args := range words {
			if diff := cmp.Diff(args, through(t, path, args)); diff != "" {
				t.Errorf("%s: %s", shell, diff)
			}
		}
	}
}

func TestOneWordIsAScript(t *testing.T) {
	const script = "cd / && echo \"$PWD\" | cat; for i in 1 2; do echo $i; done"
	if got := cli.CommandLine([]string{script}); got != script {
		t.Errorf("got %q", got)
	}
}

func FuzzQuote(f *testing.F) {
	for _, args := range words {
		for _, a := range args {
			f.Add(a)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || len(s) > 1<<16 {
			t.Skip("no argument can hold this")
		}
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+cli.Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q came out as %q: %v", s, out, err)
		}
	})
}

func TestLegible(t *testing.T) {
	for in, want := range map[string]string{
		"/var/lib/dugout/admin.key": "/var/lib/dugout/admin.key", "http://localhost:3986/api": "http://localhost:3986/api",
		"": "''", "/my data/key": "'/my data/key'", "it's": `'it'\''s'`, "a=b": "'a=b'", "$HOME": "'$HOME'", "~": "'~'", "ä": "'ä'",
	} {
		if got := cli.Legible(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
