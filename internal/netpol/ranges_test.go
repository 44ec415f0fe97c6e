package netpol_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/netpol"
)

func addrOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// The compiled form of random lists agrees with the plain reading of them, at random places and at every edge.
func TestCompiledListsMeanWhatTheySay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	checked := 0
	for range 2000 {
		list := make([]netip.Prefix, r.IntN(12))
		for i := range list {
			// Few different high bits, so that lists overlap, nest and touch.
			list[i] = netip.PrefixFrom(addrOf(r.Uint32()&0x07ff00ff|r.Uint32N(4)<<30), r.IntN(33)).Masked()
		}
		places := []netip.Addr{addrOf(0), addrOf(^uint32(0))}
		for range 30 {
			places = append(places, addrOf(r.Uint32()))
		}
		for _, p := range list {
			lo := binary.BigEndian.Uint32(p.Addr().AsSlice())
			hi := lo | uint32(uint64(1)<<(32-p.Bits())-1)
			places = append(places, addrOf(lo), addrOf(lo-1), addrOf(hi), addrOf(hi+1))
		}
		keys, ends := netpol.Compiled(list)
		for _, a := range places {
			want := false
			for _, p := range list {
				want = want || p.Contains(a)
			}
			if got := netpol.Covers(list, a); got != want {
				t.Fatalf("%v contains %s: %v, want %v", list, a, got, want)
			}
			if got := lookup(keys, ends, a); got != want {
				t.Fatalf("the kernel's form of %v contains %s: %v, want %v", list, a, got, want)
			}
			checked++
		}
	}
	if checked < 100_000 {
		t.Errorf("only %d places were checked", checked)
	}
}

// lookup reads an interval set as the kernel does: the last key not above the address says.
func lookup(keys []netip.Addr, ends []bool, a netip.Addr) bool {
	in := false
	for i, k := range keys {
		if k.Compare(a) > 0 {
			break
		}
		in = !ends[i]
	}
	return in
}

func TestAddressesDeniedToNames(t *testing.T) {
	subnet := netip.MustParsePrefix("203.0.112.0/24") // not in any other range
	allow := ranges("10.1.0.0/16")
	for addr, want := range map[string]bool{
		"8.8.8.8": false, "203.0.113.5": false, "10.0.255.255": true, "10.1.0.0": false, "10.1.255.255": false, "10.2.0.0": true,
		"127.0.0.1": true, "169.254.169.254": true, "203.0.112.7": true, "0.0.0.0": true, "255.255.255.255": true,
		"2606:4700::1": false, "::1": true, "::": true, "::10.0.0.1": true, "fd00:ec2::254": true, "fe80::1": true, "fec0::1": true,
		"ff02::1": true, "::ffff:10.0.0.1": true, "::ffff:8.8.8.8": false, "::ffff:169.254.169.254": true,
		"64:ff9b::a9fe:a9fe": true, "64:ff9b::808:808": false, "64:ff9b:1::1": true, "2002:a00:1::1": true, "2002:808:808::1": false,
	} {
		if got := netpol.DeniedTo(subnet, allow, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s denied: %v, want %v", addr, got, want)
		}
	}
}

func TestChooseSubnet(t *testing.T) {
	first, _ := netpol.ChooseSubnet("ab12", nil)
	for _, tc := range []struct {
		name string
		used []netip.Prefix
		in   string
		ok   bool
	}{
		{"all free", nil, "10.192.0.0/10", true},
		{"first taken", []netip.Prefix{first}, "10.192.0.0/10", true},
		{"an address in it", ranges(first.Addr().Next().String() + "/32"), "10.192.0.0/10", true},
		{"all of ten", ranges("10.0.0.0/8"), "172.16.0.0/12", true},
		{"only the last pool", ranges("10.0.0.0/8", "172.16.0.0/12"), "198.18.0.0/15", true},
		{"nothing", ranges("10.0.0.0/8", "172.16.0.0/12", "198.18.0.0/15"), "", false},
	} {
		got, ok := netpol.ChooseSubnet("ab12", tc.used)
		if ok != tc.ok || ok && !netip.MustParsePrefix(tc.in).Contains(got.Addr()) {
			t.Errorf("%s: %s, %v", tc.name, got, ok)
		}
		for _, u := range tc.used {
			if ok && got.Overlaps(u) {
				t.Errorf("%s: %s overlaps %s", tc.name, got, u)
			}
		}
	}
	if again, _ := netpol.ChooseSubnet("ab12", nil); again != first {
		t.Errorf("the choice is not stable: %s, %s", first, again)
	}
}

func TestNameservers(t *testing.T) {
	got := netpol.Nameservers("# comment\nnameserver 192.0.2.1\nsearch a.b\nnameserver\nnameserver nonsense\n nameserver 2001:db8::1\nnameserver 10.192.0.1\noptions ndots:2\nnameserver fe80::1%eth0", netip.MustParseAddr("10.192.0.1"))
	want := []string{"192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53"}
	var text []string
	for _, s := range got {
		text = append(text, s.String())
	}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}
