//go:build linux

package git_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// A repository may hold names that lead out of its tree; nothing is written there, whoever does the work.
func TestHostileTrees(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.git("", "init", "-q", "-b", "main", "evil")
		s.write("evil/x", "owned\n")
		blob := s.git("evil", "hash-object", "-w", "x")
		s.write("evil/target", s.path("outside"))
		link := s.git("evil", "hash-object", "-w", "target")
		if err := os.Mkdir(s.path("outside"), 0o755); err != nil {
			t.Fatal(err)
		}
		inner := s.tree("100644 blob " + blob + "\tx")
		for name, tree := range map[string]string{
			"dotdot":  s.tree("040000 tree " + inner + "\t.."),
			"dotgit":  s.tree("040000 tree " + s.tree("100755 blob "+blob+"\thook") + "\t.git"),
			"dotGIT":  s.tree("040000 tree " + s.tree("100755 blob "+blob+"\thook") + "\t.GiT"),
			"twice":   s.tree("120000 blob " + link + "\ta\x00040000 tree " + inner + "\ta"),
			"symlink": s.tree("120000 blob " + link + "\ta\x00040000 tree " + inner + "\tb"),
		} {
			commit := s.git("evil", "commit-tree", "-m", name, tree)
			s.git("evil", "update-ref", "refs/heads/"+name, commit)
			r := s.Do("POST", "/git/clone", m{"url": s.path("evil"), "path": "got-" + name, "branch": name})
			if r.Status == 200 && name != "symlink" && name != "twice" && name != "dotGIT" {
				t.Errorf("%s: was cloned", name)
			}
			if _, err := os.Lstat(s.path("got-"+name, ".git", "hook")); err == nil {
				t.Errorf("%s: wrote into .git", name)
			}
			if _, err := os.Lstat(s.path("x")); err == nil {
				t.Errorf("%s: wrote above the tree", name)
			}
			if left, _ := os.ReadDir(s.path("outside")); len(left) > 0 {
				t.Errorf("%s: wrote through a link", name)
			}
		}
		// A link that stands where a directory is checked out.
		plain := s.git("evil", "commit-tree", "-m", "plain", s.tree("040000 tree "+inner+"\ta"))
		s.git("evil", "update-ref", "refs/heads/plain", plain)
		s.git("", "clone", "-q", "--branch", "symlink", "evil", "work")
		s.post("checkout", m{"path": "work", "branch": plain2(s, plain)})
		if left, _ := os.ReadDir(s.path("outside")); len(left) > 0 {
			t.Error("a checkout wrote through a link")
		}
		if s.read("work/a/x") != "owned\n" {
			t.Error("the checkout is not complete")
		}
	})
}

// plain2 fetches a commit into the clone and returns it.
func plain2(s *suite, commit string) string {
	s.git("work", "fetch", "-q", "origin", "plain")
	return commit
}

// tree stores a tree as it is given: entries with NUL between them.
func (s *suite) tree(entries string) string {
	s.t.Helper()
	s.write("evil/tree", strings.ReplaceAll(entries, "\x00", "\n")+"\n")
	return s.git("evil", "-c", "alias.make=!git mktree < tree", "make")
}

// A reading runs no program that a repository names.
func TestStatusRunsNothingOfTheRepository(t *testing.T) {
	s := withGit(t)
	s.seed()
	s.write("trap.sh", "#!/bin/sh\ntouch "+s.path("sprung")+"\n")
	if err := os.Chmod(s.path("trap.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("seed", "config", "core.fsmonitor", s.path("trap.sh"))
	s.git("seed", "config", "core.hooksPath", s.home)
	s.git("seed", "config", "core.pager", s.path("trap.sh"))
	s.git("seed", "config", "core.sshCommand", s.path("trap.sh"))
	s.status("seed")
	for _, what := range []string{"branches?path=seed", "history?path=seed", "remotes?path=seed", "config?key=core.pager&scope=local&path=seed"} {
		if r := s.Do("GET", "/git/"+what, nil); r.Status != 200 {
			t.Errorf("%s: %d %s", what, r.Status, r.Body)
		}
	}
	if _, err := os.Stat(s.path("sprung")); err == nil {
		t.Error("a program of the repository ran")
	}
}

func TestEnvironmentDoesNotRedirect(t *testing.T) {
	s := withGit(t, "GIT_DIR", "/nowhere", "GIT_WORK_TREE", "/", "GIT_INDEX_FILE", "/nowhere", "GIT_TRACE", "1", "LC_ALL", "de_DE.UTF-8", "LANGUAGE", "de", "GIT_CONFIG_COUNT", "x")
	s.seed()
	if st := s.status("seed"); st.CurrentBranch != "main" || len(st.FileStatus) != 0 {
		t.Errorf("%+v", st)
	}
	s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "clone", m{"url": s.path("nothing"), "path": "x"})
}

// The limit on operations, at its edge.
func TestManyOperations(t *testing.T) {
	s := withGit(t)
	s.seed()
	asked, release := make(chan struct{}, 64), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(404)
	}))
	defer slow.Close()
	var all sync.WaitGroup
	statuses := make(chan int, 64)
	for i := range 32 {
		all.Add(1)
		go func() {
			defer all.Done()
			statuses <- s.Do("POST", "/git/clone", m{"url": slow.URL + "/x", "path": "many/" + itoa(i)}).Status
		}()
	}
	for range 32 {
		<-asked
	}
	s.fails(429, "TOO_MANY_REQUESTS", "GET", "status?path=seed", nil)
	close(release)
	all.Wait()
	for range 32 {
		if got := <-statuses; got != 404 {
			t.Errorf("answered %d", got)
		}
	}
	s.status("seed")
}

