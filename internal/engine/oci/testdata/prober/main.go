// Prober asks the kernel, from inside a sandbox, what it would let a program do, and prints one "row verdict" line each.
// It breaks nothing: arguments are such that a call which is allowed fails for another reason or is undone at once. With
// -canary it asks only what is safe to be allowed on a host, and only in namespaces of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var canary = flag.Bool("canary", false, "only the rows that are safe outside a sandbox")

func main() {
	call := flag.Int("call", -1, "make this one system call and end")
	flag.Parse()
	if *call >= 0 {
		syscall.RawSyscall(uintptr(*call), 0, 0, 0)
		return
	}
	if *canary {
		mine, _ := os.Readlink("/proc/self/ns/mnt")
		if parents, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getppid())); err != nil || mine == parents {
			fmt.Fprintln(os.Stderr, "not in the mount namespace of the parent")
			os.Exit(4)
		}
	}
	runtime.LockOSThread()
	calls()
	sockets()
	terminals()
	if *canary {
		return
	}
	identity()
	files()
	devices()
	neighbours()
	foreign()
}

func row(name, verdict string) { fmt.Printf("%s %s\n", name, verdict) }

// verdict names an error; ALLOWED is none.
func verdict(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ALLOWED"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return strings.ReplaceAll(err.Error(), " ", "_")
}

func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}

func str(s string) uintptr {
	p, _ := unix.BytePtrFromString(s)
	return uintptr(unsafe.Pointer(p))
}

// calls are system calls that must not get past the filter or the capabilities.
func calls() {
	var buf [256]byte
	p := uintptr(unsafe.Pointer(&buf[0]))
	for _, c := range []struct {
		name string
		nr   uintptr
		args []uintptr
	}{
		{"bpf", unix.SYS_BPF, []uintptr{0, p, 72}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, []uintptr{0, p}},
		{"io_uring_enter", unix.SYS_IO_URING_ENTER, []uintptr{^uintptr(0)}},
		{"io_uring_register", unix.SYS_IO_URING_REGISTER, []uintptr{^uintptr(0)}},
		{"userfaultfd", unix.SYS_USERFAULTFD, []uintptr{0xffff}},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, []uintptr{p, 0, ^uintptr(0), ^uintptr(0), 0}},
		{"keyctl", unix.SYS_KEYCTL, []uintptr{0, ^uintptr(2), 0}},
		{"add_key", unix.SYS_ADD_KEY, []uintptr{str("nokind"), str("x"), 0, 0, ^uintptr(2)}},
		{"request_key", unix.SYS_REQUEST_KEY, []uintptr{str("nokind"), str("x"), 0, 0}},
		{"kcmp", unix.SYS_KCMP, []uintptr{1, 1, 99}},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, []uintptr{1, p, 0, p, 0, 0}},
		{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, []uintptr{1, p, 0, p, 0, 0}},
		{"pidfd_getfd", unix.SYS_PIDFD_GETFD, []uintptr{^uintptr(0), 0, 0}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, []uintptr{0, p, 0}},
		{"quotactl", unix.SYS_QUOTACTL, []uintptr{0, 0, 0, 0}},
		{"init_module", unix.SYS_INIT_MODULE, []uintptr{0, 0, str("")}},
		{"finit_module", unix.SYS_FINIT_MODULE, []uintptr{^uintptr(0), str(""), 0}},
		{"delete_module", unix.SYS_DELETE_MODULE, []uintptr{str("no such module"), unix.O_NONBLOCK}},
		{"kexec_load", unix.SYS_KEXEC_LOAD, []uintptr{0, 99, 0, 0xffff}},
		{"reboot", unix.SYS_REBOOT, []uintptr{1, 2, 3, 0}},
		{"swapon", unix.SYS_SWAPON, []uintptr{str("/nonexistent"), 0}},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, []uintptr{1, 1}},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, []uintptr{999, p}},
		{"syslog", unix.SYS_SYSLOG, []uintptr{3, p, 10}},
		{"acct", unix.SYS_ACCT, []uintptr{str("/nonexistent")}},
		{"lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE, []uintptr{0, p, 10}},
		{"modify_ldt", unix.SYS_MODIFY_LDT, []uintptr{99, p, 0}},
		{"iopl", unix.SYS_IOPL, []uintptr{99}},
		{"ioperm", unix.SYS_IOPERM, []uintptr{0xffffff, 1, 1}},
		{"personality-odd", unix.SYS_PERSONALITY, []uintptr{0x0010}},
		{"memfd_secret", unix.SYS_MEMFD_SECRET, []uintptr{0xffff}},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, []uintptr{0xffffffff, 0}},
		{"mount", unix.SYS_MOUNT, []uintptr{str("x"), str("/"), str("no such kind"), 0, 0}},
		{"fsopen", unix.SYS_FSOPEN, []uintptr{str("tmpfs"), 0}},
		{"open_tree", unix.SYS_OPEN_TREE, []uintptr{^uintptr(99), str("/"), 1}},
		{"move_mount", unix.SYS_MOVE_MOUNT, []uintptr{^uintptr(0), str(""), ^uintptr(0), str(""), 0}},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, []uintptr{^uintptr(0), str(""), 0xffff, p, 32}},
		{"umount", unix.SYS_UMOUNT2, []uintptr{str("/nonexistent"), 0}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, []uintptr{str("/nonexistent"), str("/nonexistent")}},
		{"setns", unix.SYS_SETNS, []uintptr{^uintptr(0), 0}},
		{"sethostname", unix.SYS_SETHOSTNAME, []uintptr{p, 0xffffff}},
		{"unshare-user", unix.SYS_UNSHARE, []uintptr{unix.CLONE_NEWUSER | unix.CLONE_THREAD}},
		{"unshare-mount", unix.SYS_UNSHARE, []uintptr{unix.CLONE_NEWNS}},
		{"unshare-net", unix.SYS_UNSHARE, []uintptr{unix.CLONE_NEWNET}},
		{"clone3", unix.SYS_CLONE3, []uintptr{p, 1}},
		{"clone-user", unix.SYS_CLONE, []uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS}}, // not a pair the kernel takes
		{"clone-net", unix.SYS_CLONE, []uintptr{unix.CLONE_NEWNET | unix.CLONE_SIGHAND}},
	} {
		row("call."+c.name, verdict(raw(c.nr, c.args...)))
	}
}

