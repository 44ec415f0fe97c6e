//go:build linux

package x11

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/keys"
)

// Buttons of a mouse; the wheel is buttons too.
const (
	Left       byte = 1
	Middle     byte = 2
	Right      byte = 3
	WheelUp    byte = 4
	WheelDown  byte = 5
	WheelLeft  byte = 6
	WheelRight byte = 7
)

// ErrNoInput means that the server takes no input from programs.
var ErrNoInput = errors.New("the X server lacks the extension XTEST")

// ErrNoKey means that a keyboard has no room for a character.
var ErrNoKey = errors.New("no key can be given to the character")

const (
	keyPress, keyRelease       byte = 2, 3
	buttonPress, buttonRelease byte = 4, 5
	motion                     byte = 6
)

// fake makes an XTEST request.
func fake(op, kind, detail byte, at Point) []byte {
	b := request(op, 2)
	b = append(b, kind, detail, 0, 0)
	b = u32(b, 0, 0, 0, 0) // at once; the root of the screen; unused
	b = u16(b, at.X, at.Y)
	return append(b, make([]byte, 8)...)
}

// Pointer returns where the mouse pointer is.
func (s *Screen) Pointer(ctx context.Context) (Point, error) {
	p, _, err := s.pointer(ctx)
	return p, err
}

// pointer also returns the modifiers and buttons that are held.
func (s *Screen) pointer(ctx context.Context) (p Point, held uint16, err error) {
	err = s.with(ctx, func(x *conn) error {
		b, err := x.call(ctx, u32(request(38, 0), x.root), maxReply)
		if err != nil {
			return err
		}
		p = Point{int(int16(binary.LittleEndian.Uint16(b[16:]))), int(int16(binary.LittleEndian.Uint16(b[18:])))}
		held = binary.LittleEndian.Uint16(b[24:])
		return nil
	})
	return p, held, err
}

// inject sends events, each made from the opcode of XTEST, and waits until the server has processed them.
func (s *Screen) inject(ctx context.Context, events ...func(op byte) []byte) error {
	return s.with(ctx, func(x *conn) error {
		op, err := x.extension(ctx, "XTEST")
		if err != nil {
			return err
		}
		if op == 0 {
			return ErrNoInput
		}
		reqs := make([][]byte, len(events))
		for i, e := range events {
			reqs[i] = e(op)
		}
		return x.send(ctx, reqs...)
	})
}

func event(kind, detail byte) func(byte) []byte {
	return func(op byte) []byte { return fake(op, kind, detail, Point{}) }
}

func moveTo(p Point) func(byte) []byte {
	return func(op byte) []byte { return fake(op, motion, 0, p) }
}

// Mouse is one action of the mouse.
type Mouse struct {
	At        *Point // where to move first; nil: stay
	Button    byte
	Press     bool
	Release   bool
	Times     int      // of press and release; 0: once
	To        *Point   // between press and release, move here
	Modifiers []uint32 // keysyms held meanwhile
}

// clickPause is between two clicks at the same place: a window manager looks at each before the program does, and what comes meanwhile
// does not count as one more click.
const clickPause = 50 * time.Millisecond

// settle is how long a click is given before the next input: while a window manager looks at it, keys would overtake it.
const settle = 25 * time.Millisecond

// Steps of a drag: programs that tell a drag from a click by its way want to see one.
const (
	dragSteps = 16
	dragPause = 4 * time.Millisecond
)

// Use does an action and returns where the pointer is then. Whatever happens, what it pressed and was to release is released.
func (s *Screen) Use(ctx context.Context, m Mouse) (Point, error) {
	s.input.Lock()
	defer s.input.Unlock()
	codes, err := s.modifierCodes(ctx, m.Modifiers)
	if err != nil {
		return Point{}, err
	}
	if err := s.hold(ctx, codes); err != nil {
		return Point{}, err
	}
	err = s.act(ctx, m)
	if err == nil && (m.Press || m.Release) && m.Button < WheelUp {
		err = pause(ctx, settle)
	}
	err = errors.Join(err, s.release(ctx, codes))
	if err != nil {
		return Point{}, err
	}
	return s.Pointer(ctx)
}

func (s *Screen) act(ctx context.Context, m Mouse) error {
	var events []func(byte) []byte
	if m.At != nil {
		events = append(events, moveTo(*m.At))
	}
	if m.To != nil {
		return s.drag(ctx, m)
	}
	wheel := m.Button >= WheelUp
	for i := range max(1, m.Times) {
		if i > 0 && !wheel {
			if err := s.inject(ctx, events...); err != nil {
				return err
			}
			events = events[:0]
			if err := pause(ctx, clickPause); err != nil {
				return err
			}
		}
		if m.Press {
			events = append(events, event(buttonPress, m.Button))
		}
		if m.Release {
			events = append(events, event(buttonRelease, m.Button))
		}
	}
	return s.inject(ctx, events...)
}

