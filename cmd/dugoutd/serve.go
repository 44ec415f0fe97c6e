//go:build linux

package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/info"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// options of the command line, and of the environment for an engine that cannot change the command.
type options struct {
	socket  string
	readyFD int
	workdir string
	ts      string
	git     string
	grace   time.Duration
	outside bool
	limits  info.Limits
	memInfo int
	cpus    string
	debug   bool
	version bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("dugoutd", flag.ContinueOnError)
	f.StringVar(&o.socket, "socket", env("DUGOUT_SOCKET", "/run/dugout/d.sock"), "path of the unix socket to listen on")
	f.IntVar(&o.readyFD, "ready-fd", number("DUGOUT_READY_FD", -1), "descriptor that gets one byte when the daemon listens")
	f.StringVar(&o.workdir, "workdir", env("DUGOUT_WORKDIR", ""), "working directory; empty: the present one")
	f.StringVar(&o.ts, "ts", env("DUGOUT_TS", ""), "path of the TypeScript transpiler; empty: dugoutd-ts beside this program")
	f.StringVar(&o.git, "git", env("DUGOUT_GIT", ""), "path of the git library's program; empty: dugoutd-git beside this program")
	f.DurationVar(&o.grace, "grace", 2*time.Second, "how long processes may take to end after SIGTERM")
	f.BoolVar(&o.outside, "outside-only", os.Getenv("DUGOUT_OUTSIDE_ONLY") == "1", "refuse callers from inside the sandbox")
	f.Int64Var(&o.limits.MilliCPU, "cpu", int64(number("DUGOUT_MILLICPU", 0)), "CPU limit in thousandths of a core, for the metrics")
	f.Int64Var(&o.limits.MemoryBytes, "memory", int64(number("DUGOUT_MEMORY", 0)), "memory limit in bytes, for the metrics")
	f.IntVar(&o.memInfo, "meminfo-fd", number("DUGOUT_MEMINFO_FD", 0), "descriptor of /dev/fuse that is mounted on /proc/meminfo before the first request; 0: none")
	f.StringVar(&o.cpus, "cpus", env("DUGOUT_CPUS", ""), "processors for programs, as 0,2,3; empty: all")
	f.BoolVar(&o.debug, "debug", false, "log more")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

func number(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

func serve(args []string) int {
	if len(args) == 1 && args[0] == daemon.FormatsFlag {
		_, _ = fmt.Println(daemon.Formats())
		return 0
	}
	o, err := parse(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "dugoutd:", err)
		return 2
	}
	if o.version {
		_, _ = fmt.Println(version)
		return 0
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	cpus, err := run.ParseCPUs(o.cpus)
	if err != nil {
		log.Error("processors cannot be read", "error", err)
		return 2
	}
	tune(o.limits.MilliCPU)
	resumed, err := daemon.Resume()
	if err != nil { // the processes of the daemon before are lost to this one, but a sandbox needs a daemon
		log.Error("nothing could be taken over from the daemon before", "error", err)
	}
	harden(log)
	if resumed != nil { // the directory may be gone by now, and the descriptors have other numbers
		o.workdir, o.readyFD, o.memInfo = "", -1, 0
	}
	if o.workdir != "" {
		if err := os.Chdir(o.workdir); err != nil {
			log.Error("working directory cannot be entered", "error", err)
			return 1
		}
	}
	workdir, err := os.Getwd()
	if err != nil {
		workdir = "/"
	}
	bin := ""
	if resumed != nil { // what runs now may lie where the sandbox sees nothing
		workdir, bin = resumed.Workdir, resumed.Bin
	} else if self, err := os.Executable(); err == nil {
		bin = filepath.Dir(self)
	}
	if bin != "" {
		o.ts = cmp.Or(o.ts, filepath.Join(bin, "dugoutd-ts"))
		o.git = cmp.Or(o.git, filepath.Join(bin, "dugoutd-git"))
	}

	forgetIgnored()
	// Caught, not ignored: a child would inherit that these are ignored.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	var l net.Listener
	if resumed != nil {
		l = resumed.Listener
	} else if l, err = daemon.Listen(o.socket); err != nil {
		log.Error("socket cannot be made", "error", err)
		return 1
	}
	ready(o.readyFD) // connections now wait in the kernel until they are accepted
	first := os.Getpid() == 1
	d := daemon.New(daemon.Config{Version: version, Workdir: workdir, Bin: bin, TS: o.ts, Git: o.git, Limits: o.limits, CPUs: cpus, MemInfo: o.memInfo, First: first,
		Outside: o.outside, Log: log, Resumed: resumed, Replacement: replacement(first)})
	if err := d.Serve(ctx, l); err != nil {
		log.Error("daemon stopped serving", "error", err)
		return 1
	}
	if first {
		endAll(o.grace) // the kernel kills what is left when the first process ends
	} else {
		d.Close()
	}
	return 0
}

// replacement is how this process goes over to another version of its program. Only the first process of a sandbox can tell
// the host from others.
func replacement(first bool) *daemon.Replacement {
	if !first {
		return nil
	}
	return &daemon.Replacement{Argv: os.Args, Prepare: keepCaps}
}

// tune keeps an idle daemon small. It handles little at a time: more than four threads of Go code would only cost memory on
// a large host, and more than the sandbox has cores would only wake each other. Collecting earlier costs a small heap next to
// nothing.
func tune(milliCPU int64) {
	cores := runtime.GOMAXPROCS(0)
	if n := int((milliCPU + 999) / 1000); n > 0 {
		cores = min(cores, n)
	}
	if cores = min(cores, 4); cores < runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(cores)
	}
	debug.SetGCPercent(50)
}

// ready tells the engine that the socket takes connections.
func ready(fd int) {
	if fd < 3 {
		return
	}
	_, _ = unix.Write(fd, []byte{'1'})
	_ = unix.Close(fd)
}

// endAll asks every process of the sandbox to end, and kills what has not ended after grace.
func endAll(grace time.Duration) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // a stopped process cannot end
		if syscall.Kill(-1, sig) == syscall.ESRCH {
			return
		}
	}
	half, over := time.NewTimer(grace/2), time.NewTimer(grace)
	defer half.Stop()
	defer over.Stop()
	for syscall.Kill(-1, 0) != syscall.ESRCH { // the dead are waited for by the daemon's reaper
		select {
		case <-children:
		case <-half.C: // an interactive shell ignores SIGTERM and ends by this
			_ = syscall.Kill(-1, syscall.SIGHUP)
		case <-over.C:
			_ = syscall.Kill(-1, syscall.SIGKILL)
			return
		case <-time.After(5 * time.Millisecond): // a signal may have come before its process was waited for
		}
	}
}

// forgetIgnored sets the signals that the Go runtime leaves as they came, those of C libraries' threads, to their default: a
// child would inherit that whoever started the platform ignored them.
func forgetIgnored() {
	var dflt struct{ handler, flags, restorer, mask uintptr } // the kernel's sigaction; the zero value is SIG_DFL
	for sig := uintptr(32); sig <= 34; sig++ {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&dflt)), 0, 8, 0, 0)
	}
}
