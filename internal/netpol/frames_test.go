package netpol_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/netpol"
)

var (
	hostSide  = net.HardwareAddr{0x02, 0x64, 0x67, 0, 0, 1}
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// sender writes frames on eth0 of the network of the calling thread, as a program with every right over it could.
type sender struct {
	fd, index int
	mac       net.HardwareAddr
}

func newSender() (*sender, error) {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return &sender{fd, l.Attrs().Index, l.Attrs().HardwareAddr}, err
}

func (s *sender) frame(dst, src net.HardwareAddr, ethertype uint16, body []byte) error {
	f := append(append(append([]byte{}, dst...), src...), byte(ethertype>>8), byte(ethertype))
	f = append(f, body...)
	for len(f) < 60 {
		f = append(f, 0)
	}
	return unix.Sendto(s.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: s.index, Halen: 6, Addr: [8]byte(append(append([]byte{}, dst...), 0, 0))})
}

func sum(b []byte, start uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		start += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		start += uint32(b[len(b)-1]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return ^uint16(start)
}

func ipv4(src, dst netip.Addr, proto byte, body []byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], sum(h, 0))
	return append(h, body...)
}

func udp(src, dst uint16, text string) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(text)))
	return append(append(b, 0, 0), text...) // checksum 0: none
}

func ipv6(src, dst netip.Addr, next byte, body []byte) []byte {
	h := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	if next == unix.IPPROTO_ICMPV6 {
		pseudo := append(append([]byte{}, h[8:40]...), 0, 0, 0, byte(len(body)), 0, 0, 0, next)
		binary.BigEndian.PutUint16(body[2:], sum(append(pseudo, body...), 0))
	}
	return append(h, body...)
}

func udp6(text string) []byte {
	b := udp(1, 9, text)
	b[7] = 1 // a checksum of 0 is illegal; that it is wrong does not matter on the way
	return b
}

const forgedText = "forged"

// forge sends every kind of frame that pretends to be somebody else.
func forge(from, victim engine.Net, resolver netip.Addr) error {
	s, err := newSender()
	if err != nil {
		return err
	}
	defer unix.Close(s.fd)
	out := netip.MustParseAddr(public)
	k, err := strconv.Atoi(filepath.Base(victim.Netns))
	if err != nil {
		return err
	}
	victimMAC := net.HardwareAddr{0x02, 0x64, 0x67, 0x80, byte(k >> 8), byte(k)}
	sources := []string{victim.Addr.String(), resolver.String(), hostUp, hostLAN, worldUp, lanPeer, "8.8.8.8", "127.0.0.1", "0.0.0.0",
		"169.254.1.1", "255.255.255.255", "224.0.0.1", "10.1.1.1", from.Addr.Next().Next().Next().String()}
	for _, mac := range []net.HardwareAddr{s.mac, victimMAC, {0x06, 1, 2, 3, 4, 5}} {
		for _, src := range sources {
			for _, dst := range []netip.Addr{out, victim.Addr, netip.MustParseAddr(hostUp), resolver} {
				a := netip.MustParseAddr(src)
				for _, to := range []net.HardwareAddr{hostSide, broadcast, victimMAC} {
					if err := s.frame(to, mac, unix.ETH_P_IP, ipv4(a, dst, unix.IPPROTO_UDP, udp(53, 9, forgedText))); err != nil {
						return err
					}
				}
				// The first part of a packet in two.
				part := ipv4(a, dst, unix.IPPROTO_UDP, udp(53, 9, forgedText+"12"))
				part[6] = 0x20
				part[10], part[11] = 0, 0
				binary.BigEndian.PutUint16(part[10:], sum(part[:20], 0))
				if err := s.frame(hostSide, mac, unix.ETH_P_IP, part); err != nil {
					return err
				}
			}
		}
	}
	// The victim's address, the gateway's and the host's claimed by ARP.
	for _, a := range []string{victim.Addr.String(), "169.254.1.1", hostUp, worldUp} {
		for _, op := range []byte{1, 2} {
			arp := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, s.mac...)
			arp = append(append(append(arp, netip.MustParseAddr(a).AsSlice()...), hostSide...), netip.MustParseAddr(hostUp).AsSlice()...)
			if err := s.frame(broadcast, s.mac, unix.ETH_P_ARP, arp); err != nil {
				return err
			}
		}
	}
	return forge6(s)
}

