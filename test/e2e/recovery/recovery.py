"""What becomes of sandboxes when the server dies: nothing. And what remains of deleted ones: nothing.

    recovery.py [--kills N] [--cycles N] [--seed N] [NAME ...]     NAME: sigkill, sigterm, storm, leak; without names all
"""

import argparse
import random
import secrets
import signal
import sys
import threading
import time
import traceback

import host
from server import Refused, Server

START = "cut -d' ' -f22 /proc/1/stat"  # when the first process of the sandbox began


def restart(server, sign):
    """A command, a background process, files and the first process outlive the server."""
    box = server.create("survivor-" + secrets.token_hex(3))
    began = server.sh(box, START)
    server.sh(box, "echo data > kept; (i=0; while :; do i=$((i+1)); echo $i > beat; sleep 0.1; done) >/dev/null 2>&1 &")
    output = {}

    def long():
        output["text"] = server.sh(box, "for i in $(seq 40); do echo $i | tee -a count; sleep 0.1; done; echo end", "count-1", 60)

    thread = threading.Thread(target=long)
    thread.start()
    while "3" not in read(server, box, "count").split():
        pass
    server.kill(sign)
    time.sleep(0.5)  # the sandbox runs on while there is no server
    ready = server.start()
    begin = time.monotonic()
    server.toolbox(box, "GET", "/process/execution/count-1")
    attached = time.monotonic() - begin
    assert attached < 2, f"the sandbox was reached {attached:.1f} s after the server was ready, want at most 2 s"
    state = server.request("GET", "/sandbox/" + box["id"])
    assert (state["state"], state["name"]) == ("started", box["name"]), state
    thread.join(60)
    assert output.get("text") == "".join(f"{i}\n" for i in range(1, 41)) + "end\n", output
    assert server.sh(box, "wc -l < count").strip() == "40", "the command ran more than once"
    after = server.toolbox(box, "GET", "/process/execution/count-1?wait=30")
    assert (after["running"], after["exitCode"]) == (False, 0), after
    assert server.sh(box, START) == began, "the first process is another one"
    assert server.sh(box, "cat kept") == "data\n"
    first = int(read(server, box, "beat") or 0)
    deadline = time.monotonic() + 5
    while int(read(server, box, "beat") or 0) <= first:
        assert time.monotonic() < deadline, "the background process does not run any more"
    server.request("DELETE", "/sandbox/" + box["id"])
    return f"ready again after {ready:.2f} s, sandbox reached {attached * 1000:.0f} ms later"


def read(server, box, path):
    return server.sh(box, f"cat {path} 2>/dev/null || true")


def sigkill(server, _):
    return restart(server, signal.SIGKILL)


def sigterm(server, _):
    return restart(server, signal.SIGTERM)


class Worker(threading.Thread):
    """Makes, uses and deletes sandboxes. What the server acknowledged must hold."""

    def __init__(self, server, number, stop, seed):
        super().__init__(daemon=True)
        self.server, self.number, self.stop, self.random = server, number, stop, random.Random(seed * 100 + number)
        self.boxes, self.deleted, self.created, self.error = [], [], 0, None

    def run(self):
        try:
            while not self.stop.is_set():
                self.turn()
        except BaseException:
            self.error = traceback.format_exc()

    def turn(self):
        if len(self.boxes) < 4 and self.random.random() < 0.6:
            name = f"w{self.number}-{self.created}"
            self.created += 1
            box = self.server.create(name)
            self.boxes.append(box)
            box = self.server.wait(box["id"], "started")
            self.server.sh(box, f"echo {name} > who")
        elif self.boxes and self.random.random() < 0.5:
            box = self.random.choice(self.boxes)
            assert self.server.sh(box, "cat who") == box["name"] + "\n"
        elif self.boxes:
            box = self.boxes.pop(self.random.randrange(len(self.boxes)))
            delete(self.server, box)
            self.deleted.append(box)


def delete(server, box):
    try:
        server.insist("DELETE", "/sandbox/" + box["id"], again=(409,))  # 409: another change is still under way
    except Refused as e:
        if e.status != 404:  # 404: an earlier try got through
            raise


