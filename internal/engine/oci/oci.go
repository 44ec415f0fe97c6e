// Package oci is the engine that runs sandboxes with an OCI runtime (runc) on this host.
//
// What it makes for one sandbox: a writable layer with a disk limit (package file disk.go), an overlay over the image's
// directory seen through an id mapping of the sandbox's own (rootfs.go), an OCI bundle (bundle.go, seccomp.go) and one
// `runc run`. From then on runc is out of the picture: stop, destroy and exits work on a pidfd, on the cgroups and on the
// mounts (stop.go, exits.go), because runc's own verbs start a process each and poll.
//
// What is on disk, and who owns it:
//
//	Dir/lock                      one engine at a time
//	Dir/sandboxes/ID/record.json  what Create promised; written once the disk is there (intent.json before)
//	Dir/sandboxes/ID/state.json   the last known run
//	Dir/trash/ID                  a sandbox that Destroy has begun to remove
//	Dir/disk                      writable layers (disk.go)
//	RunDir                        a tmpfs of our own: bundles, runc's state, one small tmpfs per running sandbox
//
// Everything that a sandbox can write to (its layer, its run directory) is hostile: it is never followed by path, only
// opened beneath a directory descriptor without symlinks, or not at all.
package oci

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
)

// Config says where an engine keeps its things and what it runs.
type Config struct {
	Dir        string   // state and disks; on a real file system
	RunDir     string   // sockets, bundles, runtime state; the engine mounts a tmpfs of its own there
	Instance   string   // four characters [a-z0-9] that tell the installations on one host apart
	Runc       string   // path of runc; empty: found in PATH
	Daemon     string   // path of the static daemon binary that becomes the first process of every sandbox
	Helpers    []string // more binaries to mount read-only beside the daemon, under their base names
	DaemonArgs []string // more arguments for the daemon, after --socket and --ready-fd
	Disk       Disk
	Defaults   engine.Limits // for limits a spec leaves zero; what is zero here comes from DefaultLimits
	// CgroupParent is the absolute cgroup below which every sandbox gets one; empty: /dugout-INSTANCE. Under systemd use
	// the unit's own delegated cgroup.
	CgroupParent string
	// UIDFirst and UIDRanges delimit the host ids given to sandboxes, 65,536 to each. Zero: 0x70000000 and 4094, which no
	// distribution, and not systemd either, gives out. Installations on one host that must not share ids need disjoint ones.
	UIDFirst  uint32
	UIDRanges int
}

// Disk configures where writable layers lie.
type Disk struct {
	Driver    string // "btrfs", "dir"; empty: btrfs where the host can, else dir
	PoolBytes int64  // size of the pool's sparse file; zero: 80 % of what is free when it is made
}

// DefaultLimits are what a zero limit means.
var DefaultLimits = engine.Limits{MilliCPU: 1000, MemoryBytes: 1 << 30, DiskBytes: 3 << 30, Pids: 1024, OpenFiles: 65536}

// Engine implements engine.Engine.
type Engine struct {
	cfg      Config
	log      *slog.Logger
	runc     *runtimeBinary
	disk     diskDriver
	ids      *idPool
	userns   *usernsCache
	cg       cgroups
	watch    *watcher
	spawn    *spawner
	exits    chan engine.Exit
	lockFile *os.File
	bootID   string
	seccomp  seccompProfiles
	canClone bool  // overlay takes a detached idmapped mount as lower (kernel 6.15 and later)
	cpus     []int // of the host
	fuse     bool  // /proc/meminfo inside shows the sandbox's own memory
	problems []string
	crash    func(point string) // failpoints; never nil, does nothing outside tests

	closing context.Context // ends when Close begins
	stop    context.CancelFunc
	once    sync.Once
	work    sync.WaitGroup // verbs and clean-ups under way

	mu    sync.Mutex // guards boxes
	boxes map[string]*box
}

var _ engine.Engine = (*Engine)(nil)

// Open returns the engine over the state in cfg.Dir: running sandboxes are found again, half-made ones removed. One engine
// at a time can have a Dir open.
//
// Errors: Invalid (the configuration; names the field), Unavailable (runc missing or older than RuncFloor, not root, a
// kernel without user namespaces), Conflict (another process has Dir open).
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Engine, error) {
	return open(ctx, cfg, log, func(string) {})
}

