//go:build linux

package git_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
)

func (s *suite) status(dir string) toolbox.GitStatus {
	s.t.Helper()
	r := s.Do("GET", "/git/status?path="+url.QueryEscape(dir), nil)
	if r.Status != 200 {
		s.t.Fatalf("status: %d %s", r.Status, r.Body)
	}
	var st toolbox.GitStatus
	r.JSON(s.t, &st)
	return st
}

func (s *suite) files(dir string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, f := range s.status(dir).FileStatus {
		out[f.Name] = strings.TrimSuffix(f.Staging+"/"+f.Worktree+"/"+f.Extra, "/")
	}
	return out
}

func want(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func ptr[T any](v T) *T { return &v }

// The day of an agent: clone, change, stage, commit, push; another clone pulls it.
func TestWorkflow(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		s.post("clone", m{"url": s.path("origin.git"), "path": "work"})
		want(t, "fresh", toolbox.GitStatus{CurrentBranch: "main", FileStatus: []toolbox.GitFileStatus{}, BranchPublished: true, Detached: ptr(false), Upstream: ptr("origin/main")}, s.status("work"))
		s.post("clone", m{"url": "file://" + s.path("origin.git"), "path": s.path("second"), "branch": "main"})

		s.write("work/a.txt", "changed\n")
		s.write("work/new/deep file.txt", "new\n")
		s.write("work/new/other.txt", "new\n")
		if err := os.Remove(s.path("work/dir/b.txt")); err != nil {
			t.Fatal(err)
		}
		want(t, "changed", map[string]string{"a.txt": "Unmodified/Modified", "new/deep file.txt": "Untracked/Untracked", "new/other.txt": "Untracked/Untracked", "dir/b.txt": "Unmodified/Deleted"}, s.files("work"))
		s.post("add", m{"path": "work", "files": []string{"new/deep file.txt", "dir/b.txt"}})
		want(t, "staged", map[string]string{"a.txt": "Unmodified/Modified", "new/deep file.txt": "Added/Unmodified", "new/other.txt": "Untracked/Untracked", "dir/b.txt": "Deleted/Unmodified"}, s.files("work"))
		s.post("add", m{"path": "work", "files": []string{"."}})
		var made toolbox.GitCommitted
		s.post("commit", m{"path": "work", "message": "third\n\nbody — ü", "author": "Bo Ö", "email": "bo@example.org"}).JSON(t, &made)
		if head := s.git("work", "rev-parse", "HEAD"); made.Hash != head {
			t.Errorf("hash %s, HEAD is %s", made.Hash, head)
		}
		if who := s.git("work", "log", "-1", "--format=%an|%ae|%cn|%ce|%B"); who != "Bo Ö|bo@example.org|Bo Ö|bo@example.org|third\n\nbody — ü" {
			t.Errorf("commit is %q", who)
		}
		st := s.status("work")
		if st.Ahead != 1 || st.Behind != 0 || len(st.FileStatus) != 0 {
			t.Errorf("after the commit: %+v", st)
		}
		s.post("push", m{"path": "work"})
		if st := s.status("work"); st.Ahead != 0 || !st.BranchPublished {
			t.Errorf("after the push: %+v", st)
		}
		s.post("pull", m{"path": "second"})
		s.post("pull", m{"path": "second"}) // up to date is a success
		if s.read("second/a.txt") != "changed\n" {
			t.Error("the change did not arrive")
		}
		if _, err := os.Stat(s.path("second/dir/b.txt")); err == nil {
			t.Error("the deletion did not arrive")
		}
		if left := s.git("second", "status", "--porcelain"); left != "" {
			t.Errorf("git sees changes after the pull: %s", left)
		}
	})
}

