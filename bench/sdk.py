"""The SDK's side of the benchmark: one request per line on standard input, one answer per line on standard output.

A request is {"op": ..., ...}, an answer {"ms": ...} or {"error": ...}. The time is taken around the SDK's call alone, with the
client, the sandbox object and the payload made before. DAYTONA_API_URL and DAYTONA_API_KEY say where the server is.
"""

import json
import os
import sys
import time

os.environ.setdefault("OTEL_SDK_DISABLED", "true")

from importlib.metadata import version  # noqa: E402

from daytona import CreateSandboxFromSnapshotParams, Daytona  # noqa: E402


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
