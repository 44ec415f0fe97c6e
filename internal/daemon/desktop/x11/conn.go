//go:build linux

// Package x11 speaks as much of the X protocol as looking at a screen and using its keyboard and mouse takes: the core protocol
// with XTEST, XFIXES and RANDR, over one connection, without a goroutine. It trusts no server: every reply has a limit and a
// deadline, and lengths in it are checked against what came.
//
// It is not a general client: it makes no windows and takes no events.
package x11

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of a server.
const (
	// Patience is how long a server may take to answer one request.
	Patience = 5 * time.Second
	// MaxPixels of a screen that is taken a picture of: 8K.
	MaxPixels = 7680 * 4320

	maxReply = 4 << 20 // of everything but pictures, bytes
)

// ErrNoServer means that no server answers on the display.
var ErrNoServer = errors.New("no X server answers")

// SocketOf returns the number of a display on this host and the path of its socket: ":0", "unix:0.0". Displays of other hosts are
// refused.
func SocketOf(display string) (int, string, error) {
	rest, ok := strings.CutPrefix(display, "unix")
	if !ok {
		rest = display
	}
	rest, ok = strings.CutPrefix(rest, ":")
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n > 59000 || strconv.Itoa(n) != number {
		return 0, "", fmt.Errorf("the display %.40q is not one of this host, such as :0", display)
	}
	return n, filepath.Join("/tmp/.X11-unix", "X"+number), nil
}

// conn is a connection to a server. Its caller makes sure that one goroutine uses it at a time.
type conn struct {
	c    net.Conn
	r    *bufio.Reader
	seq  uint16
	dead bool

	root             uint32
	width, height    int
	lsb32            bool // pixels are 32 bits, blue first
	minCode, maxCode byte

	ext   map[string]byte // opcode by name, 0: not there
	atoms map[string]uint32
}

func dial(ctx context.Context, display string) (*conn, error) {
	_, path, err := SocketOf(display)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil { // some servers have the abstract socket alone
		c, err = d.DialContext(ctx, "unix", "@"+path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrNoServer, display, err)
	}
	x := &conn{c: c, r: bufio.NewReaderSize(c, 4096), ext: map[string]byte{}, atoms: map[string]uint32{}}
	if err := x.setup(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%w on %s: %w", ErrNoServer, display, err)
	}
	return x, nil
}

func (x *conn) close() {
	x.dead = true
	_ = x.c.Close()
}

// limit sets the deadline of one exchange.
func (x *conn) limit(ctx context.Context) {
	deadline := time.Now().Add(Patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = x.c.SetDeadline(deadline)
}

// setup is the first exchange of a connection. No authorization is sent: the server of a sandbox is open to all inside it.
func (x *conn) setup(ctx context.Context) error {
	x.limit(ctx)
	hello := make([]byte, 12)
	hello[0] = 'l'
	binary.LittleEndian.PutUint16(hello[2:], 11)
	if _, err := x.c.Write(hello); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(x.r, head); err != nil {
		return err
	}
	body := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:]))) // at most 256 KiB
	if _, err := io.ReadFull(x.r, body); err != nil {
		return err
	}
	if head[0] != 1 {
		why := string(body[:min(int(head[1]), len(body))])
		return fmt.Errorf("it refuses: %.100q", why)
	}
	return x.parseSetup(body)
}

func (x *conn) parseSetup(body []byte) error {
	r := reader{b: body}
	r.skip(16)
	vendor := int(r.u16())
	r.skip(2)
	screens, formats := int(r.u8()), int(r.u8())
	lsb := r.u8() == 0
	r.skip(3)
	x.minCode, x.maxCode = r.u8(), r.u8()
	r.skip(4)
	r.skip((vendor + 3) &^ 3)
	bpp := map[byte]byte{}
	for range formats {
		depth := r.u8()
		bpp[depth] = r.u8()
		r.skip(6)
	}
	x.root = r.u32()
	r.skip(16)
	x.width, x.height = int(r.u16()), int(r.u16())
	r.skip(8)
	visual := r.u32()
	r.skip(2)
	depth, depths := r.u8(), int(r.u8())
	rgb := false
	for range depths {
		r.skip(2)
		n := int(r.u16())
		r.skip(4)
		for range n {
			id := r.u32()
			r.skip(4)
			red, green, blue := r.u32(), r.u32(), r.u32()
			r.skip(4)
			if id == visual && red == 0xff0000 && green == 0xff00 && blue == 0xff {
				rgb = true
			}
			if r.bad {
				break
			}
		}
	}
	if r.bad || screens < 1 || x.minCode < 8 || x.maxCode < x.minCode || x.width < 1 || x.height < 1 {
		return errors.New("its first answer makes no sense")
	}
	x.lsb32 = lsb && rgb && bpp[depth] == 32
	return nil
}

// Error is an error that a server reports for a request.
type Error struct {
	Code  byte   // 3 is Window, 8 Match, 9 Drawable, …
	Major byte   // of the request
	Value uint32 // the bad one
}

func (e *Error) Error() string {
	return fmt.Sprintf("X error %d in request %d, value %#x", e.Code, e.Major, e.Value)
}

// request begins a request; finish sets its length.
func request(major, data byte) []byte { return []byte{major, data, 0, 0} }

func u16(b []byte, v ...int) []byte {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}

func u32(b []byte, v ...uint32) []byte {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func finish(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)/4))
	return b
}

