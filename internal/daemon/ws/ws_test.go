//go:build linux

package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// serve runs handle for each WebSocket until the test ends, and returns the server's address, as host:port.
func serve(t *testing.T, handle func(*ws.Conn)) string {
	t.Helper()
	var handlers sync.WaitGroup
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		c, err := ws.Accept(w, r, 1<<20)
		if err != nil {
			return
		}
		handle(c)
		c.Close(ws.Normal, "")
	}))
	t.Cleanup(func() {
		srv.Close()
		handlers.Wait()
	})
	return srv.Listener.Addr().String()
}

func dial(t *testing.T, addr string, protocols ...string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr, &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: http.Header{"Origin": {"http://elsewhere.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// bare is a client that reads only when told to.
type bare struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func dialBare(t *testing.T, addr string) *bare {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	_ = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(conn, 4096)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	return &bare{Conn: conn, r: r, t: t}
}

// send writes a masked frame of less than 126 bytes.
func (b *bare) send(opcode byte, data []byte) {
	b.t.Helper()
	if _, err := b.Write(append([]byte{0x80 | opcode, 0x80 | byte(len(data)), 0, 0, 0, 0}, data...)); err != nil {
		b.t.Fatal(err)
	}
}

// frame reads the next frame.
func (b *bare) frame() (opcode byte, data []byte, err error) {
	var h [2]byte
	if _, err := io.ReadFull(b.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var l [2]byte
		_, err = io.ReadFull(b.r, l[:])
		n = uint64(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		_, err = io.ReadFull(b.r, l[:])
		n = binary.BigEndian.Uint64(l[:])
	}
	if err != nil || n > 1<<22 {
		return 0, nil, fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(b.r, data)
	return h[0] & 0xf, data, err
}

func TestSubprotocol(t *testing.T) {
	const exit, version = ws.ExitControlProtocol, ws.VersionProtocol + "0.190.0"
	envs := ws.EnvsProtocol + "eyJBIjoiYiJ9"
	for _, tt := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"chat"}, ""},
		{[]string{exit}, exit},
		{[]string{exit, envs}, exit},
		{[]string{envs, exit}, exit},
		{[]string{envs, exit, version}, version},
		{[]string{version, envs, exit}, version},
		{[]string{version}, version},
		{[]string{envs}, ""}, // never echoed: it may hold secrets
		{[]string{version, ws.VersionProtocol + "0.205.0"}, version},
	} {
		offered := make(chan []string, 1)
		addr := serve(t, func(c *ws.Conn) {
			if c.Chosen != tt.want || c.Offers(exit) != strings.Contains(strings.Join(tt.offered, " "), exit) {
				t.Errorf("%q: chosen %q", tt.offered, c.Chosen)
			}
			offered <- c.Protocols
		})
		c := dial(t, addr, tt.offered...)
		if c.Subprotocol() != tt.want {
			t.Errorf("%q: answered %q, want %q", tt.offered, c.Subprotocol(), tt.want)
		}
		if diff := cmp.Diff(tt.offered, <-offered); diff != "" {
			t.Error(diff)
		}
	}
}

func TestCheck(t *testing.T) {
	good := http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	for name, want := range map[string]bool{"": true, "Connection": false, "Upgrade": false, "Sec-Websocket-Version": false, "Sec-Websocket-Key": false} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header = good.Clone()
		r.Header.Del(name)
		if err := ws.Check(r); (err == nil) != want || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("without %q: %v", name, err)
		}
	}
}

