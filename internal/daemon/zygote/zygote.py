# The zygote: a Python interpreter that is started once and forks a process for every program, so that a program does not
# wait for the interpreter. It never runs a program itself.
#
# Descriptor 3 is a socket to the daemon. The zygote says what it is (hello), then answers each request, a message with a
# socket in it, with the pid of a new process that waits on that socket for its program. That process is an orphan: it is
# forked by a process that ends at once, so that the daemon, first process of the sandbox, is its parent.
#
# What a program must not be able to tell from a freshly started `python3 -u -`: arguments, environment, directory,
# descriptors, streams, names in __main__, tracebacks, exit. What it can tell is in docs/guide/code.md.
#
# ASCII only.

import sys

STARTED = set(sys.modules)  # what every interpreter has loaded when a program begins
PATH = list(sys.path)

if sys.path and sys.path[0] == '':
    del sys.path[0]  # nothing of the working directory is loaded here

import os

HERE = '<dugout>'
NAME = '<stdin>'


def state(path):
    """What tells that a file or folder has changed."""
    try:
        s = os.stat(path)
    except OSError:
        return '-'
    return '%d:%d:%d' % (s.st_mtime_ns, s.st_ino, s.st_size)


def watched():
    """Files and folders that decide what a starting interpreter does, and what is found by an import."""
    import site
    paths = [p for p in sys.path if p]
    try:
        paths += site.getsitepackages() + [site.getusersitepackages()]
    except Exception:
        pass
    for folder in list(paths):
        try:
            paths += [os.path.join(folder, n) for n in os.listdir(folder) if n.endswith('.pth') or n in ('sitecustomize.py', 'usercustomize.py')]
        except OSError:
            pass
    program = os.path.realpath(sys.executable)
    paths += [program]
    for p in (sys.executable, program):
        folder = os.path.dirname(p)
        paths += [os.path.join(folder, 'pyvenv.cfg'), os.path.join(os.path.dirname(folder), 'pyvenv.cfg')]
    return sorted(set(paths))


before = [(path, state(path)) for path in watched()]  # before anything more is loaded

import _socket
import array
import gc

ORDINARY = ('re', 'json', 'math', 'random', 'datetime', 'time', 'collections', 'itertools', 'functools', 'pathlib', 'base64', 'string',
            'tempfile', 'traceback', 'typing', 'dataclasses', 'hashlib', 'csv', 'subprocess', 'threading', 'copy', 'decimal', 'types', 'linecache')


def load(names):
    """Loads modules ahead of time. One that fails is left to the program."""
    for name in names:
        try:
            __import__(name)
        except BaseException:
            pass


def after(large):
    """Files that the large libraries read when they are loaded."""
    found = []
    if 'matplotlib' in large:
        try:
            import matplotlib
            found = [matplotlib.matplotlib_fname(), os.path.join(matplotlib.get_configdir(), 'matplotlibrc')]
        except BaseException:
            pass
    return [(path, state(path)) for path in found]


def receive(sock, count):
    """A message and the descriptors in it; b'' when the other side is gone."""
    size = array.array('i').itemsize
    while True:
        data, extra, _, _ = sock.recvmsg(16, _socket.CMSG_SPACE(count * size), _socket.MSG_CMSG_CLOEXEC)
        fds = array.array('i')
        for level, kind, content in extra:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds.frombytes(content[:len(content) - len(content) % size])
        return data, list(fds)


def main(prelude, large):
    scope = sys.modules['__main__'].__dict__
    charts = compile(prelude, HERE, 'exec')
    own = os.environ.get('MPLBACKEND')
    if large:
        if own is None:
            os.environ['MPLBACKEND'] = 'Agg'
        load(large)
        if own is None:
            del os.environ['MPLBACKEND']
    load(ORDINARY)
    names = sorted(set(n.partition('.')[0] for n in sys.modules if n not in STARTED) - set(n.partition('.')[0] for n in STARTED))
    control = _socket.socket(fileno=3)
    parts = ['dugout-zygote']
    for path, seen in before + after(large):
        parts += [path, seen]
    parts += [''] + names
    control.send('\0'.join(parts).encode('utf-8', 'surrogateescape'))
    reading, writing = os.pipe()
    gc.collect()
    if hasattr(gc, 'freeze'):
        gc.freeze()  # collections of a program leave these objects, and so their memory, alone
    while True:
        data, fds = receive(control, 1)
        if not data or len(fds) != 1:
            os._exit(0)
        middle = os.fork()
        if middle == 0:
            child = os.fork()
            if child == 0:
                os.setsid()
                os.close(reading)
                os.close(writing)
                control.close()
                job = _socket.socket(fileno=fds[0])
                del control, middle, child, fds, data, parts, names, own
                return job, scope, charts
            os.write(writing, b'%d' % child)
            os._exit(0)
        os.close(fds[0])
        os.waitpid(middle, 0)
        control.send(os.read(reading, 32))


