//go:build linux

package watch

import (
	"path"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// pattern is one that excludes: its parts between slashes. One part alone is for a name anywhere.
type pattern []string

// parsePatterns checks patterns of a request.
func parsePatterns(in []string) ([]pattern, error) {
	if len(in) > maxExcludes {
		return nil, errs.New(errs.Invalid, "exclude may be given at most %d times, got %d", maxExcludes, len(in))
	}
	var out []pattern
	for _, s := range in {
		if s == "" || len(s) > maxExclude || strings.IndexByte(s, 0) >= 0 {
			return nil, errs.New(errs.Invalid, "exclude must be 1 to %d bytes without a NUL byte, got %q", maxExclude, clip(s))
		}
		slash := strings.HasPrefix(s, "/") // only here, and not a name anywhere
		var p pattern
		for part := range strings.SplitSeq(strings.Trim(s, "/"), "/") {
			if _, err := path.Match(part, ""); err != nil || part == "" {
				return nil, errs.New(errs.Invalid, "exclude has a malformed pattern: %q", clip(s))
			}
			if part == "**" && len(p) > 0 && p[len(p)-1] == "**" {
				continue
			}
			p = append(p, part)
		}
		if len(p) == 1 && !slash {
			p = pattern{"**", p[0]}
		}
		out = append(out, p)
	}
	return out, nil
}

// excluded reports whether one of the patterns is for rel, the path below the watched directory. Its parents are not looked at: what
// is in an excluded directory is never seen.
func excluded(patterns []pattern, rel string) bool {
	if len(patterns) == 0 {
		return false
	}
	parts := strings.Split(rel, "/")
	for _, p := range patterns {
		if p.matches(parts) {
			return true
		}
	}
	return false
}

// matches walks pattern and path together and goes back to the last ** when they part: the time is bounded by the product of
// their lengths.
func (p pattern) matches(parts []string) bool {
	i, j := 0, 0
	star, at := -1, 0
	for j < len(parts) {
		if i < len(p) && p[i] == "**" {
			star, at = i, j
			i++
			continue
		}
		if i < len(p) {
			if ok, _ := path.Match(p[i], parts[j]); ok {
				i, j = i+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		at++
		i, j = star+1, at
	}
	for i < len(p) && p[i] == "**" {
		i++
	}
	return i == len(p)
}
