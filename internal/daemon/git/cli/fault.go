//go:build linux

package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// What git says of remotes in words only. It exits with 128 for all of them, whatever happened; the commands run with
// LC_ALL=C, whose words are tried with the git of the tests. The first line of the table that fits decides. Lines
// that the remote itself wrote ("remote: …") are not looked at.
var remoteFaults = []struct {
	text  string
	fault func(url, why string) error
}{
	{"could not read Username for", func(url, _ string) error { return op.AuthFailed(url) }},
	{"could not read Password for", func(url, _ string) error { return op.AuthFailed(url) }},
	{"Authentication failed for", func(url, _ string) error { return op.AuthFailed(url) }},
	{"Permission denied (", func(url, _ string) error { return op.AuthFailed(url) }}, // ssh: (publickey,password)
	{"requested URL returned error: 401", func(url, _ string) error { return op.AuthFailed(url) }},
	{"requested URL returned error: 403", func(url, _ string) error { return op.Forbidden(url) }},
	{"requested URL returned error: 404", func(url, _ string) error { return op.RemoteNotFound(url) }},
	{"requested URL returned error: 410", func(url, _ string) error { return op.RemoteNotFound(url) }},
	{"does not appear to be a git repository", func(url, _ string) error { return op.RemoteNotFound(url) }},
	{"access denied or repository not exported", func(url, _ string) error { return op.RemoteNotFound(url) }}, // git daemon
	{"Repository not found", func(url, _ string) error { return op.RemoteNotFound(url) }},                     // GitHub over ssh
	{"transport '", notAllowed},
	{"info/refs not valid: is this a git repository", func(url, _ string) error { return op.RemoteNotFound(url) }},
	{"unable to access '", func(_, why string) error { return op.TransportFailed(why) }},
	{"Could not read from remote repository", func(_, why string) error { return op.TransportFailed(why) }},
	{"unable to connect to", func(_, why string) error { return op.TransportFailed(why) }},
	{"unable to look up", func(_, why string) error { return op.TransportFailed(why) }},
	{"remote end hung up", func(_, why string) error { return op.TransportFailed(why) }},
	{"the remote did not send all necessary objects", func(_, why string) error { return op.TransportFailed(why) }},
	{"RPC failed", func(_, why string) error { return op.TransportFailed(why) }},
	{"early EOF", func(_, why string) error { return op.TransportFailed(why) }},
	{"protocol error", func(_, why string) error { return op.TransportFailed(why) }},
	{"bad line length", func(_, why string) error { return op.TransportFailed(why) }},
	{"expected flush", func(_, why string) error { return op.TransportFailed(why) }},
	{"Connection reset", func(_, why string) error { return op.TransportFailed(why) }},
}

func notAllowed(_, why string) error {
	if !strings.Contains(why, "not allowed") {
		return op.TransportFailed(why)
	}
	return errs.New(errs.Invalid, "the remote's address has a scheme that is not allowed; allowed are %s", op.Schemes)
}

// remoteFault classifies the failure of a command that talks to the remote at url.
func (c *repo) remoteFault(a *answer, url string) error {
	why, text := words(a)
	url = op.Shown(url)
	for _, f := range remoteFaults {
		if strings.Contains(text, f.text) {
			return f.fault(url, why)
		}
	}
	if strings.Contains(text, "repository '") && (strings.Contains(text, "' not found") || strings.Contains(text, "' does not exist")) {
		return op.RemoteNotFound(url)
	}
	return c.fault(a)
}

// fault is a failure that nothing more is known of, except by what stands in the way.
func (c *repo) fault(a *answer) error {
	why, text := words(a)
	git := filepath.Join(c.dir, ".git")
	if c.bare {
		git = c.dir
	}
	for _, lock := range []string{"index.lock", "HEAD.lock", "config.lock", "shallow.lock"} {
		path := filepath.Join(git, lock)
		if _, err := os.Lstat(path); err == nil && strings.Contains(text, lock) {
			return errs.New(errs.Conflict, "another git process works in this repository, or one died and left %s", op.Clip(path))
		}
	}
	switch {
	case strings.Contains(text, "Permission denied"), strings.Contains(text, "insufficient permission"), strings.Contains(text, "Read-only file system"):
		return errs.New(errs.Denied, "git may not do this: %s", op.Clip(why))
	case strings.Contains(text, "No space left on device"), strings.Contains(text, "Disk quota exceeded"):
		return errs.New(errs.Exhausted, "the disk is full: %s", op.Clip(why)).WithCode("DISK_FULL")
	}
	return errs.New(errs.Internal, "git ended with exit code %d: %s", a.code, op.Clip(why)).WithCode(op.CodeInternal)
}

// words returns the line that tells most, and all that git itself wrote.
func words(a *answer) (why, text string) {
	var own []string
	for line := range strings.Lines(a.errs) {
		line = strings.TrimRight(line, "\r\n")
		if i := strings.LastIndexByte(line, '\r'); i >= 0 { // progress
			line = line[i+1:]
		}
		if line == "" || strings.HasPrefix(line, "remote:") || strings.HasPrefix(line, "hint:") || strings.HasPrefix(line, "warning:") {
			continue
		}
		own = append(own, line)
	}
	for _, prefix := range []string{"fatal: ", "error: ", ""} {
		for _, line := range own {
			if rest, ok := strings.CutPrefix(line, prefix); ok && why == "" {
				why = rest
			}
		}
	}
	if why == "" {
		why = strings.TrimSpace(a.out)
	}
	return strings.ToValidUTF8(why, "\uFFFD"), strings.Join(own, "\n")
}

func says(a *answer, text string) bool {
	_, all := words(a)
	return strings.Contains(all, text)
}
