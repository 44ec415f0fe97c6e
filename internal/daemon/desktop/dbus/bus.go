//go:build linux

// Package dbus makes calls on a D-Bus and reads their answers, as much as walking accessibility trees takes: one connection, no
// goroutine, no signals, nothing exported. It trusts neither the bus nor who answers: messages have a limit, and an answer is read
// by a cursor that cannot leave it and only where its signature is the expected one.
package dbus

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Limits of a bus.
const (
	maxMessage = 1 << 20 // bytes of an answer's body that are read; a longer one is an error of its call
	maxHeader  = 64 << 10
	maxLine    = 512              // of the authentication
	maxSkipped = 64 << 20         // a message over this ends the connection
	patience   = 10 * time.Second // of connecting
)

// Conn is a connection to a bus. One goroutine uses it at a time.
type Conn struct {
	c      net.Conn
	r      *bufio.Reader
	serial uint32
	dead   bool
}

// Call is one method call.
type Call struct {
	Dest, Path, Interface, Method string
	Signature                     string // of Body
	Body                          Writer
	NoStart                       bool // do not let the bus start a program for it
}

// Reply is the answer to a call: Err, or a body.
type Reply struct {
	Err       error // *Error, ErrTooLarge, or nil
	Signature string
	body      []byte
	order     binary.ByteOrder
}

// Error is what the other side answers instead of a result.
type Error struct{ Name string }

func (e *Error) Error() string { return "D-Bus error " + e.Name }

// Errors of calls.
var (
	ErrTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxMessage)
	ErrClosed   = errors.New("the connection to the bus is lost")
	ErrAnswer   = errors.New("the answer is not of the expected form")
)

// Address returns the socket of the first usable entry of a bus address, such as "unix:path=/run/user/1000/bus"; one of the abstract
// kind starts with @.
func Address(list string) (string, error) {
	if len(list) > 4096 {
		return "", errors.New("the bus address is too long")
	}
	for entry := range strings.SplitSeq(list, ";") {
		kind, rest, ok := strings.Cut(entry, ":")
		if !ok || kind != "unix" {
			continue
		}
		for pair := range strings.SplitSeq(rest, ",") {
			key, value, _ := strings.Cut(pair, "=")
			if key != "path" && key != "abstract" {
				continue
			}
			path, err := url.PathUnescape(value)
			if err != nil || path == "" || len(path) > 107 || strings.IndexByte(path, 0) >= 0 {
				continue
			}
			if key == "abstract" {
				path = "@" + path
			}
			return path, nil
		}
	}
	return "", fmt.Errorf("no usable socket in the bus address %.200q", list)
}

// Dial connects to the bus at an address.
func Dial(ctx context.Context, address string) (*Conn, error) {
	path, err := Address(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Conn{c: nc, r: bufio.NewReaderSize(nc, 4096)}
	if err := c.greet(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() {
	c.dead = true
	_ = c.c.Close()
}

// Alive reports whether the connection is not known to be lost.
func (c *Conn) Alive() bool { return !c.dead }

func (c *Conn) greet(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	_ = c.c.SetDeadline(deadline)
	id := hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))
	if _, err := io.WriteString(c.c, "\x00AUTH EXTERNAL "+id+"\r\n"); err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK ") {
		return fmt.Errorf("the bus refuses: %.100q", line)
	}
	if _, err := io.WriteString(c.c, "BEGIN\r\n"); err != nil {
		return err
	}
	replies, err := c.Calls(ctx, []Call{{Dest: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Method: "Hello"}})
	if err != nil {
		return err
	}
	return replies[0].Err
}

func (c *Conn) line() (string, error) {
	var b []byte
	for {
		ch, err := c.r.ReadByte()
		if err != nil {
			return "", err
		}
		if ch == '\n' {
			return strings.TrimSuffix(string(b), "\r"), nil
		}
		if b = append(b, ch); len(b) > maxLine {
			return "", errors.New("the bus does not speak the protocol")
		}
	}
}

