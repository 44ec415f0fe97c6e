package netpol_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/netpol"
)

func ranges(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func TestPolicies(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	marker := claim(t, n, netpol.Policy{})
	dests := []string{"203.0.113.5", "203.0.113.6", "203.0.114.1", "10.0.0.1", "169.254.169.254"}
	for _, tc := range []struct {
		name   string
		policy netpol.Policy
		want   []string
	}{
		{"zero", netpol.Policy{}, dests[:3]},
		{"block", netpol.Policy{BlockAll: true}, nil},
		{"block wins", netpol.Policy{BlockAll: true, Allow: ranges("0.0.0.0/0")}, nil},
		{"one address", netpol.Policy{Allow: ranges("203.0.113.6/32")}, dests[1:2]},
		{"overlapping", netpol.Policy{Allow: ranges("203.0.113.0/24", "203.0.113.5/32", "203.0.112.0/23")}, dests[:2]},
		{"halves", netpol.Policy{Allow: ranges("0.0.0.0/1", "128.0.0.0/1")}, dests[:3]},
		{"private stays denied", netpol.Policy{Allow: ranges("10.0.0.0/8", "169.254.169.254/32")}, nil},
	} {
		sb := claim(t, n, tc.policy)
		swapped := claim(t, n, netpol.Policy{Allow: ranges("198.18.0.0/16")})
		if err := n.SetPolicy(context.Background(), swapped.Slot, tc.policy); err != nil {
			t.Fatalf("%s: SetPolicy: %v", tc.name, err)
		}
		for how, box := range map[string]engine.Net{"claimed": sb, "set": swapped} {
			w.log.reset()
			insidePath(t, box.Netns, func() error {
				for _, d := range dests {
					knock(netip.MustParseAddr(d), 80)
				}
				return nil
			})
			w.settle(t, marker)
			for _, d := range dests {
				want := ""
				if slices.Contains(tc.want, d) {
					want = allKinds
				}
				if got := w.log.kinds(d); got != want {
					t.Errorf("%s, %s: %q reached %s, want %q", tc.name, how, got, d, want)
				}
			}
			if err := n.Release(context.Background(), box.Slot); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestPolicyErrors(t *testing.T) {
	needRig(t)
	n := open(t, config(t))
	many := make([]netip.Prefix, 1025)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{8, byte(i >> 8), byte(i), 0}), 24)
	}
	for _, tc := range []struct {
		name   string
		policy netpol.Policy
		want   errs.Class
	}{
		{"IPv6", netpol.Policy{Allow: ranges("2001:db8::/32")}, errs.Invalid},
		{"mapped", netpol.Policy{Allow: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:8.8.8.8"), 128)}}, errs.Invalid},
		{"zero prefix", netpol.Policy{Allow: []netip.Prefix{{}}}, errs.Invalid},
		{"too many", netpol.Policy{Allow: many}, errs.TooLarge},
	} {
		if _, err := n.Claim(context.Background(), tc.policy); !errs.Is(err, tc.want) {
			t.Errorf("%s: Claim gives %v, want class %v", tc.name, err, tc.want)
		}
	}
	sb := claim(t, n, netpol.Policy{Allow: many[:1024]})
	if err := n.SetPolicy(context.Background(), sb.Slot, netpol.Policy{Allow: ranges("2001:db8::/32")}); !errs.Is(err, errs.Invalid) {
		t.Errorf("SetPolicy gives %v", err)
	}
	if err := n.SetPolicy(context.Background(), 99999, netpol.Policy{}); !errs.Is(err, errs.NotFound) {
		t.Errorf("SetPolicy of no slot gives %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.Claim(ended, netpol.Policy{}); !errs.Is(err, errs.Timeout) || !errors.Is(err, context.Canceled) {
		t.Errorf("Claim after the end gives %v", err)
	}
}

// A slot that is prepared, and one that was given back, lets nothing out; a policy is in force when Claim returns.
func TestNothingBeforeClaimOrAfterRelease(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	marker := claim(t, n, netpol.Policy{})
	eventually(t, "slots are prepared", func() bool { prepared, _, between := n.Slots(); return prepared >= 2 && between == 0 })
	shout := func(path, text string) {
		insidePath(t, path, func() error {
			err := sendUDP(netip.MustParseAddr(public), 9, text)
			if err != nil && strings.Contains(err.Error(), "unreachable") {
				return nil // it has no route yet
			}
			return err
		})
	}
	for _, k := range pinsOf(t, cfg) {
		if path := cfg.Dir + "/" + k; path != marker.Netns {
			shout(path, "unclaimed")
		}
	}
	for i := range 200 {
		sb := claim(t, n, netpol.Policy{BlockAll: i%2 == 0})
		text := "open"
		if i%2 == 0 {
			text = "blocked"
		}
		shout(sb.Netns, text)
		ns := holdOpen(t, sb.Netns)
		if err := n.Release(context.Background(), sb.Slot); err != nil {
			t.Fatal(err)
		}
		_ = inside(int(ns.Fd()), func() error { return sendUDP(netip.MustParseAddr(public), 9, "released") })
		_ = ns.Close()
	}
	w.settle(t, marker)
	for text, want := range map[string]int{"unclaimed": 0, "blocked": 0, "released": 0, "open": 100} {
		if got := len(w.log.find(func(p packet) bool { return p.payload == text })); got != want {
			t.Errorf("%d packets %q arrived, want %d", got, text, want)
		}
	}
}

func holdOpen(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// stream is a TCP connection from a sandbox to the world and back.
type stream struct{ net.Conn }

func connect(tb testing.TB, from engine.Net) stream {
	tb.Helper()
	var s stream
	insidePath(tb, from.Netns, func() (err error) {
		s.Conn, err = (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp4", public+":80")
		return err
	})
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// works reports whether an echo comes back within the time.
func (s stream) works(within time.Duration) bool {
	_ = s.SetDeadline(time.Now().Add(within))
	if _, err := s.Write([]byte("ping")); err != nil {
		return false
	}
	buf := make([]byte, 4)
	for got := 0; got < 4; {
		n, err := s.Read(buf[got:])
		if err != nil {
			return false
		}
		got += n
	}
	return true
}

func TestSetPolicyActsOnOpenConnections(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	sb, marker := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{})
	s := connect(t, sb)
	if !s.works(5 * time.Second) {
		t.Fatal("the connection does not work")
	}
	for _, p := range []netpol.Policy{{BlockAll: true}, {Allow: ranges("203.0.114.0/24")}} {
		if err := n.SetPolicy(context.Background(), sb.Slot, p); err != nil {
			t.Fatal(err)
		}
		w.settle(t, marker)
		w.log.reset()
		if s.works(300 * time.Millisecond) {
			t.Errorf("the connection still works under %+v", p)
		}
		w.settle(t, marker)
		if got := w.log.find(to(public)); len(got) != 1 { // the mark
			t.Errorf("packets still arrive under %+v: %v", p, got)
		}
	}
	// Swaps between policies that allow it lose nothing.
	s = connect(t, claimLike(t, n, sb))
	for i := range 200 {
		p := netpol.Policy{}
		if i%2 == 0 {
			p.Allow = ranges("203.0.113.0/24")
		}
		if err := n.SetPolicy(context.Background(), sb.Slot, p); err != nil {
			t.Fatal(err)
		}
		if !s.works(5 * time.Second) {
			t.Fatalf("swap %d interrupted the connection", i)
		}
	}
}

func claimLike(tb testing.TB, n *netpol.Net, sb engine.Net) engine.Net {
	tb.Helper()
	if err := n.SetPolicy(context.Background(), sb.Slot, netpol.Policy{}); err != nil {
		tb.Fatal(err)
	}
	return sb
}

// Another program that flushes every table, as reloading a firewall does, opens nothing for longer than it takes to notice.
func TestRulesComeBack(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	sb, listed := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{Allow: ranges("203.0.113.0/24")})
	s := connect(t, sb)
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(*nftables.Table){
		"flush ruleset": func(*nftables.Table) { c.FlushRuleset() },
		"delete table":  func(table *nftables.Table) { c.DelTable(table) },
		"flush chain":   func(table *nftables.Table) { c.FlushChain(&nftables.Chain{Name: "outward", Table: table}) },
		"delete elements": func(table *nftables.Table) {
			c.FlushSet(&nftables.Set{Name: "policy", Table: table, KeyType: nftables.TypeIPAddr})
		},
	} {
		before := ruleset(t, cfg)
		harm(&nftables.Table{Name: "dugout_" + cfg.Instance, Family: nftables.TableFamilyINet})
		if err := c.Flush(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eventually(t, "the rules come back after "+name, func() bool { return ruleset(t, cfg) == before })
		if !s.works(5 * time.Second) {
			t.Errorf("%s ended a connection", name)
		}
		w.log.reset()
		for _, box := range []engine.Net{sb, listed} {
			insidePath(t, box.Netns, func() error {
				knock(netip.MustParseAddr("10.0.0.1"), 80)
				knock(netip.MustParseAddr("203.0.113.7"), 80)
				return nil
			})
			w.settle(t, box)
		}
		if got := w.log.find(to("10.0.0.1")); len(got) > 0 {
			t.Errorf("after %s a private address was reached: %v", name, got)
		}
		if got := w.log.kinds("203.0.113.7"); got != allKinds {
			t.Errorf("after %s %q of what is allowed arrived", name, got)
		}
	}
}

// ruleset describes the table of an instance: chains, numbers of rules, elements.
func ruleset(tb testing.TB, cfg netpol.Config) string {
	tb.Helper()
	c, err := nftables.New()
	if err != nil {
		tb.Fatal(err)
	}
	text := ""
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return ""
	}
	table := &nftables.Table{Name: "dugout_" + cfg.Instance, Family: nftables.TableFamilyINet}
	for _, ch := range chains {
		if ch.Table.Name == table.Name {
			rules, _ := c.GetRules(table, ch)
			text += ch.Name + strings.Repeat(".", len(rules)) + " "
		}
	}
	for _, s := range []*nftables.Set{{Table: table, Name: "slots"}, {Table: table, Name: "policy", IsMap: true}} {
		els, _ := c.GetSetElements(s)
		text += s.Name + strings.Repeat("+", len(els)) + " "
	}
	return text
}
