package oci

import (
	"slices"
	"sync"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// seccompProfiles holds the one system call filter of all sandboxes, made at first use.
type seccompProfiles struct {
	once    sync.Once
	profile *specs.LinuxSeccomp
	err     error
}

func (p *seccompProfiles) get() (*specs.LinuxSeccomp, error) {
	p.once.Do(func() { p.profile, p.err = makeSeccomp() })
	return p.profile, p.err
}

// deniedCalls are allowed by the default profile of moby and not here. socketcall is the 32-bit way to make sockets, whose
// arguments a filter cannot see; 32-bit C libraries since 2015 call socket itself.
var deniedCalls = []string{
	"socketcall", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "modify_ldt", "userfaultfd", "quotactl", "quotactl_fd",
	"io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "bpf", "perf_event_open",
	"open_by_handle_at", "memfd_secret", "socket", "ioctl", "setsockopt",
}

const (
	ioctlTIOCSTI   = 0x5412 // types into a terminal
	ioctlTIOCLINUX = 0x541c
	optUDPEncap    = 100 // IPsec in UDP: a way into the kernel's XFRM code
)

// makeSeccomp returns moby's default profile, without deniedCalls, with sockets only of the families and netlink protocols
// that programs need, without two terminal ioctls and UDP encapsulation, and without the x32 calls (a call of an
// architecture that is not listed kills the process).
func makeSeccomp() (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: boundingCaps}}})
	if err != nil {
		return nil, errs.Wrap(err, errs.Internal, "cannot make the system call filter")
	}
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	var calls []specs.LinuxSyscall
	for _, call := range profile.Syscalls {
		call.Names = slices.DeleteFunc(slices.Clone(call.Names), func(name string) bool { return slices.Contains(deniedCalls, name) })
		if len(call.Names) > 0 {
			calls = append(calls, call)
		}
	}
	allow := func(name string, args ...specs.LinuxSeccompArg) {
		calls = append(calls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args})
	}
	for _, family := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
		allow("socket", equal(0, family))
	}
	// Not XFRM and not netfilter: the kernel lets anyone talk to them, and there they were broken into.
	for _, protocol := range []uint64{unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_AUDIT, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_GENERIC} {
		allow("socket", equal(0, unix.AF_NETLINK), equal(2, protocol))
	}
	for _, arg := range except(1, ioctlTIOCSTI, ioctlTIOCLINUX) {
		allow("ioctl", arg)
	}
	for _, arg := range except(1, unix.IPPROTO_UDP) {
		allow("setsockopt", arg)
	}
	for _, arg := range except(2, optUDPEncap) {
		allow("setsockopt", arg)
	}
	profile.Syscalls = calls
	return profile, nil
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: value, Op: specs.OpEqualTo}
}

// except returns conditions of which one holds for every 32-bit value but the given ones. "Not equal" cannot say this: it
// compares 64 bits while the kernel uses the lower 32 of these arguments, so that any bit set above would slip by; and two
// conditions on one argument cannot be joined by "and". So it walks the binary tree of values and allows every branch that
// holds none of the given ones.
func except(index uint, values ...uint32) []specs.LinuxSeccompArg {
	var args []specs.LinuxSeccompArg
	prefixes := map[uint64]bool{0: true} // of the given values, mask bits long
	mask := uint64(0)
	for bit := uint64(1) << 31; bit != 0; bit >>= 1 {
		mask |= bit
		next := map[uint64]bool{}
		for _, value := range values {
			next[uint64(value)&mask] = true
		}
		for prefix := range prefixes {
			for _, child := range []uint64{prefix, prefix | bit} {
				if !next[child] {
					args = append(args, specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: child, Op: specs.OpMaskedEqual})
				}
			}
		}
		prefixes = next
	}
	slices.SortFunc(args, func(a, b specs.LinuxSeccompArg) int { // the same profile every time
		if a.Value != b.Value {
			return int(int64(a.Value) - int64(b.Value))
		}
		return int(int64(a.ValueTwo) - int64(b.ValueTwo))
	})
	return args
}
