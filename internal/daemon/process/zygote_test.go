//go:build linux

package process_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
)

// A zygote needs a process whose orphans come to it. That makes it the parent of what other tests leave behind, too.
func orphansComeHere(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// warmDaemon runs the system's python3: a version manager's script in its place would be another program each time.
func warmDaemon(t testing.TB) *daemontest.Daemon {
	t.Helper()
	need(t, "python3")
	orphansComeHere(t)
	path := "/usr/bin:/bin"
	if p := os.Getenv("DUGOUT_TEST_PATH"); p != "" {
		path = p + ":" + path
	}
	dir := t.TempDir()
	d := daemontest.StartWith(t, daemon.Config{Workdir: dir, Env: environ.New(map[string]string{"PATH": path, "HOME": dir, "LANG": "C.UTF-8", "FROM_IMAGE": "yes"})})
	becomeWarm(t, d)
	return d
}

const fromZygote = "print(b'\\0-c\\0' in open('/proc/self/cmdline','rb').read())"

func becomeWarm(t testing.TB, d *daemontest.Daemon) {
	t.Helper()
	daemontest.Until(t, "the zygote", func() bool {
		got, r := codeRun(d, toolbox.CodeRun{Code: fromZygote, Language: "python"})
		if r.Status != 200 || got.ExitCode != 0 {
			t.Fatalf("%s", r.Body)
		}
		return got.Result == "True\n"
	})
}

// cold has one effect: no zygote can honour it, so a new interpreter runs the program.
var cold = map[string]string{"PYTHONOPTIMIZE": ""}

// same lists programs whose result must not depend on where they run.
var same = map[string]struct {
	code string
	argv []string
}{
	"nothing":            {"\n", nil},
	"print":              {"print(1+1)", nil},
	"globals":            {"print({k: str(v).split(' at ')[0] for k, v in globals().items()})", nil},
	"dir":                {"print(dir(), vars() is globals(), __name__)", nil},
	"argv":               {"import sys; print(sys.argv, sys.orig_argv[1:])", odd},
	"flags":              {"import sys; print(sys.flags, sys.path, sys.executable, sys.prefix, sys.dont_write_bytecode)", nil},
	"meta":               {"import sys; print(sys.meta_path, sys.path_hooks, sys.getrefcount is not None, sys.gettrace(), sys.getprofile())", nil},
	"limits":             {"import sys; print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.getfilesystemencoding(), sys.getdefaultencoding())", nil},
	"streams":            {"import sys\nfor f in (sys.stdin, sys.stdout, sys.stderr): print(f.fileno(), f.encoding, f.errors, f.line_buffering, f.write_through, f.isatty(), f.name, f.mode, f.seekable(), type(f.buffer).__name__)", nil},
	"stdin":              {"import sys; print(repr(sys.stdin.read()), sys.stdin.tell())", nil},
	"input":              {"try: input('?')\nexcept EOFError: print('eof')", nil},
	"descriptors":        {"import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])", nil},
	"descriptor kinds":   {"import os, stat\nfor n in range(3): s = os.fstat(n); print(stat.S_IFMT(s.st_mode), os.get_inheritable(n), os.get_blocking(n))", nil},
	"directory":          {"import os; print(os.getcwd() == os.environ['HOME'], os.listdir())", nil},
	"environment":        {"import os; print({k: v for k, v in os.environ.items() if k != 'PYTHONOPTIMIZE'})", nil},
	"C environment":      {"import os; os.system('env | grep -v PYTHONOPT | grep -v ^_= | sort')", nil},
	"environment change": {"import os, subprocess; os.environ['X'] = 'y'; del os.environ['FROM_IMAGE']; print(subprocess.run('echo $X-$FROM_IMAGE', shell=True, capture_output=True).stdout)", nil},
	"exit 3":             {"import sys; sys.exit(3)", nil},
	"exit text":          {"import sys; sys.exit('bye')", nil},
	"exit none":          {"raise SystemExit", nil},
	"exit list":          {"raise SystemExit([1])", nil},
	"exit big":           {"raise SystemExit(1000)", nil},
	"quit":               {"quit(4)", nil},
	"os._exit":           {"import os; print('x'); os._exit(5)", nil},
	"killed":             {"import os; os.kill(os.getpid(), 15)", nil},
	"abort":              {"import os; os.abort()", nil},
	"interrupted":        {"import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(5)", nil},
	"KeyboardInterrupt":  {"raise KeyboardInterrupt", nil},
	"error":              {"1/0", nil},
	"error below":        {"def f(x):\n    return g(x)\ndef g(x):\n    raise ValueError(x)\nf(1)", nil},
	"chained":            {"try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e", nil},
	"in handling":        {"try:\n    1/0\nexcept Exception:\n    {}['k']", nil},
	"group":              {"raise ExceptionGroup('g', [ValueError(1), KeyError(2)])", nil},
	"notes":              {"e = ValueError('v'); e.add_note('a note'); raise e", nil},
	"no text":            {"class E(Exception):\n    def __str__(self): raise ValueError\nraise E", nil},
	"base exception":     {"raise GeneratorExit('g')", nil},
	"syntax":             {"print(", nil},
	"syntax 2":           {"x = 1\nif x:\nprint(x)", nil},
	"tabs":               {"if True:\n\tx=1\n        y=2", nil},
	"bad escape":         {"print('\\d')", nil},
	"no module":          {"import no_such_module", nil},
	"encoding cookie":    {"# -*- coding: latin-1 -*-\nprint(len('\u00e9'))", nil},
	"BOM":                {"\ufeffprint('bom')", nil},
	"CRLF":               {"print('a')\r\nprint('b')\r\n", nil},
	"surrogates":         {"print('\\udc80')", nil},
	"unicode":            {"print('日本🙂')", nil},
	"docstring":          {"'doc'\nprint(__doc__)", nil},
	"annotations":        {"x: int = 1\nprint(__annotations__)", nil},
	"future":             {"from __future__ import annotations\ndef f(a: Nowhere): pass\nprint(f.__annotations__)", nil},
	"no future":          {"def f(a: Nowhere): pass", nil},
	"excepthook":         {"import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno, a[2].tb_next)\n1/0", nil},
	"unraisable":         {"class A:\n    def __del__(self): 1/0\na = A()\ndel a\nprint('x')", nil},
	"atexit":             {"import atexit; atexit.register(print, 'bye'); print('hi')", nil},
	"atexit after error": {"import atexit; atexit.register(print, 'bye'); 1/0", nil},
	"buffered":           {"import sys; sys.stdout.write('no newline')", nil},
	"both streams":       {"import sys\nfor i in range(5): print(i); print(i, file=sys.stderr)", nil},
	"thread":             {"import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('thread'))).start()\nprint(threading.active_count(), threading.main_thread() is threading.current_thread())", nil},
	"thread error":       {"import threading\nt = threading.Thread(target=lambda: 1/0, name='t'); t.start(); t.join()", nil},
	"subprocess":         {"import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'import os; print(sorted(os.listdir(\"/proc/self/fd\")))'], capture_output=True, text=True, close_fds=False).stdout)", nil},
	"os.fork":            {"import os\nif os.fork() == 0:\n    print('child'); os._exit(0)\nos.wait(); print('parent')", nil},
	"multiprocessing":    {"import multiprocessing as mp\nif __name__ == '__main__':\n    with mp.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))", nil},
	"asyncio":            {"import asyncio\nasync def f():\n    await asyncio.sleep(0.01); return 5\nprint(asyncio.run(f()))", nil},
	"asyncio child":      {"import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n    return await p.communicate()\nprint(asyncio.run(f()))", nil},
	"signals":            {"import signal; print([(s.name, signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP)], signal.pthread_sigmask(signal.SIG_BLOCK, []))", nil},
	"session":            {"import os; print(os.getpid() == os.getsid(0) == os.getpgrp(), os.getppid() > 0)", nil},
	"umask, rlimits":     {"import os, resource; print(os.umask(0), [resource.getrlimit(r) for r in (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE)], os.nice(0))", nil},
	"oom":                {"print(open('/proc/self/oom_score_adj').read())", nil},
	"caps":               {"print([l for l in open('/proc/self/status') if l.startswith(('Cap', 'NoNewPrivs', 'Seccomp:', 'Uid', 'Gid', 'Groups', 'SigIgn', 'SigBlk'))])", nil},
	"warnings":           {"import warnings; warnings.warn('careful'); print(warnings.filters[:2])", nil},
	"warning in main":    {"import warnings; warnings.warn('old', DeprecationWarning)", nil},
	"pickle":             {"import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))), C.__module__)", nil},
	"dataclass":          {"from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))", nil},
	"inspect":            {"import inspect\ndef f(): pass\ntry: print(inspect.getsource(f))\nexcept OSError as e: print(e)", nil},
	"frames":             {"import sys; print(sys._getframe().f_code.co_filename, sys._getframe().f_code.co_name, sys._getframe().f_lineno)", nil},
	"logging":            {"import logging; logging.warning('w'); logging.info('i')", nil},
	"time zone":          {"import time; print(time.tzname, time.timezone)", nil},
	"locale":             {"import locale; print(locale.getlocale(), locale.getpreferredencoding())", nil},
	"random, seeded":     {"import random; random.seed(1); print(random.random())", nil},
	"recursion":          {"def f(n): return n and f(n-1)\nprint(f(900))", nil},
	"gc":                 {"import gc; print(gc.isenabled(), gc.get_threshold(), gc.garbage)", nil},
	"modules":            {"import sys; print([m for m in sys.modules if 'dugout' in m or m in ('numpy', 'site', '__main__') or m.startswith('test')])", nil},
	"imports":            {"import json, re, os, sys, math, random, datetime, collections, itertools, urllib.request, sqlite3, ssl, email, ctypes\nprint(json.dumps({'a': 1}), ctypes.c_int(1))", nil},
	"big output":         {"print('x' * 3000000)", nil},
	"builtins":           {"import builtins; print(sorted(n for n in dir(builtins)), __builtins__)", nil},
	"exec, eval":         {"exec('y = 1'); print(eval('y'), y)", nil},
	"breakpoint":         {"breakpoint()\nprint('after')", nil},
	"help":               {"help(abs)", nil},
	"last error":         {"import sys, atexit\natexit.register(lambda: print(sys.last_type))\n1/0", nil},
	"exit in thread":     {"import threading, sys\nthreading.Thread(target=sys.exit, args=(3,)).start()", nil},
	"destructor":         {"class A:\n    def __del__(self): print('bye')\na = A(); b = [a]; b.append(b)", nil},
	"unflushed file":     {"import os\nf = open('left', 'w'); f.write('text')\nimport atexit, subprocess\nsubprocess.Popen('sleep 0.3; cat left; rm left', shell=True)", nil},
	"executor":           {"from concurrent.futures import ThreadPoolExecutor\nimport time\nThreadPoolExecutor().submit(lambda: (time.sleep(.05), print('done')))", nil},
	"atexit fails":       {"import atexit; atexit.register(lambda: 1/0)", nil},
	"error at the end":   {"class A:\n    def __del__(self): raise ValueError('late')\na = A()", nil},
	"local module":       {"open('mine.py', 'w').write('class A:\\n  def __del__(self): print(5)\\na = A()')\nimport os, mine; os.remove('mine.py')", nil},
	"own stdout":         {"import sys\nclass W:\n    def write(self, s): sys.__stdout__.write(s)\n    def flush(self): pass\nsys.stdout = W()\nprint('x')", nil},
	"closed stdout":      {"import sys; sys.stdout.close()", nil},
}

var addresses = regexp.MustCompile(`0x[0-9a-f]{6,}`)

// A program cannot tell the zygote from a new interpreter.
func TestZygoteIsLikeANewInterpreter(t *testing.T) {
	d := warmDaemon(t)
	for name, tt := range same {
		t.Run(name, func(t *testing.T) {
			d.T = t
			want, r := codeRun(d, toolbox.CodeRun{Code: tt.code, Language: "python", Argv: tt.argv, Envs: cold})
			got, w := codeRun(d, toolbox.CodeRun{Code: tt.code, Language: "python", Argv: tt.argv})
			if r.Status != 200 || w.Status != 200 {
				t.Fatalf("%s %s", r.Body, w.Body)
			}
			want.Result, got.Result = addresses.ReplaceAllString(want.Result, "0x"), addresses.ReplaceAllString(got.Result, "0x")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-new interpreter +zygote\n%.3000s", diff)
			}
		})
	}
	d.T = t
	becomeWarm(t, d) // it was all along
}

