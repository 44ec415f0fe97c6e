package op_test

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://github.com/u/r.git":         "https://github.com/u/r.git https://github.com",
		"github.com/u/r":                     "https://github.com/u/r https://github.com",
		"localhost:3000/u/r":                 "https://localhost:3000/u/r https://localhost:3000",
		"HTTP://Example.org:80/x":            "http://Example.org:80/x http://example.org:80",
		"https://u:p@example.org/x":          "https://example.org/x https://example.org u p",
		"u:p@example.org/x":                  "https://example.org/x https://example.org u p",
		"https://u%40x:a%2Fb@example.org/x":  "https://example.org/x https://example.org u@x a/b",
		"https://u@example.org/x":            "https://example.org/x https://example.org",
		"https://a@b:p@example.org/x":        "https://example.org/x https://example.org a@b p",
		"https://[::1]:8080/x":               "https://[::1]:8080/x https://[::1]:8080",
		"git@github.com:u/r.git":             "git@github.com:u/r.git",
		"host:path/r":                        "host:path/r",
		"ssh://git@host:22/x":                "ssh://git@host:22/x",
		"git://host/x":                       "git://host/x",
		"file:///srv/x.git":                  "file:///srv/x.git",
		"file://localhost/srv/x.git":         "file:///srv/x.git",
		"/srv/x.git":                         "/srv/x.git",
		"./x.git":                            "/work/x.git",
		"../x.git":                           "/x.git",
		"https://example.org/x?y=ext::sh":    "https://example.org/x?y=ext::sh https://example.org",
		"https://example.org/--upload-pack=": "https://example.org/--upload-pack= https://example.org",
	} {
		u, auth, err := op.ParseURL(in, "/work")
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got := strings.TrimSpace(u.Text + " " + u.Origin)
		if auth != nil {
			got += " " + auth.Username + " " + auth.Password
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// No address makes git run a program, reads as an option, or keeps a password.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"https://u:p@h/x", "ext::sh -c id", "-u", "ssh://-oProxyCommand=x/y", "git@h:x", "u:p@h/x", "h:22/x", "[::1]:x", "file:///x", "http://u:p%@h", "a::b", "x@-h:y", "https://h/\n", "/x", "./-x", "ssh://a:b@c/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, auth, err := op.ParseURL(s, "/work")
		if err != nil {
			return
		}
		scheme, rest, ok := strings.Cut(u.Text, "://")
		switch {
		case u.Text == "" || u.Text[0] == '-' || strings.ContainsAny(u.Text, " \n\r\x00\t"):
			t.Fatalf("%q became %q", s, u.Text)
		case ok && !strings.Contains(scheme, "/") && !strings.Contains(scheme, ":"):
			if !strings.Contains(" https http ssh git file ", " "+scheme+" ") {
				t.Fatalf("%q became %q", s, u.Text)
			}
			authority, _, _ := strings.Cut(rest, "/")
			if authority != "" && authority[0] == '-' || strings.Contains(authority, "@") && (scheme != "ssh" || strings.Contains(authority[:strings.Index(authority, "@")], ":")) {
				t.Fatalf("%q became %q", s, u.Text)
			}
		case u.Text[0] != '/':
			before, _, _ := strings.Cut(u.Text, ":")
			if strings.HasPrefix(u.Text[len(before):], "::") || before == u.Text {
				t.Fatalf("%q became %q", s, u.Text)
			}
			if at := strings.LastIndexByte(before, '@'); before[at+1] == '-' {
				t.Fatalf("%q became %q", s, u.Text)
			}
		}
		if u.Origin != "" {
			if o, err := url.Parse(u.Origin); err != nil || o.User != nil || o.Host == "" || !strings.HasPrefix(strings.ToLower(u.Text), u.Origin) {
				t.Fatalf("%q has the origin %q in %q", s, u.Origin, u.Text)
			}
		}
		if auth != nil && u.Origin == "" {
			t.Fatalf("%q has credentials and nowhere to send them", s)
		}
		again, more, err := op.ParseURL(u.Text, "/elsewhere")
		if err != nil || more != nil || again.Text != u.Text || again.Origin != u.Origin {
			t.Fatalf("%q became %q, and that %+v %v", s, u.Text, again, err)
		}
	})
}

// What is accepted as a branch, git accepts too, and the other way round.
func FuzzBranchName(f *testing.F) {
	for _, s := range []string{"main", "a/b", "-x", "a..b", "a.lock", "a.lock/b", ".a", "a/.b", "a//b", "/a", "a/", "a.", "@", "a@{b", "@{-1}", "HEAD", "a b", "ü", "a~", "a\\b", "\x7f", "x\xff", "a/@"} {
		f.Add(s)
	}
	git, err := exec.LookPath("git")
	if err != nil {
		f.Skip(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.IndexByte(s, 0) >= 0 || len(s) > op.MaxName || strings.Contains(s, "@{") || s == "HEAD" {
			if op.BranchName(s) == nil {
				t.Fatalf("%q was accepted", s)
			}
			return
		}
		got := op.BranchName(s) == nil
		want := s != "" && s[0] != '-' && s != "@" && exec.Command(git, "check-ref-format", "refs/heads/"+s).Run() == nil
		if got != want {
			t.Fatalf("%q: accepted %v, git says %v", s, got, want)
		}
	})
}

func FuzzFiles(f *testing.F) {
	for _, s := range []string{".", "a", "../a", "/r/a", "/r", "/x", ".git", ".GIT/x", "a/../../b", "a/.git", "-x", ":(top)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := op.Files("/r", []string{s})
		if err != nil {
			return
		}
		if name := got[0]; name == "" || filepath.IsAbs(name) || strings.HasPrefix(filepath.Join("/r", name)+"/", "/r/.git/") || !strings.HasPrefix(filepath.Join("/r", name)+"/", "/r/") {
			t.Fatalf("%q became %q", s, name)
		}
	})
}

func FuzzConfigKey(f *testing.F) {
	for _, s := range []string{"user.name", "a", "a.b.c", "-a.b", "a..b", "url.https://x/.insteadOf", "a.\n.b", "a.b-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if op.ConfigKey(s) == nil && (s[0] == '-' || strings.ContainsAny(s, "\n\x00") || !strings.Contains(s, ".")) {
			t.Fatalf("%q was accepted", s)
		}
	})
}

func TestSecretsStayOutOfText(t *testing.T) {
	a, err := op.CheckAuth("u", "canary")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.String(); strings.Contains(got, "canary") {
		t.Error(got)
	}
	if got := op.Shown("https://u:canary@h/x"); got != "https://u@h/x" {
		t.Error(got)
	}
	for _, pair := range [][2]string{{"", "p"}, {"u", ""}} {
		if a, err := op.CheckAuth(pair[0], pair[1]); a != nil || err != nil {
			t.Errorf("%v: %v %v", pair, a, err)
		}
	}
	if _, err := op.CheckAuth("u", strings.Repeat("x", op.MaxSecret)); err != nil {
		t.Error(err)
	}
	if _, err := op.CheckAuth("u", strings.Repeat("x", op.MaxSecret+1)); err == nil {
		t.Error("a password over the limit was accepted")
	}
}
