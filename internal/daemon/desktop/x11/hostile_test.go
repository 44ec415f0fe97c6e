//go:build linux

package x11_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
)

var number atomic.Int32

func init() { number.Store(int32(20000 + time.Now().UnixNano()%20000)) }

// setup is the first answer of a server with a screen of 64×48.
func setup() []byte {
	b := make([]byte, 16)
	b = binary.LittleEndian.AppendUint16(b, 4) // vendor
	b = append(b, 0xff, 0xff, 1, 1, 0, 0, 32, 32, 8, 255, 0, 0, 0, 0)
	b = append(b, "test"...)
	b = append(b, 24, 32, 32, 0, 0, 0, 0, 0)       // a format
	b = binary.LittleEndian.AppendUint32(b, 0x100) // the root
	b = append(b, make([]byte, 16)...)
	b = binary.LittleEndian.AppendUint16(b, 64)
	b = binary.LittleEndian.AppendUint16(b, 48)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 0x21) // visual
	b = append(b, 0, 0, 24, 1)
	b = append(b, 24, 0, 1, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 0x21)
	b = append(b, 4, 8, 0, 1)
	for _, mask := range []uint32{0xff0000, 0xff00, 0xff, 0} {
		b = binary.LittleEndian.AppendUint32(b, mask)
	}
	return b
}

// serve runs a server that answers each request with what answer returns for its opcode and sequence number.
func serve(t *testing.T, answer func(op byte, seq uint16) []byte) *x11.Screen {
	t.Helper()
	display := fmt.Sprintf(":%d", number.Add(1))
	_, path, err := x11.SocketOf(display)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "@"+path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			session(c, answer)
			_ = c.Close()
		}
	}()
	s := &x11.Screen{Display: func() string { return display }}
	t.Cleanup(func() { _ = l.Close(); s.Close(); <-done })
	return s
}

func session(c net.Conn, answer func(op byte, seq uint16) []byte) {
	if _, err := io.CopyN(io.Discard, c, 12); err != nil {
		return
	}
	body := setup()
	head := []byte{1, 0, 11, 0, 0, 0}
	head = binary.LittleEndian.AppendUint16(head, uint16(len(body)/4))
	if _, err := c.Write(append(head, body...)); err != nil {
		return
	}
	for seq := uint16(1); ; seq++ {
		req := make([]byte, 4)
		if _, err := io.ReadFull(c, req); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.LittleEndian.Uint16(req[2:]))*4-4); err != nil {
			return
		}
		if a := answer(req[0], seq); a != nil {
			if _, err := c.Write(a); err != nil {
				return
			}
		}
	}
}

func reply(seq uint16, words uint32, fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, 32)
	b[0] = 1
	binary.LittleEndian.PutUint16(b[2:], seq)
	binary.LittleEndian.PutUint32(b[4:], words)
	return b
}

// every calls every question and input there is; what matters is that it returns, and does not panic.
func every(ctx context.Context, s *x11.Screen) []error {
	var out []error
	add := func(err error) { out = append(out, err) }
	_, _, err := s.Size(ctx)
	add(err)
	_, err = s.Displays(ctx)
	add(err)
	_, err = s.Windows(ctx)
	add(err)
	_, err = s.ActivePID(ctx)
	add(err)
	_, err = s.Grab(ctx, x11.Rect{}, true)
	add(err)
	_, err = s.Pointer(ctx)
	add(err)
	_, err = s.Use(ctx, x11.Mouse{At: &x11.Point{X: 1, Y: 1}, Button: 1, Press: true, Release: true})
	add(err)
	add(s.Type(ctx, []uint32{'a', 0x01001234}, 0))
	add(s.Press(ctx, nil, 'a'))
	s.Managed(ctx)
	return out
}

func TestHostileServers(t *testing.T) {
	for name, answer := range map[string]func(op byte, seq uint16) []byte{
		"zeros":          func(_ byte, seq uint16) []byte { return reply(seq, 0, 0) },
		"ones":           func(_ byte, seq uint16) []byte { return reply(seq, 0, 255) },
		"endless reply":  func(_ byte, seq uint16) []byte { return reply(seq, 1<<30, 0) },
		"largest reply":  func(_ byte, seq uint16) []byte { return reply(seq, ^uint32(0), 0) },
		"endless event":  func(_ byte, seq uint16) []byte { b := reply(seq, 1<<30, 0); b[0] = 35; return b },
		"wrong sequence": func(_ byte, seq uint16) []byte { return reply(seq+1, 0, 0) },
		"errors":         func(op byte, seq uint16) []byte { b := reply(seq, 0, 0); b[0], b[1], b[10] = 0, 8, op; return b },
		"many in replies": func(_ byte, seq uint16) []byte {
			return append(reply(seq, 8, 255), bytes.Repeat([]byte{255}, 32)...)
		},
		"silence": func(byte, uint16) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			start := time.Now()
			errs := every(ctx, s)
			if took := time.Since(start); took > x11.Patience {
				t.Errorf("took %v", took)
			}
			if name != "zeros" && name != "ones" && name != "many in replies" {
				for i, err := range errs {
					if err == nil {
						t.Errorf("call %d worked", i)
					}
				}
			}
		})
	}
}

func FuzzSetup(f *testing.F) {
	f.Add(setup())
	f.Add(setup()[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, h, err := x11.ParseSetup(b)
		if err == nil && (w < 1 || h < 1) {
			t.Fatalf("%d×%d", w, h)
		}
	})
}

// Whatever a server answers, the client returns.
func FuzzReplies(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, uint8(3))
	f.Add(bytes.Repeat([]byte{255}, 64), uint8(16))
	f.Add(make([]byte, 600), uint8(150))
	f.Fuzz(func(t *testing.T, data []byte, words uint8) {
		at := 0
		s := serve(t, func(_ byte, seq uint16) []byte {
			b := make([]byte, 32+4*int(words))
			for i := range b {
				if len(data) > 0 {
					b[i] = data[at%len(data)]
					at++
				}
			}
			b[0] = 1
			binary.LittleEndian.PutUint16(b[2:], seq)
			binary.LittleEndian.PutUint32(b[4:], uint32(words))
			return b
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		every(ctx, s)
	})
}

func TestSocketOf(t *testing.T) {
	for display, want := range map[string]string{":0": "/tmp/.X11-unix/X0", ":12.0": "/tmp/.X11-unix/X12", "unix:3": "/tmp/.X11-unix/X3"} {
		if _, got, err := x11.SocketOf(display); err != nil || got != want {
			t.Errorf("%q: %q, %v", display, got, err)
		}
	}
	for _, bad := range []string{"", "0", ":", ":-1", ":x", "host:0", ":/../etc", ":99999", ":01"} {
		if _, got, err := x11.SocketOf(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
	s := &x11.Screen{Display: func() string { return ":58999" }}
	if s.Ready(t.Context()) || !x11.Absent(":58999") {
		t.Error("a server that is not there")
	}
}
