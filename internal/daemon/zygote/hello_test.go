//go:build linux

package zygote

import (
	"path/filepath"
	"testing"
)

// The name of a program that a sandbox can tamper with is in what it says: all of it is checked.
func FuzzHello(f *testing.F) {
	for _, s := range []string{"dugout-zygote\x00/usr/lib\x001:2:3\x00\x00json\x00re", "dugout-zygote\x00\x00", "dugout-zygote", "x", "", "dugout-zygote\x00rel\x00-\x00", "dugout-zygote\x00/a\x00-"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seen, names, err := parseHello(b)
		if err != nil {
			return
		}
		for _, w := range seen {
			if !filepath.IsAbs(w.path) {
				t.Errorf("path %q", w.path)
			}
		}
		if names[""] {
			t.Error("an empty name")
		}
	})
}

func TestKey(t *testing.T) {
	base := []string{"A=1", "HOME=/h", "PATH=/bin"}
	same := key("/usr/bin/python3", base)
	for _, tt := range []struct {
		env   []string
		equal bool
	}{
		{[]string{"A=2", "B=3", "HOME=/h", "PATH=/else"}, true},
		{[]string{"HOME=/other"}, false}, {[]string{"HOME=/h", "TZ=UTC"}, false}, {[]string{"HOME=/h", "LC_ALL=C"}, false},
		{[]string{"HOME=/h", "PYTHONHASHSEED=0"}, false}, {[]string{"HOME=/h", "MPLBACKEND=Agg"}, false}, {[]string{"HOMEPAGE=x", "HOME=/h"}, true},
	} {
		if got := key("/usr/bin/python3", tt.env); (got == same) != tt.equal {
			t.Errorf("%v: %q", tt.env, got)
		}
	}
	if key("/else/python3", base) == same || key("/usr/bin/python3", []string{"PYTHONPATH=/x"}) != "" || key("/usr/bin/python3", []string{"PYTHONDEVMODE=1"}) != "" {
		t.Error("keys of other interpreters")
	}
	if key("/usr/bin/python3", []string{"PYTHONHASHSEED=0"}) == "" {
		t.Error("PYTHONHASHSEED can be honoured")
	}
}
