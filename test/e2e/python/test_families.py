"""Every family of calls once, with the blocking client and with the asynchronous one, of any release."""

import asyncio
import json
import urllib.request
import uuid

import pytest
from clients import OLD, done, errors, since
from conftest import config
from daytona import AsyncDaytona, CodeRunParams, FileUpload, PtySize, SessionExecuteRequest
from daytona.common.filesystem import FileDownloadRequest
from daytona.common.lsp_server import LspCompletionPosition


@pytest.fixture(params=["blocking", "asynchronous"])
def using(request, base):
    """Runs a test's body with the sandbox as seen by one kind of client, and a name that no other test has."""

    def run(body):
        async def main():
            name = "e2e-" + uuid.uuid4().hex[:8]
            if request.param == "blocking":
                return await body(base, name)
            async with AsyncDaytona(config()) as daytona:
                return await body(await daytona.get(base.id), name)

        asyncio.run(main())

    return run


def lines(r):
    return r.result.splitlines()


def test_files(using):
    async def body(box, name):
        fs, d = box.fs, "/home/daytona/" + name
        await done(fs.create_folder(d, "755"))
        await done(fs.upload_file(b"\x00one\xff\n", d + "/ü 1.bin"))
        await done(fs.upload_files([FileUpload(source=str(i).encode() * 1000, destination=f"{d}/many/{i}") for i in range(5)]))
        assert await done(fs.download_file(d + "/ü 1.bin")) == b"\x00one\xff\n"
        got = await done(fs.download_files([FileDownloadRequest(source=f"{d}/many/{i}") for i in range(6)]))
        assert [g.result for g in got] == [str(i).encode() * 1000 for i in range(5)] + [None] and got[5].error
        info = await done(fs.get_file_info(d + "/many/3"))
        assert (info.name, info.size, info.is_dir, info.mode, info.permissions, info.owner) == ("3", 1000, False, "-rw-r--r--", "0644", "1000")
        assert [f.name for f in await done(fs.list_files(d))] == ["many", "ü 1.bin"]
        await done(fs.move_files(d + "/many/3", d + "/three"))
        assert (await done(fs.replace_in_files([d + "/three"], "33", "x")))[0].success
        assert [m.content for m in await done(fs.find_files(d, "xx"))] == ["x" * 500]
        assert (await done(fs.search_files(d, "thr*"))).files == [d + "/three"]
        await done(fs.set_file_permissions(d + "/three", mode="600"))
        assert (await done(fs.get_file_info(d + "/three"))).mode == "-rw-------"
        await done(fs.delete_file(d, recursive=True))
        with pytest.raises(errors.DaytonaFileNotFoundError):
            await done(fs.list_files(d))

    using(body)


def test_exec(using):
    async def body(box, name):
        p = box.process
        value = "plain-ü" if OLD else "it's \"q\" ü"  # the old client leaves values unquoted in a command of its own
        r = await done(p.exec('pwd; printf "%s\\n" "$A"; echo bad >&2; exit 3', cwd="/tmp", env={"A": value}))
        assert (r.exit_code, lines(r)) == (3, ["/tmp", value, "bad"])
        r = await done(p.exec("seq 100000"))
        assert lines(r) == [str(i) for i in range(1, 100001)]
        with pytest.raises(errors.DaytonaError if OLD else errors.DaytonaTimeoutError):
            await done(p.exec("sleep 60", timeout=1))

    using(body)


PLOTS = """
import matplotlib.pyplot as plt
plt.plot([1, 2], [3, 4], label="l"); plt.title("line"); plt.show()
plt.figure(); plt.scatter([1, 2], [3, 4]); plt.title("scatter"); plt.show()
plt.figure(); plt.bar(["a", "b"], [1, 2.5]); plt.title("bar"); plt.show()
plt.figure(); plt.pie([1, 3], labels=["a", "b"]); plt.title("pie"); plt.show()
plt.figure(); plt.boxplot([[1, 2, 3, 9]]); plt.title("box"); plt.show()
fig, axes = plt.subplots(1, 2); axes[0].plot([1, 2], [1, 2]); axes[1].bar(["a"], [1]); fig.suptitle("two"); plt.show()
print("done")
"""


def test_code_run(using):
    async def body(box, name):
        p = box.process
        r = await done(p.code_run("import os, sys; print(sys.argv[1:], os.environ['A']); sys.exit(4)", CodeRunParams(argv=["x", "y"], env={"A": "b"})))
        assert (r.exit_code, lines(r)) == (4, ["['x', 'y'] b"])
        r = await done(p.code_run(PLOTS))
        assert (r.exit_code, lines(r)) == (0, ["done"])
        kinds = [str(getattr(c.type, "value", c.type)) for c in r.artifacts.charts]
        # The old client brings a reader of figures of its own, older than this matplotlib's boxes.
        assert [kinds[:4], kinds[5], len(kinds)] == [["line", "scatter", "bar", "pie"], "composite_chart", 6] and (OLD or kinds[4] == "box_and_whisker")
        assert all(c.png for c in r.artifacts.charts) and [c.title for c in r.artifacts.charts][:5] == ["line", "scatter", "bar", "pie", "box"]
        assert [getattr(c.type, "value", c.type) for c in r.artifacts.charts[5].elements] == ["line", "bar"]

    using(body)


