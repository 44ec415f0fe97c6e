import asyncio
import threading
import time

import pytest
from daytona import SessionExecuteRequest as Run
from clients import errors


@pytest.fixture
def session(base):
    base.process.create_session("s")
    yield base.process
    base.process.delete_session("s")


def run(process, command, **options):
    return process.execute_session_command("s", Run(command=command, **options))


def test_state_stays_and_streams_are_apart(session):
    r = run(session, "cd /tmp; export A='a b'; f() { echo \"f $1\"; }; echo out; echo err >&2; (exit 7)")
    assert (r.exit_code, r.stdout, r.stderr) == (7, "out\n", "err\n")
    r = run(session, "echo $?; pwd; f \"$A\"; python3 -c 'import os; print(os.environ[\"A\"])'")
    assert (r.exit_code, r.stdout, r.stderr) == (0, "7\n/tmp\nf a b\na b\n", "")
    assert run(session, "if").exit_code != 0
    assert run(session, "cat <<END\nafter $((1+1))\nEND").stdout == "after 2\n"


def test_follow_and_input(session):
    command = "printf 'name? '; read n; echo hello $n; echo bad >&2; for i in 1 2 3; do echo $i; sleep 0.1; done"
    r = run(session, command, run_async=True)
    assert r.exit_code is None
    out, err = [], []
    follower = threading.Thread(target=lambda: asyncio.run(session.get_session_command_logs_async("s", r.cmd_id, out.append, err.append)))
    follower.start()
    deadline = time.monotonic() + 5
    while "".join(out) != "name? ":
        assert time.monotonic() < deadline, "the prompt does not come"
        time.sleep(0.01)
    assert session.get_session_command("s", r.cmd_id).exit_code is None
    session.send_session_command_input("s", r.cmd_id, "bob")
    follower.join(10)
    assert not follower.is_alive()
    assert ("".join(out), "".join(err)) == ("name? bob\nhello bob\n1\n2\n3\n", "bad\n")
    logs = session.get_session_command_logs("s", r.cmd_id)
    assert (logs.stdout, logs.stderr) == ("".join(out), "".join(err))
    assert session.get_session_command("s", r.cmd_id).exit_code == 0
    with pytest.raises(errors.DaytonaCommandAlreadyCompletedError):
        session.send_session_command_input("s", r.cmd_id, "more")


def test_much_output_to_a_follower(session):
    r = run(session, "seq 40000; seq 40000 | sha256sum >&2", run_async=True)
    out, err = [], []
    asyncio.run(session.get_session_command_logs_async("s", r.cmd_id, out.append, err.append))
    assert "".join(out) == "".join(f"{i}\n" for i in range(1, 40001))
    assert len("".join(err).split()[0]) == 64


def test_list_get_and_delete(base):
    p = base.process
    p.create_session("one")
    p.create_session("two")
    with pytest.raises(errors.DaytonaConflictError):
        p.create_session("one")
    r = p.execute_session_command("two", Run(command="sleep 4711 & sleep 4712", run_async=True))
    assert [(s.session_id, len(s.commands)) for s in p.list_sessions()] == [("one", 0), ("two", 1)]
    got = p.get_session("two")
    assert (got.commands[0].id, got.commands[0].command, got.commands[0].exit_code) == (r.cmd_id, "sleep 4711 & sleep 4712", None)
    p.delete_session("two")
    assert "sleep 471" not in p.exec("ps ax | grep -v grep").result
    p.delete_session("one")
    assert p.list_sessions() == []
    for call in (lambda: p.get_session("one"), lambda: p.delete_session("one"), lambda: p.execute_session_command("one", Run(command="x")), p.get_entrypoint_session, p.get_entrypoint_logs):
        with pytest.raises(errors.DaytonaNotFoundError):
            call()


def test_exit_ends_the_session(session):
    r = run(session, "echo last; exit 3")
    assert (r.exit_code, r.stdout) == (3, "last\n")
    with pytest.raises(errors.DaytonaSessionEndedError):
        run(session, "echo")


def test_a_server_in_the_background(session):
    r = run(session, "cd $(mktemp -d); echo found >page; python3 -m http.server 4711 --bind 127.0.0.1 2>/dev/null & echo started")
    assert r.stdout == "started\n"
    r = run(session, "for i in 1 2 3 4 5 6 7 8 9 10; do curl -fsS http://127.0.0.1:4711/page && break; sleep 0.3; done 2>/dev/null")
    assert r.stdout == "found\n"
