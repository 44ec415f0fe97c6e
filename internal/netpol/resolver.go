package netpol

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	questionsPerSlot = 32  // at a time
	questionsInAll   = 512 // at a time
	streamsPerSlot   = 8   // TCP connections
	streamsInAll     = 256
	streamIdle       = 10 * time.Second
)

// sourceFunc tells whose address asks.
type sourceFunc func(netip.Addr) (slot int, blocked, ok bool)

// resolver forwards questions of sandboxes. Whatever comes in is hostile: sources that are no sandbox get no answer, and a
// sandbox with too many questions open gets none for the rest.
type resolver struct {
	up     *upstreams
	deny   ranges
	source sourceFunc
	log    *slog.Logger
	udp    *net.UDPConn
	tcp    *net.TCPListener

	questions, streams *quota
	ctx                context.Context // of everything the resolver does; ends with close
	cancel             context.CancelFunc
	work               sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func openResolver(ctx context.Context, at netip.Addr, fixed []netip.AddrPort, deny ranges, source sourceFunc, log *slog.Logger) (*resolver, error) {
	d := &resolver{up: &upstreams{fixed: fixed, self: at}, deny: deny, source: source, log: log, conns: map[net.Conn]bool{},
		questions: &quota{each: questionsPerSlot, all: questionsInAll}, streams: &quota{each: streamsPerSlot, all: streamsInAll}}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	listen := func() error {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, dnsPort)))
		if err != nil {
			return err
		}
		t, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, dnsPort)))
		if err != nil {
			_ = u.Close()
			return err
		}
		d.udp, d.tcp = u, t
		return nil
	}
	if err := listen(); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, errs.Wrap(err, errs.Unavailable, "port 53 of %s is taken: a DNS server on this host listens on all addresses; make it listen on its own (dnsmasq: bind-dynamic)", at)
		}
		return nil, errs.Wrap(err, errs.Unavailable, "the resolver for sandboxes could not listen on %s", at)
	}
	d.work.Add(2)
	go func() { defer d.work.Done(); d.serveUDP() }()
	go func() { defer d.work.Done(); d.serveTCP() }()
	return d, nil
}

func (d *resolver) close() {
	d.cancel()
	_ = d.udp.Close()
	_ = d.tcp.Close()
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
}

func (d *resolver) serveUDP() {
	buf := make([]byte, maxQuery+1)
	for {
		n, from, err := d.udp.ReadFromUDPAddrPort(buf)
		if d.ctx.Err() != nil {
			return
		}
		if err != nil { // an answer that could not be delivered is reported here
			continue
		}
		slot, blocked, ok := d.source(from.Addr().Unmap())
		if !ok || !d.questions.take(slot) {
			continue
		}
		msg := append([]byte(nil), buf[:n]...)
		d.work.Add(1)
		go func() {
			defer d.work.Done()
			defer d.questions.give(slot)
			if out := d.reply(msg, blocked, false); out != nil {
				_, _ = d.udp.WriteToUDPAddrPort(out, from)
			}
		}()
	}
}

func (d *resolver) serveTCP() {
	for {
		conn, err := d.tcp.AcceptTCP()
		if d.ctx.Err() != nil {
			return
		}
		if err != nil { // out of descriptors: what is open must end first
			select {
			case <-d.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		slot, _, ok := d.source(from.Addr().Unmap())
		if err != nil || !ok || !d.streams.take(slot) {
			_ = conn.Close()
			continue
		}
		d.work.Add(1)
		go func() {
			defer d.work.Done()
			defer d.streams.give(slot)
			d.serveStream(conn, from.Addr().Unmap())
		}()
	}
}

// serveStream answers the questions of one connection, one after the other.
func (d *resolver) serveStream(conn net.Conn, from netip.Addr) {
	d.mu.Lock()
	d.conns[conn] = true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.conns, conn)
		d.mu.Unlock()
		_ = conn.Close()
	}()
	r := bufio.NewReader(conn)
	for d.ctx.Err() == nil {
		if conn.SetDeadline(time.Now().Add(streamIdle)) != nil {
			return
		}
		msg, err := readFrame(r, maxQuery)
		if err != nil {
			return
		}
		slot, blocked, ok := d.source(from) // it may have been released or blocked since
		if !ok || !d.questions.take(slot) {
			return
		}
		out := d.reply(msg, blocked, true)
		d.questions.give(slot)
		if out == nil || conn.SetDeadline(time.Now().Add(streamIdle)) != nil || writeFrame(conn, out) != nil {
			return
		}
	}
}

// reply returns the answer to a message; nil when it deserves none.
func (d *resolver) reply(msg []byte, blocked, tcp bool) []byte {
	q, code, ok := parseQuery(msg)
	if !ok {
		return nil
	}
	if code == dnsmessage.RCodeSuccess && blocked {
		code = dnsmessage.RCodeRefused
	}
	if code != dnsmessage.RCodeSuccess {
		return d.own(q, code, false)
	}
	raw, err := d.up.ask(d.ctx, q, tcp)
	if err != nil {
		d.log.Debug("name could not be resolved", "error", err)
		return d.own(q, dnsmessage.RCodeServerFailure, false)
	}
	out, err := q.screen(raw, d.deny)
	if err != nil {
		return d.own(q, dnsmessage.RCodeServerFailure, false)
	}
	if !tcp && len(out) > q.size {
		return d.own(q, dnsmessage.RCodeSuccess, true)
	}
	return out
}

func (d *resolver) own(q query, code dnsmessage.RCode, truncated bool) []byte {
	out, err := q.answer(code, truncated, nil)
	if err != nil {
		return nil
	}
	return out
}

// quota bounds how much is going on at a time, per slot and in all.
type quota struct {
	each, all int

	mu   sync.Mutex // guards what follows
	sum  int
	used map[int]int
}

func (q *quota) take(slot int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used == nil {
		q.used = map[int]int{}
	}
	if q.sum >= q.all || q.used[slot] >= q.each {
		return false
	}
	q.sum++
	q.used[slot]++
	return true
}

func (q *quota) give(slot int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sum--
	if q.used[slot]--; q.used[slot] <= 0 {
		delete(q.used, slot)
	}
}

// problem says what is wrong with the upstreams; empty when nothing is.
func (u *upstreams) problem() string {
	if servers := u.servers(); len(servers) == 0 {
		return "sandboxes cannot resolve names: " + resolvConf + " has no usable nameserver; name one or configure upstream servers (port " + strconv.Itoa(dnsPort) + ")"
	}
	return ""
}
