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

// base is the last name of a path with slashes; "" when it has none of its own, or when a /. at its end says that the
// contents of the folder are meant and not the folder.
func base(p string) string {
	b := path.Base(path.Clean(p))
	if b == "." || b == "/" || b == ".." || strings.HasSuffix(p, "/.") {
		return ""
	}
	return b
}