func TestBranches(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		s.git("", "clone", "-q", "origin.git", "work")
		list := func() (out toolbox.GitBranches) {
			t.Helper()
			s.Do("GET", "/git/branches?path=work", nil).JSON(t, &out)
			return out
		}
		want(t, "first", toolbox.GitBranches{Branches: []string{"main"}, Current: ptr("main")}, list())
		if r := s.Do("POST", "/git/branches", m{"path": "work", "name": "feature/x"}); r.Status != 201 || len(r.Body) != 0 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		want(t, "created", toolbox.GitBranches{Branches: []string{"feature/x", "main"}, Current: ptr("feature/x")}, list())
		s.fails(409, "GIT_BRANCH_EXISTS", "POST", "branches", m{"path": "work", "name": "main"})
		s.fails(409, "CONFLICT", "DELETE", "branches", m{"path": "work", "name": "feature/x"})
		s.post("checkout", m{"path": "work", "branch": "main"})
		if r := s.Do("DELETE", "/git/branches", m{"path": "work", "name": "feature/x"}); r.Status != 204 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "DELETE", "branches", m{"path": "work", "name": "feature/x"})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "checkout", m{"path": "work", "branch": "nowhere"})
		s.post("checkout", m{"path": "work", "branch": "topic"}) // exists at the remote only
		if st := s.status("work"); st.CurrentBranch != "topic" || *st.Upstream != "origin/topic" {
			t.Errorf("%+v", st)
		}
		first := s.git("work", "rev-parse", "main~1")
		for _, rev := range []string{first, first[:10], "main~1"} {
			s.post("checkout", m{"path": "work", "branch": rev})
			if st := s.status("work"); st.CurrentBranch != "HEAD" || !*st.Detached || st.BranchPublished || *st.Upstream != "" {
				t.Errorf("%s: %+v", rev, st)
			}
			if s.read("work/a.txt") != "one\n" {
				t.Errorf("%s: wrong files", rev)
			}
		}
		want(t, "detached", toolbox.GitBranches{Branches: []string{"main", "topic"}, Current: ptr("")}, list())
		s.post("checkout", m{"path": "work", "branch": "v1"}) // a tag
		if got := s.git("work", "rev-parse", "HEAD"); got != s.git("work", "rev-parse", "main") {
			t.Error("not at the tag")
		}
		s.post("checkout", m{"path": "work", "branch": "main"})

		s.write("work/topic.txt", "in the way\n") // untracked, and in the other branch
		s.fails(409, "GIT_DIRTY_WORKTREE", "POST", "checkout", m{"path": "work", "branch": "topic"})
		if s.read("work/topic.txt") != "in the way\n" {
			t.Error("a local file was overwritten")
		}
		_ = os.Remove(s.path("work/topic.txt"))
		s.write("work/a.txt", "mine\n")
		s.fails(409, "GIT_DIRTY_WORKTREE", "POST", "checkout", m{"path": "work", "branch": first})
		if s.read("work/a.txt") != "mine\n" {
			t.Error("a local change was overwritten")
		}
		for _, name := range []string{"-f", "a..b", "a b", ".x", "x.lock", "a/", "HEAD", "@", "x@{1}", "a\nb", strings.Repeat("x", 245)} {
			s.fails(400, "BAD_REQUEST", "POST", "branches", m{"path": "work", "name": name})
		}
		for _, rev := range []string{"-f", "--orphan=x", "a\x00b", "^main", "a..b", strings.Repeat("x", 1025)} {
			s.fails(400, "BAD_REQUEST", "POST", "checkout", m{"path": "work", "branch": rev})
		}
	})
}

