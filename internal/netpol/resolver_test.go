package netpol_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/netpol"
)

// upstream is a DNS server on the host with a few names.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int64
	hold  chan struct{} // questions for "slow." wait until it is closed
}

var zone = map[string][]string{
	"public.test.":   {"203.0.113.5"},
	"private.test.":  {"10.1.2.3"},
	"metadata.test.": {"169.254.169.254"},
	"mixed.test.":    {"203.0.113.5", "192.168.1.1", "203.0.113.6"},
	"six.test.":      {"2606:4700::1"},
	"sixlocal.test.": {"fd00::1", "::ffff:10.0.0.1"},
	"opened.test.":   {"10.20.1.1"},
	"empty.test.":    {},
}

func startUpstream(tb testing.TB, at string) *upstream {
	tb.Helper()
	u := &upstream{addr: netip.MustParseAddrPort(at), hold: make(chan struct{})}
	pc, err := net.ListenPacket("udp4", at)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp4", at)
	if err != nil {
		tb.Fatal(err)
	}
	var work sync.WaitGroup
	tb.Cleanup(func() { _ = pc.Close(); _ = l.Close(); work.Wait() })
	work.Add(2)
	go func() {
		defer work.Done()
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			msg := slices.Clone(buf[:n])
			go func() {
				for _, out := range u.answer(msg, false) {
					_, _ = pc.WriteTo(out, from)
				}
			}()
		}
	}()
	go func() {
		defer work.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			msg, err := readDNS(c)
			if err == nil {
				for _, out := range u.answer(msg, true) {
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
				}
			}
			_ = c.Close()
		}
	}()
	return u
}

func (u *upstream) answer(msg []byte, tcp bool) [][]byte {
	u.asked.Add(1)
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := q.Name.String()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
	records, known := zone[name]
	switch {
	case name == "slow.test.":
		<-u.hold
	case name == "silent.test.":
		return nil
	case name == "big.test.":
		m.Truncated = !tcp
		for i := 0; tcp && i < 200; i++ {
			m.Answers = append(m.Answers, record(q.Name, "203.0.113.5"))
		}
		known = true
	case name == "forged.test.":
		// Somebody guesses: another id, another question, no answer at all; then the truth.
		wrong := m
		wrong.ID++
		wrong.Answers = []dnsmessage.Resource{record(q.Name, "203.0.113.66")}
		a, _ := wrong.Pack()
		wrong = m
		wrong.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.test."), Type: q.Type, Class: q.Class}}
		wrong.Answers = []dnsmessage.Resource{record(q.Name, "203.0.113.66")}
		b, _ := wrong.Pack()
		m.Answers = []dnsmessage.Resource{record(q.Name, "203.0.113.7")}
		c, _ := m.Pack()
		return [][]byte{a, b, {1, 2, 3}, msg, c}
	case name == "broken.test.":
		out, _ := m.Pack()
		out[7] = 9 // nine answers that are not there
		return [][]byte{out}
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	if strings.HasSuffix(name, ".alias.test.") {
		m.RCode = dnsmessage.RCodeSuccess
		target := dnsmessage.MustNewName(strings.TrimSuffix(name, ".alias.test.") + ".test.")
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.CNAMEResource{CNAME: target}}}
		for _, a := range zone[target.String()] {
			m.Answers = append(m.Answers, record(target, a))
		}
	}
	for _, a := range records {
		m.Answers = append(m.Answers, record(q.Name, a))
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return [][]byte{out}
}

func record(name dnsmessage.Name, addr string) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 5}
	a := netip.MustParseAddr(addr)
	if a.Is4() {
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}}
	}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}
}