func (s *Screen) drag(ctx context.Context, m Mouse) error {
	if err := s.inject(ctx, moveTo(*m.At), event(buttonPress, m.Button)); err != nil {
		return err
	}
	var err error
	for i := 1; i <= dragSteps && err == nil; i++ {
		if err = pause(ctx, dragPause); err == nil {
			err = s.inject(ctx, moveTo(Point{m.At.X + (m.To.X-m.At.X)*i/dragSteps, m.At.Y + (m.To.Y-m.At.Y)*i/dragSteps}))
		}
	}
	if err == nil {
		err = pause(ctx, dragPause)
	}
	up, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	return errors.Join(err, s.inject(up, event(buttonRelease, m.Button)))
}

func (s *Screen) hold(ctx context.Context, codes []byte) error {
	if len(codes) == 0 {
		return nil
	}
	events := make([]func(byte) []byte, len(codes))
	for i, c := range codes {
		events[i] = event(keyPress, c)
	}
	return s.inject(ctx, events...)
}

// release lets keys go, also when ctx is over.
func (s *Screen) release(ctx context.Context, codes []byte) error {
	if len(codes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	events := make([]func(byte) []byte, 0, len(codes))
	for _, c := range slices.Backward(codes) {
		events = append(events, event(keyRelease, c))
	}
	return s.inject(ctx, events...)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Press presses and releases a key while modifiers are held. key 0 presses the modifiers alone.
func (s *Screen) Press(ctx context.Context, modifiers []uint32, key uint32) error {
	s.input.Lock()
	defer s.input.Unlock()
	codes, err := s.modifierCodes(ctx, modifiers)
	if err != nil {
		return err
	}
	if key != 0 {
		own, err := s.codes(ctx, key)
		if err != nil {
			return err
		}
		for _, c := range own {
			if !slices.Contains(codes, c) {
				codes = append(codes, c)
			}
		}
	}
	err = s.hold(ctx, codes)
	return errors.Join(err, s.release(ctx, codes))
}

// Down presses a key and leaves it down; Up lets it go.
func (s *Screen) Down(ctx context.Context, key uint32) error { return s.one(ctx, key, true) }

// Up lets a key go that Down pressed.
func (s *Screen) Up(ctx context.Context, key uint32) error { return s.one(ctx, key, false) }

func (s *Screen) one(ctx context.Context, key uint32, down bool) error {
	s.input.Lock()
	defer s.input.Unlock()
	codes, err := s.codes(ctx, key)
	if err != nil {
		return err
	}
	if down {
		return s.hold(ctx, codes)
	}
	return s.release(ctx, codes)
}

// Between two batches of a text, and after the keys that a text uses up are given to other characters.
const (
	typeBatch = 64                     // events in one exchange
	rekeyWait = 150 * time.Millisecond // for programs to read what was typed before its keys mean something else
)

// Type types keysyms, with a delay between them. Characters that the keyboard lacks are given to keys that have no meaning, which
// then keep it. Caps Lock is put aside meanwhile.
func (s *Screen) Type(ctx context.Context, text []uint32, delay time.Duration) error {
	s.input.Lock()
	defer s.input.Unlock()
	km, group, err := s.keymap(ctx)
	if err != nil {
		return err
	}
	shift, hasShift := km.find(keys.Shift, group, 0)
	if _, held, err := s.pointer(ctx); err != nil {
		return err
	} else if held&lockMask != 0 {
		if lock, ok := km.find(keys.CapsLock, group, 0); ok {
			if err := s.inject(ctx, event(keyPress, lock), event(keyRelease, lock)); err != nil {
				return err
			}
			defer func() {
				_ = s.inject(context.WithoutCancel(ctx), event(keyPress, lock), event(keyRelease, lock))
			}()
		}
	}
	var batch []func(byte) []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := s.inject(ctx, batch...)
		batch = batch[:0]
		return err
	}
	for i, sym := range text {
		code, level, ok := km.place(sym, group)
		if ok && level == 1 && !hasShift {
			ok = false
		}
		if !ok {
			if err := flush(); err != nil {
				return err
			}
			if code, err = s.give(ctx, km, sym); err != nil {
				return err
			}
			level = 0
		} else if slices.Contains(s.ours, code) {
			km.used[code] = true
		}
		if level == 1 {
			batch = append(batch, event(keyPress, shift))
		}
		batch = append(batch, event(keyPress, code), event(keyRelease, code))
		if level == 1 {
			batch = append(batch, event(keyRelease, shift))
		}
		if delay > 0 || len(batch) >= typeBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		if delay > 0 && i < len(text)-1 {
			if err := pause(ctx, delay); err != nil {
				return err
			}
		}
	}
	return flush()
}

const lockMask = 1 << 1

// keymap is what the keys of the keyboard mean.
type keymap struct {
	first byte
	per   int
	syms  []uint32
	used  map[byte]bool // keys given to characters that programs may not have read yet
}

// at returns the keysym of a key in a group (layout) and level (0: plain, 1: with Shift).
func (k *keymap) at(code byte, group, level int) uint32 {
	i := group*2 + level
	if i >= k.per {
		if group == 0 {
			return 0
		}
		i = level
		if i >= k.per {
			return 0
		}
	}
	return k.syms[int(code-k.first)*k.per+i]
}

func (k *keymap) count() int { return len(k.syms) / k.per }

func (k *keymap) find(sym uint32, group, level int) (byte, bool) {
	for i := range k.count() {
		if code := k.first + byte(i); k.at(code, group, level) == sym {
			return code, true
		}
	}
	return 0, false
}

// place returns the key that has sym, and on which level.
func (k *keymap) place(sym uint32, group int) (byte, int, bool) {
	if code, ok := k.find(sym, group, 0); ok {
		return code, 0, true
	}
	if keys.Keypad(sym) { // what Shift makes of them depends on Num Lock
		return 0, 0, false
	}
	code, ok := k.find(sym, group, 1)
	return code, 1, ok
}

// free reports whether a key has no meaning at all.
func (k *keymap) free(code byte) bool {
	at := int(code-k.first) * k.per
	return !slices.ContainsFunc(k.syms[at:at+k.per], func(s uint32) bool { return s != 0 })
}

// maxPer bounds the meanings that one key may have.
const maxPer = 64

// keymap asks the server; group is the layout in force.
func (s *Screen) keymap(ctx context.Context) (*keymap, int, error) {
	var km *keymap
	err := s.with(ctx, func(x *conn) error {
		count := int(x.maxCode) - int(x.minCode) + 1
		b, err := x.call(ctx, append(request(101, 0), x.minCode, byte(count), 0, 0), maxReply)
		if err != nil {
			return err
		}
		per := int(b[1])
		if per < 1 || per > maxPer || len(b)-32 < 4*per*count {
			return errors.New("the keyboard mapping makes no sense")
		}
		km = &keymap{first: x.minCode, per: per, syms: make([]uint32, per*count), used: map[byte]bool{}}
		for i := range km.syms {
			km.syms[i] = binary.LittleEndian.Uint32(b[32+4*i:])
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for _, c := range s.ours {
		km.used[c] = true
	}
	_, held, err := s.pointer(ctx)
	return km, int(held >> 13 & 3), err
}

// give lets a key that has no meaning stand for sym. When all have one, those given earlier are used again.
func (s *Screen) give(ctx context.Context, km *keymap, sym uint32) (byte, error) {
	code, ok := s.spare(km)
	if !ok {
		if len(s.ours) == 0 {
			return 0, ErrNoKey
		}
		i := slices.IndexFunc(s.ours, func(c byte) bool { return !km.used[c] })
		if i < 0 {
			if err := pause(ctx, rekeyWait); err != nil {
				return 0, err
			}
			clear(km.used)
			i = 0
		}
		code = s.ours[i]
	}
	err := s.with(ctx, func(x *conn) error {
		return x.send(ctx, u32(append(request(100, 1), code, 2, 0, 0), sym, sym)) // ChangeKeyboardMapping
	})
	if err != nil {
		return 0, err
	}
	s.ours = append(slices.DeleteFunc(s.ours, func(c byte) bool { return c == code }), code)
	copied := slices.Clone(s.ours)
	s.given.Store(&copied)
	km.used[code] = true
	at := int(code-km.first) * km.per
	clear(km.syms[at : at+km.per])
	km.syms[at] = sym
	if km.per > 1 {
		km.syms[at+1] = sym
	}
	return code, nil
}

func (s *Screen) spare(km *keymap) (byte, bool) {
	for i := km.count() - 1; i >= 0; i-- {
		if code := km.first + byte(i); km.free(code) {
			return code, true
		}
	}
	return 0, false
}

// codes returns the keys to press for a keysym: with Shift first where it is on that level.
func (s *Screen) codes(ctx context.Context, sym uint32) ([]byte, error) {
	km, group, err := s.keymap(ctx)
	if err != nil {
		return nil, err
	}
	code, level, ok := km.place(sym, group)
	if !ok {
		if code, err = s.give(ctx, km, sym); err != nil {
			return nil, err
		}
		return []byte{code}, nil
	}
	if level == 1 {
		if shift, ok := km.find(keys.Shift, group, 0); ok {
			return []byte{shift, code}, nil
		}
	}
	return []byte{code}, nil
}

func (s *Screen) modifierCodes(ctx context.Context, syms []uint32) ([]byte, error) {
	var out []byte
	for _, sym := range syms {
		c, err := s.codes(ctx, sym)
		if err != nil {
			return nil, err
		}
		out = append(out, c...)
	}
	return out, nil
}

// Given returns the keys that were given characters here. It never waits.
func (s *Screen) Given() []byte {
	if p := s.given.Load(); p != nil {
		return *p
	}
	return nil
}

// Regive tells a new screen what Given returned, so that the keys can be used again.
func (s *Screen) Regive(codes []byte) {
	s.input.Lock()
	defer s.input.Unlock()
	s.ours = slices.Clone(codes)
	s.given.Store(&codes)
}
