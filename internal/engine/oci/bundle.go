package oci

import (
	"encoding/json"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Where things lie inside a sandbox. The daemon knows them too.
const (
	insideBin    = "/usr/local/bin"
	insideDaemon = insideBin + "/dugoutd"
	insideRun    = "/run/dugout"
	socketName   = "d.sock"
	readyFD      = 3
)

// boundingCaps are what root inside a sandbox has, over its own user namespace only. No NET_RAW, no MKNOD, no SYS_ADMIN.
var boundingCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_SETFCAP", "CAP_AUDIT_WRITE",
}

// daemonCaps are what the daemon has when it is not root: it must be able to signal what the user started with sudo. They
// are ambient to survive the exec; the daemon drops them from its children.
var daemonCaps = []string{"CAP_KILL"}

// maskedPaths are files of the kernel that show the host. What only the host's root may read (mode 0400: kpagecount,
// vmallocinfo, slabinfo...) is shut by the user namespace; the ones of that kind here have leaked before.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/proc/kallsyms", "/proc/config.gz", "/proc/kmsg", "/proc/iomem",
	"/proc/ioports", "/proc/modules", "/proc/driver", "/proc/key-users",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// makeBundle writes b/ID/config.json and the files that config mounts from the sandbox's run tmpfs.
func (e *Engine) makeBundle(rec record, net engine.Net, cpus []int) error {
	if err := e.writeRunFiles(rec, net, cpus); err != nil {
		return err
	}
	spec, err := e.ociSpec(rec, net, cpus)
	if err != nil {
		return err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return errs.Wrap(err, errs.Internal, "cannot write the bundle of the sandbox")
	}
	if err := os.WriteFile(e.run("b", rec.Spec.ID, "config.json"), b, 0o600); err != nil {
		return diskError(err, "write the bundle of the sandbox")
	}
	return nil
}

// writeRunFiles fills the run tmpfs: sock is the one directory that the sandbox shares with the host; etc holds the three
// files that name the sandbox and its network. They are mounted from here, not written into the layer: the layer is hostile
// and may be full. Programs inside can edit them; the next start writes them again.
func (e *Engine) writeRunFiles(rec record, net engine.Net, cpus []int) error {
	dir := e.run("s", rec.Spec.ID)
	uid, gid := int(rec.IDs+rec.User.UID), int(rec.IDs+rec.User.GID)
	if err := os.Mkdir(filepath.Join(dir, "sock"), 0o700); err != nil {
		return diskError(err, "make the socket directory")
	}
	if err := os.Chown(filepath.Join(dir, "sock"), uid, gid); err != nil {
		return diskError(err, "make the socket directory")
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o711); err != nil {
		return diskError(err, "make the network files")
	}
	host := hostname(rec.Spec)
	files := map[string]string{"hostname": host + "\n", "hosts": hostsFile(host, net.Addr), "resolv.conf": resolvFile(net.DNS)}
	if len(cpus) > 0 {
		files["online"] = cpuList(cpus) + "\n"
	}
	for name, text := range files {
		p := filepath.Join(dir, "etc", name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return diskError(err, "make the network files")
		}
		if name == "online" { // the kernel's word, not the sandbox's
			continue
		}
		if err := os.Chown(p, int(rec.IDs), int(rec.IDs)); err != nil {
			return diskError(err, "make the network files")
		}
	}
	return nil
}

func hostname(spec engine.Spec) string {
	if spec.Hostname != "" {
		return spec.Hostname
	}
	return spec.ID
}

func hostsFile(host string, addr netip.Addr) string {
	text := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if !addr.IsValid() {
		addr = netip.AddrFrom4([4]byte{127, 0, 1, 1})
	}
	return text + addr.String() + "\t" + host + "\n"
}

func resolvFile(dns netip.Addr) string {
	if !dns.IsValid() {
		return ""
	}
	return "nameserver " + dns.String() + "\noptions edns0\n"
}