func readDNS(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func question(id uint16, name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// resolve asks from inside a sandbox. It returns the code and the addresses, or what went wrong.
func resolve(tb testing.TB, sb engine.Net, network string, msg []byte, within time.Duration) (text string) {
	tb.Helper()
	insidePath(tb, sb.Netns, func() error {
		text = ask(netip.AddrPortFrom(sb.DNS, 53), network, msg, within)
		return nil
	})
	return text
}

func ask(server netip.AddrPort, network string, msg []byte, within time.Duration) string {
	c, err := (&net.Dialer{Timeout: within}).Dial(network, server.String())
	if err != nil {
		return "no connection"
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	buf := make([]byte, 65535)
	if network == "tcp" {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
			return "not sent"
		}
		if buf, err = readDNS(c); err != nil {
			return "no answer"
		}
	} else {
		if _, err := c.Write(msg); err != nil {
			return "not sent"
		}
		n, err := c.Read(buf)
		if err != nil {
			return "no answer"
		}
		buf = buf[:n]
	}
	return describe(msg, buf)
}

func describe(asked, got []byte) string {
	var m dnsmessage.Message
	if err := m.Unpack(got); err != nil {
		return "not a message: " + err.Error()
	}
	if !m.Response || m.ID != binary.BigEndian.Uint16(asked) {
		return "not an answer to this question"
	}
	text := strings.TrimPrefix(m.RCode.String(), "RCode")
	if m.Truncated {
		text += " truncated"
	}
	for i, r := range m.Answers {
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			text += " " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			text += " " + netip.AddrFrom16(b.AAAA).String()
		case *dnsmessage.CNAMEResource:
			text += " =" + b.CNAME.String()
		}
		if i == 3 {
			text += " ..."
			break
		}
	}
	return text
}

func TestResolver(t *testing.T) {
	needWorld(t)
	cfg := config(t)
	up := startUpstream(t, cfg.Upstream[0].String())
	cfg.AllowPrivate = ranges("10.20.0.0/16")
	n := open(t, cfg)
	sb, blocked, listed := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{BlockAll: true}), claim(t, n, netpol.Policy{Allow: ranges("203.0.113.0/24")})
	a, aaaa := dnsmessage.TypeA, dnsmessage.TypeAAAA
	edit := func(change func(*dnsmessage.Message)) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("public.test."), Type: a, Class: dnsmessage.ClassINET}}}
		change(&m)
		out, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	many := "Success 203.0.113.5 203.0.113.5 203.0.113.5 203.0.113.5 ..."
	for _, tc := range []struct {
		name     string
		from     engine.Net
		msg      []byte
		udp, tcp string
	}{
		{"a public name", sb, question(1, "public.test.", a), "Success 203.0.113.5", ""},
		{"upper case", sb, question(2, "PuBlIc.TeSt.", a), "NameError", ""}, // the upstream of this test is strict; the answer still belongs to the question
		{"unknown", sb, question(3, "nothing.test.", a), "NameError", ""},
		{"no records", sb, question(4, "empty.test.", a), "Success", ""},
		{"private", sb, question(5, "private.test.", a), "NameError", ""},
		{"metadata", sb, question(6, "metadata.test.", a), "NameError", ""},
		{"mixed", sb, question(7, "mixed.test.", a), "Success 203.0.113.5 203.0.113.6", ""},
		{"IPv6", sb, question(8, "six.test.", aaaa), "Success 2606:4700::1", ""},
		{"local IPv6", sb, question(9, "sixlocal.test.", aaaa), "NameError", ""},
		{"opened by the operator", sb, question(10, "opened.test.", a), "Success 10.20.1.1", ""},
		{"alias", sb, question(11, "public.alias.test.", a), "Success =public.test. 203.0.113.5", ""},
		{"alias of a private name", sb, question(12, "private.alias.test.", a), "NameError", ""},
		{"too big for UDP", sb, question(13, "big.test.", a), "Success truncated", many},
		{"guesses", sb, question(14, "forged.test.", a), "Success 203.0.113.7", "ServerFailure"},
		{"not readable", sb, question(15, "broken.test.", a), "ServerFailure", ""},
		{"blocked", blocked, question(16, "public.test.", a), "Refused", ""},
		{"with an allow list", listed, question(17, "public.test.", a), "Success 203.0.113.5", ""},
		{"zone transfer", sb, question(18, "public.test.", dnsmessage.TypeAXFR), "Refused", ""},
		{"another class", sb, edit(func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }), "Refused", ""},
		{"notify", sb, edit(func(m *dnsmessage.Message) { m.OpCode = 4 }), "NotImplemented", ""},
		{"two questions", sb, edit(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }), "FormatError", ""},
		{"no question", sb, edit(func(m *dnsmessage.Message) { m.Questions = nil }), "FormatError", ""},
		{"an answer", sb, edit(func(m *dnsmessage.Message) { m.Response = true }), "no answer", ""},
		{"three bytes", sb, []byte{1, 2, 3}, "no answer", ""},
	} {
		within := 5 * time.Second
		if tc.udp == "no answer" {
			within = 200 * time.Millisecond
		}
		if got := resolve(t, tc.from, "udp", tc.msg, within); got != tc.udp {
			t.Errorf("%s over UDP: %q, want %q", tc.name, got, tc.udp)
		}
		if tc.tcp == "" {
			tc.tcp = tc.udp
		}
		if got := resolve(t, tc.from, "tcp", tc.msg, within); got != tc.tcp {
			t.Errorf("%s over TCP: %q, want %q", tc.name, got, tc.tcp)
		}
	}
	// What was refused was not asked.
	before := up.asked.Load()
	resolve(t, blocked, "udp", question(20, "secret.exfiltrated.test.", a), 5*time.Second)
	if up.asked.Load() != before {
		t.Error("a question of a blocked sandbox went upstream")
	}
	// The host is no sandbox.
	if got := ask(netip.AddrPortFrom(n.Resolver(), 53), "udp", question(21, "public.test.", a), 200*time.Millisecond); got != "no answer" {
		t.Errorf("the host got %q", got)
	}
	if got := ask(netip.AddrPortFrom(n.Resolver(), 53), "tcp", question(21, "public.test.", a), time.Second); got != "no answer" && got != "not sent" {
		t.Errorf("the host got %q over TCP", got)
	}
	// A policy that changes changes answers.
	if err := n.SetPolicy(context.Background(), blocked.Slot, netpol.Policy{}); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, blocked, "udp", question(22, "public.test.", a), 5*time.Second); got != "Success 203.0.113.5" {
		t.Errorf("after unblocking: %q", got)
	}
}

