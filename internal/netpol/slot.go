package netpol

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// state of a slot. Only ready slots are handed out; only claimed ones carry packets.
type state uint8

const (
	found     state = iota // left by an earlier process, not adopted yet
	making                 // being prepared
	ready                  // prepared: nothing is in it and nothing may leave it
	claimed                // a sandbox has it
	releasing              // given back, not yet proven clean
	doomed                 // to be destroyed
)

type slot struct {
	state   state
	term    uint32     // of the present claim; 0 while there is none
	blocked bool       // the policy answers no names
	verbs   sync.Mutex // serialises the verbs on this slot
}

// What callers know as a slot number says whose turn it is as well: the low bits are the slot, the others the term of one
// claim. Giving back twice, or late, then never hits the next sandbox in the slot. It stays below 2^53.
const slotBits = 20

func ticket(k int, term uint32) int { return int(term)<<slotBits | k }

func readTicket(t int) (k int, term uint32) { return t & (1<<slotBits - 1), uint32(t >> slotBits) }

// innerLink and gateway are the same in every slot. Nobody has the gateway's address: a permanent neighbour entry leads to
// the host's end of the pair.
const innerLink = "eth0"

var (
	gateway  = netip.MustParseAddr("169.254.1.1")
	hostMAC  = net.HardwareAddr{0x02, 0x64, 0x67, 0, 0, 1}
	innerOff = []struct{ name, value string }{
		{"net/ipv6/conf/default/disable_ipv6", "1"},
		{"net/ipv6/conf/all/disable_ipv6", "1"},
		{"net/ipv6/conf/lo/disable_ipv6", "0"}, // programs bind ::1; nothing leaves by it
	}
	innerOn = []struct{ name, value string }{
		{"net/ipv4/ip_unprivileged_port_start", "0"},
		{"net/ipv4/ping_group_range", "0 2147483647"}, // ping without a capability
		{"net/ipv4/tcp_no_metrics_save", "1"},         // the next sandbox of the slot learns nothing of this one's peers
	}
)

// innerMAC differs per slot. Setting both addresses keeps the host's device manager from changing them.
func innerMAC(k int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x64, 0x67, byte(k>>16) | 0x80, byte(k >> 8), byte(k)}
}

func (n *Net) linkName(k int) string { return linksOfAll + n.cfg.Instance + strconv.Itoa(k) }
func (n *Net) pin(k int) string      { return filepath.Join(n.cfg.Dir, strconv.Itoa(k)) }

// build makes slot k from nothing, up to and including its binding. What it leaves when it fails is destroyed by the caller.
func (n *Net) build(k int) error {
	ns, err := n.pinNamespace(k)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = n.linkName(k), n.mtu, hostMAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = innerLink, innerMAC(k), netlink.NsFd(ns)
	if err := n.nl.LinkAdd(veth); err != nil {
		return err
	}
	if err := n.rules.change(map[int]entry{k: {bound: true}}); err != nil {
		return err
	}
	if err := n.configureHost(k); err != nil {
		return err
	}
	if err := inNamespace(ns, func() error { return configureInner(slotAddr(n.subnet, k)) }); err != nil {
		return err
	}
	return n.awaitUp(k)
}

// awaitUp waits until the host's end sends. Its carrier came with the other end, and until the kernel has acted on that in
// the background, which the making of other links delays, it drops every packet: the sandbox would miss the first answer.
func (n *Net) awaitUp(k int) error {
	for deadline, pause := time.Now().Add(5*time.Second), 100*time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		link, err := n.nl.LinkByName(n.linkName(k))
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the link does not come up")
		}
		time.Sleep(pause)
	}
}

// pinNamespace makes a network namespace on a thread that ends with it, and keeps it by a bind mount. The caller closes the
// descriptor.
func (n *Net) pinNamespace(k int) (int, error) {
	path := n.pin(k)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return -1, err
	}
	_ = f.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is spoilt and ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		for _, s := range append(append(innerOff[:0:0], innerOff...), innerOn...) {
			if err := setSysctl(s.name, s.value); err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.name, "net/ipv6/")) {
				done <- err
				return
			}
		}
		done <- unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}()
	if err := <-done; err != nil {
		return -1, err
	}
	return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// inNamespace runs do on a thread inside a network namespace. The thread is not used again.
