//go:build linux

package pty

import (
	"bytes"
	"strings"
)

// scanner follows a terminal's output far enough to know where a character and a control sequence begin and end, which of
// the modes are set that matter to whoever sees the output from its middle on, and which sequences ask the terminal for an
// answer. Its fields are exported for being saved.
type scanner struct {
	State uint8
	Rest  uint8 // bytes that are missing of a character
	Kind  byte  // of a string: the byte that began it
	Seq   []byte
	Over  bool // Seq is not all of the sequence
	// Flip has a bit for each mode of modes that is not as it is in a new terminal; the bit after them is the keypad's.
	Flip uint32

	asks bool // the sequence that just ended asks for an answer
}

// States of a scanner.
const (
	ground    uint8 = iota
	character       // within a UTF-8 character
	escape          // after ESC
	escapeMid       // ESC and an intermediate byte
	csi             // ESC [
	str             // ESC ], P, X, ^ or _: until BEL or ESC \
	strEscape       // ESC within a string
)

// maxSeq is how much of a sequence is looked at, in bytes.
const maxSeq = 256

const (
	esc = 0x1b
	bel = 0x07
	can = 0x18
	sub = 0x1a
	enq = 0x05
)

// modes are those of DEC that programs leave set for as long as they run.
var modes = [...]struct {
	number string
	on     bool // in a new terminal
}{{"1", false}, {"6", false}, {"7", true}, {"25", true}, {"47", false}, {"1000", false}, {"1002", false}, {"1003", false}, {"1004", false},
	{"1005", false}, {"1006", false}, {"1015", false}, {"1047", false}, {"1049", false}, {"2004", false}}

const keypad = 1 << len(modes)

// skip looks at p and remembers only where it ends.
func (s *scanner) skip(p []byte) {
	for i := 0; i < len(p); i++ {
		if s.State == ground {
			for i < len(p) && p[i] >= 0x20 && p[i] < 0x7f {
				i++
			}
			if i == len(p) {
				return
			}
		}
		s.step(p[i])
	}
}

// step looks at one byte. s.asks holds until the next step.
func (s *scanner) step(b byte) {
	s.asks = false
	if s.State != ground && (b == can || b == sub) {
		s.State = ground
		return
	}
	if b >= 0x80 && (s.State == escape || s.State == escapeMid || s.State == csi || s.State == strEscape) {
		s.State = ground // it was no sequence: no byte of one is outside ASCII
	}
	switch s.State {
	case character:
		if b&0xc0 == 0x80 {
			if s.Rest--; s.Rest == 0 {
				s.State = ground
			}
			return
		}
		s.State = ground
		fallthrough // it was none: this byte begins something
	case ground:
		switch {
		case b == esc:
			s.State = escape
		case b == enq:
			s.asks = true
		case b >= 0xc2 && b < 0xf5:
			s.State, s.Rest = character, 1
			if b >= 0xf0 {
				s.Rest = 3
			} else if b >= 0xe0 {
				s.Rest = 2
			}
		}
	case escape:
		s.afterEscape(b)
	case escapeMid:
		if b == esc {
			s.State = escape
		} else if b >= 0x30 {
			s.State = ground
		}
	case csi:
		switch {
		case b == esc:
			s.State = escape
		case b >= 0x40 && b < 0x7f:
			s.State = ground
			s.endCSI(b)
		case b >= 0x20:
			s.collect(b)
		}
	case str:
		switch b {
		case bel:
			s.endString()
		case esc:
			s.State = strEscape
		default:
			s.collect(b)
		}
	case strEscape:
		if b == '\\' {
			s.endString()
		} else {
			s.afterEscape(b)
		}
	}
}

func (s *scanner) afterEscape(b byte) {
	s.Seq, s.Over = s.Seq[:0], false
	s.State = ground
	switch {
	case b == '[':
		s.State = csi
	case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
		s.State, s.Kind = str, b
	case b == esc:
		s.State = escape
	case b >= 0x20 && b < 0x30:
		s.State = escapeMid
	case b == '=':
		s.Flip |= keypad
	case b == '>':
		s.Flip &^= keypad
	case b == 'c': // reset
		s.Flip = 0
	case b == 'Z':
		s.asks = true
	}
}