// Questions to any other server go nowhere new: port 53 of the world is like any port, that of the host is shut.
func TestOnlyTheResolverIsReached(t *testing.T) {
	w := needWorld(t)
	n := open(t, config(t))
	sb := claim(t, n, netpol.Policy{})
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(hostUp), Port: 53})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	insidePath(t, sb.Netns, func() error { return sendUDP(netip.MustParseAddr(hostUp), 53, "question") })
	w.settle(t, sb)
	if got := pending(l); got > 0 {
		t.Errorf("the host's own DNS server got %d packets", got)
	}
	if err := inside(w.ns, func() error { return sendUDP(netip.MustParseAddr(hostUp), 53, "question") }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "canary: the host's own DNS server is reached by others", func() bool { return pending(l) > 0 })
}

// One sandbox that asks and asks does not keep others from being answered.
func TestResolverIsShared(t *testing.T) {
	needWorld(t)
	cfg := config(t)
	up := startUpstream(t, cfg.Upstream[0].String())
	n := open(t, cfg)
	greedy, other := claim(t, n, netpol.Policy{}), claim(t, n, netpol.Policy{})
	const sent = 200
	insidePath(t, greedy.Netns, func() error {
		c, err := net.Dial("udp4", netip.AddrPortFrom(greedy.DNS, 53).String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		for i := range sent {
			if _, err := c.Write(question(uint16(i), "slow.test.", dnsmessage.TypeA)); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, "questions wait upstream", func() bool { return up.asked.Load() >= 32 })
	if got := resolve(t, other, "udp", question(1, "public.test.", dnsmessage.TypeA), 5*time.Second); got != "Success 203.0.113.5" {
		t.Errorf("the other sandbox got %q", got)
	}
	// A question is tried again while it waits, so only what is open at one time is bounded: far fewer than were sent.
	if got := up.asked.Load(); got > 32*2+1 {
		t.Errorf("%d questions of %d went upstream at once", got, sent)
	}
	close(up.hold)
	eventually(t, "the greedy sandbox is answered again", func() bool {
		return resolve(t, greedy, "udp", question(1, "public.test.", dnsmessage.TypeA), time.Second) == "Success 203.0.113.5"
	})
	// Connections that say nothing are bounded too.
	open, shut := 0, 0
	insidePath(t, greedy.Netns, func() error {
		for range 20 {
			c, err := net.Dial("tcp4", netip.AddrPortFrom(greedy.DNS, 53).String())
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset") {
				shut++
			} else {
				open++
			}
		}
		return nil
	})
	if open != 8 || shut != 12 {
		t.Errorf("%d connections stay open and %d are shut, want 8 and 12", open, shut)
	}
}

func TestUpstreamsStandInForEachOther(t *testing.T) {
	needWorld(t)
	cfg := config(t)
	startUpstream(t, "127.0.0.1:5398")
	cfg.Upstream = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5397"), netip.MustParseAddrPort("127.0.0.1:5398")} // nobody is on the first
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	if got := resolve(t, sb, "udp", question(1, "public.test.", dnsmessage.TypeA), 5*time.Second); got != "Success 203.0.113.5" {
		t.Errorf("with one server dead: %q", got)
	}
	start := time.Now()
	if got := resolve(t, sb, "udp", question(1, "silent.test.", dnsmessage.TypeA), 8*time.Second); got != "ServerFailure" || time.Since(start) > 6*time.Second {
		t.Errorf("with no server that answers: %q after %s", got, time.Since(start))
	}
	// Names come back with the process; addresses never went.
	_ = n.Close()
	if got := resolve(t, sb, "udp", question(1, "public.test.", dnsmessage.TypeA), 200*time.Millisecond); got != "no answer" {
		t.Errorf("without a process: %q", got)
	}
	s := connect(t, sb)
	if !s.works(5 * time.Second) {
		t.Error("without a process a new connection does not work")
	}
	n = open(t, cfg)
	if err := n.Adopt(context.Background(), sb, netpol.Policy{}); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, sb, "udp", question(1, "public.test.", dnsmessage.TypeA), 5*time.Second); got != "Success 203.0.113.5" {
		t.Errorf("after a restart: %q", got)
	}
}

// Servers come from resolv.conf and change with it.
func TestResolvConf(t *testing.T) {
	needWorld(t)
	const path = "/etc/resolv.conf"
	file := t.TempDir() + "/resolv.conf"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# nothing\n")
	if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil { // in the mount namespace of the tests
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(path, unix.MNT_DETACH) }()
	startUpstream(t, "127.0.0.7:53")
	cfg := config(t)
	cfg.Upstream = nil
	n := open(t, cfg)
	sb := claim(t, n, netpol.Policy{})
	msg := question(1, "public.test.", dnsmessage.TypeA)
	if got := resolve(t, sb, "udp", msg, 5*time.Second); got != "ServerFailure" {
		t.Errorf("without a server: %q", got)
	}
	if got := n.Problems(); len(got) != 1 || !strings.Contains(got[0], path) {
		t.Errorf("problems without a server: %q", got)
	}
	write("nameserver " + n.Resolver().String() + "\nnameserver 127.0.0.7\n")
	eventually(t, "the new server is asked", func() bool { return resolve(t, sb, "udp", msg, 5*time.Second) == "Success 203.0.113.5" })
	if got := n.Problems(); len(got) > 0 {
		t.Errorf("problems with a server: %q", got)
	}
}

var anySubnet = netip.MustParsePrefix("10.192.0.0/18")

// Whatever a sandbox sends, what goes upstream is one well-formed question.
func FuzzQuery(f *testing.F) {
	f.Add(question(1, "public.test.", dnsmessage.TypeA))
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1})
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 'a', 0, 0, 1, 0, 1, 0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		forward, answer, ok := netpol.ReadQuery(msg)
		for _, out := range [][]byte{forward, answer} {
			if out == nil {
				continue
			}
			var m dnsmessage.Message
			if err := m.Unpack(out); err != nil {
				t.Fatalf("%x becomes %x: %v", msg, out, err)
			}
			if !ok || len(m.Answers)+len(m.Authorities) > 0 || len(m.Questions) > 1 || len(out) > 512 {
				t.Fatalf("%x becomes %+v", msg, m)
			}
		}
		if forward != nil && (binary.BigEndian.Uint16(forward[4:]) != 1 || forward[2]&0x80 != 0) {
			t.Fatalf("%x goes upstream as %x", msg, forward)
		}
	})
}