func BenchmarkCodeRunWarm(b *testing.B) {
	orphansComeHere(b)
	dir := b.TempDir()
	d := daemontest.StartWith(b, daemon.Config{Workdir: dir, Env: environ.New(map[string]string{"PATH": "/usr/bin:/bin", "HOME": dir})})
	becomeWarm(b, d)
	for b.Loop() {
		if got, r := codeRun(d, toolbox.CodeRun{Code: "print(1+1)", Language: "python"}); got.Result != "2\n" {
			b.Fatalf("%s", r.Body)
		}
	}
	if got, _ := codeRun(d, toolbox.CodeRun{Code: fromZygote, Language: "python"}); got.Result != "True\n" {
		b.Error("not from the zygote")
	}
}

// What a zygote must not serve.
func TestZygoteStepsBack(t *testing.T) {
	d := warmDaemon(t)
	warm := func(envs map[string]string) bool {
		t.Helper()
		got, r := codeRun(d, toolbox.CodeRun{Code: fromZygote, Language: "python", Envs: envs})
		if r.Status != 200 || got.ExitCode != 0 {
			t.Fatalf("%s", r.Body)
		}
		return got.Result == "True\n"
	}
	if !warm(nil) || !warm(map[string]string{"ANY": "thing"}) {
		t.Error("not from the zygote")
	}
	for _, envs := range []map[string]string{{"PYTHONPATH": "/tmp"}, {"TZ": "Asia/Tokyo"}, {"LC_ALL": "C"}, {"HOME": "/"}, {"LD_LIBRARY_PATH": "/x"}, {"PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "1"}} {
		if warm(envs) {
			t.Errorf("from the zygote with %v", envs)
		}
	}
	// Another interpreter.
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/python3", []byte("#!/bin/sh\necho other\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, _ := codeRun(d, toolbox.CodeRun{Code: "1", Language: "python", Envs: map[string]string{"PATH": bin + ":/usr/bin:/bin"}}); got.Result != "other\n" {
		t.Errorf("%+v", got)
	}
	// A module of the working directory in place of one that is loaded ahead.
	for _, file := range []string{"json.py", "random/__init__.py"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(d.Dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Dir, file), []byte("mine = 5"), 0o644); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(file, ".py"), "/")
		if got, _ := codeRun(d, toolbox.CodeRun{Code: "import " + name + "\nprint(" + name + ".mine)", Language: "python"}); got.Result != "5\n" {
			t.Errorf("%s: %+v", file, got)
		}
		if err := os.RemoveAll(filepath.Join(d.Dir, name)); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(d.Dir, file))
	}
	if !warm(nil) {
		t.Error("not from the zygote again")
	}
	// Something was installed for the user: the next program sees it, and the zygote is a new one.
	version, _ := codeRun(d, toolbox.CodeRun{Code: "import site; print(site.getusersitepackages(), end='')", Language: "python"})
	if !strings.HasPrefix(version.Result, d.Dir) {
		t.Fatalf("%+v", version)
	}
	if err := os.MkdirAll(version.Result, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(version.Result+"/extra.pth", []byte("import sys; sys.extra = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, _ := codeRun(d, toolbox.CodeRun{Code: "import sys; print(sys.extra, 'site-packages' in sys.path[-1] or sys.path)", Language: "python"}); !strings.HasPrefix(got.Result, "1 ") {
			t.Errorf("%+v", got)
		}
		becomeWarm(t, d)
	}
	// It was killed: by itself, with the process that waits, and with that alone.
	for _, which := range []string{"'dugout_zygote' in c", "'dugout_zygote' in c and p != s[3]"} {
		got, r := codeRun(d, toolbox.CodeRun{Language: "python", Envs: cold, Code: "import os\nfor p in os.listdir('/proc'):\n" +
			"  if p.isdigit():\n    try:\n      c = open('/proc/%s/cmdline' % p).read(); s = open('/proc/%s/stat' % p).read().split()\n" +
			"      if " + which + " and os.readlink('/proc/%s/cwd' % p) == os.getcwd(): os.kill(int(p), 9)\n    except OSError: pass"})
		if got.ExitCode != 0 {
			t.Errorf("%s", r.Body)
		}
		for range 3 {
			if got, _ := codeRun(d, toolbox.CodeRun{Code: "print('still')", Language: "python"}); got.Result != "still\n" {
				t.Errorf("%+v", got)
			}
		}
		becomeWarm(t, d)
	}
}

