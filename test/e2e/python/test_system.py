"""What programs see of the machine agrees with the sandbox's limits."""

import json
import os
import urllib.request


def metrics(box) -> dict:
    url = box.toolbox_proxy_url.rstrip("/") + f"/{box.id}/system/metrics"
    req = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"]})
    with urllib.request.urlopen(req, timeout=30) as res:
        return json.load(res)


def figures(box) -> dict:
    text = box.process.exec("cat /proc/meminfo").result
    return {k: int(v.split()[0]) * 1024 for k, v in (line.split(":") for line in text.splitlines())}


def test_processors(base):
    assert base.process.exec("nproc").result == f"{int(base.cpu)}\n"
    r = base.process.code_run("import os; print(len(os.sched_getaffinity(0)), os.cpu_count())")
    assert r.result.split() == [str(int(base.cpu))] * 2


def test_memory(base):
    before = figures(base)
    assert before["MemTotal"] == int(base.memory) << 30
    assert before["SwapTotal"] == 0
    assert before["MemTotal"] >= before["MemAvailable"] > 0
    # What a program takes is seen while it runs, and given back after.
    hold = "b = bytearray(300 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint(open('/proc/meminfo').read())"
    text = base.process.code_run(hold).result
    during = {k: int(v.split()[0]) * 1024 for k, v in (line.split(":") for line in text.strip().splitlines())}
    assert before["MemFree"] - during["MemFree"] > 280 << 20
    assert during["MemTotal"] == before["MemTotal"]
    total = base.process.exec("free -b | awk '/^Mem/{print $2}'").result
    assert int(total) == before["MemTotal"]


def test_many_readers(base):
    r = base.process.exec("for i in $(seq 40); do (for j in $(seq 20); do head -1 /proc/meminfo; done) & done; wait")
    assert r.exit_code == 0
    assert set(r.result.splitlines()) == {base.process.exec("head -1 /proc/meminfo").result.strip()}
    assert len(r.result.splitlines()) == 800


def test_out_of_memory(make):
    """A program over the limit is killed and counted; the sandbox and its daemon go on."""
    box = make(snapshot="base")
    before = metrics(box)
    assert before["oomKills"] == 0
    r = box.process.exec(f"python3 -c 'bytearray({2 * int(box.memory)} << 30)[::4096] = b\"x\" * ({2 * int(box.memory)} << 18)'; echo $?")
    assert r.result.strip().endswith("137")
    after = metrics(box)
    assert after["oomKills"] >= 1
    assert box.process.exec("echo still here").result == "still here\n"