func TestClone(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		origin := "file://" + s.path("origin.git")
		first := s.git("seed", "rev-parse", "main~1")
		topic := s.git("seed", "rev-parse", "topic")

		s.post("clone", m{"url": origin, "path": "branch", "branch": "topic"})
		if got := s.git("branch", "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes/origin/topic", "refs/remotes/origin/main"); got != "refs/heads/topic\nrefs/remotes/origin/topic" {
			t.Errorf("single branch: %q", got)
		}
		s.post("clone", m{"url": origin, "path": "tag", "branch": "v1"})
		if got := s.git("tag", "rev-parse", "HEAD"); got != s.git("seed", "rev-parse", "v1") {
			t.Error("not at the tag")
		}
		s.post("clone", m{"url": origin, "path": "commit", "commit_id": first})
		if st := s.status("commit"); st.CurrentBranch != "HEAD" || !*st.Detached || len(st.FileStatus) != 0 || s.read("commit/a.txt") != "one\n" {
			t.Errorf("%+v", st)
		}
		s.post("clone", m{"url": origin, "path": "elsewhere", "commit_id": topic}) // on another branch
		if got := s.git("elsewhere", "rev-parse", "HEAD"); got != topic {
			t.Errorf("at %s", got)
		}
		web := s.web("", "", false)
		s.post("clone", m{"url": web.URL + "/origin.git", "path": "shallow", "depth": 1})
		if got := s.git("shallow", "rev-list", "--count", "HEAD"); got != "1" {
			t.Errorf("depth 1 has %s commits", got)
		}
		s.post("clone", m{"url": "./origin.git", "path": "sub/dir/relative"})
		if left := s.git("sub/dir/relative", "status", "--porcelain"); left != "" {
			t.Errorf("git sees changes: %s", left)
		}
		if err := os.Mkdir(s.path("empty"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.post("clone", m{"url": origin, "path": "empty"})

		s.post("branches", m{"path": "shallow", "name": "mine"})
		s.post("push", m{"path": "shallow", "set_upstream": true})
		if st := s.status("shallow"); !st.BranchPublished || *st.Upstream != "origin/mine" {
			t.Errorf("%+v", st)
		}

		s.fails(409, "CONFLICT", "POST", "clone", m{"url": origin, "path": "empty"})
		s.fails(409, "CONFLICT", "POST", "clone", m{"url": origin, "path": "empty/a.txt"})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "clone", m{"url": origin, "path": "gone", "branch": "nowhere"})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "clone", m{"url": origin, "path": "gone", "commit_id": strings.Repeat("1", 40)})
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "clone", m{"url": "file://" + s.path("nothing"), "path": "gone"})
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "clone", m{"url": s.path("nothing"), "path": "gone"})
		s.git("", "init", "-q", "--bare", "bare-empty.git")
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "clone", m{"url": s.path("bare-empty.git"), "path": "gone"})
		if _, err := os.Stat(s.path("gone")); err == nil {
			t.Error("a failed clone left its directory")
		}
		if err := os.Mkdir(s.path("room"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "clone", m{"url": origin, "path": "room", "commit_id": strings.Repeat("1", 40)})
		if left, err := os.ReadDir(s.path("room")); err != nil || len(left) != 0 {
			t.Errorf("a failed clone left %v %v", left, err)
		}
		for _, u := range []string{"ext::sh -c touch% x", "ext::sh", "--upload-pack=touch x", "-oProxyCommand=x", "ssh://-oProxyCommand=x/y", "a b", "x@-h:p", "fd::3", "ftp://h/x",
			"file://host/x", "gopher://x", "http://", "https:///x", "https://u:p%zz@h/x", "ssh://u:p@h/x", "h:-x", "https://h\nx/"} {
			s.fails(400, "BAD_REQUEST", "POST", "clone", m{"url": u, "path": "gone"})
		}
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "clone", m{"path": "gone"})
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "clone", m{"url": origin})
		s.fails(400, "BAD_REQUEST", "POST", "clone", m{"url": origin, "path": "gone", "depth": -1})
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "clone", m{"url": origin, "path": "gone", "depth": "x"})
		s.fails(400, "BAD_REQUEST", "POST", "clone", m{"url": origin, "path": "gone", "branch": "--x"})
	})
}

func TestStatusOfEveryKind(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		s.fails(404, "GIT_REPO_NOT_FOUND", "GET", "status?path=missing", nil)
		s.fails(404, "GIT_REPO_NOT_FOUND", "GET", "status?path=seed%2Fdir", nil) // below one is not one
		s.fails(404, "GIT_REPO_NOT_FOUND", "GET", "status?path=seed%2Fa.txt", nil)
		s.fails(400, "BAD_REQUEST", "GET", "status", nil)
		s.fails(400, "BAD_REQUEST", "GET", "status?path=", nil)
		s.fails(400, "BAD_REQUEST", "GET", "status?path=a%00b", nil)
		s.fails(400, "BAD_REQUEST", "GET", "status?path="+strings.Repeat("x", 4097), nil)
		s.fails(400, "BAD_REQUEST", "GET", "status?path=origin.git", nil) // bare
		s.git("", "init", "-q", "new")
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "GET", "status?path=new", nil)

		if err := os.Symlink(s.path("seed"), s.path("link")); err != nil {
			t.Fatal(err)
		}
		s.status("link")
		st := s.status("seed")
		if st.BranchPublished || *st.Upstream != "" || st.Ahead != 0 {
			t.Errorf("without upstream: %+v", st)
		}
		s.write("seed/.gitignore", "*.tmp\n")
		s.write("seed/x.tmp", "ignored")
		s.write("seed/grüße\n\"\t.txt", "odd name")
		s.write("seed/a.txt", "staged\n")
		s.git("seed", "add", "a.txt")
		s.write("seed/a.txt", "and changed again\n")
		want(t, "mixed", map[string]string{".gitignore": "Untracked/Untracked", "grüße\n\"\t.txt": "Untracked/Untracked", "a.txt": "Modified/Modified"}, s.files("seed"))
		s.git("seed", "reset", "-q", "--hard")

		// A merge that stops.
		s.git("seed", "checkout", "-q", "-b", "left")
		s.write("seed/a.txt", "left\n")
		s.write("seed/both.txt", "left\n")
		s.git("seed", "add", "a.txt", "both.txt")
		s.git("seed", "commit", "-q", "-m", "left")
		s.git("seed", "checkout", "-q", "-b", "right", "main")
		s.write("seed/a.txt", "right\n")
		s.write("seed/both.txt", "right\n")
		s.git("seed", "add", "a.txt", "both.txt")
		s.git("seed", "commit", "-q", "-m", "right")
		s.mayFail("seed", "merge", "left")
		got := s.files("seed")
		delete(got, ".gitignore")
		delete(got, "grüße\n\"\t.txt")
		want(t, "unmerged", map[string]string{"a.txt": "Updated but unmerged/Updated but unmerged/both modified", "both.txt": "Updated but unmerged/Updated but unmerged/both added"}, got)
		s.fails(409, "GIT_MERGE_CONFLICT", "POST", "commit", m{"path": "seed", "message": "x", "author": "a", "email": "e"})
		s.fails(409, "GIT_MERGE_CONFLICT", "POST", "checkout", m{"path": "seed", "branch": "topic"})
		if !s.status("seed").BranchPublished == false {
			t.Error("published")
		}
	})
}