// Programs do not see one another.
func TestZygoteKeepsProgramsApart(t *testing.T) {
	d := warmDaemon(t)
	const dirty = `import os, sys, signal, random, builtins, resource, atexit, threading
os.environ['LEFT'] = 'x'; sys.path.insert(0, '/left'); sys.left = 1; builtins.left = 1; import json; json.left = 1
signal.signal(signal.SIGTERM, signal.SIG_IGN); os.umask(0o777); os.chdir('/'); open('/dev/null')
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); sys.setrecursionlimit(500); random.seed(1); sys.argv.append('left')`
	const look = `import os, sys, signal, builtins, resource, json, random
print('LEFT' in os.environ, '/left' in sys.path, hasattr(sys, 'left'), hasattr(builtins, 'left'), hasattr(json, 'left'), signal.getsignal(signal.SIGTERM), os.umask(0), os.getcwd() == os.environ['HOME'], resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64, sys.getrecursionlimit(), sys.argv, 'left' in globals())`
	codeRun(d, toolbox.CodeRun{Code: dirty, Language: "python"})
	want, _ := codeRun(d, toolbox.CodeRun{Code: look, Language: "python", Envs: cold})
	if got, _ := codeRun(d, toolbox.CodeRun{Code: look, Language: "python"}); got != want || !strings.Contains(got.Result, "False False False False False") {
		t.Errorf("%q, new interpreter %q", got.Result, want.Result)
	}
	// Every program has numbers of its own.
	seen := map[string]bool{}
	for range 10 {
		got, _ := codeRun(d, toolbox.CodeRun{Code: "import random, uuid, os, secrets, tempfile\nprint(random.random(), uuid.uuid4(), uuid.uuid1(), os.urandom(4), secrets.token_hex(4), next(tempfile._get_candidate_names()))", Language: "python"})
		for _, f := range strings.Fields(got.Result) {
			if seen[f] {
				t.Errorf("%s came twice", f)
			}
			seen[f] = true
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d numbers", len(seen))
	}
	// Many at once, each with its own output and exit code.
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			got, r := codeRun(d, toolbox.CodeRun{Code: "import sys, time; time.sleep(0.02); print(sys.argv[1]); sys.exit(int(sys.argv[1]))", Argv: []string{strconv.Itoa(i)}, Language: "python"})
			if got.ExitCode != i || got.Result != strconv.Itoa(i)+"\n" {
				t.Errorf("%d: %s", i, r.Body)
			}
		})
	}
	wg.Wait()
	becomeWarm(t, d)
}

