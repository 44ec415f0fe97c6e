package netpol

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inhabitedNamespaces returns the inodes of the network namespaces that processes are in.
func inhabitedNamespaces() (map[string]bool, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		if ns, err := os.Readlink("/proc/" + p.Name() + "/ns/net"); err == nil {
			out[ns] = true
		}
	}
	return out, nil
}

// unclean says what of its last sandbox is still in a slot; nil when nothing is. Sandboxes have no right to change their
// network, so a change of addresses, routes or neighbours means that something is wrong, and the slot is not used again.
func (n *Net) unclean(k int, inhabited map[string]bool) error {
	ns, err := unix.Open(n.pin(k), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return err
	}
	if inhabited["net:["+strconv.FormatUint(st.Ino, 10)+"]"] {
		return errors.New("a process is in it")
	}
	return inNamespace(ns, func() error {
		// Before any socket of our own is opened there.
		if err := noSockets(); err != nil {
			return err
		}
		if err := sameConfiguration(slotAddr(n.subnet, k), innerMAC(k), n.mtuOf(k)); err != nil {
			return err
		}
		return setSysctl("net/ipv4/route/flush", "1") // learnt path MTUs and redirects
	})
}

func (n *Net) mtuOf(k int) int {
	link, err := n.nl.LinkByName(n.linkName(k))
	if err != nil {
		return 0
	}
	return link.Attrs().MTU
}

// noSockets fails while the namespace of the calling thread holds a socket, one that waits for its peer's last packet
// included.
func noSockets() error {
	for _, name := range []string{"sockstat", "sockstat6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := emptySockstat(text); err != nil {
			return err
		}
	}
	// Not every kind is counted there: local, packet and netlink sockets have tables with a line of heading.
	for _, name := range []string{"unix", "packet"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if bytes.Count(text, []byte("\n")) > 1 {
			return fmt.Errorf("it has %s sockets", name)
		}
	}
	return nil
}

// emptySockstat fails when a counter of one namespace is not zero. "orphan", "alloc" and "mem" count the whole host.
func emptySockstat(text []byte) error {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < 1 || bytes.Equal(f[0], []byte("sockets:")) {
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if name := string(f[i]); (name == "inuse" || name == "tw") && string(f[i+1]) != "0" {
				return fmt.Errorf("it has sockets: %s %s %s", f[0], name, f[i+1])
			}
		}
	}
	return nil
}

// sameConfiguration compares the namespace of the calling thread with what configureInner made.
func sameConfiguration(a netip.Addr, mac []byte, mtu int) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	links, err := dump(nl.LinkList)
	if err != nil {
		return err
	}
	index := 0
	for _, l := range links {
		at := l.Attrs()
		switch {
		case at.Name == "lo" && at.Flags&unix.IFF_UP != 0:
		case at.Name == innerLink && at.Flags&unix.IFF_UP != 0 && at.MTU == mtu && bytes.Equal(at.HardwareAddr, mac):
			index = at.Index
		case at.Flags&unix.IFF_UP == 0 && at.Name != innerLink && at.Name != "lo":
			// fallback devices of tunnel modules appear in every namespace, down
		default:
			return fmt.Errorf("link %s was changed", at.Name)
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return nl.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return err
	}
	for _, x := range addrs {
		if p := x.IPNet.String(); p != a.String()+"/32" && p != "127.0.0.1/8" && p != "::1/128" {
			return fmt.Errorf("address %s is there", p)
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return nl.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return err
	}
	if want := []string{gateway.String() + "/32", "0.0.0.0/0"}; len(routes) != len(want) || slices.ContainsFunc(routes, func(r netlink.Route) bool {
		p, ok := toPrefix(r.Dst)
		return r.LinkIndex != index || r.Dst != nil && (!ok || !slices.Contains(want, p.String()))
	}) {
		return errors.New("the routes were changed")
	}
	neighbours, err := dump(func() ([]netlink.Neigh, error) { return nl.NeighList(index, unix.AF_INET) })
	if err != nil {
		return err
	}
	for _, x := range neighbours {
		if x.IP.String() != gateway.String() && x.State&unix.NUD_NOARP == 0 || x.IP.String() == gateway.String() && !bytes.Equal(x.HardwareAddr, hostMAC) {
			return fmt.Errorf("neighbour %s is there", x.IP)
		}
	}
	return nil
}