func (s *scanner) collect(b byte) {
	if len(s.Seq) < maxSeq {
		s.Seq = append(s.Seq, b)
	} else {
		s.Over = true
	}
}

// endCSI looks at ESC [ Seq final.
func (s *scanner) endCSI(final byte) {
	if s.Over {
		return
	}
	private, params := byte(0), s.Seq
	if len(params) > 0 && params[0] >= '<' && params[0] <= '?' {
		private, params = params[0], params[1:]
	}
	mid := byte(0)
	if i := bytes.IndexFunc(params, func(r rune) bool { return r < 0x30 }); i >= 0 {
		mid, params = params[i], params[:i]
	}
	switch final {
	case 'h', 'l':
		if private == '?' && mid == 0 {
			s.setModes(string(params), final == 'h')
		}
	case 'c': // who are you
		s.asks = private != '?' && mid == 0
	case 'n': // status, position
		s.asks = private != '>' && mid == 0
	case 'x', 'R':
		s.asks = final == 'x' && mid == 0
	case 'p': // mode
		s.asks = mid == '$'
		if mid == '!' { // soft reset
			s.setModes("1;6", false)
			s.setModes("25;7", true)
			s.Flip &^= keypad
		}
	case 'q': // version
		s.asks = private == '>'
	case 'u', 'm': // keyboard
		s.asks = private == '?'
	case 'S': // graphics
		s.asks = private == '?'
	case 't': // window
		first, _, _ := strings.Cut(string(params), ";")
		switch first {
		case "11", "13", "14", "15", "16", "18", "19", "20", "21":
			s.asks = mid == 0 && private == 0
		}
	case 'w': // presentation
		s.asks = mid == '$'
	case 'y': // checksum
		s.asks = mid == '*'
	}
}

func (s *scanner) setModes(numbers string, on bool) {
	for n := range strings.SplitSeq(numbers, ";") {
		for i, m := range modes {
			if m.number != n {
				continue
			}
			if on != m.on {
				s.Flip |= 1 << i
			} else {
				s.Flip &^= 1 << i
			}
		}
	}
}

// endString looks at ESC Kind Seq ESC \.
func (s *scanner) endString() {
	s.State = ground
	if s.Over {
		return
	}
	text := string(s.Seq)
	switch s.Kind {
	case ']': // a colour or the clipboard, asked for with ?
		s.asks = strings.HasSuffix(text, ";?") || strings.Contains(text, ";?;")
	case 'P':
		s.asks = strings.HasPrefix(text, "$q") || strings.HasPrefix(text, "+q")
	case '_':
		s.asks = strings.HasPrefix(text, "G") && strings.Contains(text, "a=q")
	}
}

// restore returns the sequences that set a new terminal's modes as they are here.
func (s *scanner) restore() []byte {
	var out []byte
	for i, m := range modes {
		if s.Flip&(1<<i) != 0 {
			final := byte('h')
			if m.on {
				final = 'l'
			}
			out = append(append(append(out, "\x1b[?"...), m.number...), final)
		}
	}
	if s.Flip&keypad != 0 {
		out = append(out, "\x1b="...)
	}
	return out
}

// replayable returns p without the sequences that ask for an answer: they were answered, and a second answer would be
// input. s stands at p's beginning.
func replayable(s scanner, p []byte) []byte {
	s.Seq = bytes.Clone(s.Seq)
	out := make([]byte, 0, len(p))
	begin := 0 // in out, of the sequence that is under way
	for _, b := range p {
		if s.State == ground || b == esc && s.State != str {
			begin = len(out)
		}
		out = append(out, b)
		if s.step(b); s.asks {
			out = out[:begin]
		}
	}
	return out
}
