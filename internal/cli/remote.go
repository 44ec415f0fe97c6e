package cli

import (
	"path"
	"runtime"
	"strings"
)

// place is one side of a copy: a path here, or one in a sandbox.
type place struct {
	sandbox string // empty: here
	path    string
}

// parsePlace reads NAME:PATH, or a path of this host: anything without a colon, or with a slash before it. A local file
// whose name holds a colon is written ./a:b.
func parsePlace(s string) place {
	name, rest, ok := strings.Cut(s, ":")
	if !ok || name == "" || strings.ContainsAny(name, `/\`) || runtime.GOOS == "windows" && len(name) == 1 {
		return place{path: s}
	}
	if rest == "" {
		rest = "."
	}
	return place{sandbox: name, path: rest}
}

// base is the last name of a remote path; "" when it has none of its own.
func base(remote string) string {
	b := path.Base(path.Clean(remote))
	if b == "." || b == "/" || b == ".." {
		return ""
	}
	return b
}
