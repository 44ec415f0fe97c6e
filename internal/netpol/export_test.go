package netpol

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// What the external tests need of the inside: pure functions over hostile or combinatorial input.

// Covers reports whether the ranges that an allow list or the deny list becomes contain a.
func Covers(list []netip.Prefix, a netip.Addr) bool { return merge(list).contains(a) }

// DeniedTo reports whether a is denied to every sandbox of subnet.
func DeniedTo(subnet netip.Prefix, allowPrivate []netip.Prefix, a netip.Addr) bool {
	return denied(subnet, allowPrivate).private(a)
}

// Compiled returns the interval ends that the kernel gets for a list.
func Compiled(list []netip.Prefix) (keys []netip.Addr, ends []bool) {
	for _, e := range merge(list).elements() {
		a, _ := netip.AddrFromSlice(e.Key)
		keys, ends = append(keys, a), append(ends, e.IntervalEnd)
	}
	return keys, ends
}

// ReadQuery is what the resolver makes of a packet: what it would send upstream, or what it answers by itself.
func ReadQuery(msg []byte) (forward, answer []byte, ok bool) {
	q, code, ok := parseQuery(msg)
	if !ok {
		return nil, nil, false
	}
	if code != dnsmessage.RCodeSuccess {
		answer, _ = q.answer(code, false, nil)
		return nil, answer, true
	}
	forward, err := q.forward(1)
	return forward, nil, err == nil
}

// Screen is what the resolver makes of an answer to the question in query.
func Screen(query, answer []byte, subnet netip.Prefix, allowPrivate []netip.Prefix) ([]byte, error) {
	q, _, _ := parseQuery(query)
	return q.screen(answer, denied(subnet, allowPrivate))
}

// Nameservers reads a resolv.conf.
func Nameservers(text string, except netip.Addr) []netip.AddrPort { return nameservers(text, except) }

// ChooseSubnet picks a free subnet.
func ChooseSubnet(instance string, used []netip.Prefix) (netip.Prefix, bool) {
	return chooseSubnet(instance, used)
}