func sockets() {
	for _, s := range []struct {
		name                string
		family, kind, proto int
	}{
		{"unix", unix.AF_UNIX, unix.SOCK_STREAM, 0}, {"inet", unix.AF_INET, unix.SOCK_STREAM, 0}, {"inet6", unix.AF_INET6, unix.SOCK_DGRAM, 0},
		{"route", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, {"xfrm", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM},
		{"netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, {"packet", unix.AF_PACKET, unix.SOCK_RAW, 0},
		{"raw-icmp", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, {"alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0}, {"key", unix.AF_KEY, unix.SOCK_RAW, 2}, {"rxrpc", unix.AF_RXRPC, unix.SOCK_DGRAM, unix.AF_INET},
		{"xdp", unix.AF_XDP, unix.SOCK_RAW, 0}, {"can", unix.AF_CAN, unix.SOCK_RAW, 1}, {"tipc", unix.AF_TIPC, unix.SOCK_RDM, 0},
		{"bluetooth", unix.AF_BLUETOOTH, unix.SOCK_RAW, 1}, {"smc", unix.AF_SMC, unix.SOCK_STREAM, 0},
	} {
		fd, err := unix.Socket(s.family, s.kind|unix.SOCK_CLOEXEC, s.proto)
		row("socket."+s.name, verdict(err))
		if err == nil {
			unix.Close(fd)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	one := int32(0)
	p := uintptr(unsafe.Pointer(&one))
	row("sockopt.reuseaddr", verdict(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)))
	row("sockopt.udp-cork", verdict(unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_CORK, 0)))
	row("sockopt.udp-encap", verdict(raw(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_UDP, 100, p, 4)))
	row("sockopt.udp-encap-high-level", verdict(raw(unix.SYS_SETSOCKOPT, uintptr(fd), 1<<32|unix.IPPROTO_UDP, 100, p, 4)))
	row("sockopt.udp-encap-high-option", verdict(raw(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_UDP, 1<<32|100, p, 4)))
}

func terminals() {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	row("terminal.open", verdict(err))
	if err != nil {
		return
	}
	defer unix.Close(fd)
	char := []byte{'x'}
	p := uintptr(unsafe.Pointer(&char[0]))
	row("terminal.get-size", verdict(func() error { _, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); return err }()))
	row("terminal.tiocsti", verdict(raw(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, p)))
	row("terminal.tiocsti-high", verdict(raw(unix.SYS_IOCTL, uintptr(fd), 1<<32|unix.TIOCSTI, p)))
	row("terminal.tioclinux", verdict(raw(unix.SYS_IOCTL, uintptr(fd), unix.TIOCLINUX, p)))
}

func identity() {
	b, _ := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(b))
	kind := "identity"
	if len(fields) == 3 && fields[1] != "0" && fields[2] == "65536" {
		kind = "mapped"
	}
	row("uid_map", kind)
	for _, pid := range []string{"self", "1"} {
		b, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			row("status."+pid, verdict(err))
			continue
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch name {
			case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
				row("status."+pid+"."+name, strings.TrimSpace(value))
			}
		}
	}
	var core unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	row("rlimit.core", fmt.Sprint(core.Max))
	row("oom_score_adj", func() string { b, _ := os.ReadFile("/proc/self/oom_score_adj"); return strings.TrimSpace(string(b)) }())
}

// files: what of the kernel can be read, and what can be opened for writing.
func files() {
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/interrupts", "/proc/kallsyms", "/proc/config.gz", "/proc/kmsg", "/proc/iomem", "/proc/ioports", "/proc/modules",
		"/proc/driver", "/proc/key-users", "/proc/kpagecount", "/proc/vmallocinfo", "/proc/slabinfo", "/proc/pagetypeinfo", "/sys/firmware",
		"/sys/devices/virtual/powercap", "/sys/class/dmi", "/sys/kernel", "/sys/module", "/sys/block", "/sys/fs/bpf", "/sys/kernel/debug",
	} {
		row("read."+path, readable(path))
	}
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sysrq-trigger", "/proc/sys/fs/binfmt_misc/register",
		"/sys/kernel/uevent_helper", "/proc/irq/default_smp_affinity", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
		"/proc/1/mem", "/sys/devices/system/cpu/online", "/usr/local/bin/dugoutd",
	} {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		row("write."+path, verdict(err))
	}
	row("write./proc/1/uid_map", verdict(os.WriteFile("/proc/1/uid_map", []byte("0 0 1"), 0)))
	worst := "none"
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				f.Close()
				worst = path
			}
		}
		return nil
	})
	row("write.any-cgroup-file", worst)
	_, err := os.Stat("/sys/fs/cgroup/release_agent")
	row("cgroup.release_agent", verdict(err))
	for _, path := range []string{"/proc/1/environ", "/proc/1/mem", "/proc/1/root", "/proc/1/cwd", "/proc/1/fd/0", "/proc/1/maps"} {
		var err error
		if fi, serr := os.Stat(path); serr == nil && fi.IsDir() {
			_, err = os.ReadDir(path)
		} else if serr != nil {
			err = serr
		} else {
			var f *os.File
			if f, err = os.Open(path); err == nil {
				f.Close()
			}
		}
		row("first."+path, verdict(err))
	}
	row("first.ptrace", verdict(raw(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0)))
}

