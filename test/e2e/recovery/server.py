"""A server with a data directory of its own that can be killed and started again, and a client of its API."""

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import host

GONE = (urllib.error.URLError, ConnectionError, http.client.HTTPException, TimeoutError)


class Refused(Exception):
    """An answer of the server that is no success."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Server:
    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="dugout-e2e-")
        os.chmod(self.work, 0o711)  # the ids of sandboxes must reach what is below
        self.data, self.run = self.work + "/data", self.work + "/run"
        self.log = open(self.work + "/server.log", "ab")
        self.key = "dgt_e2e_" + secrets.token_hex(24)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.process = None

    def start(self):
        """Starts the server and returns the seconds until it was ready."""
        begin = time.monotonic()
        env = {k: v for k, v in os.environ.items() if not k.startswith("DUGOUT_")} | {"DUGOUT_ADMIN_API_KEY": self.key}
        self.process = subprocess.Popen(
            [os.environ["DUGOUT_BIN"], "up", "--data", self.data, "--run-dir", self.run, "--listen", f"127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
        )
        while True:
            try:
                self.request("GET", "/health", timeout=1)
                return time.monotonic() - begin
            except (*GONE, Refused):
                if self.process.poll() is not None:
                    raise SystemExit(f"the server ended with {self.process.returncode}; its log: {self.tail()}")
                if time.monotonic() - begin > 120:
                    raise SystemExit(f"the server was not ready within 120 s; its log: {self.tail()}")
                time.sleep(0.01)

    def kill(self, sign=signal.SIGKILL):
        self.process.send_signal(sign)
        self.process.wait(60)

    def tail(self):
        with open(self.work + "/server.log", errors="replace") as f:
            return "".join(f.readlines()[-20:])

    def close(self, keep_log):
        """Ends the server and takes everything off the host again."""
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)
        env = {k: v for k, v in os.environ.items() if not k.startswith("DUGOUT_")}
        subprocess.run([os.environ["DUGOUT_BIN"], "down", "--data", self.data, "--run-dir", self.run], check=True, env=env, stdout=self.log, stderr=self.log)
        host.bare(self.data, self.run)
        if keep_log:
            print("the server's log is in", self.work + "/server.log")
            subprocess.run(["rm", "-rf", "--one-file-system", self.data, self.run])
        else:
            subprocess.run(["rm", "-rf", "--one-file-system", self.work], check=True)

    def request(self, method, path, body=None, headers=None, timeout=60, base=None):
        r = urllib.request.Request((base or self.url) + path, method=method, data=None if body is None else json.dumps(body).encode())
        r.add_header("Authorization", "Bearer " + self.key)
        if body is not None:
            r.add_header("Content-Type", "application/json")
        for k, v in (headers or {}).items():
            r.add_header(k, v)
        try:
            with urllib.request.urlopen(r, timeout=timeout) as answer:
                data = answer.read()
                return json.loads(data) if data and answer.headers.get_content_type() == "application/json" else data
        except urllib.error.HTTPError as e:
            raise Refused(e.code, e.read().decode(errors="replace")) from None

    def insist(self, *args, seconds=60, again=(), **kwargs):
        """Repeats the request while the server is away, or answers with a status in again."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.request(*args, **kwargs)
            except Refused as e:
                if e.status not in again and e.status < 500 or time.monotonic() > deadline:
                    raise
            except GONE:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def create(self, name, **more):
        return self.insist("POST", "/sandbox", {"name": name, "snapshot": "tiny", "autoStopInterval": 0, **more}, {"Idempotency-Key": name})

    def wait(self, key, state, seconds=30):
        deadline = time.monotonic() + seconds
        while (box := self.insist("GET", "/sandbox/" + key))["state"] != state:
            if time.monotonic() > deadline or box["state"] == "error":
                raise AssertionError(f"sandbox {key} is {box['state']} ({box.get('errorReason')}), want {state} within {seconds} s")
            time.sleep(0.02)
        return box

    def toolbox(self, box, method, path, body=None, headers=None, timeout=60, **kwargs):
        return self.insist(method, path, body, headers, timeout=timeout, base=box["toolboxProxyUrl"].rstrip("/") + "/" + box["id"], **kwargs)

    def sh(self, box, command, run=None, timeout=60):
        """Runs a command that is run once however often the server dies meanwhile; its output, or an error unless it ends with 0."""
        r = self.toolbox(box, "POST", "/process/execute", {"command": command, "timeout": timeout}, {"X-Dugout-Execution-Id": run or secrets.token_hex(8)}, timeout + 5)
        if r["exitCode"] != 0:
            raise AssertionError(f"{command!r} in {box['name']} ended with {r['exitCode']}: {r['result'][:300]}")
        return r["result"]