// Changes to one repository at the same time wait for each other instead of tripping over locks.
func TestChangesWaitForEachOther(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		var all sync.WaitGroup
		for i := range 10 {
			all.Add(1)
			go func() {
				defer all.Done()
				if r := s.Do("POST", "/git/commit", m{"path": "seed", "message": itoa(i), "author": "a", "email": "e", "allow_empty": true}); r.Status != 200 {
					t.Errorf("%d %s", r.Status, r.Body)
				}
			}()
		}
		all.Wait()
		if got := s.git("seed", "rev-list", "--count", "HEAD"); got != "12" {
			t.Errorf("%s commits, want 12", got)
		}
	})
}

func TestLockOfAnotherGit(t *testing.T) {
	s := withGit(t)
	s.seed()
	s.write("seed/.git/index.lock", "")
	s.write("seed/new", "")
	s.fails(409, "CONFLICT", "POST", "add", m{"path": "seed", "files": []string{"new"}})
	if e := s.fails(409, "CONFLICT", "POST", "reset", m{"path": "seed"}); !strings.Contains(e.Message, "index.lock") {
		t.Errorf("%q does not name the lock", e.Message)
	}
}

func TestNoGitAtAll(t *testing.T) {
	s := start(t, "/no/such", "/no/such")
	s.fails(503, "SERVICE_UNAVAILABLE", "GET", "status?path=x", nil)
	s.fails(503, "SERVICE_UNAVAILABLE", "POST", "clone", m{"url": "example.org/x", "path": "x"})
}

// Old Go clients reject keys that they do not know.
func TestStrictClients(t *testing.T) {
	s := withGit(t)
	s.seed()
	for version, want := range map[string]bool{"0.150.0": false, "0.190.0": true} {
		for _, path := range []string{"status", "branches"} {
			r := s.Do("GET", "/git/"+path+"?path=seed", nil, "X-Daytona-Source", "sdk-go", "X-Daytona-SDK-Version", version)
			if got := strings.Contains(string(r.Body), `"detached"`) || strings.Contains(string(r.Body), `"current"`); got != want {
				t.Errorf("%s %s: %s", version, path, r.Body)
			}
		}
	}
}

// A history that the client stops reading costs nothing, and one that it reads is whole.
func TestLongHistory(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.git("", "init", "-q", "-b", "main", "long")
		var script strings.Builder
		for i := range 5000 {
			script.WriteString("commit refs/heads/main\ncommitter A <a@b> " + itoa(1700000000+i) + " +0000\ndata 1000\n" + strings.Repeat("x", 999) + "\n\n")
		}
		s.write("script", script.String())
		s.git("long", "-c", "alias.make=!git fast-import --quiet < ../script", "make")
		r := s.Do("GET", "/git/history?path=long", nil)
		if got := strings.Count(string(r.Body), `"hash"`); got != 5000 || !strings.HasSuffix(string(r.Body), "]") {
			t.Errorf("%d commits", got)
		}
		c := s.Conn()
		if _, err := c.Write([]byte("GET /git/history?path=long HTTP/1.1\r\nHost: d\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		daemontest.Until(t, "the next reading", func() bool { return s.Do("GET", "/git/history?path=long&limit=1", nil).Status == 200 })
	})
}
