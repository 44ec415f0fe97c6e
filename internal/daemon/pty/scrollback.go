//go:build linux

package pty

import "bytes"

// Scrollback is how much of a terminal's output is kept for who attaches later, in bytes.
const Scrollback = 256 << 10

const firstScrollback = 4 << 10

// scrollback holds the last output of a terminal. It takes memory as it fills. It is not safe for concurrent use.
type scrollback struct {
	buf   []byte // a ring
	start int
	n     int
	past  scanner // stands where the ring begins
	cut   bool    // there was something before
}

// write appends p. What is over the limit pushes the oldest out.
func (s *scrollback) write(p []byte) {
	if over := s.n + len(p) - Scrollback; over > 0 {
		s.cut = true
		old := min(over, s.n)
		s.push(old)
		s.past.skip(p[:over-old])
		p = p[over-old:]
	}
	s.grow(s.n + len(p))
	end := s.start + s.n
	if end >= len(s.buf) {
		end -= len(s.buf)
	}
	k := copy(s.buf[end:], p)
	copy(s.buf, p[k:])
	s.n += len(p)
}

// push removes the n oldest bytes.
func (s *scrollback) push(n int) {
	first := min(n, len(s.buf)-s.start)
	s.past.skip(s.buf[s.start : s.start+first])
	s.past.skip(s.buf[:n-first])
	if s.start += n; s.start >= len(s.buf) && len(s.buf) > 0 {
		s.start -= len(s.buf)
	}
	s.n -= n
}

func (s *scrollback) grow(need int) {
	if need <= len(s.buf) {
		return
	}
	size := max(len(s.buf), firstScrollback)
	for size < need {
		size *= 2
	}
	buf := make([]byte, min(size, Scrollback))
	s.copyTo(buf)
	s.buf, s.start = buf, 0
}

func (s *scrollback) copyTo(p []byte) {
	k := copy(p, s.buf[s.start:min(s.start+s.n, len(s.buf))])
	copy(p[k:], s.buf[:s.n-k])
}

// bytes returns all that is held.
func (s *scrollback) bytes() []byte {
	p := make([]byte, s.n)
	s.copyTo(p)
	return p
}

// replay returns what a client is sent that attaches now: what is held, from the first place on that is neither within a
// character nor within a control sequence, after the modes that were set before that place, and without questions to the
// terminal. A sequence so long that nothing is left is given up: the replay begins behind the first line break, or anywhere.
func (s *scrollback) replay() []byte {
	data := s.bytes()
	if !s.cut {
		return replayable(scanner{}, data)
	}
	at := s.past
	at.Seq = bytes.Clone(at.Seq)
	i := 0
	for ; i < len(data) && at.State != ground; i++ {
		if at.State == character && data[i]&0xc0 != 0x80 {
			at.State = ground
			break
		}
		at.step(data[i])
	}
	if i == len(data) {
		i, at = bytes.IndexByte(data, '\n')+1, scanner{Flip: s.past.Flip}
		for i < len(data) && data[i]&0xc0 == 0x80 {
			i++
		}
	}
	return append(at.restore(), replayable(at, data[i:])...)
}
