"""The stateful interpreter and code runs, as the official client sees them."""

import pytest
from daytona import AsyncDaytona, CodeRunParams, DaytonaError, DaytonaTimeoutError
from daytona_toolbox_api_client.exceptions import ApiException
from conftest import config

PLOT = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 2.5])\nplt.title('T')\nplt.show()\nprint('after')"


def test_state_and_streams(base):
    ci = base.code_interpreter
    assert ci.run_code("x = 20").error is None
    out, err = [], []
    r = ci.run_code("import sys\nprint('x is', x)\nprint('e', file=sys.stderr)\nx + 1", on_stdout=lambda m: out.append(m.output), on_stderr=lambda m: err.append(m.output))
    assert (r.stdout, r.stderr, r.error) == ("x is 20\n", "e\n", None)
    assert ("".join(out), "".join(err)) == (r.stdout, r.stderr)
    assert ci.run_code("import os; os.system('echo child'); print(os.environ['ONCE'])", envs={"ONCE": "1"}).stdout == "child\n1\n"
    assert ci.run_code("print(os.environ.get('ONCE'))").stdout == "None\n"


def test_errors(base):
    seen = []
    r = base.code_interpreter.run_code("def f():\n    raise ValueError('v')\nf()", on_error=seen.append)
    assert (r.error.name, r.error.value) == ("ValueError", "v") and seen == [r.error]
    assert 'File "<stdin>", line 2, in f' in r.error.traceback and "dugout" not in r.error.traceback
    assert base.code_interpreter.run_code("import sys; sys.exit(3)").error is None
    assert base.code_interpreter.run_code("input()").error.name == "EOFError"


def test_timeout_keeps_the_state(base):
    ci = base.code_interpreter
    ci.run_code("kept = 1")
    with pytest.raises(DaytonaTimeoutError):
        ci.run_code("while True: pass", timeout=1)
    assert ci.run_code("print(kept)").stdout == "1\n"


def test_contexts(base):
    ci = base.code_interpreter
    a, b = ci.create_context(cwd="/tmp"), ci.create_context()
    assert {c.id for c in ci.list_contexts()} >= {a.id, b.id} and a.cwd == "/tmp" and a.language == "python"
    ci.run_code("v = 'a'", context=a)
    ci.run_code("v = 'b'", context=b)
    assert ci.run_code("import os; print(v, os.getcwd())", context=a).stdout == "a /tmp\n"
    assert ci.run_code("print(v)", context=b).stdout == "b\n"
    for c in (a, b):
        ci.delete_context(c)
    assert not {c.id for c in ci.list_contexts()} & {a.id, b.id}
    with pytest.raises(DaytonaError):
        ci.run_code("1", context=a)
    with pytest.raises(DaytonaError):
        ci.delete_context(a)


def test_code_runs_warm_and_cold(base):
    run = base.process.code_run
    program = "import sys, os, json\nprint(sys.argv, os.environ.get('E'), os.getcwd(), sorted(os.listdir('/proc/self/fd'))[:3])\nsys.exit(3)"
    for env in ({"E": "v"}, {"E": "v", "PYTHONOPTIMIZE": ""}):  # the second: by a new interpreter
        for _ in range(4):
            r = run(program, CodeRunParams(argv=["a b", "c'd"], env=env))
            assert (r.exit_code, r.result) == (3, "['-', 'a b', \"c'd\"] v /home/daytona ['0', '1', '2']\n")
    assert len({run("import random; print(random.random())").result for _ in range(5)}) == 5
    with pytest.raises(ApiException) as e:  # this client hands it on as it is
        run("import time; time.sleep(60)", timeout=1)
    assert e.value.status == 408
    assert run("print('still')").result == "still\n"


def test_charts(base):
    for _ in range(3):  # new interpreter, zygote, perhaps one that has matplotlib
        r = base.process.code_run(PLOT)
        assert (r.exit_code, r.result) == (0, "after\n")
        assert [(str(getattr(c.type, "value", c.type)), c.title) for c in r.artifacts.charts] == [("bar", "T")] and r.artifacts.charts[0].png


def test_installed_package_is_seen(base):
    base.process.code_run("1")
    assert base.process.exec("mkdir -p /tmp/pkg && printf 'here = 5' > /tmp/pkg/e2epkg.py && d=$(python3 -m site --user-site) && mkdir -p $d && echo /tmp/pkg > $d/e2e.pth").exit_code == 0
    assert base.process.code_run("import e2epkg; print(e2epkg.here)").result == "5\n"


async def _asynchronous(name):
    async with AsyncDaytona(config()) as daytona:
        box = await daytona.get(name)
        r = await box.code_interpreter.run_code("y = 2\nprint(y)")
        ctx = await box.code_interpreter.create_context()
        await box.code_interpreter.delete_context(ctx)
        return r.stdout


def test_asynchronous(base):
    import asyncio

    assert asyncio.run(_asynchronous(base.id)) == "2\n"