// Renames are git's to find; the library tells a deletion and an addition.
func TestRenames(t *testing.T) {
	s := withGit(t)
	s.seed()
	s.git("seed", "mv", "dir/b.txt", "dir/c d.txt")
	want(t, "renamed", map[string]string{"dir/c d.txt": "Renamed/Unmodified/dir/b.txt"}, s.files("seed"))
	s.git("seed", "config", "status.renames", "copies")
	s.write("seed/a2.txt", "one\nmore\n")
	s.write("seed/a.txt", "one\nmore\nand more\n")
	s.git("seed", "add", "-A")
	want(t, "copied", map[string]string{"dir/c d.txt": "Renamed/Unmodified/dir/b.txt", "a2.txt": "Copied/Unmodified/a.txt", "a.txt": "Modified/Unmodified"}, s.files("seed"))
}

func TestSubmodule(t *testing.T) {
	s := withGit(t)
	s.seed()
	s.git("seed", "-c", "protocol.file.allow=always", "submodule", "add", "-q", s.path("origin.git"), "sub")
	s.git("seed", "commit", "-q", "-m", "submodule")
	s.write("seed/sub/a.txt", "changed\n")
	s.write("seed/sub/u.txt", "untracked\n")
	want(t, "submodule", map[string]string{"sub": "Unmodified/Modified/modified content, untracked content"}, s.files("seed"))
}

// mayFail runs the real git and forgets how it ended.
func (s *suite) mayFail(dir string, args ...string) {
	s.t.Helper()
	s.git(dir, "-c", "alias.try=!git "+strings.Join(args, " ")+" || true", "try")
}

func TestCommitAndHistory(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		commit := m{"path": "seed", "message": "x", "author": "A", "email": "a@b"}
		s.fails(409, "CONFLICT", "POST", "commit", commit) // nothing staged
		commit["allow_empty"] = true
		s.post("commit", commit)
		var log []toolbox.GitCommitInfo
		s.Do("GET", "/git/history?path=seed", nil).JSON(t, &log)
		if len(log) != 3 {
			t.Fatalf("%d commits", len(log))
		}
		log[0].Hash, log[0].Timestamp = "", ""
		want(t, "history", []toolbox.GitCommitInfo{{Author: "A", Email: "a@b", Message: "x"},
			{Hash: s.git("seed", "rev-parse", "main~1"), Author: "Ann", Email: "ann@example.org", Message: "second\n\nwith a body\n", Timestamp: "2026-01-02T03:04:05+02:00"},
			{Hash: s.git("seed", "rev-parse", "main~2"), Author: "Ann", Email: "ann@example.org", Message: "first\n", Timestamp: "2026-01-02T03:04:05+02:00"}}, log)
		s.Do("GET", "/git/history?path=seed&limit=1", nil).JSON(t, &log)
		if len(log) != 1 {
			t.Errorf("limit 1 gave %d", len(log))
		}
		s.git("", "init", "-q", "-b", "main", "new")
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "GET", "history?path=new", nil)
		s.fails(404, "GIT_REPO_NOT_FOUND", "GET", "history?path=missing", nil)
		s.fails(400, "BAD_REQUEST", "GET", "history?path=seed&limit=-1", nil)
		s.fails(409, "CONFLICT", "POST", "commit", m{"path": "new", "message": "x", "author": "A", "email": "a@b"})
		s.write("new/f", "x")
		s.post("add", m{"path": "new", "files": []string{"f"}})
		s.post("commit", m{"path": "new", "message": "# first\n", "author": "A", "email": "a@b"})
		if got := s.git("new", "log", "--format=%B"); got != "# first" {
			t.Errorf("message %q", got)
		}
		for _, bad := range []m{{"author": "<>"}, {"author": "a\nb"}, {"email": " . "}, {"author": strings.Repeat("x", 1025)}, {"message": "a\x00b"}} {
			body := m{"path": "seed", "message": "x", "author": "A", "email": "a@b"}
			for k, v := range bad {
				body[k] = v
			}
			s.fails(400, "BAD_REQUEST", "POST", "commit", body)
		}
		for _, missing := range []string{"path", "message", "author", "email"} {
			body := m{"path": "seed", "message": "x", "author": "A", "email": "a@b"}
			delete(body, missing)
			s.fails(400, "INVALID_REQUEST_BODY", "POST", "commit", body)
		}
	})
}

