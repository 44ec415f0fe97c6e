package netpol_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/netpol"
)

func TestRestart(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	kept, listed, lost := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{Allow: ranges("203.0.113.0/24")}), claim(t, n, netpol.Policy{})
	s := connect(t, kept)
	subnet := n.Subnet()
	if _, err := netpol.Open(context.Background(), cfg, discard()); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second Open gives %v", err)
	}
	_ = n.Close()
	if !s.works(5 * time.Second) {
		t.Fatal("Close ended a connection")
	}

	// A process that does not remember the subnet finds it.
	n = open(t, cfg)
	if n.Subnet() != subnet {
		t.Fatalf("the subnet is %s, was %s", n.Subnet(), subnet)
	}
	if !s.works(5 * time.Second) {
		t.Fatal("Open ended a connection")
	}
	fresh := claim(t, n, netpol.Policy{}) // before anything is adopted
	for _, old := range []engine.Net{kept, listed, lost} {
		if old.Netns == fresh.Netns {
			t.Fatalf("slot %d was given away", old.Slot)
		}
	}
	ctx := context.Background()
	for range 2 {
		if err := n.Adopt(ctx, kept, netpol.Policy{}); err != nil {
			t.Fatalf("Adopt: %v", err)
		}
	}
	if err := n.Adopt(ctx, listed, netpol.Policy{Allow: ranges("203.0.114.0/24")}); err != nil {
		t.Fatalf("Adopt: %v", err)
	}
	for name, wrong := range map[string]engine.Net{
		"unknown":         {Slot: 1<<20 | 3999, Netns: cfg.Dir + "/3999", Addr: kept.Addr},
		"another claim":   {Slot: kept.Slot + 1<<20, Netns: kept.Netns, Addr: kept.Addr},
		"another address": {Slot: kept.Slot, Netns: kept.Netns, Addr: lost.Addr},
		"another path":    {Slot: kept.Slot, Netns: lost.Netns, Addr: kept.Addr},
		"negative":        {Slot: -1},
	} {
		if err := n.Adopt(ctx, wrong, netpol.Policy{}); !errs.Is(err, errs.NotFound) {
			t.Errorf("Adopt of %s gives %v", name, err)
		}
	}
	swept, err := n.Sweep(ctx)
	if err != nil || swept < 1 {
		t.Fatalf("Sweep: %d, %v", swept, err)
	}
	if _, err := os.Stat(lost.Netns); !os.IsNotExist(err) {
		t.Errorf("a slot that nobody adopted is still pinned (%v)", err)
	}
	if err := n.Adopt(ctx, lost, netpol.Policy{}); !errs.Is(err, errs.NotFound) {
		t.Errorf("Adopt of a swept slot gives %v", err)
	}
	if again, err := n.Sweep(ctx); again != 0 || err != nil {
		t.Errorf("a second Sweep: %d, %v", again, err)
	}
	if !s.works(5 * time.Second) {
		t.Error("Adopt or Sweep ended a connection")
	}
	w.log.reset()
	insidePath(t, listed.Netns, func() error {
		knock(netip.MustParseAddr("203.0.113.6"), 80)
		knock(netip.MustParseAddr("203.0.114.5"), 80)
		return nil
	})
	w.settle(t, fresh)
	if got := w.log.kinds("203.0.114.5"); got != allKinds {
		t.Errorf("%q arrived under the policy of Adopt", got)
	}
	if got := w.log.kinds("203.0.113.6"); got != "" {
		t.Errorf("the policy from before Adopt is still in force: %s", got)
	}
}