// Calls makes calls all at once and returns their answers in the same order. It ends with ctx, or after the time the connection's
// deadline allows; answers that have not come then are nil, and the connection stays usable. An error means that it is not.
func (c *Conn) Calls(ctx context.Context, calls []Call) ([]*Reply, error) {
	if c.dead {
		return nil, ErrClosed
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(patience)
	}
	_ = c.c.SetDeadline(deadline)
	first := c.serial + 1
	var out []byte
	for i := range calls {
		c.serial++
		out = calls[i].append(out, c.serial)
	}
	replies := make([]*Reply, len(calls))
	// Sent in a piece of its own size: a bus that stops reading, because what it sends is not read, is no deadlock of ours.
	if _, err := c.c.Write(out); err != nil {
		c.Close()
		return nil, err
	}
	for missing := len(calls); missing > 0; {
		serial, reply, err := c.read(ctx)
		if errors.Is(err, errLate) {
			return replies, nil
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		if i := serial - first; reply != nil && i < uint32(len(calls)) && replies[i] == nil {
			replies[i] = reply
			missing--
		}
	}
	return replies, nil
}

// errLate means that the time was over between two messages.
var errLate = errors.New("the time is over")

// read takes the next message. Only answers are returned; reply is nil for all others.
func (c *Conn) read(ctx context.Context) (serial uint32, reply *Reply, err error) {
	if _, err := c.r.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return 0, nil, errLate
		}
		return 0, nil, err
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.r, head); err != nil {
		return 0, nil, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch head[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		return 0, nil, errors.New("the bus sends no messages")
	}
	size, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	if fields > maxHeader || size > maxSkipped {
		return 0, nil, fmt.Errorf("a message of %d and %d bytes", fields, size)
	}
	hdr := make([]byte, (fields+7)&^7)
	if _, err := io.ReadFull(c.r, hdr); err != nil {
		return 0, nil, err
	}
	serial, reply = parseHeader(order, head[1], hdr[:fields])
	if size > maxMessage {
		if _, err := io.CopyN(io.Discard, c.r, int64(size)); err != nil {
			return 0, nil, err
		}
		if reply != nil {
			reply.Err = ErrTooLarge
		}
		return serial, reply, nil
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return 0, nil, err
	}
	if reply != nil {
		reply.body = body
	}
	return serial, reply, nil
}

// Kinds of messages and fields of their headers.
const (
	methodCall, methodReturn, methodError = 1, 2, 3
	flagNoStart                           = 2

	fieldPath, fieldInterface, fieldMember, fieldErrorName, fieldReplySerial, fieldDestination, fieldSignature = 1, 2, 3, 4, 5, 6, 8
)

// parseHeader reads the fields of an answer. Anything else, and what is malformed, is nil.
func parseHeader(order binary.ByteOrder, kind byte, fields []byte) (uint32, *Reply) {
	if kind != methodReturn && kind != methodError {
		return 0, nil
	}
	reply := &Reply{order: order}
	var serial uint32
	var name string
	r := Reader{b: fields, order: order}
	for len(r.b) > r.at && !r.bad {
		r.align(8)
		code := r.byte()
		switch sig := r.sig(); sig {
		case "s", "o":
			if s := r.String(); code == fieldErrorName {
				name = s
			}
		case "g":
			if s := r.sig(); code == fieldSignature {
				reply.Signature = s
			}
		case "u":
			if n := r.Uint32(); code == fieldReplySerial {
				serial = n
			}
		default:
			r.bad = true
		}
	}
	if r.bad {
		return 0, nil
	}
	if kind == methodError {
		reply.Err = &Error{Name: name}
	}
	return serial, reply
}

func (m *Call) append(out []byte, serial uint32) []byte {
	start := len(out)
	flags := byte(0)
	if m.NoStart {
		flags = flagNoStart
	}
	out = append(out, 'l', methodCall, flags, 1)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(m.Body.b)))
	out = binary.LittleEndian.AppendUint32(out, serial)
	w := Writer{}
	field := func(code byte, sig, value string) {
		if value == "" {
			return
		}
		w.align(8)
		w.b = append(w.b, code)
		w.sig(sig)
		if sig == "g" {
			w.sig(value)
		} else {
			w.String(value)
		}
	}
	field(fieldPath, "o", m.Path)
	field(fieldInterface, "s", m.Interface)
	field(fieldMember, "s", m.Method)
	field(fieldDestination, "s", m.Dest)
	field(fieldSignature, "g", m.Signature)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(w.b)))
	out = append(out, w.b...)
	for (len(out)-start)%8 != 0 {
		out = append(out, 0)
	}
	return append(out, m.Body.b...)
}
