package netpol

import (
	"errors"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// An installation owns its subnet by two things in the kernel: the subnet's first address on the loopback link, with a label
// that names the instance, and a blackhole route for the whole subnet. The route is what two installations cannot both
// make, and it keeps packets for addresses that no slot has from leaving by the default route.

const (
	subnetBits    = 18
	routeProtocol = 0x64 // marks our routes
)

// pools are searched in order for a free subnet.
var pools = prefixes("10.192.0.0/10", "172.16.0.0/12", "198.18.0.0/15")

func addrLabel(instance string) string { return "lo:" + linksOfAll + instance }

// slotAddr returns the address of slot k, counted from 1. The first address of the subnet is the resolver's.
func slotAddr(subnet netip.Prefix, k int) netip.Addr {
	return address(number(subnet.Addr()) + 1 + uint32(k))
}

// slotOf is the inverse of slotAddr; less than 1 when a belongs to no slot.
func slotOf(subnet netip.Prefix, a netip.Addr) int {
	if !a.Is4() || !subnet.Contains(a) {
		return 0
	}
	return int(number(a)) - int(number(subnet.Addr())) - 1
}

// takeSubnet sets n.subnet and n.resolver: what is live, else what is configured, else what is free.
func (n *Net) takeSubnet() error {
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "the host has no loopback link")
	}
	live, err := liveSubnet(n.nl, lo, n.cfg)
	if err != nil {
		return err
	}
	want := n.cfg.Subnet
	if live.IsValid() && want.IsValid() && live != want {
		if used, err := n.usedSlots(); err != nil || used {
			return errors.Join(err, errs.New(errs.Conflict, "sandboxes still use subnet %s; stop them before changing it to %s", live, want))
		}
		if err := dropSubnet(n.nl, lo, n.cfg.Instance, live); err != nil {
			return err
		}
		live = netip.Prefix{}
	}
	switch {
	case live.IsValid():
		want = live
	case want.IsValid():
		if other := firstOverlap(n.nl, want); other != "" {
			n.notes = append(n.notes, "the subnet of sandboxes "+want.String()+" overlaps "+other+" on this host: set another subnet")
		}
	}
	if want.IsValid() {
		n.subnet, n.resolver = want, want.Addr().Next()
		return holdSubnet(n.nl, lo, n.cfg.Instance, want)
	}
	used, err := usedPrefixes(n.nl)
	if err != nil {
		return err
	}
	for {
		free, ok := chooseSubnet(n.cfg.Instance, used)
		if !ok {
			return errs.New(errs.Exhausted, "no /%d of 10.192.0.0/10, 172.16.0.0/12 or 198.18.0.0/15 is free on this host; configure a subnet for sandboxes", subnetBits)
		}
		err := holdSubnet(n.nl, lo, n.cfg.Instance, free)
		if err == nil {
			n.subnet, n.resolver = free, free.Addr().Next()
			return nil
		}
		if !errs.Is(err, errs.Conflict) {
			return err
		}
		used = append(used, free)
	}
}

// chooseSubnet returns the first free subnet, beginning at a place that depends on the instance.
func chooseSubnet(instance string, used []netip.Prefix) (netip.Prefix, bool) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(instance))
	for _, pool := range pools {
		count := uint32(1) << (subnetBits - pool.Bits())
		for i := range count {
			at := (h.Sum32() + i) % count
			p := netip.PrefixFrom(address(number(pool.Addr())+at<<(32-subnetBits)), subnetBits)
			if !slices.ContainsFunc(used, p.Overlaps) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// holdSubnet makes the subnet this instance's; Conflict when another one has it.
func holdSubnet(nl *netlink.Handle, lo netlink.Link, instance string, subnet netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(subnet.Addr().Next(), 32)), Label: addrLabel(instance)}
	if err := nl.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return errs.Wrap(err, errs.Unavailable, "address %s could not be given to the host", addr.IP)
	}
	err := nl.RouteAdd(blackhole(subnet))
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		mine, addrErr := labelled(nl, lo, "")
		others := slices.DeleteFunc(mine, func(l labelledAddr) bool { return l.label == addrLabel(instance) || !subnet.Contains(l.addr) })
		if addrErr == nil && len(others) == 0 && routeIsOurs(nl, subnet) {
			return nil
		}
		_ = nl.AddrDel(lo, addr)
		return errs.Wrap(err, errs.Conflict, "subnet %s belongs to something else on this host", subnet)
	}
	_ = nl.AddrDel(lo, addr)
	return errs.Wrap(err, errs.Unavailable, "the route for subnet %s could not be made", subnet)
}

