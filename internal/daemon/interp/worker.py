# The worker of the stateful interpreter: runs pieces of Python in one namespace, one after the other.
#
# Descriptor 3 carries the protocol, one JSON value in a line in both directions, so that whatever a program writes to its
# standard output, directly or by a child, is output and nothing else. A job is {"code", "envs", "rich"}; the answers to it
# are any number of {"type": "display" | "result" | "error"} and one {"type": "done"}. The daemon answers a display or a
# result with an empty line where that says "ask".
#
# ASCII only, and Python 3.7 or newer: the text is quoted into a command line.

import __future__
import _thread
import ast
import builtins
import io
import json
import linecache
import os
import signal
import sys
import weakref

HERE = '<dugout>'
USER = '<stdin>'
MAX_TEXT = 1 << 20  # characters of a plain representation, name, value or traceback
MAX_DATA = 6 << 20  # characters of all representations of one object
MAX_LINE = 8 << 20  # bytes of a message, as the daemon takes it

REPRESENTATIONS = (
    ('text/html', '_repr_html_'), ('text/markdown', '_repr_markdown_'), ('text/latex', '_repr_latex_'),
    ('image/svg+xml', '_repr_svg_'), ('image/png', '_repr_png_'), ('image/jpeg', '_repr_jpeg_'),
    ('application/json', '_repr_json_'),
)


def clip(value):
    return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + '... [cut]'


def encode(message):
    return (json.dumps(message, ensure_ascii=False) + '\n').encode('utf-8', 'replace')


def represent(value):
    """The plain text of a value, and its richer forms by media type."""
    data = {}
    room = MAX_DATA
    for media, method in REPRESENTATIONS:
        try:
            if isinstance(value, type) or not hasattr(type(value), method):
                continue
            got = getattr(value, method)()
            if isinstance(got, tuple):  # with metadata
                got = got[0]
            if got is None:
                continue
            if isinstance(got, (bytes, bytearray)):
                import base64
                got = base64.b64encode(got).decode('ascii')
            elif not isinstance(got, str):
                got = json.dumps(got)
        except Exception:
            continue
        if len(got) <= room:
            room -= len(got)
            data[media] = got
    return clip(repr(value)), data


