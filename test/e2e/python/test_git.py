import pytest
from clients import errors

# A git server with a password, inside the sandbox: nothing outside of it can be reached in a test.
SERVER = r"""
import base64, http.server, os, subprocess

class Handler(http.server.BaseHTTPRequestHandler):
    def serve(self):
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"ann:s3:cret").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = dict(os.environ, GIT_PROJECT_ROOT=os.path.expanduser("~/served"), GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type") or "", REMOTE_USER="ann",
                   GIT_PROTOCOL=self.headers.get("Git-Protocol") or "", HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding") or "")
        out = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        lines = [l.split(": ", 1) for l in head.decode().split("\r\n")]
        self.send_response(int(next((v.split()[0] for k, v in lines if k == "Status"), 200)))
        for k, v in lines:
            if k != "Status":
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = serve
    def log_message(self, *a):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 8418), Handler).serve_forever()
"""

URL = "127.0.0.1:8418/origin.git"
AUTH = {"username": "ann", "password": "s3:cret"}


@pytest.fixture(scope="module")
def box(base):
    base.fs.upload_file(SERVER.encode(), "gitserver.py")
    r = base.process.exec(
        """set -e
        git config --global init.defaultBranch main; git config --global user.name Seed; git config --global user.email seed@example.org
        git init -q seed; cd seed; echo one > a.txt; mkdir dir; echo two > dir/b.txt; git add -A; git commit -qm first
        echo more >> a.txt; git commit -qam second; git checkout -qb topic; echo t > t.txt; git add -A; git commit -qm topic; git checkout -q main
        mkdir ../served; git clone -q --bare . ../served/origin.git; git -C ../served/origin.git config http.receivepack true
        cd ..; git config --global --unset user.name; git config --global --unset user.email
        setsid python3 gitserver.py >/dev/null 2>&1 </dev/null & for i in $(seq 50); do curl -s -o /dev/null 127.0.0.1:8418 && break; sleep 0.1; done"""
    )
    assert r.exit_code == 0, r.result
    return base


def test_a_day_with_a_repository(box):
    git = box.git
    git.clone("http://" + URL, "work", **AUTH)
    st = git.status("work")
    assert (st.current_branch, st.file_status, st.branch_published, st.ahead, st.behind, st.detached, st.upstream) == ("main", [], True, 0, 0, False, "origin/main")
    git.create_branch("work", "feature")
    assert (git.branches("work").branches, git.branches("work").current) == (["feature", "main"], "feature")
    box.fs.upload_file(b"new\n", "work/new file.txt")
    box.fs.upload_file(b"changed\n", "work/a.txt")
    box.fs.delete_file("work/dir/b.txt")
    assert [(f.name, f.staging, f.worktree, f.extra) for f in git.status("work").file_status] == [
        ("a.txt", "Unmodified", "Modified", ""), ("dir/b.txt", "Unmodified", "Deleted", ""), ("new file.txt", "Untracked", "Untracked", "")]
    git.add("work", ["a.txt"])
    git.add("work", ["."])
    assert [(f.name, f.staging) for f in git.status("work").file_status] == [("a.txt", "Modified"), ("dir/b.txt", "Deleted"), ("new file.txt", "Added")]
    sha = git.commit("work", "third", "Ann Ö", "ann@example.org").sha
    assert box.process.exec("git -C work log -1 --format='%H %an %ce %B'").result.strip() == f"{sha} Ann Ö ann@example.org third"
    git.push("work", set_upstream=True, **AUTH)
    assert git.status("work").upstream == "origin/feature"
    git.checkout_branch("work", "main")
    git.delete_branch("work", "feature")
    assert git.branches("work").branches == ["main"]
    git.clone("http://" + URL, "second", branch="feature", depth=1, **AUTH)
    assert box.process.exec("git -C second rev-list --count HEAD; cat second/a.txt").result == "1\nchanged\n"
    git.commit("work", "empty", "A", "a@b", allow_empty=True)
    git.push("work", **AUTH)
    git.clone(URL.replace("127", "http://127"), "third", commit_id=sha, **AUTH)
    assert git.status("third").detached and git.status("third").current_branch == "HEAD"
    git.checkout_branch("third", "main")
    git.pull("third", **AUTH)
    assert "s3:cret" not in box.process.exec("cat */.git/config ~/.gitconfig").result