func TestChurnLeavesNothing(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	links := allLinks(t)
	n := open(t, cfg)
	var workers sync.WaitGroup
	const each = 125
	for i := range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := range each {
				p := netpol.Policy{}
				if j%3 == 0 {
					p.Allow = ranges("203.0.113.0/24")
				}
				sb, err := n.Claim(context.Background(), p)
				if err != nil {
					t.Errorf("Claim: %v", err)
					return
				}
				ns, err := os.Open(sb.Netns)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				text := fmt.Sprintf("box %d", i*each+j)
				if err := inside(int(ns.Fd()), func() error { return sendUDP(netip.MustParseAddr(public), 9, text) }); err != nil {
					t.Errorf("send: %v", err)
				}
				_ = ns.Close()
				for range 2 {
					if err := n.Release(context.Background(), sb.Slot); err != nil {
						t.Errorf("Release: %v", err)
					}
				}
			}
		}()
	}
	workers.Wait()
	for i := range 4 * each {
		text := fmt.Sprintf("box %d", i)
		w.log.wait(t, text, func(p packet) bool { return p.payload == text })
	}
	eventually(t, "no policy is left", func() bool {
		return !strings.Contains(ruleset(t, cfg), "policy+") && !strings.Contains(ruleset(t, cfg), "allow")
	})
	eventually(t, "the slots that are kept are bounded", func() bool { return len(pinsOf(t, cfg)) <= 64 && len(linksOf(t, cfg)) == len(pinsOf(t, cfg)) })
	_ = n.Close()
	if err := netpol.Remove(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	if got := linksOf(t, cfg); len(got) > 0 {
		t.Errorf("links are left: %v", got)
	}
	if diff := cmp.Diff(links, allLinks(t)); diff != "" {
		t.Errorf("the links of the host differ: %s", diff)
	}
	if got := ruleset(t, cfg); got != "slots policy " {
		t.Errorf("rules are left: %s", got)
	}
	if _, err := os.Stat(cfg.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left (%v)", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), cfg.Dir) {
		t.Errorf("mounts are left (%v)", err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: 0x64}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) > 0 {
		t.Errorf("routes are left: %v (%v)", routes, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 {
		t.Errorf("addresses are left: %v (%v)", addrs, err)
	}
}

func allLinks(tb testing.TB) []string {
	tb.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Attrs().Name)
	}
	return out
}

// What a sandbox leaves in its network keeps the slot from being used again.
func TestUncleanSlotsAreNotReused(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	marker := claim(t, n, netpol.Policy{})
	for name, soil := range map[string]func() error{
		"listener": func() error {
			l, err := net.Listen("tcp4", "0.0.0.0:80")
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		},
		"datagram socket": func() error {
			c, err := net.ListenPacket("udp4", "0.0.0.0:99")
			if err == nil {
				t.Cleanup(func() { _ = c.Close() })
			}
			return err
		},
		"local socket": func() error {
			l, err := net.Listen("unix", "@left")
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		},
		"closed connection": func() error { // waits for a minute
			c, err := net.Dial("tcp4", public+":80")
			if err != nil {
				return err
			}
			return c.Close()
		},
		"address": func() error { return addAddrs("eth0", []string{"10.9.9.9/32"}) },
		"route": func() error {
			_, dst, _ := net.ParseCIDR("10.9.0.0/16")
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst})
		},
		"neighbour": func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(169, 254, 1, 1), HardwareAddr: broadcast})
		},
		"link": func() error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth1", Flags: net.FlagUp, TxQLen: -1}})
		},
		"mtu": func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 999)
		},
	} {
		sb := claim(t, n, netpol.Policy{})
		before := inode(t, sb.Netns)
		insidePath(t, sb.Netns, soil)
		if err := n.Release(context.Background(), sb.Slot); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a slot with a "+name+" is destroyed", func() bool { return inode(t, sb.Netns) != before })
	}
	// The canary: one that was left as it was is used again.
	sb := claim(t, n, netpol.Policy{})
	before := inode(t, sb.Netns)
	insidePath(t, sb.Netns, func() error { return sendUDP(netip.MustParseAddr(public), 9, "clean") })
	if err := n.Release(context.Background(), sb.Slot); err != nil {
		t.Fatal(err)
	}
	w.settle(t, marker)
	prepared := 0
	eventually(t, "the background is done", func() bool {
		var between int
		prepared, _, between = n.Slots()
		return between == 0 && prepared >= 2
	})
	reused := false
	for range prepared {
		next := claim(t, n, netpol.Policy{})
		reused = reused || next.Netns == sb.Netns && inode(t, next.Netns) == before
	}
	if !reused {
		t.Error("canary: a clean slot was not used again")
	}
}