func inNamespace(ns int, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// configureHost sets up the host's end of the pair; doing it again changes nothing.
func (n *Net) configureHost(k int) error {
	name := n.linkName(k)
	for _, s := range []struct{ name, value string }{
		{"net/ipv6/conf/" + name + "/disable_ipv6", "1"},
		{"net/ipv4/conf/" + name + "/rp_filter", "1"},
		{"net/ipv4/conf/" + name + "/accept_redirects", "0"},
		{"net/ipv4/conf/" + name + "/send_redirects", "0"},
	} {
		if err := setSysctl(s.name, s.value); err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.name, "net/ipv6/")) {
			return err
		}
	}
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetARPOff(link); err != nil {
		return err
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return err
	}
	a := slotAddr(n.subnet, k)
	if err := n.nl.NeighSet(permanent(link, a, innerMAC(k))); err != nil {
		return err
	}
	return n.nl.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(a, 32)),
		Scope: netlink.SCOPE_LINK, Src: n.resolver.AsSlice(), Protocol: routeProtocol})
}

// configureInner sets up the sandbox's end, on a thread inside.
func configureInner(a netip.Addr) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return err
	}
	link, err := nl.LinkByName(innerLink)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	for _, step := range []func() error{
		func() error { return nl.LinkSetUp(lo) },
		func() error { return nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 32))}) },
		func() error { return nl.LinkSetUp(link) },
		func() error { return nl.NeighSet(permanent(link, gateway, hostMAC)) },
		func() error {
			return nl.RouteAdd(&netlink.Route{LinkIndex: index, Dst: ipNet(netip.PrefixFrom(gateway, 32)), Scope: netlink.SCOPE_LINK})
		},
		func() error {
			return nl.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func permanent(link netlink.Link, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: link.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

// find notes what an earlier process left: whatever has a link, a pinned namespace or something in the table.
func (n *Net) find() error {
	numbers, err := n.leftovers()
	if err != nil {
		return err
	}
	for _, k := range append(numbers, n.rules.slots()...) {
		n.slots[k] = &slot{state: found}
	}
	return nil
}

func (n *Net) usedSlots() (bool, error) {
	numbers, err := n.leftovers()
	return len(numbers) > 0, err
}

// leftovers returns the numbers of slots that have a link or a file.
func (n *Net) leftovers() ([]int, error) {
	links, err := instanceLinks(n.nl, n.cfg.Instance)
	if err != nil {
		return nil, err
	}
	pins, err := instancePins(n.cfg.Dir)
	if err != nil {
		return nil, err
	}
	out := pins
	for _, l := range links {
		if k, ok := slotNumber(strings.TrimPrefix(l.Attrs().Name, linksOfAll+n.cfg.Instance)); ok {
			out = append(out, k)
		}
	}
	return out, nil
}

func slotNumber(s string) (int, bool) {
	k, err := strconv.Atoi(s)
	return k, err == nil && k > 0 && strconv.Itoa(k) == s
}

func instanceLinks(nl *netlink.Handle, instance string) ([]netlink.Link, error) {
	all, err := dump(nl.LinkList)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the links of the host could not be listed")
	}
	var out []netlink.Link
	for _, l := range all {
		if strings.HasPrefix(l.Attrs().Name, linksOfAll+instance) && l.Type() == "veth" {
			out = append(out, l)
		}
	}
	return out, nil
}

func instancePins(dir string) ([]int, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.Wrap(err, errs.Unavailable, "the network folder %s could not be read", dir)
	}
	var out []int
	for _, f := range files {
		if k, ok := slotNumber(f.Name()); ok {
			out = append(out, k)
		}
	}
	return out, nil
}