def test_init_reset_restore_remotes_and_settings(box):
    git = box.git
    git.init("new", initial_branch="trunk")
    git.init("bare.git", bare=True)
    git.configure_user("Bo", "bo@example.org")
    git.set_config("user.name", "Local Bo", "local", "new")
    assert (git.get_config("user.name"), git.get_config("user.name", "local", "new"), git.get_config("no.such")) == ("Bo", "Local Bo", None)
    git.remote_add("new", "origin", "/home/daytona/bare.git")
    with pytest.raises(errors.DaytonaConflictError):
        git.remote_add("new", "origin", "example.org/x")
    git.remote_add("new", "other", "example.org/x")
    git.remote_add("new", "other", "example.org/y", overwrite=True)
    assert [(r.name, r.url) for r in git.remotes("new").remotes] == [("origin", "/home/daytona/bare.git"), ("other", "https://example.org/y")]
    assert git.remote_get("new", "other") == "https://example.org/y"
    box.fs.upload_file(b"1\n", "new/f")
    git.add("new", ["f"])
    first = git.commit("new", "first", "A", "a@b").sha
    git.push("new", set_upstream=True)
    box.fs.upload_file(b"2\n", "new/f")
    git.restore("new", ["f"])
    assert box.fs.download_file("new/f") == b"1\n"
    box.fs.upload_file(b"2\n", "new/f")
    git.add("new", ["f"])
    git.restore("new", ["f"], staged=True)
    assert [(f.staging, f.worktree) for f in git.status("new").file_status] == [("Unmodified", "Modified")]
    git.add("new", ["f"])
    git.reset("new", files=["f"])
    git.reset("new", mode="hard")
    git.commit("new", "second", "A", "a@b", allow_empty=True)
    assert git.status("new").ahead == 1
    git.reset("new", mode="soft", target=first)
    assert git.status("new").ahead == 0
    git.dangerously_authenticate("ann", "s3:cret", host="127.0.0.1:8418", protocol="http")
    git.clone("http://" + URL, "stored")
    assert box.process.exec("stat -c %a ~/.git-credentials; rm ~/.git-credentials; git config --global --unset credential.helper").result == "600\n"


@pytest.mark.parametrize(
    "error, call",
    [
        (errors.DaytonaGitAuthFailedError, lambda g: g.clone("http://" + URL, "no")),
        (errors.DaytonaGitAuthFailedError, lambda g: g.clone("http://" + URL, "no", username="ann", password="wrong")),
        (errors.DaytonaGitRepoNotFoundError, lambda g: g.clone("http://127.0.0.1:8418/missing.git", "no", **AUTH)),
        (errors.DaytonaGitBranchNotFoundError, lambda g: g.clone("http://" + URL, "no", branch="missing", **AUTH)),
        (errors.DaytonaGitTransportFailedError, lambda g: g.clone("http://127.0.0.1:1/x", "no")),
        (errors.DaytonaBadRequestError, lambda g: g.clone("ext::sh -c id", "no")),
        (errors.DaytonaConflictError, lambda g: g.clone("http://" + URL, "seed", **AUTH)),
        (errors.DaytonaGitRepoNotFoundError, lambda g: g.status("/tmp")),
        (errors.DaytonaGitBranchNotFoundError, lambda g: g.checkout_branch("seed", "missing")),
        (errors.DaytonaGitBranchExistsError, lambda g: g.create_branch("seed", "topic")),
        (errors.DaytonaConflictError, lambda g: g.commit("seed", "x", "a", "e")),
        (errors.DaytonaNotFoundError, lambda g: g.add("seed", ["missing"])),
        (errors.DaytonaForbiddenError, lambda g: g.set_config("a.b", "c", "system")),
    ],
)
def test_errors_have_their_classes(box, error, call):
    with pytest.raises(error) as e:
        call(box.git)
    assert e.value.source == "DAYTONA_DAEMON"


def test_rejected_pushes_and_dirty_trees(box):
    git = box.git
    git.clone("/home/daytona/served/origin.git", "one")
    git.clone("/home/daytona/served/origin.git", "two")
    for name in ("one", "two"):
        git.commit(name, name, name, "e", allow_empty=True)
    git.push("one")
    with pytest.raises(errors.DaytonaGitPushRejectedError):
        git.push("two")
    with pytest.raises(errors.DaytonaGitMergeConflictError):
        git.pull("two")
    git.reset("one", mode="hard", target="HEAD~1")
    box.fs.upload_file(b"mine\n", "one/t.txt")
    topic = box.process.exec("cd one; git fetch -q origin topic; git rev-parse FETCH_HEAD").result.strip()
    with pytest.raises(errors.DaytonaGitDirtyWorktreeError):
        git.checkout_branch("one", topic)
    hook = "served/origin.git/hooks/pre-receive"
    box.fs.upload_file(b"#!/bin/sh\nexit 1\n", hook)
    box.fs.set_file_permissions(hook, mode="755")
    git.create_branch("one", "another")
    with pytest.raises(errors.DaytonaGitRemoteRejectedError):
        git.push("one")
    box.fs.delete_file(hook)
    git.push("one")


def test_an_image_without_git(make):
    box = make()
    git = box.git
    git.init("origin.git", bare=True, initial_branch="main")
    git.init("work", initial_branch="main")
    git.remote_add("work", "origin", "/home/daytona/origin.git")
    box.fs.upload_file(b"x\n", "work/dir/x")
    git.add("work", ["."])
    sha = git.commit("work", "first", "A", "a@b").sha
    git.push("work", set_upstream=True)
    git.clone("/home/daytona/origin.git", "second")
    st = git.status("second")
    assert (st.current_branch, st.upstream, st.file_status) == ("main", "origin/main", [])
    assert box.fs.download_file("second/dir/x") == b"x\n"
    git.create_branch("second", "b")
    git.checkout_branch("second", sha)
    assert git.status("second").detached
    with pytest.raises(errors.DaytonaGitRepoNotFoundError):
        git.clone("/home/daytona/missing", "no")
    with pytest.raises(errors.DaytonaGitTransportFailedError):
        git.clone("http://127.0.0.1:1/x", "no")
