//go:build linux

package git_test

import (
	"bytes"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

// built is where library put the program.
var built string

// library builds dugoutd-git once.
var library = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dugoutd-git-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "dugoutd-git")
	cmd := exec.Command("go", "build", "-o", path, "github.com/dugout-dev/dugout/cmd/dugoutd-git")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		_, _ = os.Stderr.Write(out)
		return "", err
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// suite is a daemon and a directory of its own for one test.
type suite struct {
	*daemontest.Daemon
	t    *testing.T
	home string
}

// both runs a test with the git program and with the library, which must answer alike.
func both(t *testing.T, test func(t *testing.T, s *suite)) {
	t.Run("git", func(t *testing.T) { test(t, withGit(t)) })
	t.Run("library", func(t *testing.T) { test(t, withLibrary(t)) })
}

func withGit(t *testing.T, env ...string) *suite {
	return start(t, os.Getenv("PATH"), "/no/such", env...)
}

func withLibrary(t *testing.T) *suite {
	path, err := library()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, "/no/such", path)
}

func start(t *testing.T, path, library string, env ...string) *suite {
	t.Helper()
	home := t.TempDir()
	vars := map[string]string{"PATH": path, "HOME": home, "GIT_CONFIG_NOSYSTEM": "1"}
	for i := 0; i+1 < len(env); i += 2 {
		vars[env[i]] = env[i+1]
	}
	d := daemontest.StartWith(t, daemon.Config{Workdir: home, Git: library, Env: environ.New(vars)})
	return &suite{Daemon: d, t: t, home: home}
}

// path of something below the home.
func (s *suite) path(parts ...string) string {
	return filepath.Join(append([]string{s.home}, parts...)...)
}

// git runs the real git, for what surrounds a test.
func (s *suite) git(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = s.path(dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05+02:00", "GIT_COMMITTER_DATE=2026-01-02T03:04:05+02:00", "GIT_ALLOW_PROTOCOL=file"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write makes a file below the home.
func (s *suite) write(name, text string) {
	s.t.Helper()
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// seed makes a repository with two commits on main and one on the branch topic, and a bare copy of it: seed and origin.git.
func (s *suite) seed() {
	s.t.Helper()
	if err := os.Mkdir(s.path("seed"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.git("seed", "init", "-q", "-b", "main")
	s.write("seed/a.txt", "one\n")
	s.write("seed/dir/b.txt", "two\n")
	s.git("seed", "add", "-A")
	s.git("seed", "commit", "-q", "-m", "first")
	s.write("seed/a.txt", "one\nmore\n")
	s.git("seed", "commit", "-q", "-a", "-m", "second\n\nwith a body")
	s.git("seed", "checkout", "-q", "-b", "topic")
	s.write("seed/topic.txt", "topic\n")
	s.git("seed", "add", "-A")
	s.git("seed", "commit", "-q", "-m", "on topic")
	s.git("seed", "checkout", "-q", "main")
	s.git("seed", "tag", "v1")
	s.git("", "clone", "-q", "--bare", "seed", "origin.git")
	s.git("origin.git", "config", "http.receivepack", "true")
}

// web serves the repositories below the home over smart HTTP; with a user and a password when they are given.
func (s *suite) web(user, password string, tls bool) *httptest.Server {
	s.t.Helper()
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	h := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"), Dir: s.home,
		Env:    []string{"GIT_PROJECT_ROOT=" + s.home, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + s.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
		Stderr: &bytes.Buffer{}}
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		switch {
		case strings.HasPrefix(r.URL.Path, "/forbidden"):
			w.WriteHeader(http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/broken"):
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasPrefix(r.URL.Path, "/nonsense"):
			_, _ = w.Write([]byte("<html>hello</html>"))
		case user != "" && (u != user || p != password):
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			if r.TLS != nil { // the program takes its environment from the request
				r = r.Clone(r.Context())
			}
			h.ServeHTTP(w, r)
		}
	})
	var srv *httptest.Server
	if tls {
		srv = httptest.NewTLSServer(guard)
	} else {
		srv = httptest.NewServer(guard)
	}
	s.t.Cleanup(srv.Close)
	return srv
}

// post expects success.
func (s *suite) post(path string, body any) daemontest.Reply {
	s.t.Helper()
	r := s.Do("POST", "/git/"+path, body)
	if r.Status != 200 && r.Status != 201 {
		s.t.Fatalf("POST %s: %d %s", path, r.Status, r.Body)
	}
	return r
}

// fails expects an error and returns it.
func (s *suite) fails(status int, code, method, path string, body any) api.Error {
	s.t.Helper()
	r := s.Do(method, "/git/"+path, body)
	var e api.Error
	if r.Status < 400 {
		s.t.Errorf("%s %s %v: %d, want %d %s", method, path, body, r.Status, status, code)
		return e
	}
	r.JSON(s.t, &e)
	if e.StatusCode != status || r.Status != status || e.Code != code || e.Source != api.SourceDaemon || e.Message == "" || e.Reason != e.Message {
		s.t.Errorf("%s %s %v: %d %s, want %d %s", method, path, body, r.Status, r.Body, status, code)
	}
	return e
}

type m = map[string]any
