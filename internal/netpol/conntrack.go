package netpol

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrFlows matches tracked connections that begin or end at one of the addresses.
type addrFlows map[netip.Addr]bool

// MatchConntrackFlow implements the filter of the netlink library.
func (a addrFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	src, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	dst, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	return a[src.Unmap()] || a[dst.Unmap()]
}

// forget removes the tracked connections of slots that are shut: an answer to the last sandbox of a slot must not reach the
// next one, and none of the last one's connections may count as open for the next.
func (n *Net) forget(slots []int) error {
	addrs := addrFlows{}
	for _, k := range slots {
		addrs[slotAddr(n.subnet, k)] = true
	}
	_, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, addrs)
	return err
}
