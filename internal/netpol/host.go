package netpol

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

const lockName = "lock"

func newHandle() (*netlink.Handle, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the kernel's network configuration does not answer")
	}
	return nl, nil
}

// openDir makes dir a mount point of its own that shares its mounts: a namespace pinned here vanishes from mount
// namespaces that copied it when it is unpinned here, instead of living on in them.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be made", dir)
	}
	if !isMountPoint(dir) {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be mounted; root is needed", dir)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the network folder %s could not be shared", dir)
	}
	return nil
}

// isMountPoint asks the mount table: a bind mount of a folder on itself has its parent's device.
func isMountPoint(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	if real, err = filepath.Abs(real); err != nil {
		return false
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(real)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			return true
		}
	}
	return false
}

func isPinned(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// forwardPackets lets the host pass packets on. The rules of other links are not ours: a host that did not forward before
// does so now between all its links, which is logged once.
func (n *Net) forwardPackets() error {
	const path = "/proc/sys/net/ipv4/ip_forward"
	now, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return errs.Wrap(err, errs.Unavailable, "packet forwarding is off and could not be switched on: set net.ipv4.ip_forward=1")
	}
	n.log.InfoContext(context.Background(), "switched on net.ipv4.ip_forward")
	return nil
}

// setSysctl writes a setting of the network namespace of the calling thread.
func setSysctl(name, value string) error {
	f, err := os.OpenFile("/proc/sys/"+name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// uplinkMTU returns the MTU of the link of the default route; 1500 when there is none.
func uplinkMTU(nl *netlink.Handle) int {
	const usual = 1500
	routes, err := dump(func() ([]netlink.Route, error) { return nl.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return usual
	}
	best, mtu := -1, usual
	for _, r := range routes {
		if p, ok := toPrefix(r.Dst); (r.Dst == nil || ok && p.Bits() == 0) && (best < 0 || r.Priority < best) {
			index := r.LinkIndex
			if index == 0 && len(r.MultiPath) > 0 {
				index = r.MultiPath[0].LinkIndex
			}
			if link, err := nl.LinkByIndex(index); err == nil && link.Attrs().MTU >= 576 {
				best, mtu = r.Priority, link.Attrs().MTU
			}
		}
	}
	return mtu
}
