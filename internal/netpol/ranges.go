package netpol

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"

	"github.com/dugout-dev/dugout/internal/errs"
)

// always are the ranges no sandbox reaches, whatever an operator or a user says: this network, loopback, link-local with the
// metadata service of most clouds, the metadata services that live elsewhere (Alibaba, Azure, Oracle), multicast, reserved
// and broadcast. The subnet of the sandboxes is added to them.
var always = prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32",
	"192.0.0.192/32", "224.0.0.0/3")

// private are ranges that are not the public internet. An operator may open parts of them with Config.AllowPrivate. The
// documentation ranges (TEST-NET) are not among them: nobody routes them in public, and where a site uses them for its own
// networks they stand for public ones.
var private = prefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16",
	"198.18.0.0/15")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// denied returns what is denied to everybody in an installation.
func denied(subnet netip.Prefix, allowPrivate []netip.Prefix) ranges {
	open := merge(slices.Clone(private)).minus(merge(allowPrivate))
	hard := merge(append(slices.Clone(always), subnet))
	return join(append(open, hard...))
}

// checkException refuses exceptions that could have no effect: an operator who writes one believes something else.
func checkException(p netip.Prefix) error {
	if !p.IsValid() || !p.Addr().Is4() {
		return errs.New(errs.Invalid, "exception %s to the private ranges must be an IPv4 range", p)
	}
	for _, a := range always {
		if a.Bits() <= p.Bits() && a.Contains(p.Addr()) {
			return errs.New(errs.Invalid, "exception %s lies in %s, which no sandbox may reach", p, a)
		}
	}
	return nil
}

// span is a range of IPv4 addresses, both ends included.
type span struct{ lo, hi uint32 }

// ranges are spans in order that neither overlap nor touch.
type ranges []span

func merge(list []netip.Prefix) ranges {
	out := make(ranges, 0, len(list))
	for _, p := range list {
		lo := number(p.Masked().Addr())
		out = append(out, span{lo, lo | uint32(uint64(1)<<(32-p.Bits())-1)})
	}
	return join(out)
}

func join(list ranges) ranges {
	sort.Slice(list, func(i, j int) bool { return list[i].lo < list[j].lo })
	var out ranges
	for _, s := range list {
		if k := len(out) - 1; k >= 0 && uint64(s.lo) <= uint64(out[k].hi)+1 {
			out[k].hi = max(out[k].hi, s.hi)
			continue
		}
		out = append(out, s)
	}
	return out
}

// minus returns the addresses of r that are not in other.
func (r ranges) minus(other ranges) ranges {
	var out ranges
	for _, s := range r {
		lo, ended := s.lo, false
		for _, o := range other {
			if o.hi < lo || o.lo > s.hi {
				continue
			}
			if o.lo > lo {
				out = append(out, span{lo, o.lo - 1})
			}
			if o.hi >= s.hi {
				ended = true
				break
			}
			lo = o.hi + 1
		}
		if !ended {
			out = append(out, span{lo, s.hi})
		}
	}
	return out
}

func (r ranges) contains(a netip.Addr) bool {
	n := number(a)
	i := sort.Search(len(r), func(i int) bool { return r[i].hi >= n })
	return i < len(r) && r[i].lo <= n
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// unsafe6 are the IPv6 ranges that never stand for a host of the public internet. Those that carry an IPv4 address are
// judged by it.
var unsafe6 = prefixes("::/96", "100::/64", "64:ff9b:1::/48", "fc00::/7", "fe80::/9", "ff00::/8")

var carriers6 = []struct {
	in     netip.Prefix
	offset int // of the IPv4 address
}{
	{netip.MustParsePrefix("::ffff:0:0/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// private reports whether an answer with this address would point a program at something a sandbox must not reach.
func (r ranges) private(a netip.Addr) bool {
	if a.Is4() {
		return r.contains(a)
	}
	for _, c := range carriers6 {
		// A mapped address never matches an IPv6 prefix of netip, so it is compared by its bytes.
		if b := a.As16(); samePrefix(b, c.in) {
			return r.contains(netip.AddrFrom4([4]byte(b[c.offset : c.offset+4])))
		}
	}
	for _, p := range unsafe6 {
		if samePrefix(a.As16(), p) {
			return true
		}
	}
	return false
}

func samePrefix(a [16]byte, p netip.Prefix) bool {
	b := p.Addr().As16()
	for i := range p.Bits() {
		if mask := byte(0x80) >> (i % 8); a[i/8]&mask != b[i/8]&mask {
			return false
		}
	}
	return true
}
