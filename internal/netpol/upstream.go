package netpol

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	dnsTimeout  = 5 * time.Second // for one question, all attempts together
	dnsAttempt  = 1500 * time.Millisecond
	resolvConf  = "/etc/resolv.conf"
	reloadEvery = time.Second
)

// upstreams are the servers that questions go to.
type upstreams struct {
	fixed []netip.AddrPort
	self  netip.Addr // our own resolver: never asked, or a question would go round for ever

	mu      sync.Mutex // guards what follows
	checked time.Time
	changed time.Time
	list    []netip.AddrPort
}

func (u *upstreams) servers() []netip.AddrPort {
	if len(u.fixed) > 0 {
		return u.fixed
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); now.Sub(u.checked) >= reloadEvery {
		u.checked = now
		if st, err := os.Stat(resolvConf); err == nil && !st.ModTime().Equal(u.changed) {
			if text, err := os.ReadFile(resolvConf); err == nil {
				u.changed, u.list = st.ModTime(), nameservers(string(text), u.self)
			}
		}
	}
	return u.list
}

// nameservers reads the servers of a resolv.conf.
func nameservers(text string, except netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Unmap() != except {
			out = append(out, netip.AddrPortFrom(a, dnsPort))
		}
	}
	return out
}

var errNoUpstream = errors.New("no DNS server is configured")

// ask forwards a question and returns the first answer, which belongs to it and is not judged yet. Servers are tried in
// turn until one answers or the time is over; a server that fails is not the last word while another is left.
func (u *upstreams) ask(ctx context.Context, q query, tcp bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	servers := u.servers()
	err := errNoUpstream
	for round := 0; len(servers) > 0 && ctx.Err() == nil && round < 3; round++ {
		for _, s := range servers {
			var msg []byte
			if msg, err = exchange(ctx, s, q, tcp); err == nil {
				return msg, nil
			}
			if ctx.Err() != nil {
				break
			}
		}
		select { // servers that refuse at once must not be hammered
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond << (2 * round)):
		}
	}
	return nil, err
}

func exchange(ctx context.Context, server netip.AddrPort, q query, tcp bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsAttempt)
	defer cancel()
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	id := binary.BigEndian.Uint16(random[:])
	msg, err := q.forward(id)
	if err != nil {
		return nil, err
	}
	if !tcp {
		answer, truncated, err := overUDP(ctx, server, q, id, msg)
		if err != nil || !truncated {
			return answer, err
		}
	}
	return overTCP(ctx, server, q, id, msg)
}

func dialUpstream(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return conn, conn.SetDeadline(deadline)
}

// overUDP waits for the answer to its own question: anything else that comes in meanwhile is somebody's guess.
func overUDP(ctx context.Context, server netip.AddrPort, q query, id uint16, msg []byte) (answer []byte, truncated bool, err error) {
	conn, err := dialUpstream(ctx, "udp", server)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	if _, err := conn.Write(msg); err != nil {
		return nil, false, err
	}
	buf := make([]byte, maxQuery)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, false, err
		}
		if h, ok := q.answeredBy(buf[:n], id); ok {
			return buf[:n], h.Truncated || n == len(buf), nil
		}
	}
}

func overTCP(ctx context.Context, server netip.AddrPort, q query, id uint16, msg []byte) ([]byte, error) {
	conn, err := dialUpstream(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := writeFrame(conn, msg); err != nil {
		return nil, err
	}
	answer, err := readFrame(bufio.NewReader(conn), maxAnswer)
	if err != nil {
		return nil, err
	}
	if _, ok := q.answeredBy(answer, id); !ok {
		return nil, errors.New("the answer belongs to another question")
	}
	return answer, nil
}

// readFrame reads one message with its length before it, which DNS over TCP uses.
func readFrame(r io.Reader, most int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > most {
		return nil, errors.New("the message is too long")
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeFrame(w io.Writer, msg []byte) error {
	if len(msg) > maxAnswer {
		return errors.New("the message is too long")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, len(msg)+2), uint16(len(msg))), msg...))
	return err
}
