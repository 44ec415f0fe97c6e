package op

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of a request.
const (
	MaxName     = 244 // bytes of a branch or a remote: with a prefix and ".lock" it must be a file's name
	MaxRev      = 1024
	MaxFiles    = 10_000
	MaxPath     = 4096
	MaxIdentity = 1024  // bytes of a name or an address
	MaxSecret   = 8_000 // bytes of a password: with a user it must fit a pipe of 16 KiB
	MaxValue    = 64 << 10
)

// BranchName checks the name of a branch by the rules of git check-ref-format --branch.
func BranchName(s string) error { return refName("branch", s) }

// RemoteName checks the name of a remote, which becomes a part of a ref.
func RemoteName(s string) error { return refName("remote", s) }

func refName(what, s string) error {
	switch {
	case s == "":
		return errs.New(errs.Invalid, "the name of the %s must not be empty", what)
	case len(s) > MaxName:
		return errs.New(errs.Invalid, "the name of the %s is %d bytes long, the limit is %d", what, len(s), MaxName)
	case s[0] == '-', s == "HEAD", s == "@", strings.Contains(s, ".."), strings.Contains(s, "@{"), strings.HasSuffix(s, "."),
		strings.ContainsAny(s, " ~^:?*[\\\x7f"), strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		return badName(what, s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return badName(what, s)
		}
	}
	return nil
}

func badName(what, s string) error {
	return errs.New(errs.Invalid, "%q is no valid name of a %s: it must not start with a dash or contain .., @{, spaces, control characters or any of ~^:?*[\\, and no part of it may be empty, start with a dot or end in .lock",
		Clip(s), what)
}

// Revision checks the name of a commit: a branch, a tag, an id, HEAD~2 and the like.
func Revision(what, s string) error {
	switch {
	case s == "":
		return errs.New(errs.Invalid, "%s must not be empty", what)
	case len(s) > MaxRev:
		return errs.New(errs.Invalid, "%s is %d bytes long, the limit is %d", what, len(s), MaxRev)
	case s[0] == '-', strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), strings.Contains(s, ".."), s[0] == '^':
		return errs.New(errs.Invalid, "%s must name one commit; it must not start with a dash or ^ or contain .. or control characters, got %q", what, Clip(s))
	}
	return nil
}

// Identity checks the name or the email address of an author.
func Identity(what, s string) error {
	switch {
	case len(s) > MaxIdentity:
		return errs.New(errs.Invalid, "%s is %d bytes long, the limit is %d", what, len(s), MaxIdentity)
	case strings.ContainsAny(s, "<>\n\r\x00"):
		return errs.New(errs.Invalid, "%s must not contain <, > or a line end", what)
	case strings.Trim(s, " .,:;\"\\'\t") == "": // git takes these off both ends, and refuses what is left empty
		return errs.New(errs.Invalid, "%s must hold more than spaces and punctuation", what)
	}
	return nil
}

// CheckAuth checks credentials. Git's own way of handing them on is lines.
func CheckAuth(username, password string) (*Auth, error) {
	if username == "" || password == "" {
		return nil, nil
	}
	if len(username) > MaxIdentity || strings.ContainsAny(username, "\n\r\x00") {
		return nil, errs.New(errs.Invalid, "username must be at most %d bytes without a line end", MaxIdentity)
	}
	if len(password) > MaxSecret || strings.ContainsAny(password, "\n\r\x00") {
		return nil, errs.New(errs.Invalid, "password must be at most %d bytes without a line end", MaxSecret)
	}
	return &Auth{Username: username, Password: password}, nil
}

// Files makes names relative to the repository in dir and clean.
func Files(dir string, files []string) ([]string, error) {
	if len(files) > MaxFiles {
		return nil, errs.New(errs.Invalid, "files must have at most %d entries, got %d", MaxFiles, len(files))
	}
	out := make([]string, len(files))
	for i, f := range files {
		if f == "" || len(f) > MaxPath || strings.IndexByte(f, 0) >= 0 {
			return nil, errs.New(errs.Invalid, "files[%d] must be 1 to %d bytes without a NUL byte", i, MaxPath)
		}
		rel := f
		if filepath.IsAbs(f) {
			var err error
			if rel, err = filepath.Rel(dir, f); err != nil {
				return nil, errs.New(errs.Invalid, "files[%d] is outside of the repository: %q", i, Clip(f))
			}
		}
		rel = filepath.Clean(rel)
		first, _, _ := strings.Cut(rel, "/")
		if first == ".." || strings.EqualFold(first, ".git") {
			return nil, errs.New(errs.Invalid, "files[%d] is outside of the working tree: %q", i, Clip(f))
		}
		out[i] = rel
	}
	return out, nil
}

var configKey = regexp.MustCompile(`^[A-Za-z0-9-]+\.([^\n\x00]*\.)?[A-Za-z][A-Za-z0-9-]*$`)

// ConfigKey checks the name of a setting: section.name or section.subsection.name.
func ConfigKey(s string) error {
	if len(s) > MaxRev || !configKey.MatchString(s) || s[0] == '-' {
		return errs.New(errs.Invalid, "key must be section.name or section.subsection.name, as in user.name, got %q", Clip(s))
	}
	return nil
}
