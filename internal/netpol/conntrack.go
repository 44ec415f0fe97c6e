package netpol

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// crowded is the number of tracked connections of the host from which the kernel is asked to search them: below it, reading
// them all once is cheaper than one search per slot.
const crowded = 2000

// forget removes the tracked connections of slots that are shut: an answer to the last sandbox of a slot must not reach the
// next one, and none of the last one's connections may count as open for the next.
func (n *Net) forget(slots []int) error {
	if len(slots) == 0 {
		return nil
	}
	addrs := addrFlows{}
	for _, k := range slots {
		addrs[slotAddr(n.subnet, k)] = true
	}
	if trackedConnections() >= crowded && n.forgetInKernel(addrs) == nil {
		return nil
	}
	_, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, addrs)
	return err
}

// trackedConnections counts those of the whole host; 0 when it is not known.
func trackedConnections() int {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0
	}
	count, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return count
}

// addrFlows matches tracked connections that begin or end at one of the addresses.
type addrFlows map[netip.Addr]bool

// MatchConntrackFlow implements the filter of the netlink library.
func (a addrFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	src, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	dst, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	return a[src.Unmap()] || a[dst.Unmap()]
}

// Of linux/netfilter/nfnetlink_conntrack.h; the libraries lack them.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterSource       = 1 << 0
	filterDestination  = 1 << 1
)

// forgetInKernel has the kernel delete by address. Kernels before 6.10 know the filter for listing only and refuse: there
// the tuple without ports is an error, never a wildcard.
func (n *Net) forgetInKernel(addrs addrFlows) error {
	for a := range addrs {
		for _, by := range []struct {
			attr int
			flag uint32
		}{{nl.CTA_IP_V4_SRC, filterSource}, {nl.CTA_IP_V4_DST, filterDestination}} {
			req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
			req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
			tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
			tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(by.attr, a.AsSlice())
			req.AddData(tuple)
			filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
			filter.AddRtAttr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, by.flag))
			req.AddData(filter)
			if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
				return err
			}
		}
	}
	return nil
}
