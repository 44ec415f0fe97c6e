package op

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// URL is the address of a remote repository, taken apart.
type URL struct {
	Text   string `json:"text"`             // for git; without credentials, except for the user of ssh
	Origin string `json:"origin,omitempty"` // scheme://host[:port], for http and https: where credentials may go
}

// MaxURL limits a URL, in bytes.
const MaxURL = 4096

// Schemes that may be used. Others, as ext, run programs.
const Schemes = "https, http, ssh, git and file"

var (
	hostPort  = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)
	helperURL = regexp.MustCompile(`^[^/\[]*::`) // git runs git-remote-NAME for NAME::anything
	portPath  = regexp.MustCompile(`^[0-9]{1,5}(/|$)`)
	sshUser   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	sshHost   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// ParseURL reads the address of a repository as a client gives it, and the credentials in it. Relative paths (./ and ../)
// start at workdir.
func ParseURL(s, workdir string) (*URL, *Auth, error) {
	switch {
	case s == "":
		return nil, nil, errs.New(errs.Invalid, "url must not be empty")
	case len(s) > MaxURL:
		return nil, nil, errs.New(errs.Invalid, "url is %d bytes long, the limit is %d", len(s), MaxURL)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, nil, errs.New(errs.Invalid, "url must not contain spaces or control characters")
	case s[0] == '-':
		return nil, nil, errs.New(errs.Invalid, "url must not start with a dash")
	}
	if s[0] == '/' {
		return &URL{Text: s}, nil, nil
	}
	if s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return &URL{Text: filepath.Join(workdir, s)}, nil, nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || strings.Contains(scheme, "/") {
		if helperURL.MatchString(s) {
			return nil, nil, badScheme()
		}
		if user, host, path, ok := scp(s); ok {
			if !sshUser.MatchString(user) && user != "" || !sshHost.MatchString(host) || path == "" || path[0] == '-' || path[0] == ':' {
				return nil, nil, errs.New(errs.Invalid, "url is neither https://… nor user@host:path")
			}
			return &URL{Text: s}, nil, nil
		}
		scheme, rest = "https", s
	}
	scheme = strings.ToLower(scheme)
	authority, _, _ := strings.Cut(rest, "/")
	path := rest[len(authority):]
	var auth *Auth
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i], authority[i+1:]
	}
	name, secret, hasSecret := strings.Cut(user, ":")
	switch scheme {
	case "http", "https":
		if hasSecret {
			n, err1 := url.PathUnescape(name)
			p, err2 := url.PathUnescape(secret)
			if err1 != nil || err2 != nil {
				return nil, nil, errs.New(errs.Invalid, "user or password in url is not percent-encoded as it must be")
			}
			if n != "" && p != "" {
				auth = &Auth{Username: n, Password: p}
			}
		}
	case "ssh":
		if hasSecret {
			return nil, nil, errs.New(errs.Invalid, "url must not contain a password; ssh uses keys")
		}
		if user != "" && !sshUser.MatchString(user) {
			return nil, nil, errs.New(errs.Invalid, "user in url is not valid")
		}
	case "git":
		if user != "" {
			return nil, nil, errs.New(errs.Invalid, "a git:// url has no user")
		}
	case "file":
		if authority != "" && authority != "localhost" || user != "" || path == "" {
			return nil, nil, errs.New(errs.Invalid, "a file url is file:///path")
		}
		return &URL{Text: "file://" + path}, nil, nil
	default:
		return nil, nil, badScheme()
	}
	if !hostPort.MatchString(authority) || authority[0] == '-' || authority[0] == '.' {
		return nil, nil, errs.New(errs.Invalid, "host in url is not valid")
	}
	if scheme == "ssh" && user != "" {
		return &URL{Text: "ssh://" + user + "@" + authority + path}, nil, nil
	}
	u := &URL{Text: scheme + "://" + authority + path}
	if scheme == "http" || scheme == "https" {
		u.Origin = scheme + "://" + strings.ToLower(authority)
	}
	return u, auth, nil
}

// scp takes [user@]host:path apart. host:port/path is a web address without its scheme.
func scp(s string) (user, host, path string, ok bool) {
	colon := strings.IndexByte(s, ':')
	if slash := strings.IndexByte(s, '/'); colon <= 0 || slash >= 0 && slash < colon {
		return "", "", "", false
	}
	host, path = s[:colon], s[colon+1:]
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		user, host = host[:at], host[at+1:]
		return user, host, path, true
	}
	if portPath.MatchString(path) {
		return "", "", "", false
	}
	if at := strings.IndexByte(path, '@'); at >= 0 && !strings.Contains(path[:at], "/") { // user:password@host/path
		return "", "", "", false
	}
	return "", host, path, true
}

func badScheme() error {
	return errs.New(errs.Invalid, "url has a scheme that is not allowed; allowed are %s", Schemes)
}

// Shown is an address without the password that may be in it: one from a configuration.
func Shown(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return s
	}
	name, _, hasSecret := strings.Cut(authority[:at], ":")
	if !hasSecret {
		return s
	}
	return scheme + "://" + name + rest[at:]
}
