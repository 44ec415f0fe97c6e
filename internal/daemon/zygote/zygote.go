//go:build linux

// Package zygote keeps one Python interpreter warm and lets it fork a process for each program, so that a program does not
// wait for the interpreter to start.
//
// The zygote starts after the first Python program of a sandbox, so that a sandbox that runs none pays nothing, and ends
// when none came for [IdleAfter]. One forked process waits ahead: a program's own fork is not on its way. That process is a
// child of the daemon, see zygote.py, and so is waited for, marked, timed and killed as any other run; a program that kills
// or hurts the zygote costs others nothing but the warmth, because whenever a program cannot be served exactly as a new
// interpreter would run it, it is run by a new interpreter:
//   - another interpreter is first in PATH, or one of the variables that an interpreter or a loaded library reads when it
//     starts has another value ([startup]);
//   - a file in the working directory has the name of a module that is loaded ahead of time;
//   - the interpreter, its folders of modules or what configures them changed since it started, as by pip install.
//
// The last makes a new zygote, too.
//
// After a program that used numpy, pandas or matplotlib a new zygote loads these ahead of time, where enough memory is free
// ([roomFor]): a program that draws begins half a second earlier then.
package zygote

import (
	_ "embed" // the zygote's program
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

const (
	// IdleAfter is how long after the last Python program the zygote ends and its memory goes back.
	IdleAfter = 2 * time.Minute

	startWait = 20 * time.Second // for a zygote to begin; the large libraries may be read from a slow disk
	forkWait  = 5 * time.Second  // for a process from the zygote
	takeWait  = time.Second      // for a process that is being forked: a fork costs a sixth of what a new interpreter does
	maxFails  = 3                // starts in a row that failed, until something changes
	maxHello  = 128 << 10        // bytes
	roomFor   = 256 << 20        // bytes that must be free before the large libraries are loaded ahead: they take about 45 MiB
)

//go:embed zygote.py
var program string

// loader runs the zygote's program, which comes on descriptor 4. The last lines are the frame on which programs run: main
// returns in the forked process alone.
const loader = `import io,sys,types
_f = io.open(4, 'rb'); _t = _f.read().decode('ascii').split('\0'); _f.close(); del _f
_m = types.ModuleType('dugout_zygote'); exec(compile(_t[0], '<dugout>', 'exec'), _m.__dict__)
_b = {n: globals()[n] for n in globals() if n[:2] == '__'}; _b['__file__'] = '<stdin>'; _b['__cached__'] = None
_m.begin(_t[1], _t[2].split(), _b)`

// Pool serves the Python programs of one sandbox. The zero value with its first fields set is ready.
type Pool struct {
	Log    *slog.Logger
	Runner *run.Runner
	Dir    string // where programs run

	mu       sync.Mutex // guards all below
	cur      *server
	starting bool
	fails    int
	failed   string // the key of the starts that failed
	idle     *time.Timer
	closed   bool
	works    sync.WaitGroup
}

// startup are the beginnings of names of variables that an interpreter, its C library or a library that may be loaded
// ahead of time reads only once.
var startup = []string{"PYTHON", "__PYVENV", "LD_", "LC_", "LANG", "HOME=", "TZ", "MALLOC_", "GLIBC_", "GCONV_PATH", "LOCPATH", "NLSPATH", "OPENSSL_", "SSL_",
	"OMP_", "OPENBLAS_", "GOTO_", "MKL_", "KMP_", "BLIS_", "NUMEXPR_", "NPY_", "NUMPY_", "MPL", "XDG_", "PANDAS_", "ARROW_", "PYARROW_", "BLAS_", "GOMP_"}

// honoured are the variables of Python itself with which a zygote can be started. Any other needs a new interpreter.
var honoured = []string{"PYTHONUNBUFFERED=", "PYTHONDONTWRITEBYTECODE=", "PYTHONHASHSEED=", "PYTHONIOENCODING=", "PYTHONUTF8=", "PYTHONNOUSERSITE=", "PYTHONUSERBASE="}

// key is what must be equal for a zygote to stand in for a new interpreter; "": no zygote can.
func key(path string, env []string) string {
	out := []string{path}
	for _, kv := range env {
		if strings.HasPrefix(kv, "PYTHON") && !slices.ContainsFunc(honoured, func(p string) bool { return strings.HasPrefix(kv, p) }) {
			return ""
		}
		if slices.ContainsFunc(startup, func(p string) bool { return strings.HasPrefix(kv, p) }) {
			out = append(out, kv)
		}
	}
	return strings.Join(out, "\x00")
}

// Prepare makes spec one that the zygote starts, if there is one that can stand in for a new interpreter; otherwise it leaves
// spec as it is and returns false. The caller calls done when the run is over or was not started, and [Pool.Warm].
func (p *Pool) Prepare(spec *run.Spec, args []string) (done func(), warm bool) {
	done = func() {}
	k := key(spec.Path, spec.Env)
	p.mu.Lock()
	s := p.cur
	if s == nil || s.key != k || p.closed || spec.Dir != p.Dir {
		p.mu.Unlock()
		return done, false
	}
	p.arm()
	p.mu.Unlock()
	if s.stale() {
		p.retire(s)
		return done, false
	}
	if s.shadowed(p.Dir) {
		return done, false
	}
	spare := s.take()
	if spare == nil {
		if !s.alive() {
			p.retire(s)
		}
		return done, false
	}
	cold := *spec
	spec.By = func(files []uintptr) (*run.Child, error) {
		if child, err := spare.give(p.Dir, args, cold.Env, files); err == nil {
			return child, nil
		}
		// It was killed while it waited.
		return p.Runner.Spawn(cold.Path, cold.Argv, &syscall.ProcAttr{Dir: cold.Dir, Env: cold.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	}
	// The next process is forked when this program has ended, so that the two do not get in each other's way.
	return func() { spare.drop(); s.want() }, true
}

// Warm sees to it that the next program like the one that spec ran finds a zygote. base is the environment without what its
// request added: a zygote is made for that alone. large are the large libraries that the program seems to use; warm, whether
// it came from the zygote. It does not wait.
func (p *Pool) Warm(spec run.Spec, base []string, warm bool, large []string) {
	if warm && len(large) == 0 || os.Getpid() != 1 && !subreaper() { // orphans would go to somebody else
		return
	}
	k := key(spec.Path, spec.Env)
	if k == "" || spec.Dir != p.Dir || k != key(spec.Path, base) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.starting || p.fails >= maxFails && p.failed == k {
		return
	}
	large = slices.Clone(large)
	if s := p.cur; s != nil {
		for _, l := range s.large {
			if !slices.Contains(large, l) {
				large = append(large, l)
			}
		}
		if s.key == k && len(large) == len(s.large) {
			return
		}
	}
	if len(large) > 0 && (p.cur == nil || len(large) > len(p.cur.large)) && !room() {
		if p.cur != nil && p.cur.key == k {
			return
		}
		large = nil
	}
	slices.Sort(large)
	p.starting = true
	p.works.Go(func() { p.start(spec.Path, base, k, large) })
}

// start replaces the zygote by a new one.
func (p *Pool) start(path string, env []string, k string, large []string) {
	s, err := p.launch(path, env, k, large)
	p.mu.Lock()
	p.starting = false
	if err != nil {
		if p.failed != k {
			p.fails, p.failed = 0, k
		}
		p.fails++
		p.mu.Unlock()
		p.Log.Warn("python zygote cannot be started", "err", err)
		return
	}
	p.fails = 0
	if p.closed {
		p.mu.Unlock()
		s.end()
		return
	}
	old := p.cur
	p.cur = s
	p.arm()
	p.mu.Unlock()
	if old != nil {
		old.end()
	}
}

// arm sets the one timer, while a zygote lives. The caller holds mu.
func (p *Pool) arm() {
	if p.idle == nil {
		p.idle = time.AfterFunc(IdleAfter, p.rest)
		return
	}
	p.idle.Reset(IdleAfter)
}

// rest ends the zygote that nobody used for a while.
func (p *Pool) rest() {
	p.mu.Lock()
	s := p.cur
	p.cur = nil
	p.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// retire ends a zygote that is of no use any more.
func (p *Pool) retire(s *server) {
	p.mu.Lock()
	mine := p.cur == s
	if mine {
		p.cur = nil
	}
	p.mu.Unlock()
	if mine {
		s.end()
	}
}

// Close ends the zygote. Programs that run go on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	if p.idle != nil {
		p.idle.Stop()
	}
	p.mu.Unlock()
	p.works.Wait()
	p.rest()
}

// subreaper reports whether orphans of what this process started become its children although it is not the first process.
func subreaper() bool {
	var on int32
	return unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0) == nil && on != 0
}

// room reports whether the sandbox has memory to spare for libraries that are loaded ahead of time.
func room() bool {
	var host unix.Sysinfo_t
	if unix.Sysinfo(&host) != nil || (uint64(host.Freeram)+uint64(host.Bufferram))*uint64(host.Unit) < roomFor {
		return false
	}
	for _, files := range [][2]string{{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"}, {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}} {
		limit, lerr := number(files[0])
		used, uerr := number(files[1])
		if lerr == nil && uerr == nil && limit < used+roomFor {
			return false
		}
	}
	return true
}

func number(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
