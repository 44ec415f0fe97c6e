//go:build linux

package run

import (
	"io"
	"sync"
	"unicode/utf8"
)

// jsonWriter escapes text for a JSON string, in pieces that may end inside a character.
type jsonWriter struct {
	w     io.Writer
	err   error
	n     int
	buf   [32 << 10]byte
	carry []byte // the beginning of a character whose rest is in the next piece
}

var jsonWriters = sync.Pool{New: func() any { return new(jsonWriter) }}

func (e *jsonWriter) raw(b ...byte) {
	if e.n+len(b) > len(e.buf) {
		_ = e.flush()
	}
	e.n += copy(e.buf[e.n:], b)
}

func (e *jsonWriter) flush() error {
	if e.err == nil && e.n > 0 {
		_, e.err = e.w.Write(e.buf[:e.n])
	}
	e.n = 0
	return e.err
}

func (e *jsonWriter) flushCarry() {
	for range e.carry {
		e.raw(0xef, 0xbf, 0xbd)
	}
	e.carry = e.carry[:0]
}

// plain marks the bytes that stand for themselves in a JSON string.
func plain(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

func (e *jsonWriter) text(b []byte) {
	for len(e.carry) > 0 && len(b) > 0 { // at most three rounds
		e.carry = append(e.carry, b[0])
		b = b[1:]
		if r, size := utf8.DecodeRune(e.carry); r != utf8.RuneError {
			e.raw(e.carry...)
			e.carry = e.carry[:0]
		} else if utf8.FullRune(e.carry) { // not the character it promised to be: replace a byte, look again at the rest
			rest := append([]byte(nil), e.carry[size:]...)
			e.carry = e.carry[:0]
			e.raw(0xef, 0xbf, 0xbd)
			b = append(rest, b...)
		}
	}
	for i := 0; i < len(b) && e.err == nil; {
		c := b[i]
		if plain(c) {
			j := i + 1
			for j < len(b) && plain(b[j]) {
				j++
			}
			e.span(b[i:j])
			i = j
			continue
		}
		if c < utf8.RuneSelf {
			e.control(c)
			i++
			continue
		}
		if !utf8.FullRune(b[i:]) {
			e.carry = append(e.carry[:0], b[i:]...)
			return
		}
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			e.raw(0xef, 0xbf, 0xbd)
		default:
			e.raw(b[i : i+size]...)
		}
		i += size
	}
}

func (e *jsonWriter) span(b []byte) {
	for len(b) > 0 && e.err == nil {
		if e.n == len(e.buf) {
			_ = e.flush()
		}
		n := copy(e.buf[e.n:], b)
		e.n += n
		b = b[n:]
	}
}

func (e *jsonWriter) control(c byte) {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		e.raw('\\', c)
	case '\n':
		e.raw('\\', 'n')
	case '\r':
		e.raw('\\', 'r')
	case '\t':
		e.raw('\\', 't')
	case 0x7f:
		e.raw(c)
	default:
		e.raw('\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
}