class Worker(object):
    def __init__(self):
        self.pid = os.getpid()
        # User code, and what it starts, must not meet the protocol by accident: far up, and closed on exec.
        import fcntl
        self.channel = fcntl.fcntl(3, fcntl.F_DUPFD_CLOEXEC, 200)
        os.close(3)
        self.scope = sys.modules['__main__'].__dict__
        self.runs = 0
        self.flags = 0
        self.features = [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names[3:]]
        self.writing = _thread.RLock()
        self.interrupt = signal.default_int_handler  # what the program has for SIGINT
        self.sources = weakref.WeakKeyDictionary()  # code object -> name of its text in linecache
        self.rich = True
        self.active = False  # a job was read whose end was not sent
        self.streams()
        builtins.display = self.display

    # The protocol.

    def send(self, answered=False, **message):
        """Writes one message whole: an interrupt waits until it is through. One that is answered keeps its place among
        what is written to the standard streams, because the answer comes when those were read. Between two runs, where
        threads go on, nothing is asked: what comes then is the next job."""
        if os.getpid() != self.pid:
            return
        late = []
        own = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, lambda *args: late.append(args))
        except ValueError:  # not the main thread: nothing interrupts it
            own = None
        try:
            with self.writing:
                if message['type'] == 'done':
                    self.active = False
                answered = answered and self.active
                if answered:
                    message['ask'] = True
                line = encode(message)
                if len(line) > MAX_LINE:
                    message.update(text=message.get('text', '')[:1000] + '... [too large to show]', data={})
                    message.pop('chart', None)
                    line = encode(message)
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self.channel, rest):]
                if answered:
                    os.read(self.channel, 1)
        finally:
            if own is not None:
                signal.signal(signal.SIGINT, own)
        if late and callable(own):
            own(*late[0])

    def jobs(self):
        pieces = []
        while True:
            try:
                piece = os.read(self.channel, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            end = piece.find(b'\n')
            pieces.append(piece)
            if end >= 0:  # one job at a time: nothing comes after the line
                line = b''.join(pieces).decode('utf-8', 'surrogatepass').strip()
                pieces = []
                if line:  # an empty one is an answer that came too late
                    self.active = True
                    yield json.loads(line)

    # What a program sees.

    def streams(self):
        """Standard streams that are open: text goes out at the end of a line, or when there are 1024 bytes of it."""
        def writer(name, fd):
            stream = getattr(sys, name, None)
            if stream is not None and getattr(stream, 'closed', False) is False and stream is not getattr(sys, '__%s__' % name):
                return  # the program's own
            if getattr(self, name, None) is not None and not getattr(self, name).closed:
                stream = getattr(self, name)
            else:
                raw = io.FileIO(fd, 'w', closefd=False)
                stream = io.TextIOWrapper(io.BufferedWriter(raw, 1024), encoding='utf-8', errors='backslashreplace' if fd == 2 else 'surrogateescape', line_buffering=True, write_through=True)
                stream.mode = 'w'
                setattr(self, name, stream)
            setattr(sys, name, stream)
            setattr(sys, '__%s__' % name, stream)
        writer('stdout', 1)
        writer('stderr', 2)
        if sys.stdin is None or sys.stdin.closed:  # exit() closes it
            sys.stdin = sys.__stdin__ = open(os.devnull)

    def display(self, *values):
        """Shows values to whoever runs this code."""
        for value in values:
            text, data = represent(value)
            self.flush()
            if self.rich:
                self.send(True, type='display', text=text, data=data)

    def chart(self, chart):
        self.flush()
        if self.rich:
            self.send(True, type='display', text='', data={}, chart=chart)

    def result(self, value):
        if value is None:
            return
        self.scope['_'] = value
        if self.rich:
            text, data = represent(value)
            self.flush()
            self.send(True, type='result', text=text, data=data)

    def flush(self):
        for stream in (sys.stdout, sys.stderr, self.stdout, self.stderr):
            try:
                stream.flush()
            except Exception:
                pass

    # Running.

    def remember(self, code, name):
        self.sources[code] = name
        for const in code.co_consts:
            if hasattr(const, 'co_code'):
                self.remember(const, name)

    def compile(self, source):
        """The code up to the last expression, and that expression, or None."""
        name = '<stdin>#%d' % self.runs
        tree = compile(source, USER, 'exec', ast.PyCF_ONLY_AST | self.flags, True)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        body = compile(tree, USER, 'exec', self.flags, True)
        for flag in self.features:
            self.flags |= body.co_flags & flag  # from __future__ import ... holds for what follows
        if last is not None:
            last = compile(last, USER, 'eval', self.flags, True)
        lines = [line + '\n' for line in source.splitlines()]
        linecache.cache[name] = (len(source), None, lines, name)
        for code in (body, last):
            if code is not None:
                self.remember(code, name)
        return body, last

    def forget(self):
        """Drops texts of which no function is left."""
        used = set(self.sources.values())
        for name in [n for n in linecache.cache if n.startswith('<stdin>#') and n not in used]:
            del linecache.cache[name]

    def report(self, error):
        """Sends an error with a traceback of the program's own frames."""
        import traceback
        error.__traceback__ = self.own(error.__traceback__)
        try:
            name, value = type(error).__name__, str(error)
        except BaseException:
            name, value = type(error).__name__, '<the error has no text>'
        try:
            told = traceback.TracebackException(type(error), error, error.__traceback__, lookup_lines=False)
            self.point(told, error, set())
            text = ''.join(told.format())
            import re
            text = re.sub(r'File "<stdin>#[0-9]+"', 'File "<stdin>"', text)
        except BaseException:
            text = '%s: %s\n' % (name, value)
        self.flush()
        self.send(type='error', name=clip(name), value=clip(value), traceback=clip(text))

    def own(self, trace):
        while trace is not None and trace.tb_frame.f_code.co_filename == HERE:
            trace = trace.tb_next
        return trace

    def point(self, told, error, seen):
        """Makes each frame of a traceback find the text that it was compiled from."""
        if told is None or error is None or id(error) in seen:
            return
        seen.add(id(error))
        trace = error.__traceback__
        for summary in told.stack:
            if trace is None:
                break
            name = self.sources.get(trace.tb_frame.f_code)
            if name is not None and summary.filename == USER:
                summary.filename = name
            trace = trace.tb_next
        self.point(getattr(told, '__cause__', None), error.__cause__, seen)
        self.point(getattr(told, '__context__', None), error.__context__, seen)

    def execute(self, job):
        """Runs a job and returns how it failed, or None."""
        try:
            signal.signal(signal.SIGINT, self.interrupt)
            body, last = self.compile(job['code'])
            exec(body, self.scope)
            if last is not None:
                self.result(eval(last, self.scope))
        except BaseException as error:
            return error

    def calm(self):
        """From here on a late interrupt hits nothing."""
        self.interrupt = signal.getsignal(signal.SIGINT) or signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self, job):
        self.runs += 1
        self.rich = bool(job.get('rich', True))
        kept = {}
        for name, value in (job.get('envs') or {}).items():
            kept[name] = os.environ.get(name)
            os.environ[name] = value
        self.streams()
        try:
            try:
                failed = self.execute(job)
            finally:
                self.calm()
        except KeyboardInterrupt as error:  # it came between two lines of this file
            failed = error
            self.calm()
        if os.getpid() != self.pid:  # a child that the program forked came back here: it ends, as it would in a script
            self.leave(failed)
        if isinstance(failed, SystemExit):
            if failed.code is not None and not isinstance(failed.code, int):
                self.flush()
                try:
                    sys.stderr.write('%s\n' % (failed.code,))
                except Exception:
                    pass
        elif failed is not None:
            self.report(failed)
        failed = None
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.flush()
        self.forget()

    def leave(self, failed):
        code = 0
        if isinstance(failed, SystemExit):
            code = failed.code if isinstance(failed.code, int) else 0 if failed.code is None else 1
        elif failed is not None:
            import traceback
            failed.__traceback__ = self.own(failed.__traceback__)
            traceback.print_exception(type(failed), failed, failed.__traceback__)
            code = 1
        self.flush()
        os._exit(code & 255)


class Finder(object):
    """Loads the part that knows charts when a program imports pyplot, not before."""

    def __init__(self, worker, prelude):
        self.worker, self.prelude = worker, prelude

    def find_spec(self, name, path=None, target=None):
        if name != 'matplotlib.pyplot':
            return None
        sys.meta_path.remove(self)
        import types
        charts = types.ModuleType('dugout_charts')
        exec(compile(self.prelude, HERE, 'exec'), charts.__dict__)
        charts.emit = self.worker.chart
        sys.meta_path.insert(0, charts.Finder)
        return charts.Finder.find_spec(name, path, target)


def main(prelude):
    scope = sys.modules['__main__'].__dict__
    for name in [n for n in scope if not n.startswith('__')]:
        del scope[name]
    scope.pop('__file__', None)
    sys.argv[:] = ['']
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker()
    os.environ.setdefault('MPLBACKEND', 'Agg')
    sys.meta_path.insert(0, Finder(worker, prelude))
    for job in worker.jobs():
        worker.run(job)
        worker.send(type='done')
    worker.flush()
    os._exit(0)
