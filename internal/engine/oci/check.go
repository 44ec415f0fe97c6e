package oci

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Finding is one thing that was looked at on this host.
type Finding struct {
	Name   string // short, e.g. "runc"
	OK     bool
	Detail string // what was found
	Fix    string // what would mend it; empty when OK
}

// kernelFloor is the oldest kernel on which overlay takes id-mapped layers.
const kernelFloor = "5.19.0"

// Check looks at everything that Open needs or makes use of and says what it found, without leaving anything behind. It
// works while an engine has cfg.Dir open.
func Check(ctx context.Context, cfg Config) []Finding {
	findings := []Finding{checkRoot(), checkKernel(), checkRunc(ctx, cfg.Runc)}
	findings = append(findings, checkProc(), checkPidfd(), checkSeccomp(), checkUserns(), checkFilesystem("overlay"))
	findings = append(findings, checkCgroups(cfg)...)
	findings = append(findings, checkIDMap(cfg), checkDisk(cfg), checkOpenFiles())
	return findings
}

func finding(name string, ok bool, detail, fix string) Finding {
	if ok {
		fix = ""
	}
	return Finding{Name: name, OK: ok, Detail: detail, Fix: fix}
}

func checkRoot() Finding {
	uid := os.Geteuid()
	return finding("root", uid == 0, fmt.Sprintf("running as uid %d", uid), "run as root: sandboxes need mounts and namespaces")
}

func checkKernel() Finding {
	release := kernelRelease()
	return finding("kernel", kernelAtLeast(release, kernelFloor), release, "upgrade to Linux "+kernelFloor+" or later")
}

// kernelAtLeast compares the numbers that a release begins with.
func kernelAtLeast(release, floor string) bool {
	numbers := func(s string) (n [3]int) {
		for i, part := range strings.SplitN(s, ".", 3) {
			end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
			if end < 0 {
				end = len(part)
			}
			n[i], _ = strconv.Atoi(part[:end])
		}
		return n
	}
	a, b := numbers(release), numbers(floor)
	return slices.Compare(a[:], b[:]) >= 0
}

func checkRunc(ctx context.Context, path string) Finding {
	runc, err := findRunc(ctx, path)
	if err != nil {
		return finding("runc", false, err.Error(), "install runc "+RuncFloor+" or later, built with seccomp (tools/runc/build.sh builds it)")
	}
	return finding("runc", true, runc.version+" at "+runc.path, "")
}

func checkProc() Finding {
	options, err := mountOptions("/proc")
	switch {
	case err != nil:
		return finding("proc", false, err.Error(), "mount proc at /proc")
	case strings.Contains(options, "hidepid="):
		return finding("proc", os.Geteuid() == 0, "mounted with "+options, "run as root, or mount /proc without hidepid")
	}
	return finding("proc", true, "all processes are visible", "")
}

// mountOptions returns the super options of the mount at exactly path.
func mountOptions(path string) (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, rest := strings.Fields(left), strings.Fields(right)
		if ok && len(fields) > 4 && fields[4] == path && len(rest) > 2 {
			return rest[2], nil
		}
	}
	return "", fmt.Errorf("nothing is mounted at %s", path)
}

func checkPidfd() Finding {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return finding("pidfd", false, err.Error(), "upgrade to Linux "+kernelFloor+" or later")
	}
	defer unix.Close(fd)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	if unix.IoctlPidfdInfo(fd, &info) != nil {
		return finding("pidfd", true, "without exit codes of sandboxes (needs Linux 6.15)", "")
	}
	return finding("pidfd", true, "with exit codes of sandboxes", "")
}

func checkSeccomp() Finding {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil || !strings.Contains(string(b), "errno") {
		return finding("seccomp", false, "the kernel has no system call filter", "use a kernel with CONFIG_SECCOMP_FILTER")
	}
	return finding("seccomp", true, strings.TrimSpace(string(b)), "")
}

func checkUserns() Finding {
	n, err := readNumber("/proc/sys/user/max_user_namespaces")
	return finding("user namespaces", err == nil && n >= 1024, fmt.Sprintf("user.max_user_namespaces is %d", n), "sysctl -w user.max_user_namespaces=65536")
}

