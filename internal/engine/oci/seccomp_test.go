package oci_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine/oci"
)

// decide does what the kernel does with the rules of a profile: the strictest action of those that match.
func decide(profile *specs.LinuxSeccomp, name string, args ...uint64) specs.LinuxSeccompAction {
	action := profile.DefaultAction
	matched := false
	for _, rule := range profile.Syscalls {
		if !slices.Contains(rule.Names, name) || !matches(rule.Args, args) {
			continue
		}
		if !matched || rule.Action != specs.ActAllow {
			action = rule.Action
		}
		matched = true
	}
	return action
}

func matches(conditions []specs.LinuxSeccompArg, args []uint64) bool {
	for _, c := range conditions {
		var arg uint64
		if int(c.Index) < len(args) {
			arg = args[c.Index]
		}
		ok := false
		switch c.Op {
		case specs.OpEqualTo:
			ok = arg == c.Value
		case specs.OpNotEqual:
			ok = arg != c.Value
		case specs.OpMaskedEqual:
			ok = arg&c.Value == c.ValueTwo
		case specs.OpLessThan:
			ok = arg < c.Value
		case specs.OpLessEqual:
			ok = arg <= c.Value
		case specs.OpGreaterThan:
			ok = arg > c.Value
		case specs.OpGreaterEqual:
			ok = arg >= c.Value
		}
		if !ok {
			return false
		}
	}
	return true
}

