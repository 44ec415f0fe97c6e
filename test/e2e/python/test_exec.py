"""Commands beyond the wire of the official client, and beside it: one sandbox, many ways to run and follow something."""

import base64
import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid

import websocket


def call(box, method, path, body=None, headers=None, raw=False):
    base = f"{os.environ['DAYTONA_API_URL'].removesuffix('/api')}/toolbox/{box.id}"
    data = None if body is None else json.dumps(body).encode()
    req = urllib.request.Request(base + path, data, {"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"], **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(req, timeout=60) as res:
            b = res.read()
            return res.status, b if raw else (json.loads(b) if b else None)
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())


def events(box, body, last=None, name=None, stop=None):
    """Yields (event, id, data) of a streamed command."""
    base = f"{os.environ['DAYTONA_API_URL'].removesuffix('/api')}/toolbox/{box.id}"
    headers = {"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"], "X-Dugout-Execution-Id": name or uuid.uuid4().hex}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    req = urllib.request.Request(base + "/process/execute/stream", json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(req, timeout=60) as res:
        assert res.headers["Content-Type"].startswith("text/event-stream")
        event = {}
        for line in res:
            line = line.decode().rstrip("\n")
            if line == "" and "event" in event:
                yield event["event"], int(event.get("id", -1)), json.loads(event["data"])
                event = {}
            elif ": " in line and not line.startswith(":"):
                key, value = line.split(": ", 1)
                event[key] = value


def text(data):
    return base64.b64decode(data["data"]) if "data" in data else data["text"].encode()


def test_the_clients_own_call_gets_what_it_knows(base):
    r = base.process.exec("echo out; echo err >&2; exit 3")
    assert (r.exit_code, r.result) == (3, "out\nerr\n")
    assert base.process.exec("cat; echo $?", timeout=5).result == "0\n"


def test_split_streams_stdin_and_user(base):
    status, r = call(base, "POST", "/process/execute", {"command": "cat; sleep 0.05; echo err >&2", "stdin": "in\n", "split": True})
    assert (status, r) == (200, {"exitCode": 0, "result": "in\nerr\n", "stdout": "in\n", "stderr": "err\n"})
    status, r = call(base, "POST", "/process/execute", {"command": "id -un; echo $HOME; echo $X", "user": "root", "envs": {"X": "y"}})
    assert (status, r["result"]) == (200, "root\n/root\ny\n")
    assert call(base, "POST", "/process/execute", {"command": "id", "user": "no-such-user"})[0] == 400
    status, r = call(base, "POST", "/process/execute", {"command": "sleep 60", "user": "root", "timeout": 1})
    assert status == 408 and base.process.exec("pgrep -x sleep").exit_code == 1


def test_tiny_has_no_sudo(tiny):
    user = tiny.process.exec("id -u").result.strip()
    status, r = call(tiny, "POST", "/process/execute", {"command": "id -u", "user": "0" if user != "0" else "65534"})
    assert status == 403 and "sudo" in r["message"] or user == "0"


def test_stream_of_a_real_build_arrives_as_it_is_written(base):
    script = "pip --version; python3 - <<'E'\nimport sys,time\nfor i in range(5):\n print('step', i, flush=True); time.sleep(0.1)\nprint('warning', file=sys.stderr)\nE\nexit 6"
    got, errs, times, exit = b"", b"", [], None
    for name, _, data in events(base, {"command": script}):
        if name == "stdout":
            got += text(data)
            times.append(time.monotonic())
        elif name == "stderr":
            errs += text(data)
        elif name == "exit":
            exit = data
    assert got.endswith(b"step 4\n") and errs == b"warning\n" and exit["exitCode"] == 6
    assert times[-1] - times[0] > 0.3, "it came all at once"


def test_stream_resumes_without_loss(base):
    command = {"command": "head -c 30000000 /dev/urandom | tee blob"}
    name, last, digest, done, rounds = uuid.uuid4().hex, 0, hashlib.sha256(), False, 0
    while not done:
        rounds += 1
        for n, (event, at, data) in enumerate(events(base, command, last, name)):
            assert event != "gap", data
            if event == "stdout":
                b = text(data)
                assert at == last + len(b)
                digest.update(b)
                last = at
            done = event == "exit"
            if n > 200 and rounds < 4:
                break
    assert last == 30000000 and rounds >= 4
    assert base.process.exec("sha256sum < blob").result.split()[0] == digest.hexdigest()


def test_follow_and_signal_a_command_of_another_client(base):
    name = uuid.uuid4().hex
    out = {}

    def run():
        out["answer"] = call(base, "POST", "/process/execute", {"command": "trap 'echo bye; exit 8' TERM; while :; do echo tick; sleep 0.1; done"}, {"X-Dugout-Execution-Id": name})

    t = threading.Thread(target=run)
    t.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status, body = call(base, "GET", f"/process/execution/{name}/output", raw=True)
        if status == 200 and body.count(b"tick") >= 3:
            break
        time.sleep(0.05)
    assert call(base, "POST", f"/process/execution/{name}/signal", {"signal": "SIGTERM"})[0] == 200
    t.join(10)
    assert out["answer"][0] == 200 and out["answer"][1]["exitCode"] == 8 and out["answer"][1]["result"].endswith("bye\n")
    status, body = call(base, "GET", f"/process/execution/{name}/output?offset=5&follow=true", raw=True)
    assert status == 200 and body.decode() == out["answer"][1]["result"][5:]
    status, r = call(base, "POST", f"/process/execution/{name}/signal", {"signal": "TERM"})
    assert (status, r["code"], r["source"]) == (410, "COMMAND_ALREADY_COMPLETED", "DAYTONA_DAEMON")


def test_live_input(base):
    name = uuid.uuid4().hex
    t = threading.Thread(target=lambda: list(events(base, {"command": "python3 -i -q 2>&1", "openStdin": True}, name=name)))
    t.start()
    url = os.environ["DAYTONA_API_URL"].removesuffix("/api").replace("http", "ws", 1) + f"/toolbox/{base.id}/process/execution/{name}/connect"
    for _ in range(100):
        try:
            ws = websocket.create_connection(url, header=["Authorization: Bearer " + os.environ["DAYTONA_API_KEY"]], timeout=10)
            break
        except websocket.WebSocketBadStatusException as e:
            assert e.status_code == 404, e
            time.sleep(0.05)
    assert json.loads(ws.recv())["type"] == "start"
    ws.send_binary(b"print(6*7)\n")
    seen = b""
    while b"42\n" not in seen:
        message = ws.recv()
        seen += message[1:] if isinstance(message, bytes) else b""
    ws.send(json.dumps({"type": "eof"}))
    while isinstance(message, bytes):
        message = ws.recv()
    assert json.loads(message) | {"offset": 0} == {"type": "exit", "exitCode": 0, "offset": 0}
    ws.close()
    t.join(10)