func TestAdd(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		s.write("seed/.gitignore", "*.tmp\n")
		s.write("seed/x.tmp", "ignored")
		s.write("seed/[ab].txt", "odd")
		s.write("seed/:(top)x", "odd")
		s.write("seed/-f", "odd")
		s.write("seed/sub/deep/f", "f")
		if err := os.Symlink("a.txt", s.path("seed/link")); err != nil {
			t.Fatal(err)
		}
		s.fails(404, "FILE_NOT_FOUND", "POST", "add", m{"path": "seed", "files": []string{"missing"}})
		s.fails(404, "FILE_NOT_FOUND", "POST", "add", m{"path": "seed", "files": []string{"*.txt"}}) // no patterns
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": []string{"x.tmp"}})
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": []string{"../work"}})
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": []string{"/etc/passwd"}})
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": []string{".git/config"}})
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": []string{""}})
		s.fails(400, "BAD_REQUEST", "POST", "add", m{"path": "seed", "files": make([]string, 10001)})
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "add", m{"path": "seed"})
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "add", m{"path": "missing", "files": []string{"x"}})
		s.post("add", m{"path": "seed", "files": []string{}})
		s.post("add", m{"path": "seed", "files": []string{"[ab].txt", ":(top)x", "-f", "./sub", s.path("seed/link")}})
		want(t, "added", map[string]string{".gitignore": "Untracked/Untracked", "[ab].txt": "Added/Unmodified", ":(top)x": "Added/Unmodified", "-f": "Added/Unmodified",
			"sub/deep/f": "Added/Unmodified", "link": "Added/Unmodified"}, s.files("seed"))
		s.post("add", m{"path": "seed", "files": []string{"."}})
		if got := s.git("seed", "status", "--porcelain"); got != "A  -f\nA  .gitignore\nA  :(top)x\nA  [ab].txt\nA  link\nA  sub/deep/f" {
			t.Errorf("git sees %q", got)
		}
	})
}

