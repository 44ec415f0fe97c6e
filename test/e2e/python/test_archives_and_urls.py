"""Signed file URLs through the client, folders as archives and the paths of old clients beside it."""

import hashlib
import io
import json
import os
import stat
import tarfile
import time
import urllib.error
import urllib.request
import uuid
import zipfile

import pytest

API, KEY = os.environ["DAYTONA_API_URL"], os.environ["DAYTONA_API_KEY"]


def call(url, data=None, key=None, method=None, **headers):
    if key:
        headers["Authorization"] = "Bearer " + key
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers, method=method)) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def toolbox(box, path, data=None):
    return call(f"{box.toolbox_proxy_url}/{box.id}{path}", data, KEY)


@pytest.mark.skipif("not hasattr(__import__('daytona').Sandbox, 'download_url')", reason="this client signs no URLs")
def test_signed_urls(make):
    box = make()
    path = "/home/daytona/a b+ü&=?.txt"
    box.fs.upload_file(b"content", path)
    url = box.download_url(path)
    assert call(url) == (200, b"content")
    assert call(url, Range="bytes=1-3")[1] == b"ont"
    up = box.upload_url("made/on the way.bin")
    assert json.loads(call(up, b"raw")[1])["path"] == "/home/daytona/made/on the way.bin"
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nas a form\r\n--x--\r\n'
    assert call(up, form, **{"Content-Type": "multipart/form-data; boundary=x"})[0] == 200
    assert box.fs.download_file("made/on the way.bin") == b"as a form"
    # for nothing else
    for other in (url.replace("download?", "info?"), url + "&path=%2Fetc%2Fpasswd", url.replace("path=", "path=%2F"), up.replace("upload-v2", "upload")):
        assert call(other)[0] == 401, other
    assert call(url, b"", method="POST")[0] == 401
    assert call(up, method="GET")[0] == 401
    short, forever = box.download_url(path, ttl_seconds=1), box.download_url(path, ttl_seconds=0)
    time.sleep(2.1)
    status, body = call(short)
    assert status == 401 and json.loads(body)["code"] == "SIGNED_URL_EXPIRED"
    box.stop()
    assert call(forever)[0] == 400
    box.start()
    assert call(forever) == (200, b"content")
    box.rotate_signing_key()
    deadline = time.monotonic() + 5
    while call(forever)[0] != 401:
        assert time.monotonic() < deadline, "a rotated key still opens"
    assert call(box.download_url(path)) == (200, b"content")


@pytest.fixture(scope="module")
def tree(base):
    base.process.exec(
        "mkdir -p tree/sub/empty && cd tree && head -c 3000000 /dev/urandom >sub/random && seq 100000 >numbers && touch -d 2001-09-09T01:46:40Z numbers"
        " && printf '#!/bin/sh\\necho ran\\n' >run && chmod 750 run && ln -s run link && ln -s /etc out && mkfifo pipe && for i in $(seq 500); do echo $i >sub/f$i; done"
    )
    return base.process.exec("cd tree && find . -type f -exec sha256sum {} + | sort").result


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_archives(base, tree, kind):
    status, packed = toolbox(base, f"/files/archive?path=tree&format={kind}")
    assert status == 200
    want = {line.split("  ./")[1]: line.split()[0] for line in tree.splitlines()}
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(packed)) as z:
            assert z.testzip() is None
            got = {i.filename: hashlib.sha256(z.read(i)).hexdigest() for i in z.infolist() if stat.S_ISREG(i.external_attr >> 16)}
    else:
        with tarfile.open(fileobj=io.BytesIO(packed)) as t:
            names = t.getnames()
            assert names == sorted(names, key=lambda n: n.split("/")) and "pipe" not in names
            assert (t.getmember("link").linkname, t.getmember("out").linkname) == ("run", "/etc")
            assert (t.getmember("run").mode, t.getmember("numbers").mtime) == (0o750, 1_000_000_000)
            got = {m.name: hashlib.sha256(t.extractfile(m).read()).hexdigest() for m in t if m.isreg()}
    assert got == want
    into = "back-" + kind
    status, body = toolbox(base, f"/files/archive?path={into}&format={kind}", packed)
    out = json.loads(body)
    assert status == 200 and (out["files"], out["links"], out["skipped"]["count"]) == (503, 2, 0)
    assert base.process.exec(f"cd {into} && find . -type f -exec sha256sum {{}} + | sort").result == tree
    assert base.process.exec(f"cd {into} && ./run && readlink out link && test -d sub/empty && stat -c %U run").result == "ran\n/etc\nrun\ndaytona\n"


def test_real_programs_read_and_write_archives(base, tree):
    status, packed = toolbox(base, "/files/archive?path=tree&format=tar.gz")
    base.fs.upload_file(packed, "x.tgz")
    assert base.process.exec("mkdir x && tar -xzf x.tgz -C x && cd x && find . -type f -exec sha256sum {} + | sort").result == tree
    base.process.exec("tar -cf y.tar --format=gnu --sparse -C tree . && tar -czf y.tgz -C tree .")
    for name, kind in (("y.tar", "tar"), ("y.tgz", "tar.gz")):
        status, body = toolbox(base, f"/files/archive?path={name}.d&format={kind}", base.fs.download_file(name))
        out = json.loads(body)
        assert status == 200 and [s["path"] for s in out["skipped"]["first"]] == ["pipe"], body
        assert base.process.exec(f"cd {name}.d && find . -type f -exec sha256sum {{}} + | sort").result == tree


def test_hostile_archives_stay_in_their_folder(base):
    def packed(*members):
        b = io.BytesIO()
        with tarfile.open(fileobj=b, mode="w") as t:
            for name, link in members:
                m = tarfile.TarInfo(name)
                if link:
                    m.type, m.linkname = tarfile.SYMTYPE, link
                    t.addfile(m)
                else:
                    m.size = 1
                    t.addfile(m, io.BytesIO(b"x"))
        return b.getvalue()

    for members in ([("ok", ""), ("../evil", "")], [("/tmp/evil", "")], [("l", "/tmp"), ("l/evil", "")], [("l", ".."), ("l/evil", "")]):
        status, body = toolbox(base, "/files/archive?path=hostile", packed(*members))
        e = json.loads(body)
        assert status == 400 and e["source"] == "DAYTONA_DAEMON" and e["code"] in ("INVALID_ARCHIVE", "INVALID_FILE_PATH") and "extracted" in e
    assert base.process.exec("ls -d /tmp/evil evil ../evil 2>/dev/null | wc -l").result == "0\n"


def test_paths_of_old_clients(tiny):
    old = f"{API}/toolbox/{tiny.id}/toolbox"
    status, body = call(old + "/process/execute", json.dumps({"command": "echo $((6*7))"}).encode(), KEY)
    assert (status, json.loads(body)["result"]) == (200, "42\n")
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nold\r\n--x--\r\n'
    assert call(old + "/files/upload?path=/tmp/old%20one", form, KEY, **{"Content-Type": "multipart/form-data; boundary=x"})[0] == 200
    assert call(old + "/files/download?path=/tmp/old%20one", key=KEY) == (200, b"old")
    assert [f["name"] for f in json.loads(call(old + "/files?path=/tmp", key=KEY)[1]) if f["name"].startswith("old")] == ["old one"]
    assert json.loads(call(old + "/project-dir", key=KEY)[1]) == {"dir": "/home/daytona"}
    assert call(old + "/files?path=/tmp")[0] == 401
    assert call(old + "/port", key=KEY)[0] == 404
    assert call(f"{API}/toolbox/{uuid.uuid4()}/toolbox/files", key=KEY)[0] == 404