def test_sessions(using):
    async def body(box, name):
        p = box.process

        def run(command, **how):
            return done(p.execute_session_command(name, SessionExecuteRequest(command=command, **how)))

        await done(p.create_session(name))
        await run("cd /tmp; export A=kept")
        r = await run("pwd; echo $A; echo bad >&2; (exit 3)")
        assert (r.exit_code, r.stdout, r.stderr) == (3, "/tmp\nkept\n", "bad\n")
        r = await run("seq 9000; echo end >&2; exit 5", run_async=True)
        out, err = [], []
        await p.get_session_command_logs_async(name, r.cmd_id, out.append, err.append)
        assert "".join(out) == "".join(f"{i}\n" for i in range(1, 9001)) and "".join(err) == "end\n"
        logs = await done(p.get_session_command_logs(name, r.cmd_id))
        assert (logs.stdout, logs.stderr) == ("".join(out), "".join(err))
        c = await done(p.get_session_command(name, r.cmd_id))
        assert (c.exit_code, c.command) == (5, "seq 9000; echo end >&2; exit 5")
        assert len((await done(p.get_session(name))).commands) == 3
        assert name in [s.session_id for s in await done(p.list_sessions())]
        await done(p.delete_session(name))
        with pytest.raises(errors.DaytonaNotFoundError):
            await done(p.get_session(name))

    using(body)


def test_input_of_a_session(using):
    async def body(box, name):
        p = box.process
        since(p, "send_session_command_input")
        await done(p.create_session(name))
        r = await done(p.execute_session_command(name, SessionExecuteRequest(command="read n; echo hello $n", run_async=True)))
        out = []
        await done(p.send_session_command_input(name, r.cmd_id, "bob"))
        await p.get_session_command_logs_async(name, r.cmd_id, out.append, out.append)
        assert "".join(out) == "bob\nhello bob\n"
        await done(p.delete_session(name))

    using(body)


def test_terminals(using):
    async def body(box, name):
        p, got = box.process, bytearray()
        blocking = not asyncio.iscoroutinefunction(p.list_pty_sessions)

        async def take(data):
            got.extend(data)

        how = {} if blocking else {"on_data": take}
        handle = await done(p.create_pty_session(id=name, cwd="/tmp", envs={"A": "b c"}, pty_size=PtySize(rows=30, cols=100), **how))
        await done(handle.wait_for_connection())
        listed = await done(p.list_pty_sessions())
        assert name in [s.id for s in getattr(listed, "sessions", listed)]
        assert (await done(p.get_pty_session_info(name))).cwd == "/tmp"
        info = await done(p.resize_pty_session(name, PtySize(rows=40, cols=132)))
        assert (info.rows, info.cols) == (40, 132)
        await done(handle.send_input("stty size; pwd; echo [$A]; exit 5\n"))
        result = await done(handle.wait(on_data=got.extend) if blocking else handle.wait())
        assert result.exit_code == 5
        assert b"40 132\r\n/tmp\r\n[b c]\r\n" in got
        with pytest.raises(errors.DaytonaNotFoundError):
            await done(p.get_pty_session_info(name))
        handle = await done(p.create_pty_session(id=name, **how))
        await done(p.kill_pty_session(name))
        assert (await done(handle.wait())).exit_code == 137

    using(body)


def test_interpreter(using):
    async def body(box, name):
        ci, out = box.code_interpreter, []
        context = await done(ci.create_context(cwd="/tmp"))
        await done(ci.run_code("x = 20", context=context))
        r = await done(ci.run_code("import os, sys\nprint(x, os.getcwd(), os.environ['A'])\nprint('e', file=sys.stderr)", context=context, envs={"A": "b"}, on_stdout=lambda m: out.append(m.output)))
        assert (r.stdout, r.stderr, r.error, "".join(out)) == ("20 /tmp b\n", "e\n", None, "20 /tmp b\n")
        r = await done(ci.run_code("1/0", context=context))
        assert r.error.name == "ZeroDivisionError"
        with pytest.raises(errors.DaytonaTimeoutError):
            await done(ci.run_code("while True: pass", context=context, timeout=1))
        assert (await done(ci.run_code("print(x)", context=context))).stdout == "20\n"
        assert context.id in [c.id for c in await done(ci.list_contexts())]
        await done(ci.delete_context(context))
        assert context.id not in [c.id for c in await done(ci.list_contexts())]

    using(body)