func TestInitRemotesConfig(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		if r := s.Do("POST", "/git/init", m{"path": "deep/new", "initial_branch": "trunk"}); r.Status != 201 || len(r.Body) != 0 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		s.post("init", m{"path": "deep/new"}) // again
		if got := s.git("deep/new", "symbolic-ref", "HEAD"); got != "refs/heads/trunk" {
			t.Errorf("HEAD is %s", got)
		}
		s.post("init", m{"path": "store.git", "bare": true})
		if got := s.git("store.git", "rev-parse", "--is-bare-repository"); got != "true" {
			t.Errorf("bare: %s", got)
		}
		var b toolbox.GitBranches
		s.Do("GET", "/git/branches?path=deep%2Fnew", nil).JSON(t, &b)
		want(t, "branches of a new repository", toolbox.GitBranches{Branches: []string{}, Current: ptr("trunk")}, b)
		s.fails(400, "BAD_REQUEST", "POST", "init", m{"path": "x", "initial_branch": "-x"})
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "init", m{})
		s.write("file", "")
		s.fails(403, "FORBIDDEN", "POST", "init", m{"path": "file/x"})

		remotes := func() string {
			r := s.Do("GET", "/git/remotes?path=deep%2Fnew", nil)
			return fmt.Sprint(r.Status, " ", string(r.Body))
		}
		want(t, "none", `200 {"remotes":[]}`, remotes())
		if r := s.Do("POST", "/git/remotes", m{"path": "deep/new", "name": "origin", "url": s.path("origin.git"), "fetch": true}); r.Status != 201 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		if got := s.git("deep/new", "rev-parse", "refs/remotes/origin/topic"); got != s.git("seed", "rev-parse", "topic") {
			t.Error("not fetched")
		}
		s.fails(409, "CONFLICT", "POST", "remotes", m{"path": "deep/new", "name": "origin", "url": "example.org/x"})
		s.post("remotes", m{"path": "deep/new", "name": "origin", "url": "example.org/x", "overwrite": true})
		s.post("remotes", m{"path": "deep/new", "name": "more", "url": "git@example.org:x/y.git"})
		s.git("deep/new", "config", "remote.old.url", "https://u:secret@example.org/z")
		want(t, "three", `200 {"remotes":[{"name":"more","url":"git@example.org:x/y.git"},{"name":"old","url":"https://u@example.org/z"},{"name":"origin","url":"https://example.org/x"}]}`, remotes())
		s.fails(400, "BAD_REQUEST", "POST", "remotes", m{"path": "deep/new", "name": "p", "url": "https://u:secret@example.org/x"})
		s.fails(400, "BAD_REQUEST", "POST", "remotes", m{"path": "deep/new", "name": "-p", "url": "example.org/x"})
		s.fails(400, "BAD_REQUEST", "POST", "remotes", m{"path": "deep/new", "name": "p", "url": "ext::sh"})
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "remotes", m{"path": "deep/new", "name": "bad", "url": s.path("nothing"), "fetch": true})

		config := func(query string) string {
			r := s.Do("GET", "/git/config?"+query, nil)
			return fmt.Sprint(r.Status, " ", string(r.Body))
		}
		want(t, "unset", `200 {"value":null}`, config("key=user.name"))
		s.post("config/user", m{"name": "Ann Ö", "email": "ann@example.org"})
		want(t, "global", `200 {"value":"Ann Ö"}`, config("key=user.name"))
		want(t, "global", `200 {"value":"ann@example.org"}`, config("key=user.email&scope=global"))
		s.post("config", m{"key": "user.name", "value": "Bo", "scope": "local", "path": "deep/new"})
		want(t, "local", `200 {"value":"Bo"}`, config("key=user.name&scope=local&path=deep%2Fnew"))
		want(t, "not local", `200 {"value":null}`, config("key=user.email&scope=local&path=deep%2Fnew"))
		s.post("config", m{"key": "url.https://example.org/a.b/.insteadOf", "value": "x = # \" \\ ;"})
		want(t, "odd", `200 {"value":"x = # \" \\ ;"}`, config("key="+url.QueryEscape("url.https://example.org/a.b/.insteadOf")))
		if got := s.git("", "config", "--global", "url.https://example.org/a.b/.insteadOf"); got != "x = # \" \\ ;" {
			t.Errorf("git reads %q", got)
		}
		if got := s.git("deep/new", "config", "user.name"); got != "Bo" {
			t.Errorf("git reads %q", got)
		}
		s.fails(400, "BAD_REQUEST", "GET", "config?key=user.name&scope=local", nil)
		s.fails(400, "BAD_REQUEST", "GET", "config?key=user.name&scope=x", nil)
		s.fails(400, "BAD_REQUEST", "GET", "config?key=user", nil)
		s.fails(400, "BAD_REQUEST", "GET", "config", nil)
		s.fails(404, "GIT_REPO_NOT_FOUND", "GET", "config?key=user.name&scope=local&path=missing", nil)
		for _, k := range []string{"user", "user.", ".name", "--global", "-c.x", "a.1", "a\n.b", "us er.x"} {
			s.fails(400, "BAD_REQUEST", "POST", "config", m{"key": k, "value": "x"})
		}
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "config", m{"key": "a.b"})

		s.post("credentials", m{"username": "u@x", "password": "p/w:d", "host": "Example.org:8443"})
		s.post("credentials", m{"username": "u2", "password": "p2"})
		s.post("credentials", m{"username": "u2", "password": "p3"})
		st, err := os.Stat(s.path(".git-credentials"))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Fatal(st, err)
		}
		want(t, "stored", []string{"https://u%40x:p%2fw%3ad@example.org:8443", "https://u2:p3@github.com"}, sorted(strings.Fields(strings.ReplaceAll(strings.ToLower(s.read(".git-credentials")), "%3a8443", ":8443"))))
		if got := s.git("", "config", "--global", "--get-all", "credential.helper"); got != "store" {
			t.Errorf("helper %q", got)
		}
		for _, bad := range []m{{"host": "a/b"}, {"host": "a b"}, {"protocol": "ssh"}, {"username": "a\nhost=evil"}, {"password": "a\nb"}, {"password": strings.Repeat("x", 8001)}} {
			body := m{"username": "u", "password": "p"}
			for k, v := range bad {
				body[k] = v
			}
			s.fails(400, "BAD_REQUEST", "POST", "credentials", body)
		}
	})
}