// forge6 sends IPv6 of every kind that could pass a host or change it.
func forge6(s *sender) error {
	all, local := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::64:67ff:fe00:2")
	far, near := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	advert := func(kind byte, more ...byte) []byte { return append([]byte{kind, 0, 0, 0}, more...) }
	for _, f := range [][]byte{
		ipv6(local, all, unix.IPPROTO_ICMPV6, advert(134, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)), // router advertisement
		ipv6(local, all, unix.IPPROTO_ICMPV6, advert(136, append([]byte{0x20, 0, 0, 0}, far.AsSlice()...)...)),
		ipv6(local, all, unix.IPPROTO_ICMPV6, advert(135, append([]byte{0, 0, 0, 0}, near.AsSlice()...)...)),
		ipv6(local, all, unix.IPPROTO_ICMPV6, advert(128, 0, 1, 0, 1)),
		ipv6(netip.MustParseAddr("2001:db8::99"), far, unix.IPPROTO_UDP, udp6(forgedText)),
		ipv6(near, far, unix.IPPROTO_UDP, udp6(forgedText)),
		ipv6(local, near, unix.IPPROTO_UDP, udp6(forgedText)),
		ipv6(netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00:ec2::254"), unix.IPPROTO_UDP, udp6(forgedText)),
	} {
		for _, dst := range []net.HardwareAddr{hostSide, broadcast, {0x33, 0x33, 0, 0, 0, 1}} {
			if err := s.frame(dst, s.mac, unix.ETH_P_IPV6, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func isForged(p packet) bool { return len(p.payload) >= 6 && p.payload[:6] == forgedText }

func TestForgedFrames(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	cfg.Ready = -1 // no link appears meanwhile
	n := open(t, cfg)
	liar, victim := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{})
	var atVictim packetLog
	insidePath(t, victim.Netns, func() error { return atVictim.listen("eth0") })
	// On the host: whatever a forged packet could have become on its way in.
	hostUDP, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer hostUDP.Close()
	neighbours := neighbourTable(t)

	insidePath(t, liar.Netns, func() error { return forge(liar, victim, n.Resolver()) })
	w.settle(t, liar)
	if got := w.log.find(isForged); len(got) > 0 {
		t.Errorf("forged packets got out: %v", got)
	}
	// The rig's own links announce themselves to multicast groups, which nothing forwards.
	if got := w.log.find(func(p packet) bool { return p.ethertype == unix.ETH_P_IPV6 && !p.dst.IsMulticast() }); len(got) > 0 {
		t.Errorf("IPv6 got out: %v", got)
	}
	atVictim.drain(t, victim)
	if got := atVictim.find(func(p packet) bool { return !fromHost(p) }); len(got) > 0 {
		t.Errorf("the neighbour got %v", got)
	}
	if got := pending(hostUDP); got > 0 {
		t.Errorf("the host got %d forged packets", got)
	}
	if got := neighbourTable(t); got != neighbours {
		t.Errorf("the host's neighbours changed from\n%s\nto\n%s", neighbours, got)
	}

	// The canary, in two steps: an honest frame from the same socket passes, and without the rules the forged ones do.
	insidePath(t, liar.Netns, func() error {
		s, err := newSender()
		if err != nil {
			return err
		}
		defer unix.Close(s.fd)
		return s.frame(hostSide, s.mac, unix.ETH_P_IP, ipv4(liar.Addr, netip.MustParseAddr(public), unix.IPPROTO_UDP, udp(53, 9, "honest")))
	})
	w.log.wait(t, "canary: an honest frame arrives", func(p packet) bool { return p.payload[:min(6, len(p.payload))] == "honest" })
	_ = n.Close()
	dropTable(t, cfg)
	for _, link := range append(linksOf(t, cfg), "all") {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+link+"/rp_filter", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	insidePath(t, liar.Netns, func() error { return forge(liar, victim, n.Resolver()) })
	w.log.wait(t, "canary: forged packets get out without rules", func(p packet) bool {
		return isForged(p) && p.src.String() == "8.8.8.8"
	})
	eventually(t, "canary: forged packets reach the neighbour without rules", func() bool { return len(atVictim.find(isForged)) > 0 })
	eventually(t, "canary: forged packets reach the host without rules", func() bool { return pending(hostUDP) > 0 })
}

// pending counts what a socket has received.
func pending(c *net.UDPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	count := 0
	buf := make([]byte, 2048)
	_ = raw.Control(func(fd uintptr) {
		for {
			if _, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); err != nil {
				return
			}
			count++
		}
	})
	return count
}

func neighbourTable(tb testing.TB) string {
	tb.Helper()
	text := ""
	list, err := netlink.NeighList(0, unix.AF_INET)
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range list {
		if n.State == unix.NUD_PERMANENT {
			text += n.IP.String() + " " + n.HardwareAddr.String() + "\n"
		}
	}
	return text
}

// All pairs: nobody reaches anybody, and nobody even sees a packet.
func TestSandboxesDoNotMeet(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	other := config(t)
	n, m := open(t, cfg), open(t, other)
	const each = 6
	var all []engine.Net
	logs := make([]packetLog, 2*each)
	for i := range 2 * each {
		from := n
		if i >= each { // another installation on the same host
			from = m
		}
		sb := claim(t, from, netpol.Policy{})
		all = append(all, sb)
		insidePath(t, sb.Netns, func() error {
			l, err := net.Listen("tcp4", "0.0.0.0:80")
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			go echo(l)
			return logs[i].listen("eth0")
		})
	}
	attack := func() {
		for _, a := range all {
			insidePath(t, a.Netns, func() error {
				for _, b := range all {
					if a != b {
						knock(b.Addr, 80)
					}
				}
				return nil
			})
			w.settle(t, a)
		}
	}
	attack()
	for i := range logs {
		logs[i].drain(t, all[i])
		// The world answers the marks that settle sends.
		if got := logs[i].find(func(p packet) bool { return !fromHost(p) && p.src.String() != public }); len(got) > 0 {
			t.Errorf("sandbox %d got %v", i, got)
		}
	}
	// The canary: the host itself may connect, and without rules all pairs do.
	if err := dial(all[0].Addr.String() + ":80"); err != nil {
		t.Errorf("canary: the host cannot reach a sandbox: %v", err)
	}
	_ = n.Close()
	_ = m.Close()
	dropTable(t, cfg)
	dropTable(t, other)
	for i := range logs {
		logs[i].reset()
	}
	attack()
	for i := range logs {
		logs[i].drain(t, all[i])
		if got := len(logs[i].find(func(p packet) bool { return p.payload == "knock" })); got != len(all)-1 {
			t.Errorf("canary: sandbox %d got %d of %d packets without rules", i, got, len(all)-1)
		}
	}
}

func TestNoIPv6(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	sb := claim(t, n, netpol.Policy{})
	insidePath(t, sb.Netns, func() error {
		addrs, err := netlink.AddrList(nil, unix.AF_INET6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if a.IP.String() != "::1" {
				t.Errorf("the sandbox has %s", a.IP)
			}
		}
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Errorf("::1 does not work inside: %v", err)
		} else {
			_ = l.Close()
		}
		for _, a := range []string{"2001:db8::1", "2001:db8::2", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "fe80::1", "ff02::1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"} {
			knock(netip.MustParseAddr(a), 80)
		}
		return nil
	})
	w.settle(t, sb)
	if got := w.log.find(func(p packet) bool {
		return p.ethertype == unix.ETH_P_IPV6 && !p.dst.IsMulticast() || p.dst.String() == "169.254.169.254" || p.dst.String() == "10.0.0.1"
	}); len(got) > 0 {
		t.Errorf("IPv6 got out: %v", got)
	}
	link, err := netlink.LinkByName(linksOf(t, netpol.Config{Instance: instanceOf(sb)})[0])
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(link, unix.AF_INET6)
	if err != nil || len(addrs) > 0 {
		t.Errorf("the host's end has IPv6 addresses %v (%v)", addrs, err)
	}
	// The canary: the host reaches the world by IPv6.
	knock(netip.MustParseAddr("2001:db8::1"), 80)
	w.log.wait(t, "canary: IPv6 of the host arrives", func(p packet) bool { return p.dst.String() == "2001:db8::1" })
}

// instanceOf finds the instance by the route to the sandbox.
func instanceOf(sb engine.Net) string {
	routes, err := netlink.RouteGet(sb.Addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return ""
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil || len(l.Attrs().Name) < 6 {
		return ""
	}
	return l.Attrs().Name[2:6]
}

// A sandbox must not fill the connection table that the whole host shares.
func TestConnectionsAreBounded(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	sb, other := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{})
	const tried, most = 6000, 4096
	insidePath(t, sb.Netns, func() error {
		s, err := newSender()
		if err != nil {
			return err
		}
		defer unix.Close(s.fd)
		for i := range tried {
			if err := s.frame(hostSide, s.mac, unix.ETH_P_IP, ipv4(sb.Addr, netip.MustParseAddr(public), unix.IPPROTO_UDP, udp(uint16(1024+i), 9, "flood"))); err != nil {
				return err
			}
		}
		return nil
	})
	w.settle(t, other)
	got := len(w.log.find(func(p packet) bool { return p.payload == "flood"[:5] || len(p.payload) > 4 && p.payload[:5] == "flood" }))
	if got > most+1 || got < most/2 {
		t.Errorf("%d of %d connections passed, want about %d", got, tried, most)
	}
	// Giving the slot back forgets them all, and nobody else's.
	s := connect(t, other)
	if got := tracked(t, sb.Addr); got < most/2 {
		t.Fatalf("canary: %d connections are tracked", got)
	}
	if err := n.Release(context.Background(), sb.Slot); err != nil {
		t.Error(err)
	}
	eventually(t, "the connections are forgotten", func() bool { return tracked(t, sb.Addr) == 0 })
	if tracked(t, other.Addr) == 0 || !s.works(5*time.Second) {
		t.Error("the connections of another sandbox were forgotten")
	}
}

// tracked counts the connections that the host tracks for an address.
func tracked(tb testing.TB, a netip.Addr) int {
	tb.Helper()
	for range 20 {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			continue // it changed meanwhile
		}
		count := 0
		for _, f := range flows {
			if src, _ := netip.AddrFromSlice(f.Forward.SrcIP.To4()); src == a {
				count++
			}
		}
		return count
	}
	tb.Fatal("the tracked connections could not be listed")
	return 0
}

// A sandbox must not write ICMP errors about the host's own connections.
func TestForgedErrors(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(public), Port: 443})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := inside(w.ns, func() error { // somebody who takes it, so that no true error comes
		l, err := net.ListenPacket("udp4", "0.0.0.0:443")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	quoted := ipv4(local.Addr(), netip.MustParseAddr(public), unix.IPPROTO_UDP, udp(local.Port(), 443, "hello"))
	refused := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted...)
	binary.BigEndian.PutUint16(refused[2:], sum(refused, 0))
	forge := func() {
		insidePath(t, sb.Netns, func() error {
			s, err := newSender()
			if err != nil {
				return err
			}
			defer unix.Close(s.fd)
			return s.frame(hostSide, s.mac, unix.ETH_P_IP, ipv4(sb.Addr, local.Addr(), unix.IPPROTO_ICMP, refused))
		})
		w.settle(t, sb)
	}
	forge()
	if _, err := c.Write([]byte("again")); err != nil {
		t.Errorf("an error that a sandbox wrote reached a connection of the host: %v", err)
	}
	_ = n.Close()
	dropTable(t, cfg)
	forge()
	if _, err := c.Write([]byte("again")); err == nil {
		t.Error("canary: the error does not arrive without rules either")
	}
}

// forwardPorts makes the host forward ports, as an operator or another program might.
func forwardPorts(tb testing.TB) {
	tb.Helper()
	c, err := nftables.New()
	if err != nil {
		tb.Fatal(err)
	}
	t := c.AddTable(&nftables.Table{Name: "forwards", Family: nftables.TableFamilyIPv4})
	pre := c.AddChain(&nftables.Chain{Name: "pre", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := c.AddChain(&nftables.Chain{Name: "post", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	tcpTo := func(port uint16) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		}
	}
	c.AddRule(&nftables.Rule{Table: t, Chain: pre, Exprs: append(tcpTo(8080),
		&expr.Immediate{Register: 1, Data: netip.MustParseAddr(lanPeer).AsSlice()},
		&expr.Immediate{Register: 2, Data: []byte{0, 80}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2})})
	for _, port := range []uint16{8081, 8082} {
		c.AddRule(&nftables.Rule{Table: t, Chain: pre, Exprs: append(tcpTo(port),
			&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, 7000)}, &expr.Redir{RegisterProtoMin: 1})})
	}
	c.AddRule(&nftables.Rule{Table: t, Chain: post, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("lan0\x00")}, &expr.Masq{}}})
	if err := c.Flush(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.DelTable(t)
		_ = c.Flush()
	})
}
