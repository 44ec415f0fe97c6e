package netpol_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/netpol"
)

// The rig: "the host" is the network of this process. Behind its uplink and behind a second, local network is one other
// network namespace, the world, which takes every address there is for its own and logs each packet that arrives. What a
// sandbox reached is read from that log, never from what the sandbox saw.
const (
	hostUp  = "198.51.100.2"
	worldUp = "198.51.100.1"
	hostLAN = "10.77.0.1"
	lanPeer = "10.77.0.2"
	public  = "203.0.113.5"
)

type world struct {
	ns  int
	log packetLog
}

var theWorld = sync.OnceValues(newWorld)

func needWorld(tb testing.TB) *world {
	tb.Helper()
	needRig(tb)
	w, err := theWorld()
	if err != nil {
		tb.Fatalf("rig: %v", err)
	}
	w.log.reset()
	return w
}

func newWorld() (*world, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	w := &world{ns: ns}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		host, far string
		addrs     [2][]string
	}{
		{"up0", "w0", [2][]string{{hostUp + "/24", "2001:db8::2/64"}, {worldUp + "/24", "2001:db8::1/64"}}},
		{"lan0", "w1", [2][]string{{hostLAN + "/24"}, {lanPeer + "/24"}}},
	} {
		v := netlink.NewVeth(netlink.LinkAttrs{Name: l.host, MTU: 1400, TxQLen: -1})
		v.PeerName, v.PeerNamespace = l.far, netlink.NsFd(ns)
		if err := netlink.LinkAdd(v); err != nil {
			return nil, err
		}
		if err := addAddrs(l.host, l.addrs[0]); err != nil {
			return nil, err
		}
		if err := inside(ns, func() error { return addAddrs(l.far, l.addrs[1]) }); err != nil {
			return nil, err
		}
	}
	for _, gw := range []string{worldUp, "2001:db8::1"} {
		if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}); err != nil {
			return nil, err
		}
	}
	err = inside(ns, func() error {
		if err := addAddrs("lo", nil); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			_, dst, _ := net.ParseCIDR(all)
			r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_HOST}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("route %s: %w", all, err)
			}
		}
		for _, port := range []string{"25", "80", "443", "8080"} {
			l, err := net.Listen("tcp4", "0.0.0.0:"+port)
			if err != nil {
				return err
			}
			go echo(l)
		}
		return w.log.listen("")
	})
	return w, err
}

// echo sends back what comes in, for ever.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func newNamespace() (int, error) {
	type result struct {
		fd  int
		err error
	}
	out := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			out <- result{err: err}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		out <- result{fd, err}
	}()
	r := <-out
	return r.fd, r.err
}

func inside(ns int, do func() error) error {
	out := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			out <- err
			return
		}
		// Packets sent on one processor keep their order on all links of the rig.
		var first unix.CPUSet
		first.Set(0)
		_ = unix.SchedSetaffinity(0, &first)
		out <- do()
	}()
	return <-out
}

// insidePath runs do in the network of a slot.
func insidePath(tb testing.TB, path string, do func() error) {
	tb.Helper()
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatalf("open %s: %v", path, err)
	}
	defer unix.Close(ns)
	if err := inside(ns, do); err != nil {
		tb.Fatalf("in %s: %v", path, err)
	}
}

func addAddrs(link string, addrs []string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// packet is one that arrived somewhere.
type packet struct {
	ethertype        uint16
	src, dst         netip.Addr
	proto            byte
	srcPort, dstPort uint16
	opens            bool // a TCP connection
	payload          string
}

func (p packet) String() string {
	return fmt.Sprintf("%04x %s:%d -> %s:%d proto %d %q", p.ethertype, p.src, p.srcPort, p.dst, p.dstPort, p.proto, p.payload)
}

// packetLog is a receiver: everything that arrives at the links of one network namespace.
type packetLog struct {
	mu   sync.Mutex
	list []packet
}

// listen starts a log in the namespace of the calling thread; link "" means all but the loopback.
func (l *packetLog) listen(link string) error {
	const all = 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	if link != "" {
		i, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Attrs().Index}); err != nil {
			return err
		}
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if !ok || ll.Pkttype == unix.PACKET_OUTGOING || ll.Hatype == unix.ARPHRD_LOOPBACK {
				continue
			}
			p := parsePacket(buf[:n])
			l.mu.Lock()
			l.list = append(l.list, p)
			l.mu.Unlock()
		}
	}()
	return nil
}

func parsePacket(b []byte) packet {
	if len(b) < 14 {
		return packet{}
	}
	p := packet{ethertype: binary.BigEndian.Uint16(b[12:])}
	b = b[14:]
	switch {
	case p.ethertype == unix.ETH_P_IP && len(b) >= 20:
		p.src, _ = netip.AddrFromSlice(b[12:16])
		p.dst, _ = netip.AddrFromSlice(b[16:20])
		p.proto = b[9]
		b = b[min(len(b), int(b[0]&15)*4):]
	case p.ethertype == unix.ETH_P_IPV6 && len(b) >= 40:
		p.src, _ = netip.AddrFromSlice(b[8:24])
		p.dst, _ = netip.AddrFromSlice(b[24:40])
		p.proto = b[6]
		b = b[40:]
	default:
		p.payload = string(b[:min(len(b), 28)])
		return p
	}
	if (p.proto == unix.IPPROTO_TCP || p.proto == unix.IPPROTO_UDP) && len(b) >= 8 {
		p.srcPort, p.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		p.opens = p.proto == unix.IPPROTO_TCP && len(b) >= 14 && b[13]&0x12 == 0x02
		if p.proto == unix.IPPROTO_UDP {
			p.payload = string(b[8:])
		}
	}
	return p
}