// A timeout kills a program with all it started, and not the zygote.
func TestZygoteTimeout(t *testing.T) {
	d := warmDaemon(t)
	r := d.Do("POST", "/process/code-run", map[string]any{"code": "import subprocess, os, time\nprint('so far', flush=True)\nsubprocess.Popen(['setsid', 'sleep', '4243'])\nif os.fork() == 0:\n  os.setsid()\ntime.sleep(60)", "language": "python", "timeout": 1})
	var e toolbox.TimedOut
	if r.JSON(t, &e); r.Status != 408 || e.Result != "so far\n" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if got, _ := codeRun(d, toolbox.CodeRun{Code: fromZygote + "\nimport os; print(os.system('pgrep -f \"^sleep 4243\" >/dev/null'))", Language: "python"}); got.Result != "True\n256\n" {
		t.Errorf("%q", got.Result)
	}
}

func BenchmarkCodeRunCold(b *testing.B) {
	dir := b.TempDir()
	d := daemontest.StartWith(b, daemon.Config{Workdir: dir, Env: environ.New(map[string]string{"PATH": "/usr/bin:/bin", "HOME": dir})})
	for b.Loop() {
		if got, r := codeRun(d, toolbox.CodeRun{Code: "print(1+1)", Language: "python", Envs: cold}); got.Result != "2\n" {
			b.Fatalf("%s", r.Body)
		}
	}
}