def become(job, scope, charts, base):
    """Waits for the program and makes this process what a new interpreter would be. Returns its code, or None: its text
    runs under the part that knows charts."""
    data, fds = receive(job, 5)
    job.close()
    if not data or len(fds) < 4:
        os._exit(0)
    side = len(fds) > 4
    text = b''
    while True:
        piece = os.read(fds[0], 1 << 20)
        if not piece:
            break
        text += piece
    os.close(fds[0])
    fields = text.split(b'\0')
    count = int(fields[1])
    # Descriptors: high ones first out of the way, then 0 to 2 or 3 as a new program has them, and no other.
    import fcntl
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds[1:]]
    for fd in fds[1:]:
        os.close(fd)
    for number, fd in enumerate(high):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(fields[0])
    argv = [os.fsdecode(a) for a in fields[2:2 + count]]
    environ = {}
    for pair in fields[2 + count:]:
        name, _, value = pair.partition(b'=')
        if name:
            environ[os.fsdecode(name)] = os.fsdecode(value)
    for name in [n for n in os.environ if n not in environ]:
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    sys.argv[:] = ['-'] + argv
    if hasattr(sys, 'orig_argv'):
        sys.orig_argv[:] = [sys.orig_argv[0], '-u', '-'] + argv
    sys.path[:] = PATH
    numpy = sys.modules.get('numpy.random')
    if numpy is not None:
        numpy.seed()
    scope.clear()
    scope.update(base)
    if side:
        for name in ('__file__', '__cached__'):
            scope.pop(name, None)
        import types
        prelude = types.ModuleType('dugout_charts')
        exec(charts, prelude.__dict__)
        return prelude
    source = b''
    while True:
        piece = os.read(0, 1 << 20)
        if not piece:
            break
        source += piece
    return source


def trimmed(trace):
    while trace is not None and trace.tb_frame.f_code.co_filename in (HERE, '<string>'):
        trace = trace.tb_next
    return trace


def perform(source, scope):
    """Runs a program. What it raises goes through, as it would from a program's own file."""
    try:
        exec(compile(source, NAME, 'exec', 0, True), scope)
    except SystemExit:
        raise
    except BaseException as error:
        own = sys.excepthook

        def excepthook(kind, value, trace):
            sys.excepthook = own
            value.__traceback__ = trimmed(trace)
            own(kind, value, value.__traceback__)

        sys.excepthook = excepthook
        raise


def status_of(error):
    """The exit code after a program, or None where only the interpreter itself should end it."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        code = error.code
        return 0 if code is None else code if type(code) is int and 0 <= code < 256 else None
    if isinstance(error, KeyboardInterrupt) or getattr(sys.excepthook, '__name__', '') != 'excepthook' or sys.excepthook.__closure__ is None:
        return None
    if sys.excepthook.__closure__[0].cell_contents is not sys.__excepthook__:
        return None
    return 1


def flushed(*streams):
    good = True
    for stream in streams:
        try:
            if stream is not None and not getattr(stream, 'closed', False):
                stream.flush()
        except Exception:
            good = False
    return good


def conclude(status, error, scope, known, folder):
    """Ends the process as the interpreter does, as far as a program sees that: threads, atexit, streams, objects that
    the program holds. Taking the loaded modules apart would copy their memory first, and takes ten times as long as all else."""
    if status == 1 and not isinstance(error, SystemExit):
        sys.excepthook = sys.__excepthook__
        trace = error.__traceback__ = trimmed(error.__traceback__)
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        sys.last_exc = error
        if sys.version_info < (3, 12):
            del sys.last_exc
        sys.__excepthook__(type(error), error, trace)
    import atexit
    import threading
    threading._shutdown()
    atexit._run_exitfuncs()
    if not flushed(sys.stdout, sys.stderr):
        status = 120  # as the interpreter says it
    error = None
    for name in ('last_type', 'last_value', 'last_traceback', 'last_exc'):
        sys.__dict__.pop(name, None)
    spaces = [scope] + [m.__dict__ for n, m in list(sys.modules.items()) if n not in known and (getattr(m, '__file__', None) or '').startswith(folder)]
    for space in spaces:
        for hidden in (True, False):
            for name in list(space):
                if name != '__builtins__' and (name[:1] == '_' and name[1:2] != '_') == hidden:
                    space[name] = None
    gc.collect()
    flushed(sys.__stdout__, sys.__stderr__)
    os._exit(status)


def begin(prelude, large, base):
    job, scope, charts = main(prelude, large)
    known = set(sys.modules)
    program = become(job, scope, charts, base)
    folder = os.getcwd() + os.sep
    failed = None
    try:
        if isinstance(program, bytes):
            perform(program, scope)
        else:
            program.main(scope)
    except BaseException as error:
        failed = error
        if status_of(error) is None:
            raise
    conclude(status_of(failed), failed, scope, known, folder)