// ociSpec is the whole of what a sandbox gets and what it does not get.
func (e *Engine) ociSpec(rec record, net engine.Net, cpus []int) (*specs.Spec, error) {
	id, limits := rec.Spec.ID, rec.Spec.Limits
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: rec.IDs, Size: idRangeSize}}
	seccomp, err := e.seccomp.get()
	if err != nil {
		return nil, err
	}
	quota, shares := cpuQuota(limits.MilliCPU)
	period := uint64(cpuPeriod)
	spec := &specs.Spec{
		Version:  "1.2.0",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: hostname(rec.Spec),
		Process: &specs.Process{
			User:            specs.User{UID: rec.User.UID, GID: rec.User.GID, AdditionalGids: rec.User.Groups},
			Args:            append([]string{insideDaemon, "--socket", insideRun + "/" + socketName, "--ready-fd", strconv.Itoa(readyFD)}, e.cfg.DaemonArgs...),
			Env:             e.processEnv(rec, cpus),
			Cwd:             workdir(rec),
			Capabilities:    capabilities(rec.User.UID == 0),
			Rlimits:         rlimits(limits),
			NoNewPrivileges: rec.Spec.Strict,
			OOMScoreAdj:     e.oomScore(),
		},
		Mounts: e.mounts(id, cpus),
		Linux: &specs.Linux{
			UIDMappings: mapping,
			GIDMappings: mapping,
			CgroupsPath: path.Join(e.cfg.CgroupParent, id),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}, {Type: specs.NetworkNamespace, Path: net.Netns},
			},
			Resources: &specs.LinuxResources{
				Memory:  &specs.LinuxMemory{Limit: &limits.MemoryBytes, Swap: &limits.MemoryBytes},
				CPU:     &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares},
				Pids:    &specs.LinuxPids{Limit: &limits.Pids},
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
			Seccomp:           seccomp,
			MaskedPaths:       maskedPaths,
			ReadonlyPaths:     readonlyPaths,
			RootfsPropagation: "private",
		},
	}
	if net.Netns == "" { // of its own, and empty: what netpol sets in the namespaces that it prepares
		spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 65535"}
	}
	return spec, nil
}

func capabilities(root bool) *specs.LinuxCapabilities {
	if root {
		return &specs.LinuxCapabilities{Bounding: boundingCaps, Permitted: boundingCaps, Effective: boundingCaps}
	}
	return &specs.LinuxCapabilities{
		Bounding: boundingCaps, Permitted: daemonCaps, Effective: daemonCaps, Inheritable: daemonCaps, Ambient: daemonCaps,
	}
}

// daemonPrefix starts the names that only the engine may set: the daemon reads them and gives them to nobody.
const daemonPrefix = "DUGOUT_"

// processEnv is the image's environment, the sandbox's over it, then what the daemon reads: the limits as they are at the
// start, and the image's entrypoint as a JSON array.
func (e *Engine) processEnv(rec record, cpus []int) []string {
	vars := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": rec.User.Home, "USER": rec.User.Name, "LOGNAME": rec.User.Name,
	}
	for _, layer := range []map[string]string{rec.Spec.Image.Env, rec.Spec.Env} {
		for name, value := range layer {
			if !strings.HasPrefix(name, daemonPrefix) {
				vars[name] = value
			}
		}
	}
	limits := rec.Spec.Limits
	vars[daemonPrefix+"MILLICPU"] = strconv.FormatInt(limits.MilliCPU, 10)
	vars[daemonPrefix+"MEMORY"] = strconv.FormatInt(limits.MemoryBytes, 10)
	vars[daemonPrefix+"DISK"] = strconv.FormatInt(limits.DiskBytes, 10)
	if len(cpus) > 0 {
		vars[daemonPrefix+"CPUS"] = cpuList(cpus)
	}
	if e.fuse {
		vars[daemonPrefix+"MEMINFO_FD"] = strconv.Itoa(meminfoFD)
	}
	if len(rec.Spec.Image.Entrypoint) > 0 {
		b, _ := json.Marshal(rec.Spec.Image.Entrypoint) // strings can always be written
		vars[daemonPrefix+"ENTRYPOINT"] = string(b)
	}
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// workdir is where the daemon starts. It is made when it is not there; nothing below the kernel's file systems is taken.
func workdir(rec record) string {
	dir := rec.Spec.Image.Workdir
	if dir == "" {
		dir = rec.User.Home
	}
	dir = path.Clean("/" + dir)
	for _, own := range []string{"/proc", "/sys", "/dev", "/run"} {
		if dir == own || strings.HasPrefix(dir, own+"/") {
			return "/"
		}
	}
	return dir
}

func rlimits(l engine.Limits) []specs.POSIXRlimit {
	return []specs.POSIXRlimit{
		rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, uint64(l.OpenFiles)),
		rlimit("RLIMIT_CORE", unix.RLIMIT_CORE, 0),
		rlimit("RLIMIT_MEMLOCK", unix.RLIMIT_MEMLOCK, 8<<20),
		rlimit("RLIMIT_MSGQUEUE", unix.RLIMIT_MSGQUEUE, 819200),
	}
}