// A program that is killed before it took its text is not run all the same.
func TestZygoteProgramIsKilledAtItsBeginning(t *testing.T) {
	d := warmDaemon(t)
	for i := range 15 {
		id := "killed-" + strconv.Itoa(i)
		killed := make(chan int)
		go func() {
			status := 0
			for status != 200 && status != 204 && status != 410 {
				status = d.Do("POST", "/process/execution/"+id+"/signal", map[string]string{"signal": "KILL"}).Status
			}
			killed <- status
		}()
		r := d.Do("POST", "/process/code-run", toolbox.CodeRun{Code: "import time; time.sleep(0.3); print('ran')", Language: "python"}, toolbox.ExecutionIDHeader, id)
		if status := <-killed; status != 410 && strings.Contains(string(r.Body), "ran") {
			t.Fatalf("run %d: %s", i, r.Body)
		}
	}
}

// What is kept for clients that ask again counts charts by the memory that they take.
func TestKeptChartsAreBounded(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	text := "print('dtn_artifact_k39fd2:{\"type\":\"chart\",\"value\":{\"type\":\"line\",\"elements\":[' + '{},' * 20000 + '{}]}}')"
	for _, id := range []string{"one", "two"} {
		if r := d.Do("POST", "/process/code-run", toolbox.CodeRun{Code: text, Language: "python"}, toolbox.ExecutionIDHeader, id); r.Status != 200 || !strings.Contains(string(r.Body), "charts") {
			t.Fatalf("%d %.200s", r.Status, r.Body)
		}
	}
	if r := d.Do("GET", "/process/execution/one", nil); r.Status != 410 {
		t.Errorf("the first: %d", r.Status)
	}
	if r := d.Do("GET", "/process/execution/two", nil); r.Status != 200 {
		t.Errorf("the second: %d", r.Status)
	}
}
