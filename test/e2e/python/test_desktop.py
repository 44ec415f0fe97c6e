"""A real desktop: programs are opened, clicked, typed into, read and filmed. Runs as the suite desktop, when that snapshot is there."""

import base64
import json
import os
import time
import urllib.request

import pytest
from daytona import CreateSandboxFromSnapshotParams, ScreenshotOptions, ScreenshotRegion
from daytona.common import errors

pytestmark = pytest.mark.skipif(not os.environ.get("E2E_DESKTOP"), reason="the suite desktop is not asked for")


@pytest.fixture(scope="module")
def box(daytona):
    b = daytona.create(CreateSandboxFromSnapshotParams(snapshot="desktop", env_vars={"VNC_RESOLUTION": "1280x800"}))
    b.computer_use.start()
    yield b
    b.delete()


@pytest.fixture(scope="module")
def desk(box):
    return box.computer_use


def until(what, ask, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            if got := ask():
                return got
        except errors.DaytonaNotFoundError:  # nothing has the focus yet
            pass
        if time.monotonic() > end:
            pytest.fail("waited too long for: " + what)
        time.sleep(0.05)


def clipboard(box):
    return box.process.exec("timeout 2 xclip -o -selection clipboard").result


def raw(box, path):
    r = urllib.request.Request(f"{os.environ['DAYTONA_API_URL'].removesuffix('/api')}/toolbox/{box.id}{path}", headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"]})
    with urllib.request.urlopen(r) as answer:
        return answer.read()


def size(png):
    b = base64.b64decode(png)
    assert b[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(b[16:20], "big"), int.from_bytes(b[20:24], "big")


@pytest.fixture(scope="module")
def editor(box, desk):
    box.process.exec("setsid l3afpad >/dev/null 2>&1 </dev/null &")
    return until("the editor", lambda: desk.accessibility.find_nodes(role="text", states=["editable", "multi-line"]).matches)[0]


def test_status_and_processes(desk):
    assert desk.get_status().status == "active"
    started = desk.start()  # again: nothing changes
    assert {"xvfb", "xfce4", "x11vnc", "novnc"} <= started.status.keys()
    assert all(p.running and p.pid > 0 and p.auto_restart for p in started.status.values()), started.status
    assert desk.get_process_status("xvfb").running is True
    assert desk.get_process_logs("novnc").process_name == "novnc"
    assert isinstance(desk.get_process_errors("x11vnc").errors, str)


def test_the_way_in_from_a_browser(box):
    assert b"noVNC" in raw(box, "/proxy/6080/vnc.html")


def test_displays_and_pictures(desk):
    (display,) = desk.display.get_info().displays
    assert (display.x, display.y, display.width, display.height, display.is_active) == (0, 0, 1280, 800, True)
    desk.mouse.move(100, 120)
    full = desk.screenshot.take_full_screen()
    assert size(full.screenshot) == (1280, 800) and (full.cursor_position.x, full.cursor_position.y) == (100, 120)
    assert len(base64.b64decode(full.screenshot)) == full.size_bytes
    region = ScreenshotRegion(x=90, y=110, width=40, height=30)
    without, with_cursor = desk.screenshot.take_region(region), desk.screenshot.take_region(region, True)
    assert size(without.screenshot) == (40, 30) and without.screenshot != with_cursor.screenshot
    small = desk.screenshot.take_compressed(ScreenshotOptions(fmt="jpeg", quality=60, scale=0.5))
    assert base64.b64decode(small.screenshot)[:3] == b"\xff\xd8\xff" and small.cursor_position is None
    part = desk.screenshot.take_compressed_region(region, ScreenshotOptions(fmt="png", scale=0.5, show_cursor=True))
    assert size(part.screenshot) == (20, 15) and part.cursor_position.x == 100
    with pytest.raises(errors.DaytonaBadRequestError, match="1280×800"):
        desk.screenshot.take_region(ScreenshotRegion(x=1270, y=0, width=40, height=30))


def test_what_is_typed_is_there(box, desk, editor):
    text = "Hello, World! ~@#%^&*()_+{}|:\"<>? Grüße €5 Привет 你好 😀"
    b = editor.bounds
    at = desk.mouse.click(b.x + 30, b.y + 15)
    assert (at.x, at.y) == (b.x + 30, b.y + 15)
    desk.keyboard.type(text + "\r\nsecond\n")
    desk.keyboard.press("A", ["ctrl"])
    desk.keyboard.hotkey("ctrl+c")
    until("the clipboard", lambda: clipboard(box) == text + "\nsecond\n")
    (window,) = [w for w in desk.display.get_windows().windows if w.is_active]
    assert window.title.startswith("*") and window.x <= b.x and window.width >= b.width > 100
    for bad in ("@", "ü", "f25", "nothing"):
        with pytest.raises(errors.DaytonaBadRequestError):
            desk.keyboard.press(bad)
    for bad in ("a\tb", "\x07"):
        with pytest.raises(errors.DaytonaBadRequestError):
            desk.keyboard.type(bad)


def test_mouse_and_keys_that_are_held(box, desk, editor):
    b = editor.bounds
    desk.mouse.click(b.x + 200, b.y + 200)
    desk.keyboard.hotkey("ctrl+a")
    desk.keyboard.type("one two three")
    desk.keyboard.hotkey("ctrl+a")
    desk.keyboard.hotkey("ctrl+c")
    until("the words", lambda: clipboard(box) == "one two three")

    def word():
        time.sleep(0.6)  # the next click is the first of its own; the first one on a selection only takes it away
        desk.mouse.click(b.x + 10, b.y + 10, clicks=2)
        desk.keyboard.hotkey("ctrl+c")
        return clipboard(box) == "one"

    until("a word that is selected by a double click", word)
    desk.accessibility.set_node_value(editor.id, "")
    desk.accessibility.focus_node(editor.id)
    desk.keyboard.down("shift")
    try:
        desk.keyboard.press("a")
    finally:
        desk.keyboard.up("shift")
    desk.keyboard.press("b")
    desk.keyboard.hotkey("ctrl+a")
    desk.keyboard.hotkey("ctrl+c")
    until("capital letters", lambda: clipboard(box) == "Ab")
    assert desk.mouse.scroll(b.x + 10, b.y + 10, "down", 2) is True
    assert desk.mouse.drag(b.x + 5, b.y + 5, b.x + 60, b.y + 40).x == b.x + 60
    desk.mouse.down(b.x + 5, b.y + 5)
    assert desk.mouse.up(b.x + 6, b.y + 6).y == b.y + 6
    with pytest.raises(errors.DaytonaBadRequestError, match="1279,799"):
        desk.mouse.move(1280, 0)


def test_the_accessibility_tree(desk, editor):
    tree = desk.accessibility.get_tree()
    assert tree.root.role == "frame" and tree.truncated is False
    assert desk.accessibility.get_tree(max_depth=0).root.children is None
    everything = desk.accessibility.get_tree(scope="all", max_depth=2)
    assert any(app.name == "l3afpad" for app in everything.root.children)
    (menu,) = desk.accessibility.find_nodes(role="menu", name="Help", name_match="exact").matches
    desk.accessibility.invoke_node(menu.id)  # opens
    (about,) = until("the menu", lambda: desk.accessibility.find_nodes(scope="all", role="menu item", name="About", states=["showing"]).matches)
    desk.accessibility.invoke_node(about.id)
    until("the dialogue", lambda: any("About" in w.title for w in desk.display.get_windows().windows))
    desk.keyboard.press("Escape")
    desk.accessibility.focus_node(editor.id)
    for call, code in ((lambda: desk.accessibility.get_tree(scope="screen"), "A11Y_INVALID_SCOPE"), (lambda: desk.accessibility.invoke_node(editor.id, "fly"), "A11Y_ACTION_NOT_SUPPORTED")):
        with pytest.raises(errors.DaytonaBadRequestError) as e:
            call()
        assert e.value.code == code
    with pytest.raises(errors.DaytonaNotFoundError):
        desk.accessibility.focus_node(":1.99999:/org/a11y/atspi/accessible/1")


def test_a_click_in_a_browser(box, desk):
    page = b"<title>Demo</title><button onclick='document.title=`Pressed`'>Press me</button>"
    box.fs.upload_file(page, "page.html")
    box.process.exec("setsid chromium /home/daytona/page.html >/dev/null 2>&1 </dev/null &")
    (button,) = until("the page", lambda: desk.accessibility.find_nodes(scope="all", role="button", name="Press me").matches, 40)
    b = until("its place", lambda: [n.bounds for n in desk.accessibility.find_nodes(scope="all", name="Press me", role="button").matches if n.bounds.width > 20])[0]
    desk.mouse.click(b.x + b.width // 2, b.y + b.height // 2)
    until("the click", lambda: any(w.title.startswith("Pressed") for w in desk.display.get_windows().windows))


def test_recordings(box, desk, tmp_path):
    film = desk.recording.start("e2e film")
    assert film.status == "recording" and film.id in film.file_name and "_e2e film_" in film.file_name
    with pytest.raises(errors.DaytonaConflictError):
        desk.recording.delete(film.id)
    for x in range(0, 1200, 100):
        desk.mouse.move(x, x // 2)
        time.sleep(0.1)
    done = desk.recording.stop(film.id)
    assert done.status == "completed" and done.duration_seconds > 1 and done.size_bytes > 1000
    assert desk.recording.get(film.id).status == "completed" and film.id in [r.id for r in desk.recording.list().recordings]
    desk.recording.download(film.id, str(tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").stat().st_size == done.size_bytes
    probe = json.loads(box.process.exec(f"ffprobe -v error -count_frames -show_streams -show_format -of json '{done.file_path}'").result)
    (video,) = probe["streams"]
    assert (video["codec_name"], video["width"], video["height"], video["r_frame_rate"]) == ("h264", 1280, 800, "30/1")
    assert int(video["nb_read_frames"]) >= 15
    assert b"<title>Recordings</title>" in raw(box, "/computeruse/recordings/page")
    desk.recording.delete(film.id)
    with pytest.raises(errors.DaytonaNotFoundError):
        desk.recording.get(film.id)
    with pytest.raises(errors.DaytonaBadRequestError):
        desk.recording.start("../film")


def test_a_process_that_is_killed_comes_back(box, desk):
    before = desk.start().status["x11vnc"].pid
    box.process.exec(f"kill -9 {before}")
    after = until("the next one", lambda: (p := desk.start().status["x11vnc"]).running and p.pid != before and p.pid)
    assert after != before
    desk.restart_process("xfce4")
    assert desk.get_status().status == "active"


def test_stop_and_start_again(desk):
    stopped = desk.stop()
    assert not any(p.running for p in stopped.status.values()) and desk.get_status().status == "inactive"
    with pytest.raises(errors.DaytonaError) as e:
        desk.screenshot.take_full_screen()
    assert e.value.status_code == 503
    desk.start()
    assert desk.get_status().status == "active" and size(desk.screenshot.take_full_screen().screenshot) == (1280, 800)


def test_elsewhere_it_says_what_is_missing(base):
    for call in (base.computer_use.start, base.computer_use.get_status, base.computer_use.screenshot.take_full_screen, base.computer_use.accessibility.get_tree):
        with pytest.raises(errors.DaytonaError) as e:
            call()
        assert e.value.status_code == 503 and "missing" in str(e.value)
    with pytest.raises(errors.DaytonaError) as e:
        base.computer_use.recording.start()
    assert e.value.code == "RECORDING_FFMPEG_NOT_FOUND"
