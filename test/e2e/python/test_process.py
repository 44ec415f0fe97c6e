import base64
import os
import re
import time

import pytest
from daytona import CodeRunParams, CreateSandboxFromSnapshotParams
from clients import errors
from daytona_toolbox_api_client.exceptions import ApiException


def test_default_sandbox_is_base_and_python(base):
    assert base.snapshot == "base"
    r = base.process.code_run("import sys; print('hello', sys.version_info.major)")
    assert (r.exit_code, r.result) == (0, "hello 3\n")
    assert r.artifacts.stdout == r.result and not r.artifacts.charts


def test_whoami_is_daytona_and_sudo_makes_root(base):
    assert base.process.exec("whoami").result == "daytona\n"
    assert base.process.exec("sudo whoami && sudo id -u").result == "root\n0\n"
    assert base.get_user_home_dir() == "/home/daytona"
    assert base.get_work_dir() == "/home/daytona"


def test_python_arguments_environment_and_failure(base):
    r = base.process.code_run("import os, sys; print(sys.argv[1:], os.environ['A'])", CodeRunParams(argv=["x y", "ü"], env={"A": "b'c\"d"}))
    assert (r.exit_code, r.result) == (0, "['x y', 'ü'] b'c\"d\n")
    r = base.process.code_run("print('before', flush=True); raise SystemExit(7)")
    assert (r.exit_code, r.result) == (7, "before\n")
    r = base.process.code_run("1/0")
    assert r.exit_code == 1 and "ZeroDivisionError" in r.result


@pytest.mark.parametrize(
    "language, code, want",
    [
        ("javascript", "const a = [1, 2, 3]; console.log(a.map(x => x * 2).join());", "2,4,6\n"),
        ("typescript", "interface P { x: number }\nconst p: P = { x: 20 }; enum E { A = 22 }\nconsole.log(p.x + E.A as number);", "42\n"),
        ("python", "print(sum(range(10)))", "45\n"),
    ],
)
def test_languages(daytona, language, code, want):
    box = daytona.create(CreateSandboxFromSnapshotParams(language=language))
    try:
        r = box.process.code_run(code)
        assert (r.exit_code, r.result) == (0, want)
        assert daytona.get(box.id).process.code_run(code).result == want  # the language is found again
    finally:
        box.delete()


def test_code_run_timeout(base):
    begin = time.monotonic()
    with pytest.raises(ApiException) as e:  # this client does not turn errors of code_run into its own
        base.process.code_run("import time; time.sleep(60)", timeout=1)
    assert e.value.status == 408 and time.monotonic() - begin < 5
    assert e.value.headers["X-Request-Id"].isalnum(), "more than one request id"


def test_matplotlib_charts_come_as_artifacts(base):
    r = base.process.code_run(
        """
import matplotlib.pyplot as plt
plt.figure(figsize=(4, 3))
plt.plot([1, 2, 3], [4, 5, 6], label="growth")
plt.title("Growth")
plt.xlabel("days")
plt.ylabel("size")
plt.show()
plt.figure()
plt.bar(["a", "b"], [3, 7])
plt.title("Counts")
plt.show()
print("done")
"""
    )
    assert (r.exit_code, r.result.strip()) == (0, "done")
    line, bar = r.artifacts.charts
    assert (line.type, line.title, line.x_label, line.y_label) == ("line", "Growth", "days", "size")
    assert [(e.label, [tuple(p) for p in e.points]) for e in line.elements] == [("growth", [(1, 4), (2, 5), (3, 6)])]
    assert (bar.type, bar.title, [float(e.value) for e in bar.elements]) == ("bar", "Counts", [3, 7])
    assert base64.b64decode(line.png).startswith(b"\x89PNG\r\n")


def test_exec_directory_environment_and_exit_code(tiny):
    r = tiny.process.exec("pwd", cwd="/tmp")
    assert (r.exit_code, r.result) == (0, "/tmp\n")
    r = tiny.process.exec('printf "%s|%s" "$A" "$B"; exit 3', env={"A": "it's \"quoted\" $HOME", "B": "two\nlines"})
    assert (r.exit_code, r.result) == (3, "it's \"quoted\" $HOME|two\nlines")
    r = tiny.process.exec("echo out; echo err >&2")
    assert (r.exit_code, r.result) == (0, "out\nerr\n")
    assert tiny.process.exec("no-such-command").exit_code == 127


def test_exec_runs_a_script_of_many_lines(tiny):
    r = tiny.process.exec("for i in 1 2 3; do\n  echo \"n=$i\"\ndone\ncat <<'END'\n$not expanded\nEND\nread x || echo no input")
    assert r.result == "n=1\nn=2\nn=3\n$not expanded\nno input\n"


def test_exec_timeout_kills_what_was_started(tiny):
    begin = time.monotonic()
    with pytest.raises(errors.DaytonaTimeoutError) as e:
        tiny.process.exec("sleep 4711 & setsid sleep 4712 & sleep 4713", timeout=1)
    assert time.monotonic() - begin < 5
    assert e.value.status_code == 408
    assert not re.search("sleep 471[123]", tiny.process.exec("ps").result)


def test_exec_does_not_wait_for_the_background(tiny):
    begin = time.monotonic()
    r = tiny.process.exec("sleep 30 & echo started")
    assert r.result == "started\n" and time.monotonic() - begin < 5


def test_exec_with_much_output(tiny):
    r = tiny.process.exec("head -c 5000000 /dev/zero | tr '\\0' x")
    assert len(r.result) == 5_000_000 and set(r.result) == {"x"}


def test_pip_downloads_a_package(base):
    if base.process.exec("python3 -m pip --version").exit_code != 0:
        pytest.skip("the base snapshot has no pip")
    env = {}
    if ca := os.environ.get("PIP_CERT"):  # the index of this host is signed by an authority of its own
        base.fs.upload_file(ca, "/tmp/ca.pem")
        env["PIP_CERT"] = "/tmp/ca.pem"
    r = base.process.exec(
        "cd /tmp && python3 -m pip download --no-deps --quiet --disable-pip-version-check --retries 0 --timeout 5 six==1.17.0 && ls six-*", env=env, timeout=60
    )
    if r.exit_code != 0:
        pytest.skip("no package index can be reached from sandboxes of this host: " + r.result.strip().splitlines()[-1][:200])
    assert "six-1.17.0" in r.result