// rlimit bounds a resource by what this process may give: without CAP_SYS_RESOURCE a hard limit cannot be raised.
func rlimit(name string, resource int, want uint64) specs.POSIXRlimit {
	var own unix.Rlimit
	if unix.Getrlimit(resource, &own) == nil && want > own.Max && !hasCap(unix.CAP_SYS_RESOURCE) {
		want = own.Max
	}
	return specs.POSIXRlimit{Type: name, Hard: want, Soft: want}
}

func hasCap(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// oomScore keeps sandboxes from inheriting a protection that the platform's own process has.
func (e *Engine) oomScore() *int {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n < 0 {
		zero := 0
		return &zero
	}
	return nil
}

func (e *Engine) mounts(id string, cpus []int) []specs.Mount {
	bind := func(source, destination string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: source, Destination: destination, Options: append([]string{"bind", "nosuid", "nodev"}, options...)}
	}
	mounts := []specs.Mount{
		{Type: "proc", Source: "proc", Destination: "/proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Type: "tmpfs", Source: "tmpfs", Destination: "/dev", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=128"}},
		{Type: "devpts", Source: "devpts", Destination: "/dev/pts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "max=256"}},
		{Type: "tmpfs", Source: "shm", Destination: "/dev/shm", Options: []string{"nosuid", "nodev", "noexec", "mode=1777", "size=64m"}},
		{Type: "mqueue", Source: "mqueue", Destination: "/dev/mqueue", Options: []string{"nosuid", "nodev", "noexec"}},
		{Type: "tmpfs", Source: "tmpfs", Destination: "/run", Options: []string{"nosuid", "nodev", "mode=755", "size=64m"}},
		bind(e.run("s", id, "sock"), insideRun, "noexec"),
		{Type: "tmpfs", Source: "sysfs", Destination: "/sys", Options: []string{"nosuid", "nodev", "noexec", "ro", "mode=755", "size=64k", "nr_inodes=64"}},
	}
	// sysfs itself cannot be mounted: the network namespace is not the sandbox's own. Programs look here for processors.
	for _, p := range []string{"/sys/devices/system/cpu", "/sys/devices/system/node"} {
		if _, err := os.Stat(p); err == nil {
			mounts = append(mounts, bind(p, p, "noexec", "ro"))
		}
	}
	if len(cpus) > 0 { // what sysconf reads
		mounts = append(mounts, bind(e.run("s", id, "etc", "online"), "/sys/devices/system/cpu/online", "noexec", "ro"))
	}
	mounts = append(mounts, e.cgroupMounts(id)...)
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		mounts = append(mounts, bind(e.run("s", id, "etc", name), "/etc/"+name, "noexec"))
	}
	mounts = append(mounts, bind(e.cfg.Daemon, insideDaemon, "ro"))
	for _, helper := range e.cfg.Helpers {
		mounts = append(mounts, bind(helper, insideBin+"/"+filepath.Base(helper), "ro"))
	}
	return mounts
}

// cgroupMounts shows a sandbox its own limits, read-only: runtimes (JVM, Node, Go) size themselves by them. The groups
// belong to root of the host, who is nobody inside.
func (e *Engine) cgroupMounts(id string) []specs.Mount {
	options := []string{"nosuid", "nodev", "noexec", "ro"}
	if e.cg.v2 {
		return []specs.Mount{{Type: "cgroup", Source: "cgroup", Destination: "/sys/fs/cgroup", Options: append(options, "relatime")}}
	}
	var mounts []specs.Mount
	for _, name := range []string{"memory", "cpu", "pids"} {
		mounts = append(mounts, specs.Mount{
			Type: "bind", Source: e.cg.file(name, id, ""), Destination: "/sys/fs/cgroup/" + name, Options: append([]string{"bind"}, options...),
		})
	}
	return mounts
}

// makeCgroups makes the groups that cgroupMounts names, before runc looks for them.
func (e *Engine) makeCgroups(id string) error {
	if e.cg.v2 {
		return nil
	}
	for _, name := range []string{"memory", "cpu", "pids"} {
		dir := e.cg.file(name, id, "")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return errs.Wrap(err, errs.Internal, "cannot make the cgroup %s", dir)
		}
	}
	return nil
}