func open(ctx context.Context, cfg Config, log *slog.Logger, crash func(string)) (_ *Engine, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errs.New(errs.Unavailable, "the oci engine needs root, it runs as uid %d", os.Geteuid())
	}
	e := &Engine{cfg: cfg, log: log, crash: crash, exits: make(chan engine.Exit, 1024), boxes: map[string]*box{}}
	e.closing, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			e.release()
		}
	}()
	if e.runc, err = findRunc(ctx, cfg.Runc); err != nil {
		return nil, err
	}
	if e.bootID, err = readBootID(); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Dir, e.path("sandboxes"), e.path("trash"), e.path("broken")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, errs.Wrap(err, errs.Unavailable, "cannot make the state directory %s", dir)
		}
	}
	if e.lockFile, err = filelock.Acquire(ctx, filepath.Join(cfg.Dir, "lock"), filelock.Patience); err != nil {
		return nil, err
	}
	if err = mountRunDir(cfg.RunDir); err != nil {
		return nil, err
	}
	for _, dir := range []string{e.run("b"), e.run("s"), e.run("runc")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, errs.Wrap(err, errs.Unavailable, "cannot make the directory %s", dir)
		}
	}
	if e.cg, err = findCgroups(cfg.CgroupParent); err != nil {
		return nil, err
	}
	if e.disk, e.problems, err = openDisk(cfg, log); err != nil {
		return nil, err
	}
	e.problems = append(e.problems, e.cg.problems...)
	e.cpus = hostCPUs()
	if e.fuse = haveFuse(); !e.fuse {
		e.problems = append(e.problems, noFuse)
	}
	if e.spawn = newSpawner(2); e.spawn == nil {
		return nil, errs.New(errs.Internal, "cannot start the process spawner")
	}
	e.ids = newIDPool(cfg.UIDFirst, cfg.UIDRanges)
	e.userns = newUsernsCache(cfg.Daemon, e.spawn)
	if e.canClone, err = e.tryIDMap(); err != nil {
		return nil, err
	}
	if e.watch, err = newWatcher(); err != nil {
		return nil, err
	}
	if err = e.reattach(ctx); err != nil {
		return nil, err
	}
	e.fillUserns()
	return e, nil
}

func (c Config) complete() (Config, error) {
	if len(c.Instance) != 4 || strings.Trim(c.Instance, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return c, errs.New(errs.Invalid, "instance is %q, it must be four characters of a-z and 0-9", c.Instance)
	}
	for _, p := range []struct{ name, value string }{{"dir", c.Dir}, {"run_dir", c.RunDir}, {"daemon", c.Daemon}} {
		if !filepath.IsAbs(p.value) || filepath.Clean(p.value) != p.value || strings.ContainsAny(p.value, ",:\\\x00\n") {
			return c, errs.New(errs.Invalid, "%s is %q, it must be a clean absolute path without , : or \\", p.name, p.value)
		}
	}
	for _, p := range append([]string{c.Daemon}, c.Helpers...) {
		if fi, err := os.Stat(p); err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
			return c, errs.New(errs.Invalid, "%q is not an executable file", p)
		}
	}
	if c.CgroupParent == "" {
		c.CgroupParent = "/dugout-" + c.Instance
	}
	if !filepath.IsAbs(c.CgroupParent) || filepath.Clean(c.CgroupParent) != c.CgroupParent || c.CgroupParent == "/" {
		return c, errs.New(errs.Invalid, "cgroup_parent is %q, it must be a clean absolute path below /", c.CgroupParent)
	}
	if c.UIDFirst == 0 {
		c.UIDFirst = 0x70000000
	}
	if c.UIDRanges == 0 {
		c.UIDRanges = 4094
	}
	if c.UIDFirst < 100000 || c.UIDRanges < 1 || uint64(c.UIDFirst)+uint64(c.UIDRanges)*idRangeSize > 1<<32-2 {
		return c, errs.New(errs.Invalid, "uid_first %d with uid_ranges %d does not lie between 100000 and 2^32-2", c.UIDFirst, c.UIDRanges)
	}
	c.Defaults = c.Defaults.Or(DefaultLimits)
	return c, nil
}

// Capabilities says what this engine does on this host.
func (e *Engine) Capabilities() engine.Capabilities {
	limit := ""
	if e.disk.enforces() {
		limit = e.disk.name()
	}
	return engine.Capabilities{
		Name: "oci", Version: "runc " + e.runc.version, Classes: []string{engine.ClassContainer}, DiskLimit: limit, Network: true,
		Problems: append([]string(nil), e.problems...),
		Details: map[string]string{
			"runc": e.runc.path, "disk": e.disk.name(), "cgroup": e.cg.String(), "arch": runtime.GOARCH,
			"kernel": kernelRelease(), "uid_ranges": fmt.Sprintf("%d from %d", e.cfg.UIDRanges, e.cfg.UIDFirst),
		},
	}
}

// Exits delivers sandboxes that ended by themselves.
func (e *Engine) Exits() <-chan engine.Exit { return e.exits }

// Close releases what this process holds and waits, at most ten seconds, for verbs under way; when they take longer it
// fails with Timeout and can be called again. Sandboxes go on running. Closing what is closed is a success.
func (e *Engine) Close() error {
	e.stop()
	done := make(chan struct{})
	go func() { e.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		return errs.New(errs.Timeout, "verbs are still under way ten seconds after Close")
	}
	e.once.Do(e.release)
	return nil
}

// release lets go of descriptors and threads; what it holds may be half-built.
func (e *Engine) release() {
	e.stop()
	e.work.Wait()
	if e.watch != nil {
		e.watch.close()
	}
	e.mu.Lock()
	for _, b := range e.boxes {
		b.mu.Lock()
		if b.run != nil {
			b.run.close()
		}
		b.mu.Unlock()
	}
	e.mu.Unlock()
	if e.userns != nil {
		e.userns.close()
	}
	if e.spawn != nil {
		e.spawn.close()
	}
	if e.disk != nil {
		e.disk.close()
	}
	if e.lockFile != nil {
		e.lockFile.Close()
	}
}

func (e *Engine) path(parts ...string) string {
	return filepath.Join(append([]string{e.cfg.Dir}, parts...)...)
}
func (e *Engine) run(parts ...string) string {
	return filepath.Join(append([]string{e.cfg.RunDir}, parts...)...)
}

func readBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "/proc is not readable")
	}
	return strings.TrimSpace(string(b)), nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
