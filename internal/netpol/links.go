package netpol

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dump repeats a listing that the kernel had to interrupt because what it lists changed under it.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range 20 {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}

// doomGroup is the link group that links of an instance are moved to when they are removed. Group 0 is every other link.
func doomGroup(instance string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(linksOfAll + instance))
	return h.Sum32()&0x3fffffff | 0x40000000
}

// removeLinks removes the links of the slots that which names, all in one request: the wait of about 20 ms is for the
// request, not for the link. The other ends go with them.
func removeLinks(h *netlink.Handle, instance string, which func(slot int) bool) error {
	links, err := instanceLinks(h, instance)
	if err != nil {
		return err
	}
	group, some := doomGroup(instance), false
	for _, l := range links {
		k, ok := slotNumber(strings.TrimPrefix(l.Attrs().Name, linksOfAll+instance))
		if !ok || !which(k) {
			continue
		}
		if err := h.LinkSetGroup(l, int(group)); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		some = true
	}
	if !some {
		return nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, binary.NativeEndian.AppendUint32(nil, group)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}
