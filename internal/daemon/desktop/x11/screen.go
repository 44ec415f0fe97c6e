//go:build linux

package x11

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// Screen is the screen of a display. It connects when it is first used, and again when the connection was lost. It is safe for
// concurrent use: pictures and questions pass between the steps of a longer input, two inputs do not mix.
type Screen struct {
	// Display names the display at present, such as ":0".
	Display func() string

	mu sync.Mutex // guards conn; held for one exchange with the server
	x  *conn
	on string // display that x belongs to

	input sync.Mutex // held for one input, which is many exchanges; guards ours
	ours  []byte     // keycodes that were given characters here, the latest last
	given atomic.Pointer[[]byte]
}

// Point is a place on the screen in pixels.
type Point struct{ X, Y int }

// Rect is a part of the screen in pixels.
type Rect struct{ X, Y, Width, Height int }

// Close ends the connection.
func (s *Screen) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.x != nil {
		s.x.close()
		s.x = nil
	}
}

// with runs fn on the connection. A connection that turns out to be lost is made anew once: the server may have been restarted
// since it was last used.
func (s *Screen) with(ctx context.Context, fn func(*conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	display := s.Display()
	kept := s.x != nil && !s.x.dead && s.on == display
	for {
		if s.x == nil || s.x.dead || s.on != display {
			if s.x != nil {
				s.x.close()
			}
			x, err := dial(ctx, display)
			if err != nil {
				s.x = nil
				return err
			}
			s.x, s.on = x, display
		}
		err := fn(s.x)
		if err == nil || !s.x.dead || !kept {
			return err
		}
		kept = false
	}
}

// Ready reports whether a server answers.
func (s *Screen) Ready(ctx context.Context) bool {
	return s.with(ctx, func(x *conn) error { return x.send(ctx) }) == nil
}

// Managed reports whether a window manager runs.
func (s *Screen) Managed(ctx context.Context) bool {
	found := false
	_ = s.with(ctx, func(x *conn) error {
		w, err := x.words(ctx, x.root, "_NET_SUPPORTING_WM_CHECK", 1)
		if err != nil || len(w) == 0 {
			return err
		}
		self, err := x.words(ctx, w[0], "_NET_SUPPORTING_WM_CHECK", 1) // what an earlier one left behind points nowhere
		found = len(self) == 1 && self[0] == w[0]
		return err
	})
	return found
}

// Size returns the size of the screen.
func (s *Screen) Size(ctx context.Context) (width, height int, err error) {
	err = s.with(ctx, func(x *conn) error {
		g, e := x.geometry(ctx, x.root)
		width, height = g.Width, g.Height
		return e
	})
	return width, height, err
}

// Displays returns the monitors, at least one.
func (s *Screen) Displays(ctx context.Context) ([]Rect, error) {
	var out []Rect
	err := s.with(ctx, func(x *conn) error {
		out = out[:0]
		op, err := x.extension(ctx, "RANDR")
		if err != nil {
			return err
		}
		if op != 0 {
			if out, err = x.monitors(ctx, op); err != nil {
				if xe := (*Error)(nil); !errors.As(err, &xe) { // an older RANDR has no monitors
					return err
				}
			}
		}
		if len(out) == 0 {
			g, err := x.geometry(ctx, x.root)
			if err != nil {
				return err
			}
			out = append(out, Rect{Width: g.Width, Height: g.Height})
		}
		return nil
	})
	return out, err
}

// maxMonitors is how many monitors are reported.
const maxMonitors = 64

func (x *conn) monitors(ctx context.Context, op byte) ([]Rect, error) {
	if _, err := x.call(ctx, u32(request(op, 0), 1, 5), maxReply); err != nil { // RRQueryVersion
		return nil, err
	}
	b, err := x.call(ctx, append(u32(request(op, 42), x.root), 1, 0, 0, 0), maxReply) // RRGetMonitors, active ones
	if err != nil {
		return nil, err
	}
	n := min(binary.LittleEndian.Uint32(b[12:]), maxMonitors)
	r := reader{b: b[32:]}
	var out []Rect
	for range n {
		r.skip(4)
		r.skip(2)
		outputs := int(r.u16())
		m := Rect{X: int(int16(r.u16())), Y: int(int16(r.u16())), Width: int(r.u16()), Height: int(r.u16())}
		r.skip(8)
		r.skip(4 * outputs)
		if r.bad {
			break
		}
		out = append(out, m)
	}
	return out, nil
}

// Window is a window of an application.
type Window struct {
	ID     uint32
	Title  string // at most 1 KiB
	Rect          // of its content, without the frame
	Active bool
}

const (
	// MaxWindows is how many windows are reported.
	MaxWindows = 1000
	maxTitle   = 1024
)

// Windows returns the windows of applications, in the order in which they were opened. Without a window manager these are all
// that the screen shows.
func (s *Screen) Windows(ctx context.Context) ([]Window, error) {
	var out []Window
	err := s.with(ctx, func(x *conn) error {
		out = nil
		ids, err := x.words(ctx, x.root, "_NET_CLIENT_LIST", MaxWindows)
		if err != nil {
			return err
		}
		if ids == nil {
			if ids, err = x.children(ctx); err != nil {
				return err
			}
		}
		active, err := x.words(ctx, x.root, "_NET_ACTIVE_WINDOW", 1)
		if err != nil {
			return err
		}
		for _, id := range ids {
			w, err := x.window(ctx, id)
			if xe := (*Error)(nil); errors.As(err, &xe) {
				continue // it was closed meanwhile
			}
			if err != nil {
				return err
			}
			w.Active = len(active) == 1 && active[0] == id
			out = append(out, w)
		}
		return nil
	})
	return out, err
}

// ActivePID returns the process of the active window, 0: not known.
func (s *Screen) ActivePID(ctx context.Context) (int, error) {
	pid := 0
	err := s.with(ctx, func(x *conn) error {
		pid = 0
		active, err := x.words(ctx, x.root, "_NET_ACTIVE_WINDOW", 1)
		if err != nil || len(active) == 0 || active[0] == 0 {
			return err
		}
		p, err := x.words(ctx, active[0], "_NET_WM_PID", 1)
		if xe := (*Error)(nil); errors.As(err, &xe) {
			return nil
		}
		if len(p) == 1 {
			pid = int(int32(p[0]))
		}
		return err
	})
	return pid, err
}

func (x *conn) window(ctx context.Context, id uint32) (Window, error) {
	g, err := x.geometry(ctx, id)
	if err != nil {
		return Window{}, err
	}
	b, err := x.call(ctx, u16(u32(request(40, 0), id, x.root), 0, 0), maxReply) // TranslateCoordinates
	if err != nil {
		return Window{}, err
	}
	g.X, g.Y = int(int16(binary.LittleEndian.Uint16(b[12:]))), int(int16(binary.LittleEndian.Uint16(b[14:])))
	w := Window{ID: id, Rect: g}
	for _, name := range []string{"_NET_WM_NAME", "WM_NAME"} {
		t, format, err := x.property(ctx, id, name, maxTitle)
		if err != nil {
			return w, err
		}
		if format == 8 && len(t) > 0 {
			w.Title = printable(t, name == "WM_NAME")
			break
		}
	}
	return w, nil
}

// printable makes text of a title, which is its window's own choice.
func printable(b []byte, latin1 bool) string {
	s := string(b)
	if latin1 {
		r := make([]rune, len(b))
		for i, c := range b {
			r[i] = rune(c)
		}
		s = string(r)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}

func (x *conn) geometry(ctx context.Context, drawable uint32) (Rect, error) {
	b, err := x.call(ctx, u32(request(14, 0), drawable), maxReply)
	if err != nil {
		return Rect{}, err
	}
	r := reader{b: b[12:]}
	return Rect{X: int(int16(r.u16())), Y: int(int16(r.u16())), Width: int(r.u16()), Height: int(r.u16())}, nil
}

// children returns the windows below the root that are shown.
func (x *conn) children(ctx context.Context) ([]uint32, error) {
	b, err := x.call(ctx, u32(request(15, 0), x.root), maxReply)
	if err != nil {
		return nil, err
	}
	r := reader{b: b[32:]}
	var out []uint32
	for range min(int(binary.LittleEndian.Uint16(b[16:])), MaxWindows) {
		id := r.u32()
		if r.bad {
			break
		}
		a, err := x.call(ctx, u32(request(3, 0), id), maxReply)
		if xe := (*Error)(nil); errors.As(err, &xe) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(a) >= 40 && a[26] == 2 { // viewable
			out = append(out, id)
		}
	}
	return out, nil
}

// Picture is what the screen showed: 4 bytes a pixel, blue, green, red and one without meaning, row by row.
type Picture struct {
	Width, Height int
	Pix           []byte
}

// Errors of Grab.
var (
	ErrOutside = errors.New("not on the screen")
	ErrFormat  = errors.New("the screen has no 24-bit colours")
)

// Grab takes a picture of a part of the screen; all of it when part is empty. A part that is not wholly on the screen is ErrOutside.
// With cursor the mouse pointer is drawn in.
func (s *Screen) Grab(ctx context.Context, part Rect, cursor bool) (pic Picture, err error) {
	err = s.with(ctx, func(x *conn) error {
		if !x.lsb32 {
			return ErrFormat
		}
		g, err := x.geometry(ctx, x.root)
		if err != nil {
			return err
		}
		p := part
		if p == (Rect{}) {
			p = Rect{Width: g.Width, Height: g.Height}
		}
		if p.X < 0 || p.Y < 0 || p.Width < 1 || p.Height < 1 || p.Width > g.Width || p.Height > g.Height || p.X > g.Width-p.Width || p.Y > g.Height-p.Height {
			return fmt.Errorf("%w: it has %d×%d pixels", ErrOutside, g.Width, g.Height)
		}
		if p.Width*p.Height > MaxPixels {
			return fmt.Errorf("%w: at most %d pixels are taken at once", ErrOutside, MaxPixels)
		}
		size := p.Width * p.Height * 4
		b, err := x.call(ctx, u32(u16(u32(request(73, 2), x.root), p.X, p.Y, p.Width, p.Height), ^uint32(0)), size+64)
		if err != nil {
			return err
		}
		if len(b)-32 < size {
			x.close()
			return fmt.Errorf("a picture of %d bytes, %d are needed", len(b)-32, size)
		}
		pic = Picture{Width: p.Width, Height: p.Height, Pix: b[32 : 32+size]}
		if cursor {
			return x.drawCursor(ctx, pic, p)
		}
		return nil
	})
	return pic, err
}

// maxCursor is the largest pointer that is drawn, pixels a side.
const maxCursor = 512

func (x *conn) drawCursor(ctx context.Context, pic Picture, part Rect) error {
	op, err := x.extension(ctx, "XFIXES")
	if err != nil || op == 0 {
		return err
	}
	if _, err := x.call(ctx, u32(request(op, 0), 4, 0), maxReply); err != nil {
		return err
	}
	b, err := x.call(ctx, request(op, 4), maxReply)
	if xe := (*Error)(nil); errors.As(err, &xe) {
		return nil // there is no pointer at present
	}
	if err != nil {
		return err
	}
	r := reader{b: b[8:]}
	left, top := int(int16(r.u16())), int(int16(r.u16()))
	w, h := int(r.u16()), int(r.u16())
	left -= int(r.u16())
	top -= int(r.u16())
	r.skip(12)
	if w > maxCursor || h > maxCursor || len(r.b) < 4*w*h {
		return nil
	}
	for row := range h {
		py := top + row - part.Y
		for col := range w {
			c := r.b[4*(row*w+col):]
			px := left + col - part.X
			if px < 0 || py < 0 || px >= pic.Width || py >= pic.Height {
				continue
			}
			dst, alpha := pic.Pix[4*(py*pic.Width+px):], 255-int(c[3])
			for i := range 3 { // the colours are multiplied by their alpha already
				dst[i] = byte(min(255, int(c[i])+int(dst[i])*alpha/255))
			}
		}
	}
	return nil
}