// Whatever an upstream answers, no address that sandboxes must not reach comes out.
func FuzzScreen(f *testing.F) {
	q := question(1, "private.test.", dnsmessage.TypeA)
	up := &upstream{hold: make(chan struct{})}
	close(up.hold)
	for name := range zone {
		for _, out := range up.answer(question(1, name, dnsmessage.TypeA), true) {
			f.Add(out)
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		out, err := netpol.Screen(q, msg, anySubnet, nil)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(out) != nil {
			return // of a type this library cannot read; passed on as it was
		}
		for _, r := range slices.Concat(m.Answers, m.Authorities, m.Additionals) {
			var a netip.Addr
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				a = netip.AddrFrom4(b.A)
			case *dnsmessage.AAAAResource:
				a = netip.AddrFrom16(b.AAAA)
			default:
				continue
			}
			if netpol.DeniedTo(anySubnet, nil, a) {
				t.Fatalf("%s came through", a)
			}
		}
	})
}

// The first packets in both directions pass, also when the slot was made a moment ago.
func TestFirstAnswerArrives(t *testing.T) {
	needWorld(t)
	cfg := config(t)
	cfg.Ready = -1
	startUpstream(t, cfg.Upstream[0].String())
	n := open(t, cfg)
	var work sync.WaitGroup
	for range 4 { // links that are made at the same time delay each other
		work.Add(1)
		go func() {
			defer work.Done()
			for range 25 {
				sb, err := n.Claim(context.Background(), netpol.Policy{})
				if err != nil {
					t.Errorf("Claim: %v", err)
					return
				}
				ns, err := os.Open(sb.Netns)
				if err != nil {
					t.Error(err)
					return
				}
				got := ""
				_ = inside(int(ns.Fd()), func() error {
					got = ask(netip.AddrPortFrom(sb.DNS, 53), "udp", question(1, "public.test.", dnsmessage.TypeA), 2*time.Second)
					return nil
				})
				_ = ns.Close()
				if got != "Success 203.0.113.5" {
					t.Errorf("the first question gets %q", got)
				}
			}
		}()
	}
	work.Wait()
}
