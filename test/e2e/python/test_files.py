import io
import os

import pytest
from daytona import FileUpload
from clients import errors
from daytona.common.filesystem import FileDownloadRequest


@pytest.fixture
def folder(tiny, request):
    path = f"/home/daytona/{request.node.name}"
    tiny.fs.create_folder(path, "755")
    return path


def test_bytes_survive_a_round_trip(tiny, folder):
    content = bytes(range(256)) * 1000
    tiny.fs.upload_file(content, folder + "/ü b.bin")
    assert tiny.fs.download_file(folder + "/ü b.bin") == content
    tiny.fs.upload_file(b"", folder + "/ü b.bin")  # overwrites
    assert tiny.process.exec(f"wc -c < '{folder}/ü b.bin'").result.strip() == "0"


def test_upload_makes_parents_and_relative_paths_are_below_home(tiny):
    tiny.fs.upload_file(b"deep", "one/two/three.txt")
    assert tiny.process.exec("cat /home/daytona/one/two/three.txt; stat -c %U one/two/three.txt").result == "deepdaytona\n"


def test_local_files(tiny, folder, tmp_path):
    source, target = tmp_path / "s", tmp_path / "t"
    source.write_bytes(b"local")
    tiny.fs.upload_file(str(source), folder + "/f")
    tiny.fs.download_file(folder + "/f", str(target))
    assert target.read_bytes() == b"local"


def test_bulk(tiny, folder, tmp_path):
    tiny.fs.upload_files([FileUpload(source=f"n{i}".encode(), destination=f"{folder}/{i}.txt") for i in range(21)])
    got = tiny.fs.download_files(
        [FileDownloadRequest(source=f"{folder}/{i}.txt") for i in range(20)]
        + [FileDownloadRequest(source=folder + "/missing"), FileDownloadRequest(source=folder + "/20.txt", destination=str(tmp_path / "last"))]
    )
    assert [r.result for r in got[:20]] == [f"n{i}".encode() for i in range(20)]
    assert got[20].result is None and got[20].error and got[20].error_details.status_code == 404
    assert got[21].error is None and (tmp_path / "last").read_bytes() == b"n20"


def test_streams(tiny, folder):
    size = 20 << 20
    block = os.urandom(1 << 20)
    sent, got = [], []
    tiny.fs.upload_file_stream(io.BytesIO(block * (size >> 20)), folder + "/big", on_progress=lambda p: sent.append(p.bytes_sent))
    assert sent[-1] >= size
    total = 0
    for i, chunk in enumerate(tiny.fs.download_file_stream(folder + "/big", on_progress=lambda p: got.append(p))):
        assert chunk == (block * 2)[total % len(block) :][: len(chunk)] or len(chunk) > len(block)
        total += len(chunk)
    assert total == size and got[-1].bytes_received == size and got[-1].total_bytes == size


def test_info_and_list(tiny, folder):
    tiny.fs.upload_file(b"12345", folder + "/a/b/c.txt")
    info = tiny.fs.get_file_info(folder + "/a/b/c.txt")
    assert (info.name, info.size, info.is_dir, info.mode, info.permissions) == ("c.txt", 5, False, "-rw-r--r--", "0644")
    assert info.owner == info.group == "1000" and info.modified_at
    assert [(f.name, f.is_dir) for f in tiny.fs.list_files(folder)] == [("a", True)]
    assert sorted(f.path for f in tiny.fs.list_files(folder, depth=3)) == [folder + "/a", folder + "/a/b", folder + "/a/b/c.txt"]


def test_folder_mode_move_and_delete(tiny, folder):
    tiny.fs.create_folder(folder + "/private", "700")
    assert tiny.fs.get_file_info(folder + "/private").mode == "drwx------"
    tiny.fs.upload_file(b"x", folder + "/private/x")
    tiny.fs.move_files(folder + "/private", folder + "/moved")
    assert tiny.fs.download_file(folder + "/moved/x") == b"x"
    with pytest.raises(errors.DaytonaNotFoundError):
        tiny.fs.get_file_info(folder + "/private")
    with pytest.raises(errors.DaytonaError):
        tiny.fs.delete_file(folder + "/moved")  # a folder wants recursive
    tiny.fs.delete_file(folder + "/moved/x")
    tiny.fs.delete_file(folder + "/moved", recursive=True)
    assert tiny.fs.list_files(folder) == []


def test_search_find_and_replace(tiny, folder):
    tiny.fs.upload_files(
        [
            FileUpload(source=b"first\nneedle here\n", destination=folder + "/a.py"),
            FileUpload(source=b"needle needle\n", destination=folder + "/sub/b.py"),
            FileUpload(source=b"nothing\n", destination=folder + "/c.txt"),
        ]
    )
    assert sorted(tiny.fs.search_files(folder, "*.py").files) == [folder + "/a.py", folder + "/sub/b.py"]
    found = sorted((m.file, m.line, m.content) for m in tiny.fs.find_files(folder, "needle"))
    assert found == [(folder + "/a.py", 2, "needle here"), (folder + "/sub/b.py", 1, "needle needle")]
    results = tiny.fs.replace_in_files([folder + "/sub/b.py", folder + "/missing"], "needle", "pin")
    assert [(r.file, r.success) for r in results] == [(folder + "/sub/b.py", True), (folder + "/missing", False)]
    assert tiny.fs.download_file(folder + "/sub/b.py") == b"pin pin\n"


def test_permissions(tiny, folder):
    tiny.fs.upload_file(b"#!/bin/sh\necho ran\n", folder + "/run.sh")
    tiny.fs.set_file_permissions(folder + "/run.sh", mode="750")
    assert tiny.fs.get_file_info(folder + "/run.sh").mode == "-rwxr-x---"
    assert tiny.process.exec(folder + "/run.sh").result == "ran\n"
    with pytest.raises(errors.DaytonaBadRequestError):
        tiny.fs.set_file_permissions(folder + "/run.sh", owner="no-such-user")


@pytest.mark.parametrize("call", ["download_file", "get_file_info", "list_files", "delete_file"])
def test_a_missing_file_is_a_not_found_error(tiny, call):
    with pytest.raises(errors.DaytonaFileNotFoundError) as e:
        getattr(tiny.fs, call)("/no/such/file")
    assert (e.value.status_code, e.value.code, e.value.source) == (404, "FILE_NOT_FOUND", "DAYTONA_DAEMON")


def test_what_the_user_may_not_do_is_a_forbidden_error(tiny):
    for call in (lambda: tiny.fs.create_folder("/etc/x", "755"), lambda: tiny.fs.list_files("/root"), lambda: tiny.fs.delete_file("/etc/passwd")):
        with pytest.raises(errors.DaytonaForbiddenError) as e:
            call()
        assert (e.value.status_code, e.value.code) == (403, "FILE_ACCESS_DENIED")
    with pytest.raises(errors.DaytonaError, match="/etc/passwd: permission denied"):  # uploads answer with a list of errors
        tiny.fs.upload_file(b"x", "/etc/passwd")
    assert tiny.process.exec("wc -c < /etc/passwd").result.strip() != "1"