def storm(server, options):
    """Kills at random moments under load lose nothing that was acknowledged and leave nothing behind."""
    before = fresh(server)
    stop = threading.Event()
    workers = [Worker(server, i, stop, options.seed) for i in range(4)]
    for w in workers:
        w.start()
    moments = random.Random(options.seed)
    slowest = 0.0
    for _ in range(options.kills):
        time.sleep(moments.uniform(0.05, 0.5))
        server.kill()
        slowest = max(slowest, server.start())
        if any(w.error for w in workers):
            break
    stop.set()
    for w in workers:
        w.join(120)
        assert not w.is_alive(), "a worker hangs"
        assert w.error is None, w.error
    live = [b for w in workers for b in w.boxes]
    gone = [b for w in workers for b in w.deleted]
    for box in live:
        box = server.wait(box["id"], "started")
        assert server.sh(box, "cat who") == box["name"] + "\n", box["name"]
    deadline = time.monotonic() + 30
    want = {b["id"] for b in live}
    while (have := {b["id"] for b in listed(server)}) != want:
        assert time.monotonic() < deadline, f"lost: {want - have}; there against all expectation: {have - want}"
        time.sleep(0.1)
    settled(server, lambda n: n["groups"] >= len(live) and n["links"] >= len(live))
    for box in live:
        delete(server, box)
    settled(server, lambda n: n["processes"] == n["groups"] == 0)
    after = fresh(server, before)
    return f"{options.kills} kills, {len(live) + len(gone)} sandboxes, {len(live)} alive at the end, slowest start {slowest:.2f} s, left: {after}"


def listed(server):
    items, cursor = [], ""
    while True:
        page = server.request("GET", "/sandbox?limit=100" + ("&cursor=" + cursor if cursor else ""))
        items += [b for b in page["items"] if b["state"] not in ("destroyed", "destroying")]
        cursor = page.get("nextCursor")
        if not cursor:
            return items


def settled(server, good, want=None, seconds=30):
    """The host's counts once they are good."""
    deadline = time.monotonic() + seconds
    while not good(now := host.count(server.data, server.run)):
        assert time.monotonic() < deadline, f"the host has {now}" + (f", had {want} before" if want else "")
        time.sleep(0.2)
    return now


def fresh(server, want=None):
    """The host's counts of a server that just began, without sandboxes. While it runs it keeps networks to use again."""
    server.kill(signal.SIGTERM)
    server.start()
    last = None

    def good(now):
        nonlocal last
        same, last = now == last, now
        time.sleep(0.5)
        return same and now["processes"] == now["groups"] == 0 and (want is None or all(now[k] <= want[k] for k in now))

    return settled(server, good, want)


def churn(server, name, number):
    """Makes, uses and deletes so many sandboxes, four at a time."""
    errors, lock, todo = [], threading.Lock(), iter(range(number))

    def work():
        while not errors:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            try:
                box = server.create(f"{name}-{i}")
                server.wait(box["id"], "started")
                assert server.sh(box, "echo ok") == "ok\n"
                delete(server, box)
            except BaseException:
                errors.append(traceback.format_exc())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[0]


def leak(server, options):
    """Sandboxes that come and go leave nothing on the host and nothing open in the server."""

    before = fresh(server)
    churn(server, "warm", 40)  # what is made once, and what is kept for the next burst
    fds = host.descriptors(server.process.pid)
    begin = time.monotonic()
    churn(server, "leak", options.cycles)
    took = time.monotonic() - begin
    settled(server, lambda n: n["processes"] == n["groups"] == 0)
    deadline = time.monotonic() + 15
    while (now := host.descriptors(server.process.pid)) > fds + 16:  # connections kept open for a while
        assert time.monotonic() < deadline, f"the server has {now} descriptors, had {fds}"
        time.sleep(0.2)
    after = fresh(server, before)
    return f"{options.cycles} sandboxes in {took:.1f} s ({options.cycles / took:.1f} a second), descriptors {fds} -> {now}, left: {after}"


def main():
    tests = {t.__name__: t for t in (sigkill, sigterm, storm, leak)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    for name in options.names:
        if name not in tests:
            parser.error(f"{name!r} is not a test: {', '.join(tests)}")
    print("seed", options.seed, flush=True)
    failed = 0
    server = Server()
    try:
        print(f"first start took {server.start():.2f} s", flush=True)
        for name in options.names or tests:
            try:
                print(f"ok {name}: {tests[name](server, options)}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
                if server.process.poll() is not None:
                    server.start()
                for box in listed(server):
                    delete(server, box)
    finally:
        server.close(keep_log=failed > 0)
    print(f"recovery: {len(options.names or tests) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
