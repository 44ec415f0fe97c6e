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
	maxSocketLevel = 512 // exclusive; SOL_VSOCK, the highest, is 287
	maxUDPOption   = 128 // exclusive
)

// makeSeccomp returns moby's default profile, without deniedCalls, with sockets only of the families and netlink protocols
// that programs need, without two terminal ioctls and UDP encapsulation, and for this machine's own architecture alone: a
// call in the 32-bit or x32 way kills the process. That keeps two old kernel interfaces shut, and making the filter for
// them too would take runc longer than all the rest of a start.
func makeSeccomp() (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: boundingCaps}}})
	if err != nil {
		return nil, errs.Wrap(err, errs.Internal, "cannot make the system call filter")
	}
	profile.Architectures = profile.Architectures[:1] // the native one comes first
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
	// The kernel takes 32 bits of a request and C libraries extend its sign, so the upper half may hold anything; the
	// lower sixteen bits are enough to tell these two.
	for _, arg := range except(1, 1<<15, 0xffff, ioctlTIOCSTI, ioctlTIOCLINUX) {
		allow("ioctl", arg)
	}
	// Levels and options are small numbers; what has any bit set above is refused.
	for _, level := range except(1, maxSocketLevel>>1, ^uint64(0), unix.IPPROTO_UDP) {
		allow("setsockopt", level)
	}
	for _, option := range except(2, maxUDPOption>>1, ^uint64(0), optUDPEncap) {
		allow("setsockopt", equal(1, unix.IPPROTO_UDP), option)
	}
	profile.Syscalls = calls
	return profile, nil
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: value, Op: specs.OpEqualTo}
}

// except returns conditions of which one holds for every value but the given ones. "Not equal" cannot say this: two
// conditions on one argument cannot be joined by "and", and it compares 64 bits where the kernel may use 32. So it walks the
// binary tree of values, from the bit top down, and allows every branch that holds none of the given ones. Bits above top
// must be zero where care has them, and may be anything where it has not.
func except(index uint, top, care uint64, values ...uint64) []specs.LinuxSeccompArg {
	var args []specs.LinuxSeccompArg
	prefixes := []uint64{0}
	mask := care &^ (top<<1 - 1)
	for bit := top; bit != 0; bit >>= 1 {
		mask |= bit
		var next []uint64
		for _, prefix := range prefixes {
			for _, child := range []uint64{prefix, prefix | bit} {
				if slices.ContainsFunc(values, func(v uint64) bool { return v&mask == child }) {
					next = append(next, child)
				} else {
					args = append(args, specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: child, Op: specs.OpMaskedEqual})
				}
			}
		}
		prefixes = next
	}
	return args
}
