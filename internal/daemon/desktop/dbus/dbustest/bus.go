//go:build linux

// Package dbustest is a bus for tests whose programs answer whatever a test wants, also what no real one would.
package dbustest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Call is a call as the bus got it.
type Call struct {
	Dest, Path, Interface, Method string
	Serial                        uint32
	Body                          []byte
}

// Answer is what becomes of a call. The zero answer is an error.
type Answer struct {
	Signature string
	Body      []byte
	Error     string // name of an error
	Silent    bool   // no answer at all
	Raw       []byte // sent as it is, instead of an answer
}

// Bus is a running bus.
type Bus struct {
	Address string

	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

// Start runs a bus until the test ends. Hello is answered by itself.
func Start(t testing.TB, handle func(Call) Answer) *Bus {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bus{Address: "unix:path=" + path, l: l}
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, c)
			b.mu.Unlock()
			b.wg.Add(1)
			go func() {
				defer b.wg.Done()
				defer func() { _ = c.Close() }()
				serve(c, handle)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		b.Hangup()
		b.wg.Wait()
	})
	return b
}

// Hangup closes all connections.
func (b *Bus) Hangup() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

func serve(c net.Conn, handle func(Call) Answer) {
	r := bufio.NewReader(c)
	if _, err := r.ReadByte(); err != nil {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "BEGIN") {
			break
		}
		if _, err := io.WriteString(c, "OK 0123456789abcdef0123456789abcdef\r\n"); err != nil {
			return
		}
	}
	for {
		call, err := read(r)
		if err != nil {
			return
		}
		a := Answer{}
		if call.Method == "Hello" {
			a = Answer{Signature: "s", Body: []byte("\x04\x00\x00\x00:1.0\x00")}
		} else {
			a = handle(call)
		}
		if a.Silent {
			continue
		}
		out := a.Raw
		if out == nil {
			out = Reply(call.Serial, a)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func read(r io.Reader) (Call, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return Call{}, err
	}
	n := int(binary.LittleEndian.Uint32(head[12:]))
	fields := make([]byte, (n+7)&^7)
	if _, err := io.ReadFull(r, fields); err != nil {
		return Call{}, err
	}
	call := Call{Serial: binary.LittleEndian.Uint32(head[8:]), Body: make([]byte, binary.LittleEndian.Uint32(head[4:]))}
	if _, err := io.ReadFull(r, call.Body); err != nil {
		return Call{}, err
	}
	for at := 0; at < n; {
		at = (at + 7) &^ 7
		code, kind := fields[at], fields[at+2]
		at += 4
		if kind == 'g' {
			at += int(fields[at]) + 2
			continue
		}
		size := int(binary.LittleEndian.Uint32(fields[at:]))
		text := string(fields[at+4 : at+4+size])
		at += 4 + size + 1
		switch code {
		case 1:
			call.Path = text
		case 2:
			call.Interface = text
		case 3:
			call.Method = text
		case 6:
			call.Dest = text
		}
	}
	return call, nil
}

// Reply is the message that answers the call with that serial.
func Reply(serial uint32, a Answer) []byte {
	kind := byte(2)
	if a.Error != "" || a.Signature == "" && a.Body == nil {
		kind = 3
		if a.Error == "" {
			a.Error = "org.freedesktop.DBus.Error.UnknownMethod"
		}
		a.Body, a.Signature = nil, ""
	}
	fields := []byte{5, 1, 'u', 0}
	fields = binary.LittleEndian.AppendUint32(fields, serial)
	if a.Error != "" {
		fields = append(fields, 4, 1, 's', 0)
		fields = binary.LittleEndian.AppendUint32(fields, uint32(len(a.Error)))
		fields = append(append(fields, a.Error...), 0)
	}
	if a.Signature != "" {
		fields = append(fields, 8, 1, 'g', 0, byte(len(a.Signature)))
		fields = append(append(fields, a.Signature...), 0)
	}
	out := []byte{'l', kind, 1, 1}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(a.Body)))
	out = binary.LittleEndian.AppendUint32(out, 7)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(fields)))
	out = append(out, fields...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	return append(out, a.Body...)
}