func inode(tb testing.TB, path string) string {
	tb.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprint(st.Sys())
}

// An answer to the last sandbox of a slot does not reach the next one, whether the slot is used again or made anew.
func TestReuseForgetsConnections(t *testing.T) {
	w := needWorld(t)
	for _, soiled := range []bool{false, true} {
		cfg := config(t)
		cfg.Ready, cfg.MaxSlots = -1, 1 // there is one number and one address
		n := open(t, cfg)
		first := claim(t, n, netpol.Policy{})
		before := inode(t, first.Netns)
		var got packetLog
		if soiled { // its socket keeps the slot from being used again
			insidePath(t, first.Netns, func() error { return got.listen("eth0") })
		}
		insidePath(t, first.Netns, func() error {
			c, err := net.DialUDP("udp4", &net.UDPAddr{Port: 4000}, &net.UDPAddr{IP: net.ParseIP(public), Port: 9})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("hello"))
			return err
		})
		var from netip.AddrPort
		w.log.wait(t, "the first sandbox is heard", func(p packet) bool {
			from = netip.AddrPortFrom(p.src, p.srcPort)
			return p.payload == "hello"
		})
		w.log.reset()
		if from.Addr().String() != hostUp {
			t.Fatalf("the world saw %s, not the host", from)
		}
		if soiled { // the canary: the path back is open
			answer(t, w, from, "to the first")
			got.wait(t, "the answer arrives", func(p packet) bool { return p.payload == "to the first" })
		}
		if err := n.Release(context.Background(), first.Slot); err != nil {
			t.Fatal(err)
		}
		var second engine.Net
		eventually(t, "the slot comes back", func() (ok bool) {
			var err error
			second, err = n.Claim(context.Background(), netpol.Policy{})
			return err == nil
		})
		if same := inode(t, second.Netns) == before; second.Netns != first.Netns || same == soiled {
			t.Fatalf("%s after %s, same namespace: %v, want %v", second.Netns, first.Netns, same, !soiled)
		}
		var next packetLog
		insidePath(t, second.Netns, func() error { return next.listen("eth0") })
		answer(t, w, from, "too late")
		next.drain(t, second)
		if late := next.find(func(p packet) bool { return p.payload == "too late" }); len(late) > 0 {
			t.Errorf("the next sandbox got %v", late)
		}
	}
}

func answer(tb testing.TB, w *world, to netip.AddrPort, text string) {
	tb.Helper()
	if err := inside(w.ns, func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(public), Port: 9}, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(text))
		return err
	}); err != nil {
		tb.Fatal(err)
	}
}

// Giving a slot back again, late, does not hit who has it now.
func TestLateRelease(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	cfg.Ready, cfg.MaxSlots = -1, 1
	n := open(t, cfg)
	ctx := context.Background()
	first := claim(t, n, netpol.Policy{})
	if err := n.Release(ctx, first.Slot); err != nil {
		t.Fatal(err)
	}
	second := claim(t, n, netpol.Policy{}) // waits for the only slot
	if second.Netns != first.Netns || second.Slot == first.Slot {
		t.Fatalf("slot %d at %s after %d at %s", second.Slot, second.Netns, first.Slot, first.Netns)
	}
	if err := n.Release(ctx, first.Slot); err != nil {
		t.Errorf("a late Release gives %v", err)
	}
	if err := n.SetPolicy(ctx, first.Slot, netpol.Policy{BlockAll: true}); !errs.Is(err, errs.NotFound) {
		t.Errorf("a late SetPolicy gives %v", err)
	}
	w.settle(t, second)
	_ = n.Close()
	n = open(t, cfg)
	if err := n.Release(ctx, first.Slot); err != nil { // found, not adopted
		t.Errorf("a late Release after a restart gives %v", err)
	}
	if err := n.Adopt(ctx, second, netpol.Policy{}); err != nil {
		t.Errorf("Adopt: %v", err)
	}
	w.settle(t, second)
}