func sorted(s []string) []string {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

func TestResetAndRestore(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		first := s.git("seed", "rev-parse", "main~1")
		second := s.git("seed", "rev-parse", "main")
		clean := func() {
			s.git("seed", "reset", "-q", "--hard", second)
			s.git("seed", "clean", "-qfd")
		}
		head := func() string { return s.git("seed", "rev-parse", "HEAD") }

		s.write("seed/a.txt", "staged\n")
		s.git("seed", "add", "a.txt")
		s.post("reset", m{"path": "seed"})
		want(t, "mixed", map[string]string{"a.txt": "Unmodified/Modified"}, s.files("seed"))
		s.post("reset", m{"path": "seed", "mode": "hard"})
		want(t, "hard", map[string]string{}, s.files("seed"))
		s.post("reset", m{"path": "seed", "mode": "soft", "target": "HEAD~1"})
		want(t, "soft", map[string]string{"a.txt": "Modified/Unmodified"}, s.files("seed"))
		if head() != first {
			t.Error("HEAD did not move")
		}
		s.post("reset", m{"path": "seed", "mode": "hard", "target": second})
		s.post("reset", m{"path": "seed", "mode": "keep", "target": first})
		if head() != first || s.read("seed/a.txt") != "one\n" {
			t.Error("keep")
		}
		clean()
		s.write("seed/dir/b.txt", "kept\n")
		s.post("reset", m{"path": "seed", "mode": "keep", "target": first})
		if s.read("seed/dir/b.txt") != "kept\n" || head() != first {
			t.Error("keep lost a change")
		}
		clean()
		s.write("seed/a.txt", "mine\n")
		s.fails(409, "GIT_DIRTY_WORKTREE", "POST", "reset", m{"path": "seed", "mode": "keep", "target": first})
		s.fails(409, "GIT_DIRTY_WORKTREE", "POST", "reset", m{"path": "seed", "mode": "merge", "target": first})
		if s.read("seed/a.txt") != "mine\n" || head() != second {
			t.Error("a refused reset changed something")
		}
		clean()
		s.write("seed/a.txt", "staged\n")
		s.write("seed/dir/b.txt", "staged\n")
		s.git("seed", "add", "-A")
		s.post("reset", m{"path": "seed", "files": []string{"a.txt"}})
		want(t, "files", map[string]string{"a.txt": "Unmodified/Modified", "dir/b.txt": "Modified/Unmodified"}, s.files("seed"))
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "reset", m{"path": "seed", "target": "nowhere"})
		s.fails(400, "BAD_REQUEST", "POST", "reset", m{"path": "seed", "mode": "--hard"})
		s.fails(400, "BAD_REQUEST", "POST", "reset", m{"path": "seed", "mode": "hard", "files": []string{"a.txt"}})
		s.fails(400, "BAD_REQUEST", "POST", "reset", m{"path": "seed", "target": "--hard"})

		clean()
		s.write("seed/a.txt", "changed\n")
		s.write("seed/dir/b.txt", "changed\n")
		s.post("restore", m{"path": "seed", "files": []string{"a.txt"}})
		want(t, "worktree", map[string]string{"dir/b.txt": "Unmodified/Modified"}, s.files("seed"))
		s.git("seed", "add", "-A")
		s.post("restore", m{"path": "seed", "files": []string{"dir"}, "staged": true})
		want(t, "staged", map[string]string{"dir/b.txt": "Unmodified/Modified"}, s.files("seed"))
		s.git("seed", "add", "-A")
		s.post("restore", m{"path": "seed", "files": []string{"."}, "staged": true, "worktree": true})
		want(t, "both", map[string]string{}, s.files("seed"))
		s.post("restore", m{"path": "seed", "files": []string{"a.txt"}, "source": first})
		if s.read("seed/a.txt") != "one\n" {
			t.Error("source")
		}
		want(t, "source", map[string]string{"a.txt": "Unmodified/Modified"}, s.files("seed"))
		clean()
		if err := os.Remove(s.path("seed/a.txt")); err != nil {
			t.Fatal(err)
		}
		s.post("restore", m{"path": "seed", "files": []string{"a.txt"}})
		want(t, "deleted", map[string]string{}, s.files("seed"))
		s.fails(404, "FILE_NOT_FOUND", "POST", "restore", m{"path": "seed", "files": []string{"missing"}})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "restore", m{"path": "seed", "files": []string{"a.txt"}, "source": "nowhere"})
		s.fails(400, "INVALID_REQUEST_BODY", "POST", "restore", m{"path": "seed", "files": []string{}})
		s.fails(400, "BAD_REQUEST", "POST", "restore", m{"path": "seed", "files": []string{"a.txt"}, "staged": false, "worktree": false})
	})
}