func TestPingsAreAnsweredWhileNothingHappens(t *testing.T) {
	end := make(chan struct{})
	addr := serve(t, func(c *ws.Conn) {
		c.Discard()
		<-end
	})
	c := dial(t, addr)
	c.CloseRead(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 10 {
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	close(end)
}

// The library gives a pong 5 s and then takes the connection for lost. A client that is slow to read is not.
func TestPingWhileAWriteIsBlocked(t *testing.T) {
	t.Parallel()
	const count, size = 64, 256 << 10
	var written atomic.Int64
	addr := serve(t, func(c *ws.Conn) {
		c.Discard()
		for range count {
			written.Add(1)
			if err := c.Write(ws.Binary, make([]byte, size)); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	b := dialBare(t, addr)
	for n := int64(-1); n != written.Load(); { // until the writer is stuck
		n = written.Load()
		time.Sleep(200 * time.Millisecond)
	}
	b.send(9, []byte("lost"))
	time.Sleep(6 * time.Second) // longer than the library's limit: what is tested is that nothing happens
	b.send(9, []byte("here"))
	total, pong := 0, false
	for {
		op, data, err := b.frame()
		if err != nil {
			t.Fatal(err)
		}
		switch op {
		case 10:
			pong = string(data) == "here"
		case 8:
			if code := binary.BigEndian.Uint16(data); code != 1000 || total != count*size || !pong {
				t.Errorf("code %d, %d bytes of %d, pong %v", code, total, count*size, pong)
			}
			return
		default:
			total += len(data)
		}
	}
}

// A client that reads nothing costs bounded memory and is told why it is cut off when it reads again.
func TestSlowConsumer(t *testing.T) {
	refused := make(chan int, 1)
	addr := serve(t, func(c *ws.Conn) {
		c.Discard()
		chunk := make([]byte, 32<<10)
		n := 0
		for c.Queue(ws.Binary, chunk) && n < 1e6 {
			n++
		}
		refused <- n
		if c.Queue(ws.Text, []byte("late")) {
			t.Error("a message was taken after the queue was full")
		}
	})
	b := dialBare(t, addr)
	n := <-refused
	if taken := n * 32 << 10; taken < ws.MaxQueuedLen || taken > 4*ws.MaxQueuedLen {
		t.Errorf("%d bytes were taken", taken)
	}
	daemonWaits(t)
	for {
		op, data, err := b.frame()
		if err != nil {
			t.Fatal(err)
		}
		if op == 8 {
			if code, reason := binary.BigEndian.Uint16(data), string(data[2:]); code != 1008 || reason != "slow consumer" {
				t.Errorf("closed with %d %q", code, reason)
			}
			return
		}
	}
}

// daemonWaits lets queues be dropped before their client reads again.
func daemonWaits(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for ws.QueuedAll() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still held", ws.QueuedAll())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestManySmallMessagesOverflowToo(t *testing.T) {
	result := make(chan int, 1)
	addr := serve(t, func(c *ws.Conn) {
		big := make([]byte, 3<<20) // fills the kernel's buffers and stays in hand
		c.Queue(ws.Binary, big)
		n := 0
		for c.Queue(ws.Binary, []byte{1}) && n < 1e6 {
			n++
		}
		result <- n
		c.Cut()
	})
	dialBare(t, addr)
	if n := <-result; n < ws.MaxQueued-1 || n > ws.MaxQueued {
		t.Errorf("%d messages were taken, want %d", n, ws.MaxQueued)
	}
}

func TestLagging(t *testing.T) {
	room := make(chan struct{}, 1)
	lagged := make(chan struct{})
	addr := serve(t, func(c *ws.Conn) {
		c.Discard()
		c.OnRoom(func() {
			select {
			case room <- struct{}{}:
			default:
			}
		})
		for !c.Lagging() {
			if !c.Queue(ws.Binary, make([]byte, 64<<10)) {
				t.Error("the queue was full before it lagged")
				return
			}
		}
		close(lagged)
		<-room
		if c.Lagging() {
			t.Error("still lagging")
		}
	})
	b := dialBare(t, addr)
	<-lagged
	for {
		op, _, err := b.frame()
		if err != nil {
			t.Fatal(err)
		}
		if op == 8 {
			return
		}
	}
}

// Whatever is queued before Finish arrives, in order, before the close frame.
func TestOrderBeforeClose(t *testing.T) {
	long := strings.Repeat("ü", 100)
	for _, tt := range []struct {
		code       int
		give, want string
	}{
		{ws.Normal, `{"exitCode":0}`, `{"exitCode":0}`},
		{ws.Internal, "", ""},
		{ws.CodeTimedOut, "timeout", "timeout"},
		{ws.Policy, long, long[:122]}, // whole characters
		{ws.GoingAway, "\xff!", "\uFFFD!"},
		{ws.Restart, "again", "again"},
	} {
		addr := serve(t, func(c *ws.Conn) {
			c.Discard()
			for i := range 200 {
				if !c.Queue(ws.Text, fmt.Appendf(nil, "%d", i)) {
					t.Error("full")
				}
			}
			c.Finish(tt.code, tt.give)
			c.Finish(1001, "the second call does not count")
		})
		c := dial(t, addr)
		for i := range 200 {
			_, data, err := c.Read(t.Context())
			if err != nil || string(data) != fmt.Sprint(i) {
				t.Fatalf("%d: %q %v", i, data, err)
			}
		}
		_, _, err := c.Read(t.Context())
		var ce websocket.CloseError
		if !errors.As(err, &ce) || int(ce.Code) != tt.code || ce.Reason != tt.want {
			t.Errorf("closed with %v, want %d %q", err, tt.code, tt.want)
		}
		if !ws.Gone(err) {
			t.Error("not seen as the other's leaving")
		}
	}
}

func TestReadLimit(t *testing.T) {
	addr := serve(t, func(c *ws.Conn) {
		if _, _, err := c.Read(); err == nil {
			t.Error("a message over the limit was read")
		}
	})
	c := dial(t, addr)
	if err := c.Write(t.Context(), ws.Binary, make([]byte, 1<<20+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("closed with %v, want 1009", err)
	}
}

// All ways to end a connection may be called at once, with senders at work; Close returns when all is over.
func TestEndsRace(t *testing.T) {
	addr := serve(t, func(c *ws.Conn) {
		c.Discard()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 50 {
					c.Queue(ws.Text, []byte("queued"))
					if i == 0 {
						_ = c.Write(ws.Text, []byte("written"))
					}
				}
			})
			wg.Go(func() {
				switch i {
				case 0:
					c.Finish(ws.Normal, "finish")
				case 1:
					c.Close(ws.Internal, "close")
				case 2:
					c.TooSlow()
				case 3:
					c.Lagging()
				}
			})
		}
		wg.Wait()
		c.Close(ws.Normal, "")
		if c.Context().Err() == nil {
			t.Error("open after Close")
		}
	})
	var clients sync.WaitGroup
	for i := range 40 {
		c := dial(t, addr)
		clients.Go(func() {
			for {
				if _, _, err := c.Read(t.Context()); err != nil {
					return
				}
				if i%4 == 0 {
					_ = c.CloseNow()
				}
			}
		})
	}
	clients.Wait()
	daemonWaits(t)
}

func TestCloseDoesNotWaitForADeadClient(t *testing.T) {
	took := make(chan time.Duration, 1)
	addr := serve(t, func(c *ws.Conn) {
		c.Queue(ws.Binary, make([]byte, 8<<20))
		start := time.Now()
		c.Cut()
		c.Close(ws.Normal, "")
		took <- time.Since(start)
	})
	dialBare(t, addr)
	if d := <-took; d > time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzOffered(f *testing.F) {
	f.Add("a, b", "X-Daytona-Pty-Exit-Control")
	f.Add(",, ,", "X-Daytona-SDK-Version~0.1.0,X-Daytona-Pty-Envs~e30")
	f.Add("\x00\xff", " \t")
	f.Fuzz(func(t *testing.T, one, two string) {
		r := &http.Request{Header: http.Header{"Sec-Websocket-Protocol": {one, two}}}
		offered := ws.Offered(r)
		for _, p := range offered {
			if p == "" || strings.Contains(p, ",") || p != strings.TrimSpace(p) {
				t.Errorf("%q", p)
			}
		}
		chosen := ws.Choose(offered)
		if len(chosen) > 1 || len(chosen) == 1 && !bytes.Contains([]byte(one+","+two), []byte(chosen[0])) {
			t.Errorf("chosen %q of %q", chosen, offered)
		}
	})
}
