import asyncio
import re
import time
import uuid

import pytest
from daytona import AsyncDaytona, PtySize
from clients import errors

from conftest import config


class Screen:
    """Reads a terminal through the client's own iterator and keeps all that came."""

    def __init__(self, handle):
        self.handle, self.text, self.events = handle, "", None

    def until(self, want, seconds=10):
        deadline = time.monotonic() + seconds
        while not re.search(want, self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {want!r} in {self.text[-2000:]!r}"
            self.handle.wait(on_data=self._take, timeout=min(left, 0.05))
        return self.text

    def _take(self, data):
        self.text += data.decode("utf-8", "replace")

    def end(self):
        return self.handle.wait(on_data=self._take, timeout=10)


@pytest.fixture
def name():
    return "e2e-" + uuid.uuid4().hex[:8]


def test_create_type_resize_exit(base, name):
    handle = base.process.create_pty_session(id=name, cwd="/tmp", envs={"COLOUR": "dark 'blue' ü"}, pty_size=PtySize(rows=30, cols=100))
    assert handle.is_connected() and handle.session_id == name
    screen = Screen(handle)
    handle.send_input('stty size; pwd; echo "[$COLOUR $TERM]"; tty\n')
    screen.until(r"30 100\r\n/tmp\r\n\[dark 'blue' ü xterm-256color\]\r\n/dev/pts/\d+\r\n")
    info = handle.resize(PtySize(rows=40, cols=132))
    assert (info.rows, info.cols, info.active, info.lazy_start) == (40, 132, True, False)
    handle.send_input("stty size\n")
    screen.until(r"40 132\r\n")
    listed = [s for s in base.process.list_pty_sessions() if s.id == name]
    assert len(listed) == 1 and listed[0].cwd == "/tmp" and listed[0].envs == {"COLOUR": "dark 'blue' ü"}
    assert base.process.get_pty_session_info(name).id == name
    handle.send_input("exit 7\n")
    result = screen.end()
    assert (result.exit_code, result.error) == (7, "non-zero exit")
    with pytest.raises(errors.DaytonaNotFoundError):
        base.process.get_pty_session_info(name)


def test_control_keys(base, name):
    handle = base.process.create_pty_session(id=name)
    screen = Screen(handle)
    handle.send_input("sleep 1000\n")
    screen.until("sleep 1000\r\n")
    handle.send_input("\x03")
    handle.send_input("echo st''ill\n")
    screen.until("still\r\n")
    handle.send_input("echo re''ady; cat\n")
    screen.until("ready\r\n")
    handle.send_input("line\n")
    screen.until("line\r\nline\r\n")
    handle.send_input("\x04")
    screen.until(r"(?s)line\r\nline\r\n.*\$ $")
    handle.send_input("\x04")
    assert screen.end().exit_code == 0


def test_kill_conflict_and_unknown(base, name):
    handle = base.process.create_pty_session(id=name)
    with pytest.raises(errors.DaytonaConflictError):
        base.process.create_pty_session(id=name)
    handle.send_input("sleep 4721 &\n")
    handle.kill()
    result = handle.wait(timeout=10)
    assert (result.exit_code, result.error) == (137, "SIGKILL")
    assert "sleep 4721" not in base.process.exec("ps -eo args").result
    with pytest.raises(errors.DaytonaNotFoundError):
        base.process.kill_pty_session(name)
    with pytest.raises(errors.DaytonaError) as e:
        base.process.resize_pty_session(name, PtySize(rows=1, cols=1))
    assert e.value.status_code == 410
    with pytest.raises(errors.DaytonaError):
        base.process.create_pty_session(id="a/b")
    with pytest.raises(errors.DaytonaError):
        base.process.connect_pty_session(name)


def test_leaving_and_coming_back(base, name):
    first = base.process.create_pty_session(id=name)
    first.send_input("echo kept; sleep 0.5; echo 'and while nobody looked'\n")
    Screen(first).until("kept\r\n")
    first.disconnect()
    time.sleep(0.7)
    one, two = Screen(base.process.connect_pty_session(name)), Screen(base.process.connect_pty_session(name))
    for screen in (one, two):
        screen.until(r"(?s)kept\r\n.*and while nobody looked\r\n")
    one.handle.send_input("echo from''one\n")
    two.until("fromone")
    two.handle.send_input("exit\n")
    assert (one.end().exit_code, two.end().exit_code) == (0, 0)


def test_full_screen_programs(base, name):
    base.process.exec("seq -f 'line %g' 1 500 > /tmp/lines")
    handle = base.process.create_pty_session(id=name, pty_size=PtySize(rows=20, cols=60))
    screen = Screen(handle)
    program = """
import curses
def main(s):
    s.addstr(5, 10, "hello from curses %d %d" % (curses.LINES, curses.COLS)); s.refresh()
    while True:
        k = s.getch()
        if k == ord("q"): return
        y, x = s.getmaxyx(); s.clear(); s.addstr(1, 1, "key %d in %d %d" % (k, y, x)); s.refresh()
curses.wrapper(main)
"""
    base.fs.upload_file(program.encode(), "/tmp/screen.py")
    handle.send_input("python3 /tmp/screen.py; echo left''it\n")
    screen.until(r"\x1b\[\?1049h(?s:.*)\x1b\[6;11Hhello from curses 20 60")
    handle.resize(PtySize(rows=25, cols=70))
    screen.until(r"key 410 in 25 70")  # KEY_RESIZE
    handle.send_input("\x1b[A")
    screen.until(r"key 27|key 259|59 in")  # an arrow, whole or redrawn in parts
    handle.send_input("q")
    screen.until(r"\x1b\[\?1049l(?s:.*)leftit")
    handle.send_input("exit\n")
    assert screen.end().exit_code == 0


def test_much_output(base, name):
    handle = base.process.create_pty_session(id=name)
    screen = Screen(handle)
    handle.send_input("stty -echo; seq 1 300000; exit\n")
    assert screen.end().exit_code == 0
    numbers = re.findall(r"(?m)(?:^|\r)(\d+)\r$", screen.text)
    assert numbers == [str(i) for i in range(1, 300001)]


def test_async(base, name):
    async def body():
        async with AsyncDaytona(config()) as daytona:
            box = await daytona.get(base.id)
            got = bytearray()

            async def take(data):
                got.extend(data)

            handle = await box.process.create_pty_session(id=name, on_data=take, envs={"A": "b"})
            await handle.wait_for_connection()
            await handle.send_input("echo [$A]; exit 5\n")
            result = await handle.wait()
            assert result.exit_code == 5 and b"[b]\r\n" in got

    asyncio.run(body())
