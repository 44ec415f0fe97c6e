"""What a server has on this host: counted by looking at the host, never by asking the server.

    host.py count DATA RUN     prints the counts as JSON
    host.py bare DATA RUN      fails unless nothing is left, as it must be after "dugout down"
"""

import json
import os
import subprocess
import sys


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
                mine = f"/dugout-{name}/" in f.read()
            with open(f"/proc/{pid}/stat") as f:
                ended = f.read().rpartition(") ")[2][0] in "ZX"  # the host's init takes its time to collect it
            if mine and not ended:
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


def bare(data, run):
    left = {k: n for k, n in count(data, run).items() if n and k != "run files"}
    if left:
        raise SystemExit(f"dugout down left on this host: {left}")


if __name__ == "__main__":
    verb, data, run = sys.argv[1:]
    if verb == "count":
        print(json.dumps(count(data, run)))
    elif verb == "bare":
        bare(data, run)
    else:
        raise SystemExit(__doc__)
