//go:build linux

package git_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

const (
	user = "ann@example.org"
	pass = "p@ss:w/rd %41 'q\" $(x) ü"
)

func TestHTTPWithCredentials(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		web := s.web(user, pass, false)
		origin := web.URL + "/origin.git"
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": origin, "path": "work"})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": origin, "path": "work", "username": user})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": origin, "path": "work", "password": pass})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": origin, "path": "work", "username": user, "password": "wrong"})
		s.post("clone", m{"url": origin, "path": "work", "username": user, "password": pass})
		if got := s.git("work", "config", "--get-regexp", "."); strings.Contains(got, "p@ss") || !strings.Contains(got, "remote.origin.url "+origin+"\n") {
			t.Errorf("the configuration is %s", got)
		}
		s.write("work/a.txt", "pushed\n")
		s.git("work", "commit", "-q", "-a", "-m", "more")
		s.fails(401, "GIT_AUTH_FAILED", "POST", "push", m{"path": "work"})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "push", m{"path": "work", "username": user, "password": "wrong"})
		s.post("push", m{"path": "work", "username": user, "password": pass})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "pull", m{"path": "work"})
		s.git("work", "reset", "-q", "--hard", "HEAD~1")
		s.post("pull", m{"path": "work", "username": user, "password": pass})
		if s.read("work/a.txt") != "pushed\n" {
			t.Error("not pulled")
		}
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "pull", m{"path": "work", "branch": "nowhere", "username": user, "password": pass})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "clone", m{"url": origin, "path": "x", "branch": "nowhere", "username": user, "password": pass})
		topic := s.git("seed", "rev-parse", "topic")
		s.post("clone", m{"url": origin, "path": "commit", "commit_id": topic, "username": user, "password": pass})

		// In the URL they are used and forgotten.
		in := strings.Replace(origin, "http://", "http://ann%40example.org:p%40ss%3Aw%2Frd%20%2541%20'q%22%20$(x)%20%C3%BC@", 1)
		s.post("clone", m{"url": in, "path": "url"})
		if got := s.git("url", "config", "remote.origin.url"); got != origin {
			t.Errorf("remote is %s", got)
		}
		// Stored ones are used when none are given.
		s.post("credentials", m{"username": user, "password": pass, "host": strings.TrimPrefix(web.URL, "http://"), "protocol": "http"})
		s.post("clone", m{"url": origin, "path": "stored"})
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": origin, "path": "wrong", "username": user, "password": "wrong"})
		s.post("pull", m{"path": "stored"}) // a refusal did not erase what is stored
	})
}

func TestHTTPFailures(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		web := s.web("", "", false)
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "clone", m{"url": web.URL + "/nothing.git", "path": "x"})
		s.fails(403, "FORBIDDEN", "POST", "clone", m{"url": web.URL + "/forbidden.git", "path": "x"})
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": web.URL + "/broken.git", "path": "x"})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": "http://" + l.Addr().String() + "/x", "path": "x"})
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": "git://" + l.Addr().String() + "/x", "path": "x"})
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": "http://name.invalid/x", "path": "x"})

		secure := s.web(user, pass, true)
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": secure.URL + "/origin.git", "path": "x", "username": user, "password": pass})
		s.post("clone", m{"url": secure.URL + "/origin.git", "path": "x", "username": user, "password": pass, "insecure_skip_tls": true})
		if got := s.git("x", "config", "--get-regexp", "."); strings.Contains(strings.ToLower(got), "ssl") {
			t.Errorf("the setting stayed: %s", got)
		}
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "pull", m{"path": "x", "username": user, "password": pass})
	})
}

// Credentials go to the host that they were given for, and no further.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		var seen []string
		thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a := r.Header.Get("Authorization"); a != "" {
				seen = append(seen, a)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(401)
		}))
		defer thief.Close()
		other := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
		redirect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other+r.URL.RequestURI(), http.StatusFound)
		}))
		defer redirect.Close()
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": redirect.URL + "/origin.git", "path": "x", "username": user, "password": pass})
		if len(seen) > 0 {
			t.Errorf("another host got %q", seen)
		}
	})
}