func TestSeccompProfile(t *testing.T) {
	profile, err := oci.MakeSeccomp()
	if err != nil {
		t.Fatal(err)
	}
	if len(profile.Architectures) != 1 || runtime.GOARCH == "amd64" && profile.Architectures[0] != specs.ArchX86_64 {
		t.Errorf("architectures %v, want the native one alone", profile.Architectures)
	}
	if profile.DefaultAction != specs.ActErrno {
		t.Errorf("what is not named gets %s", profile.DefaultAction)
	}
	const high = 1 << 32
	for _, c := range []struct {
		name    string
		args    []uint64
		allowed bool
	}{
		{"read", nil, true}, {"write", nil, true}, {"openat", nil, true}, {"execve", nil, true}, {"mmap", nil, true}, {"futex", nil, true},
		{"ptrace", nil, true}, {"chroot", nil, true}, {"fork", nil, true}, {"vfork", nil, true}, {"prctl", nil, true}, {"seccomp", nil, true},
		{"chown", nil, true}, {"setuid", nil, true}, {"kill", nil, true}, {"memfd_create", nil, true}, {"epoll_wait", nil, true}, {"inotify_init", nil, true},
		{"bpf", nil, false}, {"io_uring_setup", nil, false}, {"io_uring_enter", nil, false}, {"io_uring_register", nil, false}, {"userfaultfd", nil, false},
		{"perf_event_open", nil, false}, {"keyctl", nil, false}, {"add_key", nil, false}, {"request_key", nil, false}, {"open_by_handle_at", nil, false},
		{"kcmp", nil, false}, {"process_vm_readv", nil, false}, {"process_vm_writev", nil, false}, {"pidfd_getfd", nil, false}, {"quotactl", nil, false},
		{"mount", nil, false}, {"umount2", nil, false}, {"pivot_root", nil, false}, {"fsopen", nil, false}, {"fsmount", nil, false}, {"open_tree", nil, false},
		{"move_mount", nil, false}, {"mount_setattr", nil, false}, {"setns", nil, false}, {"unshare", []uint64{unix.CLONE_NEWUSER}, false}, {"clone3", nil, false},
		{"init_module", nil, false}, {"finit_module", nil, false}, {"delete_module", nil, false}, {"kexec_load", nil, false}, {"reboot", nil, false},
		{"swapon", nil, false}, {"settimeofday", nil, false}, {"clock_settime", nil, false}, {"syslog", nil, false}, {"acct", nil, false},
		{"sethostname", nil, false}, {"iopl", nil, false}, {"ioperm", nil, false}, {"modify_ldt", nil, false}, {"lookup_dcookie", nil, false},
		{"fanotify_init", nil, false}, {"memfd_secret", nil, false}, {"socketcall", nil, false}, {"bdflush", nil, false}, {"no_such_call", nil, false},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD}, true}, {"clone", []uint64{unix.CLONE_NEWUSER}, false}, {"clone", []uint64{unix.CLONE_NEWNET}, false},
		{"personality", []uint64{0}, true}, {"personality", []uint64{0x10}, false},
		{"socket", []uint64{unix.AF_UNIX, 1, 0}, true}, {"socket", []uint64{unix.AF_INET, 1, 0}, true}, {"socket", []uint64{unix.AF_INET6, 1, 0}, true},
		{"socket", []uint64{unix.AF_NETLINK, 3, unix.NETLINK_ROUTE}, true}, {"socket", []uint64{unix.AF_NETLINK, 3, unix.NETLINK_XFRM}, false},
		{"socket", []uint64{unix.AF_NETLINK, 3, unix.NETLINK_NETFILTER}, false}, {"socket", []uint64{unix.AF_NETLINK, 3, high | unix.NETLINK_XFRM}, false},
		{"socket", []uint64{unix.AF_ALG, 5, 0}, false}, {"socket", []uint64{high | unix.AF_ALG, 5, 0}, false}, {"socket", []uint64{unix.AF_VSOCK, 1, 0}, false},
		{"socket", []uint64{unix.AF_KEY, 3, 2}, false}, {"socket", []uint64{unix.AF_RXRPC, 2, 2}, false}, {"socket", []uint64{unix.AF_PACKET, 3, 0}, false},
		{"ioctl", []uint64{1, unix.TCGETS}, true}, {"ioctl", []uint64{1, unix.TIOCGWINSZ}, true}, {"ioctl", []uint64{1, unix.TIOCGPTN}, true},
		{"ioctl", []uint64{1, 0xffffffff00000000 | unix.TIOCGPTN}, true}, {"ioctl", []uint64{1, unix.TIOCSTI}, false}, {"ioctl", []uint64{1, high | unix.TIOCSTI}, false},
		{"ioctl", []uint64{1, 0xffffffff00000000 | unix.TIOCLINUX}, false},
		{"setsockopt", []uint64{3, unix.SOL_SOCKET, unix.SO_REUSEADDR}, true}, {"setsockopt", []uint64{3, unix.IPPROTO_TCP, unix.TCP_NODELAY}, true},
		{"setsockopt", []uint64{3, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}, true}, {"setsockopt", []uint64{3, unix.SOL_NETLINK, 1}, true},
		{"setsockopt", []uint64{3, unix.IPPROTO_UDP, 103}, true}, {"setsockopt", []uint64{3, unix.IPPROTO_UDP, unix.UDP_CORK}, true},
		{"setsockopt", []uint64{3, unix.IPPROTO_UDP, 100}, false}, {"setsockopt", []uint64{3, high | unix.IPPROTO_UDP, 100}, false},
		{"setsockopt", []uint64{3, unix.IPPROTO_UDP, high | 100}, false},
	} {
		if got := decide(profile, c.name, c.args...) == specs.ActAllow; got != c.allowed {
			t.Errorf("%s%v: allowed %v, want %v", c.name, c.args, got, c.allowed)
		}
	}
	for _, rule := range profile.Syscalls {
		seen := map[uint]bool{}
		for _, arg := range rule.Args {
			if seen[arg.Index] {
				t.Errorf("%v has two conditions on one argument, which runc joins by \"or\"", rule.Names)
			}
			seen[arg.Index] = true
		}
	}
}

func TestExcept(t *testing.T) {
	for _, values := range [][]uint64{{0}, {5}, {0x5412, 0x541c}, {1, 2, 3, 0xffff}} {
		loose, strict := oci.Except(0, 1<<15, 0xffff, values...), oci.Except(0, 1<<15, ^uint64(0), values...)
		any := func(conditions []specs.LinuxSeccompArg, arg uint64) bool {
			return slices.ContainsFunc(conditions, func(c specs.LinuxSeccompArg) bool { return matches([]specs.LinuxSeccompArg{c}, []uint64{arg}) })
		}
		for low := range uint64(1 << 16) {
			want := !slices.Contains(values, low)
			above := rand.Uint64() << 16
			if any(loose, low) != want || any(loose, above|low) != want || any(strict, low) != want || any(strict, (above|1<<16)|low) {
				t.Fatalf("except %#x: wrong for %#x with %#x above", values, low, above)
			}
		}
	}
}