func dropSubnet(nl *netlink.Handle, lo netlink.Link, instance string, subnet netip.Prefix) error {
	if err := nl.RouteDel(blackhole(subnet)); err != nil && !errors.Is(err, unix.ESRCH) {
		return errs.Wrap(err, errs.Unavailable, "the route for subnet %s could not be removed", subnet)
	}
	addrs, err := labelled(nl, lo, addrLabel(instance))
	if err != nil {
		return err
	}
	for _, a := range addrs {
		err := nl.AddrDel(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a.addr, 32)), Label: a.label})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return errs.Wrap(err, errs.Unavailable, "address %s could not be taken from the host", a.addr)
		}
	}
	return nil
}

func blackhole(subnet netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(subnet), Type: unix.RTN_BLACKHOLE, Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
}

type labelledAddr struct {
	addr  netip.Addr
	label string
}

// labelled returns the addresses that installations put on the loopback link; label "" means those of all.
func labelled(nl *netlink.Handle, lo netlink.Link, label string) ([]labelledAddr, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return nl.AddrList(lo, unix.AF_INET) })
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the addresses of the host could not be listed")
	}
	var out []labelledAddr
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok || len(a.Label) != len("lo:dg0000") || a.Label[:5] != addrLabel("") || label != "" && a.Label != label {
			continue
		}
		out = append(out, labelledAddr{ip, a.Label})
	}
	return out, nil
}

// liveSubnet returns the subnet that the instance holds in the kernel; the zero Prefix when it holds none.
func liveSubnet(nl *netlink.Handle, lo netlink.Link, cfg Config) (netip.Prefix, error) {
	addrs, err := labelled(nl, lo, addrLabel(cfg.Instance))
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}, err
	}
	routes, err := ourRoutes(nl)
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, p := range routes {
		if p.Addr().Next() == addrs[0].addr {
			return p, nil
		}
	}
	// The process died between the two steps: nothing can run in it yet.
	if p := netip.PrefixFrom(addrs[0].addr.Prev(), subnetBits); !cfg.Subnet.IsValid() && p.Masked() == p {
		return p, nil
	}
	return netip.Prefix{}, dropSubnet(nl, lo, cfg.Instance, netip.PrefixFrom(addrs[0].addr.Prev(), 32))
}

func ourRoutes(nl *netlink.Handle) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: routeProtocol, Type: unix.RTN_BLACKHOLE},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the routes of the host could not be listed")
	}
	var out []netip.Prefix
	for _, r := range list {
		if p, ok := toPrefix(r.Dst); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func routeIsOurs(nl *netlink.Handle, subnet netip.Prefix) bool {
	list, err := ourRoutes(nl)
	return err == nil && slices.Contains(list, subnet)
}

// usedPrefixes returns every range that the host routes or has an address in, default routes left out.
func usedPrefixes(nl *netlink.Handle) ([]netip.Prefix, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the routes of the host could not be listed")
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return nl.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "the addresses of the host could not be listed")
	}
	var out []netip.Prefix
	for _, r := range routes {
		if p, ok := toPrefix(r.Dst); ok && p.Bits() > 0 {
			out = append(out, p)
		}
	}
	for _, a := range addrs {
		if p, ok := toPrefix(a.IPNet); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func firstOverlap(nl *netlink.Handle, p netip.Prefix) string {
	used, err := usedPrefixes(nl)
	if err != nil {
		return ""
	}
	if i := slices.IndexFunc(used, p.Overlaps); i >= 0 {
		return used[i].String()
	}
	return ""
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	bits, size := n.Mask.Size()
	return netip.PrefixFrom(a, bits).Masked(), ok && size == 32
}