// call sends a request that has a reply and returns it, with its 32 bytes of head. An error other than *Error ends the
// connection.
func (x *conn) call(ctx context.Context, req []byte, most int) ([]byte, error) {
	return x.exchange(ctx, finish(req), 1, most)
}

// send sends requests that have no reply, joined, and waits until the server has done them: the first error of any is returned.
func (x *conn) send(ctx context.Context, reqs ...[]byte) error {
	var all []byte
	for _, r := range reqs {
		all = append(all, finish(r)...)
	}
	all = append(all, finish(request(43, 0))...) // GetInputFocus, for its reply
	_, err := x.exchange(ctx, all, len(reqs)+1, maxReply)
	return err
}

func (x *conn) exchange(ctx context.Context, out []byte, requests, most int) ([]byte, error) {
	if x.dead {
		return nil, ErrNoServer
	}
	x.limit(ctx)
	if _, err := x.c.Write(out); err != nil {
		x.close()
		return nil, err
	}
	first := x.seq + 1
	x.seq += uint16(requests)
	reply, err := x.await(first, most)
	if xe := (*Error)(nil); err != nil && !errors.As(err, &xe) {
		x.close()
	}
	return reply, err
}

// await reads until the answer of the last request. Errors of requests since first are kept, events dropped.
func (x *conn) await(first uint16, most int) ([]byte, error) {
	var failure error
	head := make([]byte, 32)
	for {
		if _, err := io.ReadFull(x.r, head); err != nil {
			return nil, err
		}
		seq := binary.LittleEndian.Uint16(head[2:])
		switch head[0] {
		case 0:
			err := &Error{Code: head[1], Major: head[10], Value: binary.LittleEndian.Uint32(head[4:])}
			if seq-first <= x.seq-first && failure == nil {
				failure = err
			}
			if seq == x.seq {
				return nil, failure
			}
		case 1:
			size := int64(binary.LittleEndian.Uint32(head[4:])) * 4
			if size > int64(most) {
				return nil, fmt.Errorf("a reply of %d bytes, at most %d are taken", size, most)
			}
			if seq != x.seq { // nobody waits for it any more
				if _, err := io.CopyN(io.Discard, x.r, size); err != nil {
					return nil, err
				}
				continue
			}
			reply := make([]byte, 32+size)
			copy(reply, head)
			if _, err := io.ReadFull(x.r, reply[32:]); err != nil {
				return nil, err
			}
			return reply, failure
		case 35: // the one kind of event with a length
			size := int64(binary.LittleEndian.Uint32(head[4:])) * 4
			if size > maxReply {
				return nil, fmt.Errorf("an event of %d bytes", size)
			}
			if _, err := io.CopyN(io.Discard, x.r, size); err != nil {
				return nil, err
			}
		}
	}
}

// extension returns the opcode of an extension; 0: the server has none of that name.
func (x *conn) extension(ctx context.Context, name string) (byte, error) {
	if op, ok := x.ext[name]; ok {
		return op, nil
	}
	req := u16(request(98, 0), len(name), 0)
	b, err := x.call(ctx, append(req, name...), maxReply)
	if err != nil {
		return 0, err
	}
	var op byte
	if b[8] != 0 {
		op = b[9]
	}
	x.ext[name] = op
	return op, nil
}

func (x *conn) atom(ctx context.Context, name string) (uint32, error) {
	if a, ok := x.atoms[name]; ok {
		return a, nil
	}
	req := u16(request(16, 0), len(name), 0)
	b, err := x.call(ctx, append(req, name...), maxReply)
	if err != nil {
		return 0, err
	}
	a := binary.LittleEndian.Uint32(b[8:])
	x.atoms[name] = a
	return a, nil
}

// property reads a property of a window, at most size bytes of it. format is 8, 16 or 32, and 0 when there is none.
func (x *conn) property(ctx context.Context, window uint32, name string, size int) (value []byte, format byte, err error) {
	a, err := x.atom(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	b, err := x.call(ctx, u32(request(20, 0), window, a, 0, 0, uint32((size+3)/4)), size+64)
	if err != nil {
		return nil, 0, err
	}
	format = b[1]
	n := int64(binary.LittleEndian.Uint32(b[16:])) * int64(format) / 8
	if n > int64(len(b)-32) {
		n = int64(len(b) - 32)
	}
	return b[32 : 32+n], format, nil
}

// words reads a property that is a list of numbers.
func (x *conn) words(ctx context.Context, window uint32, name string, most int) ([]uint32, error) {
	b, format, err := x.property(ctx, window, name, 4*most)
	if err != nil || format != 32 {
		return nil, err
	}
	out := make([]uint32, len(b)/4)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out, nil
}

// reader takes numbers from bytes and remembers when there were too few.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, 4)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n int) { _ = r.take(n) }
func (r *reader) u8() byte   { return r.take(1)[0] }
func (r *reader) u16() uint16 {
	return binary.LittleEndian.Uint16(r.take(2))
}
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// Absent reports whether nothing listens on the display: its socket is missing or nobody is behind it.
func Absent(display string) bool {
	_, path, err := SocketOf(display)
	if err != nil {
		return true
	}
	if _, err := os.Stat(path); err == nil {
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil { //nolint:noctx // of this computer
			_ = c.Close()
			return false
		}
	}
	c, err := net.DialTimeout("unix", "@"+path, time.Second) //nolint:noctx // of this computer
	if err != nil {
		return true
	}
	_ = c.Close()
	return false
}