func TestSlotsRunOut(t *testing.T) {
	needRig(t)
	cfg := config(t)
	cfg.Subnet = netip.MustParsePrefix("10.250.0.0/29")
	n := open(t, cfg)
	var held []engine.Net
	for range 5 {
		held = append(held, claim(t, n, netpol.Policy{}))
	}
	if _, err := n.Claim(context.Background(), netpol.Policy{}); !errs.Is(err, errs.Exhausted) {
		t.Fatalf("the sixth of five gives %v", err)
	}
	if err := n.Release(context.Background(), held[2].Slot); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slot comes back", func() bool {
		sb, err := n.Claim(context.Background(), netpol.Policy{})
		return err == nil && sb.Netns == held[2].Netns
	})
}

// A process that is killed at any moment leaves nothing that sends, and nothing that the next one does not clean up.
func TestKilledProcess(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	_ = n.Close()
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	watch := config(t)
	m := open(t, watch)
	marker := claim(t, m, netpol.Policy{})
	for i := range rounds {
		kill := startProbe(t, "churn", cfg.Instance, cfg.Dir)
		eventually(t, "the process works", func() bool { return len(pinsOf(t, cfg)) > 0 })
		for until := time.Now().Add(time.Duration(i*7%40) * time.Millisecond); time.Now().Before(until); { // the moment of its death
		}
		kill()
		for _, k := range pinsOf(t, cfg) {
			f, err := os.Open(cfg.Dir + "/" + k)
			if err != nil {
				t.Fatal(err)
			}
			// A half-made slot may refuse; a file that was not mounted on is no network.
			_ = inside(int(f.Fd()), func() error { return sendUDP(netip.MustParseAddr(public), 9, "orphan") })
			_ = f.Close()
		}
		w.settle(t, marker)
		if got := w.log.find(func(p packet) bool { return p.payload == "orphan" }); len(got) > 0 {
			t.Fatalf("round %d: a slot that was claimed for nothing but %s sends: %v", i, "BlockAll", got)
		}
		n = open(t, cfg)
		if _, err := n.Sweep(context.Background()); err != nil {
			t.Fatalf("round %d: Sweep: %v", i, err)
		}
		sb := claim(t, n, netpol.Policy{})
		insidePath(t, sb.Netns, func() error { return sendUDP(netip.MustParseAddr(public), 9, "alive "+strconv.Itoa(i)) })
		w.log.wait(t, "the network works", func(p packet) bool { return p.payload == "alive "+strconv.Itoa(i) })
		if err := n.Release(context.Background(), sb.Slot); err != nil {
			t.Fatal(err)
		}
		_ = n.Close()
	}
}

func TestSubnets(t *testing.T) {
	needWorld(t)
	a, b := config(t), config(t)
	first := open(t, a)
	second := open(t, b)
	if first.Subnet().Overlaps(second.Subnet()) {
		t.Errorf("two installations have %s and %s", first.Subnet(), second.Subnet())
	}
	for _, p := range []netip.Prefix{first.Subnet(), second.Subnet()} {
		if p.Bits() != 18 || !netip.MustParsePrefix("10.192.0.0/10").Contains(p.Addr()) {
			t.Errorf("the subnet chosen is %s", p)
		}
	}
	c := config(t)
	c.Subnet = first.Subnet()
	if _, err := netpol.Open(context.Background(), c, discard()); !errs.Is(err, errs.Conflict) {
		t.Errorf("taking the subnet of another installation gives %v", err)
	}
	// In use: it does not move; empty: it does.
	sb := claim(t, first, netpol.Policy{})
	_ = first.Close()
	moved := a
	moved.Subnet = netip.MustParsePrefix("10.251.0.0/24")
	if _, err := netpol.Open(context.Background(), moved, discard()); !errs.Is(err, errs.Conflict) {
		t.Errorf("moving a subnet in use gives %v", err)
	}
	first = open(t, a)
	if err := first.Adopt(context.Background(), sb, netpol.Policy{}); err != nil {
		t.Errorf("after a refused move: %v", err)
	}
	d := config(t)
	d.Subnet, d.Ready = netip.MustParsePrefix("10.252.0.0/24"), -1
	n := open(t, d)
	_ = n.Close()
	d.Subnet = netip.MustParsePrefix("10.253.0.0/24")
	if n = open(t, d); n.Subnet() != d.Subnet {
		t.Errorf("the subnet is %s", n.Subnet())
	}
}

