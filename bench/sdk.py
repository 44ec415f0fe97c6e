"""The SDK's side of the benchmark: one request per line on standard input, one answer per line on standard output.

A request is {"op": ..., ...}, an answer {"ms": ...} or {"error": ...}. The time is taken around the SDK's call alone, with the
client, the sandbox object and the payload made before. DAYTONA_API_URL and DAYTONA_API_KEY say where the server is.
"""

import json
import os
import sys
import threading
import time

os.environ.setdefault("OTEL_SDK_DISABLED", "true")

from importlib.metadata import version  # noqa: E402

from daytona import CreateSandboxFromSnapshotParams, Daytona, SessionExecuteRequest  # noqa: E402


class Arms:
    def __init__(self):
        self.daytona = Daytona()
        self.sandbox = None
        self.payload = {}

    def use(self, request):
        """Works in the sandbox with this id from now on."""
        self.sandbox = self.daytona.get(request["id"])
        return lambda: None

    def create(self, request):
        params = CreateSandboxFromSnapshotParams(snapshot=request["snapshot"], labels={"bench": "1"})

        def call():
            return {"id": self.daytona.create(params).id}

        return call

    def create_first(self, request):
        params = CreateSandboxFromSnapshotParams(snapshot=request["snapshot"], labels={"bench": "1"})

        def call():
            sandbox = self.daytona.create(params)
            got = sandbox.process.exec("true")
            return {"id": sandbox.id, "bad": got.exit_code != 0}

        return call

    def exec(self, request):
        command, want = request["command"], request["want"]

        def call():
            got = self.sandbox.process.exec(command)
            return {"bad": got.exit_code != 0 or got.result != want}

        return call

    def code(self, request):
        def call():
            got = self.sandbox.process.code_run("print(1+1)")
            return {"bad": got.exit_code != 0 or got.result.strip() != "2"}

        return call

    def up(self, request):
        size, path = request["size"], request["path"]
        data = self.payload.setdefault(size, os.urandom(size))

        def call():
            self.sandbox.fs.upload_file(data, path)

        return call

    def down(self, request):
        size, path = request["size"], request["path"]

        def call():
            return {"bad": len(self.sandbox.fs.download_file(path)) != size}

        return call


    def list(self, request):
        def call():
            return {"bad": len(self.sandbox.fs.list_files(request["path"])) != request["want"]}

        return call

    def session(self, request):
        if "session" not in self.payload:
            self.payload["session"] = "bench"
            self.sandbox.process.create_session("bench")
        command = SessionExecuteRequest(command="echo hello")

        def call():
            got = self.sandbox.process.execute_session_command("bench", command)
            return {"bad": got.exit_code != 0 or got.stdout != "hello\n"}

        return call

    def interpreter(self, request):
        def call():
            got = self.sandbox.code_interpreter.run_code("print(1+1)")
            return {"bad": got.error is not None or got.stdout.strip() != "2"}

        return call

    def up_file(self, request):
        size, path, local = request["size"], request["path"], request["local"]
        if not os.path.exists(local):
            with open(local, "wb") as f:
                f.write(os.urandom(size))

        def call():
            self.sandbox.fs.upload_file(local, path)

        return call

    def down_file(self, request):
        size, path, local = request["size"], request["path"], request["local"]

        def call():
            self.sandbox.fs.download_file(path, local)
            return {"bad": os.path.getsize(local) != size}

        return call

    def throughput(self, request):
        """Commands per second with some threads at work."""
        workers, seconds = request["workers"], request["seconds"]

        def call():
            counts, end = [0] * workers, time.monotonic() + seconds

            def work(i):
                while time.monotonic() < end:
                    if self.sandbox.process.exec("true").exit_code == 0:
                        counts[i] += 1

            threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
            start = time.monotonic()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            return {"rate": sum(counts) / (time.monotonic() - start)}

        return call


def main():
    # Only answers may go to the pipe; whatever a library prints goes to standard error.
    out, sys.stdout = sys.stdout, sys.stderr
    arms = Arms()
    print(json.dumps({"version": version("daytona")}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            call = getattr(arms, request["op"])(request)
            start = time.perf_counter_ns()
            answer = call() or {}
            answer["ms"] = (time.perf_counter_ns() - start) / 1e6
            if answer.pop("bad", False):
                answer["error"] = f"{request['op']} gave a wrong result"
        except Exception as e:
            answer = {"error": f"{request['op']}: {type(e).__name__}: {e}"[:1000]}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