def test_git(using):
    async def body(box, name):
        git, d = box.git, "/home/daytona/" + name
        setup = f"""set -e; mkdir {d}; cd {d}; git init -q -b main seed; cd seed; echo one > a.txt; git add -A
            git -c user.name=S -c user.email=s@e commit -qm first; git branch topic; cd ..; git clone -q --bare seed origin.git"""
        r = await done(box.process.exec(setup))
        assert r.exit_code == 0, r.result
        await done(git.clone(d + "/origin.git", d + "/work"))
        await done(git.clone(d + "/origin.git", d + "/other", branch="main"))
        st = await done(git.status(d + "/work"))
        assert (st.current_branch, st.file_status, st.branch_published, st.ahead, st.behind) == ("main", [], True, 0, 0)
        await done(box.fs.upload_file(b"new\n", d + "/work/n.txt"))
        st = await done(git.status(d + "/work"))
        assert [(f.name, f.staging, f.worktree) for f in st.file_status] == [("n.txt", "Untracked", "Untracked")]
        await done(git.add(d + "/work", ["."]))
        sha = (await done(git.commit(d + "/work", "second", "Ann", "ann@example.org"))).sha
        assert len(sha) == 40 and (await done(git.status(d + "/work"))).ahead == 1
        await done(git.push(d + "/work"))
        await done(git.pull(d + "/other"))
        assert await done(box.fs.download_file(d + "/other/n.txt")) == b"new\n"
        await done(git.create_branch(d + "/work", "feature"))
        assert (await done(git.branches(d + "/work"))).branches == ["feature", "main"]
        await done(git.checkout_branch(d + "/work", "main"))
        await done(git.delete_branch(d + "/work", "feature"))
        with pytest.raises(errors.DaytonaGitRepoNotFoundError):
            await done(git.status("/tmp"))

    using(body)


def test_git_of_newer_clients(using):
    async def body(box, name):
        git = box.git
        since(git, "init", "remote_add", "set_config", "reset", "restore")
        await done(git.init(name, initial_branch="trunk"))
        await done(git.set_config("user.name", "Bo", "local", name))
        assert await done(git.get_config("user.name", "local", name)) == "Bo"
        await done(git.remote_add(name, "origin", "example.org/x"))
        assert await done(git.remote_get(name, "origin")) == "https://example.org/x"
        await done(box.fs.upload_file(b"1\n", name + "/f"))
        await done(git.add(name, ["f"]))
        await done(git.commit(name, "first", "A", "a@b"))
        await done(box.fs.upload_file(b"2\n", name + "/f"))
        await done(git.restore(name, ["f"]))
        assert await done(box.fs.download_file(name + "/f")) == b"1\n"
        await done(box.fs.upload_file(b"2\n", name + "/f"))
        await done(git.reset(name, mode="hard"))
        assert (await done(git.status(name))).file_status == []

    using(body)


def test_language_server(using):
    async def body(box, name):
        d = "/home/daytona/" + name
        await done(box.fs.upload_file(b"class Dog:\n    def bark(self): pass\n\nDog().\n", d + "/dog.py"))
        server = await done(box.create_lsp_server("python", d))
        await done(server.start())
        await done(server.did_open(d + "/dog.py"))
        assert {"Dog", "bark"} <= {s.name for s in await done(server.document_symbols(d + "/dog.py"))}
        found = await done(server.completions(d + "/dog.py", LspCompletionPosition(3, 6)))
        assert "bark()" in [i.label for i in found.items]
        assert "Dog" in [s.name for s in await done(server.sandbox_symbols("Dog"))]
        await done(server.did_close(d + "/dog.py"))
        await done(server.stop())

    using(body)


def test_signed_urls(using):
    async def body(box, name):
        since(box, "download_url", "upload_url")
        up = await done(box.upload_url(name + " ü"))
        with urllib.request.urlopen(urllib.request.Request(up, data=b"signed", method="POST")) as r:
            assert set(json.load(r)) >= {"name", "path", "type"}
        with urllib.request.urlopen(await done(box.download_url(name + " ü"))) as r:
            assert r.read() == b"signed"

    using(body)


def test_info(using):
    async def body(box, name):
        assert await done((box.get_user_root_dir if OLD else box.get_user_home_dir)()) == "/home/daytona"
        since(box, "get_work_dir")
        assert await done(box.get_work_dir()) == "/home/daytona"

    using(body)


def test_a_snapshot_without_a_desktop_says_so(using):
    async def body(box, name):
        for call in (box.computer_use.get_status, box.computer_use.mouse.get_position, box.computer_use.screenshot.take_full_screen):
            with pytest.raises(errors.DaytonaError) as e:
                await done(call())
            assert e.value.status_code == 503 and "computer use is not available" in str(e.value)

    using(body)