// A table that another version laid out differently is replaced, with what is in use in it.
func TestTableOfAnotherVersion(t *testing.T) {
	w := needWorld(t)
	for name, odd := range map[string]nftables.Chain{
		"another hook":  {Name: "forward", Hooknum: nftables.ChainHookInput},
		"another chain": {Name: "leftover", Hooknum: nftables.ChainHookForward},
	} {
		cfg := config(t)
		n := open(t, cfg)
		sb, listed := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{Allow: ranges("203.0.113.0/24")})
		s := connect(t, sb)
		_ = n.Close()
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		shut := nftables.ChainPolicyDrop
		odd.Table = &nftables.Table{Name: "dugout_" + cfg.Instance, Family: nftables.TableFamilyINet}
		odd.Type, odd.Priority, odd.Policy = nftables.ChainTypeFilter, nftables.ChainPriorityFilter, &shut
		c.FlushChain(&nftables.Chain{Name: "forward", Table: odd.Table})
		c.DelChain(&nftables.Chain{Name: "forward", Table: odd.Table})
		c.AddChain(&odd)
		if err := c.Flush(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n = open(t, cfg)
		if !s.works(5 * time.Second) {
			t.Errorf("%s: a connection ended", name)
		}
		if got := ruleset(t, cfg); strings.Contains(got, "leftover") || !strings.Contains(got, "forward..") {
			t.Errorf("%s: the table is %s", name, got)
		}
		if err := n.Adopt(context.Background(), listed, netpol.Policy{Allow: ranges("203.0.113.0/24")}); err != nil {
			t.Errorf("%s: Adopt: %v", name, err)
		}
		w.settle(t, listed)
	}
}

func TestConfigErrors(t *testing.T) {
	needRig(t)
	good := netpol.Config{Instance: "cfg0", Dir: t.TempDir()}
	for name, change := range map[string]func(*netpol.Config){
		"instance":         func(c *netpol.Config) { c.Instance = "toolong" },
		"instance letters": func(c *netpol.Config) { c.Instance = "A..b" },
		"dir":              func(c *netpol.Config) { c.Dir = "" },
		"v6 subnet":        func(c *netpol.Config) { c.Subnet = netip.MustParsePrefix("fd00::/64") },
		"small subnet":     func(c *netpol.Config) { c.Subnet = netip.MustParsePrefix("10.0.0.0/31") },
		"exception":        func(c *netpol.Config) { c.AllowPrivate = ranges("169.254.169.254/32") },
		"v6 exception":     func(c *netpol.Config) { c.AllowPrivate = ranges("fd00::/8") },
		"negative":         func(c *netpol.Config) { c.MaxSlots = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := netpol.Open(context.Background(), cfg, discard()); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: Open gives %v", name, err)
		}
	}
}

func TestForeignFirewalls(t *testing.T) {
	needWorld(t)
	n := open(t, config(t))
	if got := n.Problems(); len(got) > 0 {
		t.Fatalf("problems on a host without another firewall: %q", got)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	shut := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyIPv4})
	t.Cleanup(func() { c.DelTable(table); _ = c.Flush() })
	forward := c.AddChain(&nftables.Chain{Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter, Policy: &shut})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := n.Problems(); len(got) != 1 || !strings.Contains(got[0], "nft insert rule ip other FORWARD iifname") {
		t.Fatalf("problems with a forward chain that drops: %q", got)
	}
	acceptLinks(c, forward)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := n.Problems(); len(got) > 0 {
		t.Fatalf("problems after the command they named: %q", got)
	}
}
