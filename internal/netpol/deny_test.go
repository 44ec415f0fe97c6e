package netpol_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/nftables"

	"github.com/dugout-dev/dugout/internal/netpol"
)

// denied are addresses that no sandbox reaches. outside says whether the host would route it to the world if nothing
// stopped it, so that the world's log proves something.
var denied = []struct {
	addr    string
	outside bool
}{
	{"169.254.169.254", true}, {"169.254.170.2", true}, {"169.254.0.1", true}, {"169.254.1.1", true},
	{"100.100.100.200", true}, {"168.63.129.16", true}, {"192.0.0.192", true},
	{"10.0.0.1", true}, {"10.77.0.2", true}, {"10.77.0.1", false}, {"10.255.255.254", true},
	{"172.16.0.1", true}, {"172.17.0.1", true}, {"172.31.255.254", true},
	{"192.168.0.1", true}, {"192.168.255.254", true},
	{"100.64.0.1", true}, {"100.127.255.254", true},
	{"192.0.0.1", true}, {"192.88.99.1", true}, {"198.18.0.1", true}, {"198.19.255.254", true},
	{"127.0.0.1", false}, {"127.8.8.8", false}, {"0.0.0.0", false}, {"0.1.2.3", false},
	{"224.0.0.1", false}, {"239.255.255.250", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
	{"10.77.0.255", false}, {hostUp, false}, {"198.51.100.255", false},
}

// free are next to denied ranges and must be reached.
var free = []string{"203.0.113.5", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
	"192.169.0.0", "100.63.255.255", "100.128.0.0", "169.253.255.255", "169.255.0.0", "198.17.255.255", "198.20.0.0",
	"223.255.255.255", "168.63.129.17", "8.8.8.8", "1.1.1.1"}

func TestDeniedRanges(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	wide := claim(t, n, netpol.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	for _, from := range []string{sb.Netns, wide.Netns} {
		insidePath(t, from, func() error {
			for _, d := range denied {
				knock(netip.MustParseAddr(d.addr), 80)
			}
			for _, f := range free {
				knock(netip.MustParseAddr(f), 80)
			}
			return nil
		})
		w.settle(t, sb)
		w.settle(t, wide)
		for _, d := range denied {
			if got := w.log.find(to(d.addr)); len(got) > 0 && d.addr != hostUp {
				t.Errorf("%s was reached: %v", d.addr, got)
			}
		}
		for _, f := range free {
			if got := w.log.kinds(f); got != allKinds {
				t.Errorf("%s: %q arrived, want TCP, UDP and ICMP", f, got)
			}
		}
		w.log.reset()
	}

	// The canary: without the rules the same packets arrive, so the log above could have shown them.
	_ = n.Close()
	dropTable(t, cfg)
	insidePath(t, sb.Netns, func() error {
		for _, d := range denied {
			knock(netip.MustParseAddr(d.addr), 80)
		}
		return nil
	})
	w.settle(t, sb)
	for _, d := range denied {
		if d.outside && d.addr != "169.254.1.1" && w.log.kinds(d.addr) != allKinds {
			t.Errorf("canary: %s is not reached without rules, the test proves nothing for it", d.addr)
		}
	}
}

func to(addr string) func(packet) bool {
	a := netip.MustParseAddr(addr)
	return func(p packet) bool { return p.dst == a && p.ethertype != 0x0806 }
}

func dropTable(tb testing.TB, cfg netpol.Config) {
	tb.Helper()
	c, err := nftables.New()
	if err != nil {
		tb.Fatal(err)
	}
	c.DelTable(&nftables.Table{Name: "dugout_" + cfg.Instance, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil {
		tb.Fatal(err)
	}
}

func TestAllowPrivate(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	cfg.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("100.64.0.0/10")}
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	insidePath(t, sb.Netns, func() error {
		for _, a := range []string{"10.20.0.0", "10.20.255.255", "10.19.255.255", "10.21.0.0", "100.100.100.199", "100.100.100.200"} {
			knock(netip.MustParseAddr(a), 80)
		}
		return nil
	})
	w.settle(t, sb)
	for a, want := range map[string]bool{"10.20.0.0": true, "10.20.255.255": true, "10.19.255.255": false, "10.21.0.0": false,
		"100.100.100.199": true, "100.100.100.200": false} {
		if got := len(w.log.find(to(a))) > 0; got != want {
			t.Errorf("%s reached: %v, want %v", a, got, want)
		}
	}
}

func TestMailIsDenied(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	sb := claim(t, n, netpol.Policy{})
	insidePath(t, sb.Netns, func() error {
		knock(netip.MustParseAddr(public), 25)
		knock(netip.MustParseAddr(public), 443)
		return nil
	})
	w.settle(t, sb)
	if got := w.log.find(func(p packet) bool { return p.dstPort == 25 }); len(got) > 0 {
		t.Errorf("port 25 was reached: %v", got)
	}
	if got := w.log.find(func(p packet) bool { return p.dstPort == 443 }); len(got) == 0 {
		t.Error("port 443 was not reached")
	}
}

// The host has listeners on every address and port forwardings that would lead a sandbox to it or to the local network.
func TestHostIsOutOfReach(t *testing.T) {
	w := needWorld(t)
	cfg := config(t)
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	accepted := make(chan string, 1000)
	for _, at := range []string{"0.0.0.0:7000", "127.0.0.1:7001", hostUp + ":7002", hostLAN + ":7003", n.Resolver().String() + ":7004", "0.0.0.0:22"} {
		l, err := net.Listen("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- fmt.Sprintf("%s from %s", l.Addr(), c.RemoteAddr())
				_ = c.Close()
			}
		}()
	}
	forwardPorts(t)
	insidePath(t, sb.Netns, func() error {
		for _, a := range []string{hostUp, hostLAN, "127.0.0.1", "169.254.1.1", n.Resolver().String(), sb.Addr.String(), "198.51.100.77", public} {
			for _, port := range []uint16{22, 7000, 7001, 7002, 7003, 7004, 8080, 8081, 8082} {
				knock(netip.MustParseAddr(a), port)
			}
		}
		return nil
	})
	w.settle(t, sb)
	select {
	case who := <-accepted:
		t.Errorf("the host accepted a connection of a sandbox: %s", who)
	default:
	}
	if got := w.log.find(to(lanPeer)); len(got) > 0 {
		t.Errorf("a port forwarding led into the local network: %v", got)
	}
	// The canary: others reach the same listeners and forwardings.
	for at, want := range map[string]string{hostUp + ":7000": "7000", hostUp + ":7002": "7002", hostUp + ":8081": "7000"} {
		if err := inside(w.ns, func() error { return dial(at) }); err != nil {
			t.Errorf("canary: %s cannot be reached by others: %v", at, err)
			continue
		}
		if who := <-accepted; !containsPort(who, want) {
			t.Errorf("canary: %s led to %s", at, who)
		}
	}
	if err := inside(w.ns, func() error { return dial(hostUp + ":8080") }); err != nil {
		t.Errorf("canary: the forwarding into the local network does not work: %v", err)
	}
	w.log.wait(t, "canary: the forwarding into the local network leaves a trace", to(lanPeer))
}

func containsPort(who, port string) bool {
	var at, from string
	_, err := fmt.Sscanf(who, "%s from %s", &at, &from)
	_, p, splitErr := net.SplitHostPort(at)
	return err == nil && splitErr == nil && p == port
}

func dial(at string) error {
	c, err := (&net.Dialer{Timeout: 3e9}).DialContext(context.Background(), "tcp4", at)
	if err != nil {
		return err
	}
	return c.Close()
}
