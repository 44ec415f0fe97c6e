//go:build linux

package session

import (
	"bytes"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// maxPartial is how much of a line without an end is held back, in bytes, before it goes into the log in pieces.
const maxPartial = 64 << 10

// stream numbers what a command writes.
type stream uint8

const (
	stdout stream = iota
	stderr
)

var marks = [...]string{stdout: toolbox.StdoutMark, stderr: toolbox.StderrMark}

// framer makes the log out of the two streams: whole lines, each after the mark of its stream, so that lines of one are not
// torn by the other. The begin of a line whose end does not come is written too, when the stream is quiet or the piece is
// long; its rest follows without a mark, or after another one where the other stream came between. Nothing else is added,
// but for an end to the last line.
//
// Fields are exported for the hand-over.
type framer struct {
	Held [2][]byte `json:"held"` // the begin of a line, not yet in the log
	Mid  [2]bool   `json:"mid"`  // the log has the begin of a line of this stream, and not its end
	Last stream    `json:"last"` // whose piece the log ends with, if Torn
	Torn bool      `json:"torn"` // the log ends inside a line

	out []byte
}

// add takes what s wrote and returns what to append to the log. The result is valid until the next call.
func (f *framer) add(s stream, b []byte) []byte {
	f.out = f.out[:0]
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		f.hold(s, b)
		return f.out
	}
	if len(f.Held[s]) > 0 {
		f.piece(s, f.Held[s])
		f.Held[s] = f.Held[s][:0]
	}
	for i >= 0 {
		f.piece(s, b[:i+1])
		b = b[i+1:]
		i = bytes.IndexByte(b, '\n')
	}
	f.hold(s, b)
	return f.out
}

func (f *framer) hold(s stream, b []byte) {
	if len(f.Held[s])+len(b) <= maxPartial {
		if len(b) > 0 {
			f.Held[s] = append(f.Held[s], b...)
		}
		return
	}
	f.piece(s, f.Held[s])
	f.piece(s, b)
	f.Held[s] = nil
}

// piece appends a part of a line, or the end of one.
func (f *framer) piece(s stream, b []byte) {
	if len(b) == 0 {
		return
	}
	if !f.Torn || f.Last != s {
		f.out = append(f.out, marks[s]...)
	}
	f.out = append(f.out, b...)
	f.Torn = b[len(b)-1] != '\n'
	f.Last, f.Mid[s] = s, f.Torn
}

// partial reports whether some line's begin is held back.
func (f *framer) partial() bool { return len(f.Held[stdout])+len(f.Held[stderr]) > 0 }

// flush returns what is held back: the stream is quiet.
func (f *framer) flush() []byte {
	f.out = f.out[:0]
	for s := range f.Held {
		f.piece(stream(s), f.Held[s])
		f.Held[s] = nil
	}
	return f.out
}

// finish returns what is held back, and ends the lines that have none.
func (f *framer) finish() []byte {
	f.out = f.out[:0]
	first := stdout
	if f.Torn {
		first = f.Last // so that its line goes on without another mark
	}
	for _, s := range [...]stream{first, 1 - first} {
		f.piece(s, f.Held[s])
		f.Held[s] = nil
		if f.Mid[s] {
			f.piece(s, []byte{'\n'})
		}
	}
	return f.out
}

// splitter takes the marks out of a log again. It sees what any client sees: three bytes 01 or three bytes 02 are a mark,
// wherever they stand, so output that has them in it loses them. What comes before the first mark counts as standard output.
type splitter struct {
	cur  stream
	mark byte // of the pending bytes
	n    int  // 0 to 2 bytes that may be the begin of a mark
}

// feed calls out for each piece of b, marks left out.
func (p *splitter) feed(b []byte, out func(s stream, piece []byte)) {
	next := [2]int{-2, -2} // where the next 01 and 02 are; -2: not known, len(b): none
	at := func(i, from int) int {
		if next[i] < from {
			if n := bytes.IndexByte(b[from:], byte(i+1)); n >= 0 {
				next[i] = from + n
			} else {
				next[i] = len(b)
			}
		}
		return next[i]
	}
	for i := 0; i < len(b); {
		if p.n > 0 {
			if b[i] == p.mark {
				i++
				if p.n++; p.n == 3 {
					p.cur, p.n = stream(p.mark-1), 0
				}
				continue
			}
			p.drain(out)
			continue
		}
		j := min(at(0, i), at(1, i))
		if j > i {
			out(p.cur, b[i:j])
		}
		if j < len(b) {
			p.mark, p.n = b[j], 1
			j++
		}
		i = j
	}
}

// drain gives out bytes that began like a mark and are none, also at the end of the log.
func (p *splitter) drain(out func(s stream, piece []byte)) {
	if p.n > 0 {
		lone := [2]byte{p.mark, p.mark}
		n := p.n
		p.n = 0
		out(p.cur, lone[:n])
	}
}