// Whatever runs during an operation, hooks above all, sees no credentials: not in its environment, its descriptors, the
// processes around it, or by asking git.
func TestCredentialsAreOutOfReach(t *testing.T) {
	s := withGit(t)
	s.seed()
	web := s.web("ann", "canary-4711", false)
	spy := `#!/bin/sh
test -z "$SPYING" || exit 0
export SPYING=1
name=$0
cd ` + s.home + `
{ echo hook $name; env; cat /proc/*/environ /proc/*/cmdline; } 2>/dev/null >> spied
for fd in /proc/$$/fd/*; do n=${fd##*/}; test $n -gt 2 && timeout 0.05 cat $fd >> spied 2>/dev/null; done
printf 'protocol=http\nhost=` + strings.TrimPrefix(web.URL, "http://") + `\n\n' | timeout 2 git credential fill >> spied 2>/dev/null
exit 0
`
	template := s.path("template/hooks")
	if err := os.MkdirAll(template, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"post-checkout", "post-merge", "pre-push", "reference-transaction", "post-index-change", "pre-auto-gc", "post-rewrite"} {
		if err := os.WriteFile(filepath.Join(template, hook), []byte(spy), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.git("", "config", "--global", "init.templateDir", s.path("template"))
	// What else git may run.
	s.git("", "config", "--global", "core.fsmonitor", filepath.Join(template, "post-index-change"))
	s.git("", "config", "--global", "core.askPass", filepath.Join(template, "post-checkout"))
	s.git("", "config", "--global", "credential.helper", "!"+filepath.Join(template, "post-merge"))

	s.post("clone", m{"url": web.URL + "/origin.git", "path": "work", "username": "ann", "password": "canary-4711"})
	s.write("seed/later", "x")
	s.git("seed", "-c", "core.hooksPath=/dev/null", "add", "later")
	s.git("seed", "-c", "core.hooksPath=/dev/null", "commit", "-q", "-m", "later")
	s.git("seed", "-c", "core.hooksPath=/dev/null", "push", "-q", s.path("origin.git"), "main")
	s.post("pull", m{"path": "work", "username": "ann", "password": "canary-4711"})
	s.post("commit", m{"path": "work", "message": "x", "author": "a", "email": "e", "allow_empty": true})
	s.post("push", m{"path": "work", "username": "ann", "password": "canary-4711"})
	if got, want := s.git("origin.git", "rev-parse", "main"), s.git("work", "rev-parse", "HEAD"); got != want {
		t.Error("not pushed")
	}
	spied := s.read("spied")
	for _, hook := range []string{"post-checkout", "post-merge", "pre-push"} {
		if !strings.Contains(spied, "hook "+s.path("work/.git/hooks/"+hook)) && !strings.Contains(spied, "hook .git/hooks/"+hook) {
			t.Errorf("%s did not run", hook)
		}
	}
	if i := strings.Index(spied, "canary-4711"); i >= 0 {
		t.Errorf("a hook saw the password: %q", spied[max(0, i-300):i+20])
	}
	if err := filepath.WalkDir(s.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "canary-4711") {
			t.Errorf("%s holds the password", path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The process table is looked at all through an operation.
func TestProcessTableHoldsNoCredentials(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		web := s.web("ann", "canary-4712", false)
		stop, found := make(chan struct{}), make(chan string, 1)
		looks := 0
		go func() {
			defer close(found)
			for {
				select {
				case <-stop:
					return
				default:
				}
				looks++
				for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
					all, _ := filepath.Glob(pattern)
					for _, f := range all {
						if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "canary-4712") {
							found <- f + ": " + string(b)
							return
						}
					}
				}
			}
		}()
		for i := range 3 {
			s.post("clone", m{"url": web.URL + "/origin.git", "path": "work" + string(rune('0'+i)), "username": "ann", "password": "canary-4712"})
			s.post("pull", m{"path": "work" + string(rune('0'+i)), "username": "ann", "password": "canary-4712"})
		}
		close(stop)
		if f, ok := <-found; ok {
			t.Error(f)
		}
		if looks < 2 {
			t.Errorf("only %d looks", looks)
		}
	})
}

func TestPrePushHookRefuses(t *testing.T) {
	s := withGit(t)
	s.seed()
	web := s.web("ann", "secret", false)
	s.git("", "clone", "-q", "origin.git", "work")
	s.write("work/.git/hooks/pre-push", "#!/bin/sh\nread line; echo \"$1 $2 $line\" > ../said\necho no >&2\nexit 1\n")
	if err := os.Chmod(s.path("work/.git/hooks/pre-push"), 0o755); err != nil {
		t.Fatal(err)
	}
	old := s.git("work", "rev-parse", "HEAD")
	s.post("commit", m{"path": "work", "message": "x", "author": "a", "email": "e", "allow_empty": true})
	s.fails(409, "CONFLICT", "POST", "push", m{"path": "work"})
	s.git("work", "remote", "set-url", "origin", web.URL+"/origin.git")
	_ = os.Remove(s.path("said"))
	s.fails(409, "CONFLICT", "POST", "push", m{"path": "work", "username": "ann", "password": "secret"})
	wantLine := "origin " + web.URL + "/origin.git refs/heads/main " + s.git("work", "rev-parse", "HEAD") + " refs/heads/main " + old + "\n"
	if got := s.read("said"); got != wantLine {
		t.Errorf("the hook was told %q, want %q", got, wantLine)
	}
}

// A client that leaves does not end a clone, and ends a reading.
func TestClientLeaves(t *testing.T) {
	s := withGit(t)
	s.seed()
	asked, release := make(chan struct{}), make(chan struct{})
	web := s.web("", "", false)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
			<-release
		case <-release:
		}
		web.Config.Handler.ServeHTTP(w, r)
	}))
	defer slow.Close()
	c := s.Conn()
	body := `{"url":"` + slow.URL + `/origin.git","path":"work"}`
	if _, err := c.Write([]byte("POST /git/clone HTTP/1.1\r\nHost: d\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body)); err != nil {
		t.Fatal(err)
	}
	<-asked
	_ = c.Close()
	close(release)
	daemontest.Until(t, "the clone to be complete", func() bool {
		_, err := os.Stat(s.path("work/topic.txt"))
		_, err2 := os.Stat(s.path("work/a.txt"))
		return err == nil || err2 == nil
	})
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