func checkFilesystem(name string) Finding {
	b, _ := os.ReadFile("/proc/filesystems")
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == name {
			return finding(name, true, "the kernel has it", "")
		}
	}
	return finding(name, false, "not among the kernel's file systems", "modprobe "+name)
}

func checkCgroups(cfg Config) []Finding {
	parent := cfg.CgroupParent
	if parent == "" {
		parent = "/dugout-" + cfg.Instance
	}
	c, err := findCgroups(parent)
	if err != nil {
		return []Finding{finding("cgroups", false, err.Error(), "mount the memory, cpu and pids controllers, or boot with cgroup version 2")}
	}
	findings := []Finding{finding("cgroups", true, "version "+strings.TrimPrefix(c.String(), "v"), "")}
	if c.v2 {
		b, _ := os.ReadFile(filepath.Join(c.mounts[0], "cgroup.controllers"))
		for _, name := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(strings.Fields(string(b)), name) {
				findings = append(findings, finding("cgroup "+name, false, "the controller is not there", "enable it on the kernel command line"))
			}
		}
	}
	if !haveFuse() {
		findings = append(findings, finding("meminfo", false, "programs in sandboxes see the host's memory: there is no "+fuseDevice, "modprobe fuse"))
	}
	for _, problem := range c.problems {
		findings = append(findings, finding("swap limit", false, problem, "boot with swapaccount=1, or switch swap off"))
	}
	return findings
}

// checkIDMap really mounts a directory through an id mapping.
func checkIDMap(cfg Config) Finding {
	const name = "id-mapped mounts"
	cfg, err := cfg.complete()
	if err != nil {
		return finding(name, false, err.Error(), "correct the configuration")
	}
	if os.Geteuid() != 0 {
		return finding(name, false, "not tried without root", "run as root")
	}
	dir, err := os.MkdirTemp(existing(cfg.Dir), ".dugout-check-")
	if err != nil {
		return finding(name, false, err.Error(), "make "+cfg.Dir+" writable")
	}
	defer os.RemoveAll(dir)
	spawn := newSpawner(1)
	defer spawn.close()
	e := &Engine{cfg: cfg, log: slog.New(slog.DiscardHandler), userns: newUsernsCache(cfg.Daemon, spawn)}
	defer e.userns.close()
	e.cfg.Dir = dir
	direct, err := e.tryIDMap()
	if err != nil {
		return finding(name, false, err.Error(), "put "+cfg.Dir+" on ext4, xfs or btrfs, on Linux "+kernelFloor+" or later")
	}
	if direct {
		return finding(name, true, "overlay takes them detached", "")
	}
	return finding(name, true, "through a mount point", "")
}

// existing returns the deepest directory of path that is there.
func existing(path string) string {
	for path != "/" {
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

func checkDisk(cfg Config) Finding {
	const name = "disk limits"
	root := filepath.Join(cfg.Dir, "disk")
	switch {
	case cfg.Disk.Driver == "dir" || isDirDisk(root):
		return finding(name, false, "the driver \"dir\" does not enforce them", "use the driver \"btrfs\"")
	case onBtrfs(root):
		return finding(name, true, "btrfs at "+root, "")
	case onBtrfs(existing(cfg.Dir)):
		return finding(name, true, "btrfs at "+existing(cfg.Dir), "")
	}
	if f := checkFilesystem("btrfs"); !f.OK {
		return finding(name, false, "the kernel has no btrfs", "modprobe btrfs")
	}
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		if _, err := os.Stat(root + ".img"); err != nil {
			return finding(name, false, "mkfs.btrfs is not installed", "install the package btrfs-progs")
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return finding(name, false, "there are no loop devices", "modprobe loop")
	}
	return finding(name, true, "a btrfs pool can be made in "+cfg.Dir, "")
}

func checkOpenFiles() Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding("open files", false, err.Error(), "raise the limit of open files")
	}
	return finding("open files", limit.Max >= 16384, fmt.Sprintf("at most %d", limit.Max), "raise the limit of open files to 65536 (LimitNOFILE= in the unit)")
}