func (l *packetLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = nil
}

func (l *packetLog) find(match func(packet) bool) []packet {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []packet
	for _, p := range l.list {
		if match(p) {
			out = append(out, p)
		}
	}
	return out
}

const allKinds = "icmp tcp udp "

// kinds names what knock sent and an address got.
func (l *packetLog) kinds(addr string) string {
	out := ""
	for _, k := range []struct {
		name  string
		proto byte
	}{{"icmp ", unix.IPPROTO_ICMP}, {"tcp ", unix.IPPROTO_TCP}, {"udp ", unix.IPPROTO_UDP}} {
		if len(l.find(func(p packet) bool {
			return to(addr)(p) && p.proto == k.proto && !fromHost(p) && (p.opens || p.proto != unix.IPPROTO_TCP)
		})) > 0 {
			out += k.name
		}
	}
	return out
}

func (l *packetLog) wait(tb testing.TB, what string, match func(packet) bool) {
	tb.Helper()
	eventually(tb, what, func() bool { return len(l.find(match)) > 0 })
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited 10 s in vain: %s", what)
		}
	}
}

var marks int

// settle sends a packet that is allowed and waits until the world has it: whatever was sent before has arrived or never
// will.
func (w *world) settle(tb testing.TB, from engine.Net) {
	tb.Helper()
	marks++
	mark := fmt.Sprintf("mark %d", marks)
	insidePath(tb, from.Netns, func() error { return sendUDP(netip.MustParseAddr(public), 9, mark) })
	w.log.wait(tb, mark, func(p packet) bool { return p.payload == mark })
}

// drain has the host, which may, send a packet to a sandbox and waits until the sandbox's log has it.
func (l *packetLog) drain(tb testing.TB, at engine.Net) {
	tb.Helper()
	marks++
	mark := fmt.Sprintf("mark %d", marks)
	if err := sendUDP(at.Addr, 9, mark); err != nil {
		tb.Fatal(err)
	}
	l.wait(tb, mark, func(p packet) bool { return p.payload == mark })
}

// fromHost are packets that drain sent.
func fromHost(p packet) bool { return strings.HasPrefix(p.payload, "mark ") }

func sendUDP(to netip.Addr, port uint16, text string) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(text))
	return err
}

// knock sends one packet of each kind without waiting for an answer; what the sandbox itself refuses is not an error.
func knock(to netip.Addr, tcpPort uint16) {
	domain, sa := unix.AF_INET, unix.Sockaddr(nil)
	target := func(port int) unix.Sockaddr {
		if to.Is4() {
			return &unix.SockaddrInet4{Addr: to.As4(), Port: port}
		}
		domain = unix.AF_INET6
		return &unix.SockaddrInet6{Addr: to.As16(), Port: port}
	}
	sa = target(int(tcpPort))
	if fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); err == nil {
		_ = unix.Connect(fd, sa)
		_ = unix.Close(fd)
	}
	if fd, err := unix.Socket(domain, unix.SOCK_DGRAM, 0); err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
		_ = unix.Sendto(fd, []byte("knock"), 0, target(9000))
		_ = unix.Close(fd)
	}
	icmp, kind := unix.IPPROTO_ICMP, byte(8)
	if !to.Is4() {
		icmp, kind = unix.IPPROTO_ICMPV6, 128
	}
	if fd, err := unix.Socket(domain, unix.SOCK_DGRAM, icmp); err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
		_ = unix.Sendto(fd, []byte{kind, 0, 0, 0, 0, 1, 0, 1}, 0, target(0))
		_ = unix.Close(fd)
	}
}

var instances int

// config returns one of an instance that no other test has; what it leaves is removed after the test.
func config(tb testing.TB) netpol.Config {
	tb.Helper()
	instances++
	cfg := netpol.Config{Instance: fmt.Sprintf("t%03d", instances), Dir: tb.TempDir() + "/net",
		Upstream: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5399")}, Ready: 2}
	tb.Cleanup(func() {
		if err := netpol.Remove(context.Background(), cfg); err != nil {
			tb.Errorf("Remove: %v", err)
		}
	})
	return cfg
}

func open(tb testing.TB, cfg netpol.Config) *netpol.Net {
	tb.Helper()
	out := slog.New(slog.NewTextHandler(testWriter{tb}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if os.Getenv("NETPOL_TEST_LOG") == "" {
		out = slog.New(slog.DiscardHandler)
	}
	n, err := netpol.Open(context.Background(), cfg, out)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() { _ = n.Close() })
	return n
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	_, err := os.Stderr.Write(b)
	return len(b), err
}

func claim(tb testing.TB, n *netpol.Net, p netpol.Policy) engine.Net {
	tb.Helper()
	got, err := n.Claim(context.Background(), p)
	if err != nil {
		tb.Fatalf("Claim: %v", err)
	}
	return got
}

// linksOf returns the links of an instance.
func linksOf(tb testing.TB, cfg netpol.Config) []string {
	tb.Helper()
	var out []string
	for range 20 {
		links, err := netlink.LinkList()
		if err != nil {
			continue
		}
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "dg"+cfg.Instance) {
				out = append(out, l.Attrs().Name)
			}
		}
		return out
	}
	tb.Fatal("the links could not be listed")
	return nil
}

// pinsOf returns the numbers of pinned namespaces.
func pinsOf(tb testing.TB, cfg netpol.Config) []string {
	tb.Helper()
	files, err := os.ReadDir(cfg.Dir)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if f.Name() != "lock" {
			out = append(out, f.Name())
		}
	}
	slices.Sort(out)
	return out
}
