"""What a server has on this host: counted by looking at the host, never by asking the server.

    host.py count DATA RUN     prints the counts as JSON
    host.py clean DATA RUN     ends what a stopped server left running, so that DATA and RUN can be removed
"""

import json
import os
import re
import signal
import subprocess
import sys
import time


def instance(data):
    """The four characters that tell installations on one host apart."""
    for folder, _, files in os.walk(data):
        if "instance" in files:
            with open(os.path.join(folder, "instance")) as f:
                return f.read().strip()
        if folder.count(os.sep) - data.count(os.sep) >= 2:
            break
    raise SystemExit(f"no file named instance below {data}")


def processes(name):
    """Ids of the processes in control groups of the installation."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as f:
                if f"/dugout-{name}/" in f.read():
                    found.append(int(pid))
        except OSError:
            pass  # it ended meanwhile
    return found


def mounts(*folders):
    with open("/proc/self/mountinfo") as f:
        points = [line.split(" ")[4] for line in f]
    return [p for p in points if any(p == d or p.startswith(d + "/") for d in folders)]


def groups(name):
    """Control groups of sandboxes; a group below one of those counts too."""
    found = []
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        if f"/dugout-{name}/" in folder + "/":
            found += [os.path.join(folder, d) for d in folders]
    return found


def links(name):
    out = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout or "[]")
    return [link["ifname"] for link in out if link["ifname"].startswith("dg" + name)]


def elements(name):
    r = subprocess.run(["nft", "-j", "list", "table", "inet", "dugout_" + name], capture_output=True)
    if r.returncode != 0:
        return 0
    count = 0
    for item in json.loads(r.stdout)["nftables"]:
        for kind in ("set", "map", "vmap"):
            count += len(item.get(kind, {}).get("elem", []))
        count += "rule" in item or "chain" in item
    return count


def files(folder):
    return sum(len(d) + len(f) for _, d, f in os.walk(folder)) if os.path.isdir(folder) else 0


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def count(data, run):
    name = instance(data)
    return {
        "processes": len(processes(name)),
        "mounts": len(mounts(data, run)),
        "groups": len(groups(name)),
        "links": len(links(name)),
        "firewall": elements(name),
        "run files": files(run),
    }


def clean(data, run):
    if not os.path.isdir(data):
        return
    try:
        name = instance(data)
    except SystemExit:
        name = None
    if name:
        for pid in processes(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + 10
        while processes(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        subprocess.run(["nft", "delete", "table", "inet", "dugout_" + name], stderr=subprocess.DEVNULL)
        for link in links(name):
            subprocess.run(["ip", "link", "delete", link], stderr=subprocess.DEVNULL)
        for group in sorted(groups(name), key=len, reverse=True):
            try:
                os.rmdir(group)
            except OSError:
                pass
    for point in reversed(mounts(data, run)):
        subprocess.run(["umount", "-l", re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), point)], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    verb, data, run = sys.argv[1:]
    if verb == "count":
        print(json.dumps(count(data, run)))
    elif verb == "clean":
        clean(data, run)
    else:
        raise SystemExit(__doc__)
