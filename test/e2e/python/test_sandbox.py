import time
import uuid

import pytest
from conftest import config
from daytona import CreateSandboxFromSnapshotParams, Daytona, ListSandboxesQuery
from clients import errors


def test_create_takes_every_setting(make):
    name = "e2e-" + uuid.uuid4().hex[:12]
    box = make(name=name, env_vars={"COLOUR": "dark blue"}, labels={"team": "a b", "run": name}, auto_stop_interval=11, auto_archive_interval=22, auto_delete_interval=33)
    assert (box.name, box.snapshot, box.user) == (name, "tiny", "daytona")
    assert box.state == "started"
    assert box.labels["team"] == "a b" and box.labels["run"] == name
    assert (box.auto_stop_interval, box.auto_archive_interval, box.auto_delete_interval) == (11, 22, 33)
    assert box.cpu >= 1 and box.memory >= 1 and box.disk >= 1 and box.gpu == 0
    assert box.process.exec("echo $COLOUR").result == "dark blue\n"


def test_get_by_id_and_by_name(daytona, make):
    box = make()
    for key in (box.id, box.name):
        same = daytona.get(key)
        assert (same.id, same.name, same.state, same.created_at) == (box.id, box.name, box.state, box.created_at)
    assert same.process.exec("echo reached").result == "reached\n"


def test_list_and_find_by_label(daytona, make):
    mark = uuid.uuid4().hex
    boxes = [make(labels={"mark": mark, "n": str(i)}) for i in range(3)]
    assert {b.id for b in daytona.list(ListSandboxesQuery(labels={"mark": mark}, limit=2))} == {b.id for b in boxes}  # two pages
    assert [b.id for b in daytona.list(ListSandboxesQuery(labels={"mark": mark, "n": "1"}))] == [boxes[1].id]
    assert list(daytona.list(ListSandboxesQuery(labels={"mark": mark, "n": "9"}))) == []
    assert {b.id for b in boxes} <= {b.id for b in daytona.list()}
    assert [b.id for b in daytona.list(ListSandboxesQuery(name=boxes[2].name))] == [boxes[2].id]


def test_set_labels_replaces_them(daytona, make):
    box = make(labels={"old": "1"})
    box.set_labels({"new": "ü"})
    assert box.labels == {"new": "ü"}
    assert daytona.get(box.id).labels == {"new": "ü"}


def test_intervals(daytona, make):
    box = make()
    box.set_autostop_interval(7)
    box.set_auto_archive_interval(60)
    box.set_auto_delete_interval(90)
    got = daytona.get(box.id)
    assert (got.auto_stop_interval, got.auto_archive_interval, got.auto_delete_interval) == (7, 60, 90)
    box.set_autostop_interval(0)
    box.set_auto_delete_interval(-1)
    got = daytona.get(box.id)
    assert (got.auto_stop_interval, got.auto_delete_interval) == (0, -1)


def test_stop_and_start_keep_the_disk(daytona, make):
    box = make()
    box.fs.upload_file(b"kept", "kept.txt")
    box.process.exec("sleep 1000 >/dev/null 2>&1 &")
    box.stop()
    assert box.state == "stopped" and daytona.get(box.id).state == "stopped"
    with pytest.raises(errors.DaytonaError):
        box.process.exec("echo no")
    box.start()
    assert box.state == "started"
    assert box.fs.download_file("kept.txt") == b"kept"
    assert "sleep 1000" not in box.process.exec("ps").result  # processes end with a stop
    box.stop()
    box.start()
    assert box.process.exec("cat kept.txt").result == "kept"


def test_delete(daytona, make):
    box = make()
    box.delete(wait=True)
    deadline = time.monotonic() + 10
    while True:
        try:
            daytona.get(box.id)
        except errors.DaytonaNotFoundError as e:
            assert e.status_code == 404
            break
        assert time.monotonic() < deadline, "a deleted sandbox is still found after 10 s"
    make(name=box.name)  # the name is free again


def test_ephemeral_is_deleted_by_its_stop(daytona, make):
    box = make(ephemeral=True)
    assert box.auto_delete_interval == 0
    box.stop()
    deadline = time.monotonic() + 30
    while True:
        try:
            if daytona.get(box.id).state == "destroyed":
                break
        except errors.DaytonaNotFoundError:
            break
        assert time.monotonic() < deadline, "an ephemeral sandbox is still there 30 s after its stop"


def test_preview_link_names_port_and_token(tiny):
    link = tiny.get_preview_link(3000)
    assert "3000-" + tiny.id in link.url and link.token


def test_a_wrong_key_is_an_authentication_error():
    stranger = Daytona(config(api_key="dgt_not_a_key_of_this_server"))
    with pytest.raises(errors.DaytonaAuthenticationError) as e:
        stranger.create(CreateSandboxFromSnapshotParams(snapshot="tiny"))
    assert e.value.status_code == 401
    with pytest.raises(errors.DaytonaAuthenticationError):
        list(stranger.list())


@pytest.mark.parametrize("key", [str(uuid.uuid4()), "no-such-name", "no such name/../x"])
def test_an_unknown_sandbox_is_a_not_found_error(daytona, key):
    with pytest.raises(errors.DaytonaNotFoundError) as e:
        daytona.get(key)
    assert e.value.status_code == 404


@pytest.mark.parametrize("name", ["<b>x</b>", "see http://x.example", "a\x01b", " ", "x" * 300])
def test_a_bad_name_is_a_bad_request_error(make, name):
    with pytest.raises(errors.DaytonaBadRequestError) as e:
        make(name=name)
    assert e.value.status_code == 400
    assert "name" in e.value.message


def test_an_unknown_snapshot_is_named(make):
    with pytest.raises(errors.DaytonaError) as e:
        make(snapshot="no-such-snapshot")
    assert e.value.status_code in (400, 404)
    assert "no-such-snapshot" in e.value.message


def test_a_name_in_use_is_a_conflict(make):
    box = make()
    with pytest.raises(errors.DaytonaConflictError) as e:
        make(name=box.name)
    assert e.value.status_code == 409
