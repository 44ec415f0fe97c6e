//go:build linux

package watch_test

import (
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/watch"
)

// play feeds steps such as "+a" (created), "/a" (directory created), "~a" (modified), "-a" (removed), "=a" (directory removed), "a>b"
// (renamed), "a>>b" (directory renamed), "?a" (found in a new directory) and "|" (told), and returns what is told, each in the same signs.
func play(steps string) string {
	var b watch.Batch
	var out []string
	take := func() {
		for _, c := range b.Take() {
			switch c.Type {
			case "created":
				out = append(out, "+"+c.Path)
			case "modified":
				out = append(out, "~"+c.Path)
			case "removed":
				out = append(out, "-"+c.Path)
			case "renamed":
				out = append(out, c.OldPath+">"+c.Path)
			default:
				out = append(out, c.Type)
			}
		}
	}
	for s := range strings.FieldsSeq(steps) {
		if from, to, ok := strings.Cut(s, ">>"); ok {
			b.RenamedDir(from, to)
			continue
		}
		if from, to, ok := strings.Cut(s, ">"); ok {
			b.Renamed(from, to)
			continue
		}
		switch s[0] {
		case '+':
			b.Created(s[1:])
		case '/':
			b.CreatedDir(s[1:])
		case '?':
			b.Discovered(s[1:])
		case '~':
			b.Modified(s[1:])
		case '-':
			b.Removed(s[1:])
		case '=':
			b.RemovedDir(s[1:])
		case '|':
			take()
			out = append(out, "|")
		}
	}
	take()
	return strings.Join(out, " ")
}

func TestBatch(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"+a ~a ~a", "+a"},
		{"~a ~a ~a", "~a"},
		{"+a -a", ""},
		{"-a +a", "~a"},
		{"~a -a", "-a"},
		{"+a ~b -a +a", "~b +a"},
		{"a>b", "a>b"},
		{"a>b b>c", "a>b b>c"},
		{"~a a>b ~b ~b", "~a a>b ~b"},
		{"a>b +a ~a", "a>b +a"},
		{"a>b -b", "a>b -b"}, // there may have been another b before
		// An editor that writes a new file and moves it over the old one.
		{"+t ~t t>a", "+a"},
		{"~a +t ~t t>a", "~a"},
		{"-a +t t>a", "~a"},
		{"+a +t t>a", "+a"},
		{"x>a +t t>a", "x>a +a"},
		{"+t t>a -a", "-a"},
		{"+t t>a a>b", "+a a>b"},
		// One that moves the old one away first.
		{"a>b +a ~a -b", "a>b +a -b"},
		// Two that change places.
		{"a>t b>a t>b", "a>t b>a t>b"},
		{"~a a>b -b ~a", "~a a>b -b ~a"},
		// A directory takes along what is in it.
		{"/d +d/x d>>e ~e/x", "+d +d/x d>e ~e/x"},
		{"~d/x d>>e /d +d/x", "~d/x d>e +d +d/x"},
		{"~d/x =d /d +d/x", "~d/x -d +d +d/x"},
		{"/d =d", "-d"},
		// What was found is told by the kernel again, in the same moment or the next.
		{"/d ?d/x +d/x ~d/x", "+d +d/x"},
		{"/d ?d/x | +d/x ~d/x", "+d +d/x | ~d/x"},
		{"/d ?d/x | -d/x +d/x", "+d +d/x | ~d/x"},
		{"/d ?d/x | | +d/x", "+d +d/x | | +d/x"},
		{"/d +d/x ?d/x | +d/x", "+d +d/x | +d/x"},
	} {
		if got := play(tt.in); got != tt.want {
			t.Errorf("%q told as %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestExcluded(t *testing.T) {
	for _, tt := range []struct {
		patterns, path string
		want           bool
	}{
		{"node_modules", "node_modules", true},
		{"node_modules", "a/b/node_modules", true},
		{"node_modules", "a/node_modules2", false},
		{"*.pyc", "a/x.pyc", true},
		{"*.pyc", "x.py", false},
		{"/build", "build", true},
		{"/build", "a/build", false},
		{"a/build", "a/build", true},
		{"a/build", "x/a/build", false},
		{"**/gen/*.go", "gen/x.go", true},
		{"**/gen/*.go", "a/b/gen/x.go", true},
		{"**/gen/*.go", "a/gen/b/x.go", false},
		{"a/**/z", "a/z", true},
		{"a/**/z", "a/b/c/z", true},
		{"a/**/z", "a/b/c", false},
		{"a/**", "a/b/c", true},
		{"[ab]?", "b1", true},
		{"**", "anything/at/all", true},
		{".git", ".gitignore", false},
	} {
		got, err := watch.Excluded([]string{tt.patterns}, tt.path)
		if got != tt.want || err != nil {
			t.Errorf("%q for %q: %v %v", tt.patterns, tt.path, got, err)
		}
	}
	for _, bad := range [][]string{{""}, {"["}, {"a//b"}, {"/"}, {"a\x00"}, {strings.Repeat("x", 257)}, make([]string, 101)} {
		if _, err := watch.Excluded(bad, "a"); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
	if _, err := watch.Excluded([]string{strings.Repeat("x", 256)}, "a"); err != nil {
		t.Error(err)
	}
}

func FuzzExclude(f *testing.F) {
	f.Add("**/a/**/b*", "a/a/a/a/b")
	f.Add("/x[a-", "x")
	f.Add("**/**/**", "")
	f.Fuzz(func(t *testing.T, p, path string) {
		once, err := watch.Excluded([]string{p}, path)
		twice, err2 := watch.Excluded([]string{p, p}, path)
		if once != twice || (err == nil) != (err2 == nil) {
			t.Errorf("%q for %q: %v, %v", p, path, once, twice)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00name\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xffname"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := watch.Parse(b); n > len(b)/16 {
			t.Errorf("%d events in %d bytes", n, len(b))
		}
	})
}

// FuzzBatch: whatever happens, what is told leads from what was there to what is there.
func FuzzBatch(f *testing.F) {
	f.Add([]byte{0, 1, 0x41, 2, 0x82, 3})
	f.Add([]byte{0x00, 0x83, 0x4b, 0x90, 0x02, 0xc1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var b watch.Batch
		names := []string{"a", "b", "c", "d"}
		there, known := map[string]bool{"a": true, "b": true}, map[string]bool{"a": true, "b": true}
		for _, op := range ops {
			x, y := names[op&3], names[op>>2&3]
			switch op >> 6 {
			case 0:
				if !there[x] {
					b.Created(x)
					there[x] = true
				}
			case 1:
				if there[x] {
					b.Modified(x)
				}
			case 2:
				if there[x] {
					b.Removed(x)
					delete(there, x)
				}
			case 3:
				if there[x] && x != y {
					b.Renamed(x, y)
					delete(there, x)
					there[y] = true
				}
			}
		}
		changes := b.Take()
		for _, c := range changes {
			switch c.Type {
			case "created":
				known[c.Path] = true
			case "modified":
				if !known[c.Path] {
					t.Errorf("modified %s, which is not there: %v", c.Path, changes)
				}
			case "removed":
				delete(known, c.Path)
			case "renamed":
				if !known[c.OldPath] {
					t.Errorf("renamed %s, which is not there: %v", c.OldPath, changes)
				}
				delete(known, c.OldPath)
				known[c.Path] = true
			}
		}
		for _, n := range names {
			if there[n] != known[n] {
				t.Errorf("%s: there %v, known %v after %v", n, there[n], known[n], changes)
			}
		}
	})
}
