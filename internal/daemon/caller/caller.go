// Package caller tells which client sent a request. Some answers of the 0.x wire depend on the client's age.
package caller

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
)

// Caller is a client. The zero one gave no version.
type Caller struct {
	Source  string // X-Daytona-Source, as "sdk-python"; "" when not told
	Version string // as sent; "" when not told

	parsed bool
	dev    bool
	major  int
	minor  int
	patch  int
}

const versionProtocol = "X-Daytona-SDK-Version~"

// Of returns the client of r: from its headers, or from the subprotocol where a browser cannot set headers.
func Of(r *http.Request) Caller {
	v := r.Header.Get("X-Daytona-SDK-Version")
	if v == "" {
		for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
			for p := range strings.SplitSeq(line, ",") {
				if rest, ok := strings.CutPrefix(strings.TrimSpace(p), versionProtocol); ok && v == "" {
					v = rest
				}
			}
		}
	}
	return Parse(r.Header.Get("X-Daytona-Source"), v)
}

// Parse reads a version such as v0.27.0, 0.27.0a1 or 0.0.0-dev. One that is no version counts as not told.
func Parse(source, version string) Caller {
	c := Caller{Source: source, Version: version}
	v := strings.TrimPrefix(strings.TrimSpace(version), "v")
	if v == "" || len(v) > 100 {
		return c
	}
	c.dev = strings.Contains(v, "dev")
	nums := [3]int{}
	for i := range nums {
		digits := v
		if end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = v[:end]
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			c.parsed = c.dev
			return c
		}
		nums[i] = n
		v = v[len(digits):]
		if i == 2 || !strings.HasPrefix(v, ".") {
			break
		}
		v = v[1:]
	}
	c.major, c.minor, c.patch = nums[0], nums[1], nums[2]
	c.dev = c.dev || nums == [3]int{}
	c.parsed = true
	return c
}

// Known reports whether the client told its version.
func (c Caller) Known() bool { return c.parsed }

// AtLeast reports whether the client told a version of at least major.minor.patch. A development build is newer than all.
// A pre-release counts as its release.
func (c Caller) AtLeast(major, minor, patch int) bool {
	if !c.parsed {
		return false
	}
	if c.dev {
		return true
	}
	return cmp.Or(cmp.Compare(c.major, major), cmp.Compare(c.minor, minor), cmp.Compare(c.patch, patch)) >= 0
}

// Strict reports whether the client rejects an answer with a field that it does not know: Go clients before 0.188.
func (c Caller) Strict() bool {
	return c.Source == "sdk-go" && c.parsed && !c.dev && !c.AtLeast(0, 188, 0)
}