// readable tells how many bytes of a file come out, or how many entries of a directory.
func readable(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return verdict(err)
	}
	if fi.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return verdict(err)
		}
		return fmt.Sprintf("%d_entries", len(entries))
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return verdict(err)
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 1024))
	if n > 0 {
		return "LEAKS"
	}
	if err != nil && !errors.Is(err, os.ErrClosed) && err.Error() != "EOF" {
		return verdict(err)
	}
	return "0_bytes"
}

func devices() {
	entries, _ := os.ReadDir("/dev")
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(names)
	row("dev", strings.Join(names, ","))
	for _, d := range []struct {
		name         string
		mode         uint32
		major, minor uint32
	}{
		{"sda", unix.S_IFBLK, 8, 0}, {"vda", unix.S_IFBLK, 254, 0}, {"mem", unix.S_IFCHR, 1, 1}, {"kvm", unix.S_IFCHR, 10, 232}, {"fuse", unix.S_IFCHR, 10, 229}, {"tun", unix.S_IFCHR, 10, 200},
	} {
		path := filepath.Join(os.TempDir(), "node-"+d.name)
		err := unix.Mknod(path, d.mode|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == nil {
			var fd int
			if fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
			}
			os.Remove(path)
		}
		row("mknod."+d.name, verdict(err))
	}
}

// neighbours: what of the host is in sight.
func neighbours() {
	pids, _ := filepath.Glob("/proc/[0-9]*")
	row("pids", map[bool]string{true: "own", false: fmt.Sprint(len(pids))}[len(pids) < 12])
	fds, _ := os.ReadDir("/proc/self/fd")
	var open []string
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !ownRuntime(target) {
			open = append(open, fd.Name())
		}
	}
	row("fds", strings.Join(open, ","))
	b, _ := os.ReadFile("/proc/net/unix")
	row("abstract-sockets", fmt.Sprint(strings.Count(string(b), " @")))
	ifs, _ := filepath.Glob("/proc/sys/net/ipv4/conf/*")
	row("net", fmt.Sprint(len(ifs) > 0))
	row("mounts-of-the-host", fmt.Sprint(hostMounts()))
}

// ownRuntime tells what the Go runtime of this program opens by itself.
func ownRuntime(target string) bool {
	return strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "anon_inode:[event") || strings.HasPrefix(target, "/sys/fs/cgroup/")
}

func hostMounts() int {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	n := 0
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && (strings.HasPrefix(fields[4], "/var/tmp/dugout") || strings.HasPrefix(fields[4], "/mnt")) {
			n++
		}
	}
	return n
}

// foreign: calls in the ways of other architectures. They end the thread that makes them; where that is not the last one
// of its process, the process hangs.
func foreign() {
	const x32 = 0x40000000
	row("x32", ending("/proc/self/exe", "-call", fmt.Sprint(x32|unix.SYS_GETPID)))
	if _, err := os.Stat("/usr/local/bin/hello386"); err == nil {
		row("i386", ending("/usr/local/bin/hello386"))
	}
}

func ending(name string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	err := exec.CommandContext(ctx, name, args...).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return "KILLED"
		}
	}
	return verdict(err)
}