func TestPushAndPullFailures(t *testing.T) {
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		s.git("", "clone", "-q", "origin.git", "one")
		s.git("", "clone", "-q", "origin.git", "two")
		s.write("one/a.txt", "one\n")
		s.git("one", "commit", "-q", "-a", "-m", "one")
		s.write("two/a.txt", "two\n")
		s.git("two", "commit", "-q", "-a", "-m", "two")
		s.post("push", m{"path": "one"})
		s.fails(409, "GIT_PUSH_REJECTED", "POST", "push", m{"path": "two"})
		s.fails(409, "GIT_MERGE_CONFLICT", "POST", "pull", m{"path": "two"})
		s.git("two", "reset", "-q", "--hard", "HEAD~1")
		s.write("two/a.txt", "in the way\n")
		s.fails(409, "GIT_DIRTY_WORKTREE", "POST", "pull", m{"path": "two"})
		if s.read("two/a.txt") != "in the way\n" {
			t.Error("a pull overwrote a change")
		}
		s.write("two/a.txt", "one\nmore\n")
		s.write("two/other", "does not matter\n")
		s.post("pull", m{"path": "two"})
		if s.read("two/a.txt") != "one\n" || s.read("two/other") != "does not matter\n" {
			t.Error("pull")
		}
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "pull", m{"path": "two", "branch": "nowhere"})
		s.fails(404, "NOT_FOUND", "POST", "pull", m{"path": "two", "remote": "nowhere"})
		s.fails(404, "NOT_FOUND", "POST", "push", m{"path": "two", "remote": "nowhere"})
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "push", m{"path": "two", "branch": "nowhere"})
		s.git("two", "checkout", "-q", "--detach")
		s.fails(400, "BAD_REQUEST", "POST", "push", m{"path": "two"})
		s.fails(400, "BAD_REQUEST", "POST", "pull", m{"path": "two"})
		s.git("two", "checkout", "-q", "-b", "fresh")
		s.post("push", m{"path": "two", "set_upstream": true})
		if st := s.status("two"); !st.BranchPublished || *st.Upstream != "origin/fresh" {
			t.Errorf("%+v", st)
		}
		s.fails(400, "BAD_REQUEST", "POST", "push", m{"path": "two", "remote": "--force"})
		s.fails(400, "BAD_REQUEST", "POST", "pull", m{"path": "two", "branch": "+main"[1:] + ":x"})

		// A hook of the remote refuses.
		hook := s.path("origin.git/hooks/pre-receive")
		if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(hook, []byte("#!/bin/sh\necho not today >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		web := s.web("", "", false)
		s.git("one", "remote", "set-url", "origin", web.URL+"/origin.git")
		s.git("one", "commit", "-q", "--allow-empty", "-m", "more")
		s.fails(422, "GIT_REMOTE_REJECTED", "POST", "push", m{"path": "one"})
		_ = os.Remove(hook)
		s.post("push", m{"path": "one"})

		// Nothing to pull.
		s.git("", "init", "-q", "--bare", "void.git")
		s.git("one", "remote", "set-url", "origin", s.path("void.git"))
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "pull", m{"path": "one"})
		s.git("one", "remote", "set-url", "origin", s.path("nothing.git"))
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "pull", m{"path": "one"})
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "push", m{"path": "one"})
		s.git("", "init", "-q", "-b", "main", "new")
		s.git("new", "remote", "add", "origin", s.path("origin.git"))
		s.fails(404, "GIT_BRANCH_NOT_FOUND", "POST", "push", m{"path": "new"})
		s.post("pull", m{"path": "new"}) // into a repository without commits
		if s.git("new", "status", "--porcelain") != "" || s.git("new", "rev-parse", "main") != s.git("origin.git", "rev-parse", "main") {
			t.Error("the first pull")
		}
	})
}
