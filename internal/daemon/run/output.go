//go:build linux

package run

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

const (
	// MaxOutput is how much of one run's output is kept, in bytes. The run goes on; what comes later is dropped and a last
	// line says so.
	MaxOutput = 64 << 20
	// MaxHeld bounds the output held for all runs together, in bytes: what is over it is dropped the same way.
	MaxHeld = 256 << 20

	minChunk = 4 << 10
	maxChunk = 1 << 20
)

// Budget is memory that several outputs share.
type Budget struct {
	held atomic.Int64
	max  int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

func (b *Budget) take(n int64) bool {
	if b.held.Add(n) > b.max {
		b.held.Add(-n)
		return false
	}
	return true
}

// Held returns the bytes taken at present.
func (b *Budget) Held() int64 { return b.held.Load() }

// Output collects what a run writes: bounded, and held once. It is read after [Output.Seal].
type Output struct {
	mu      sync.Mutex // guards the fields below; memory behind the length of the last chunk belongs to the one writer
	budget  *Budget
	max     int64
	chunks  [][]byte
	size    int64 // bytes kept
	taken   int64 // bytes of budget held
	dropped bool
	sealed  bool
}

// NewOutput returns an output of at most limit bytes that takes its memory from budget.
func NewOutput(budget *Budget, limit int64) *Output { return &Output{budget: budget, max: limit} }

// space returns memory to read into, or nil when everything more is to be dropped.
func (o *Output) space() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed || o.dropped || o.size >= o.max {
		return nil
	}
	if n := len(o.chunks); n > 0 {
		if last := o.chunks[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	want := int64(minChunk)
	if n := len(o.chunks); n > 0 {
		want = min(2*int64(cap(o.chunks[n-1])), maxChunk)
	}
	want = min(want, o.max-o.size)
	if !o.budget.take(want) {
		o.dropped = true
		return nil
	}
	o.taken += want
	chunk := make([]byte, 0, want)
	o.chunks = append(o.chunks, chunk)
	return chunk[:want]
}

func (o *Output) commit(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return
	}
	last := &o.chunks[len(o.chunks)-1]
	*last = (*last)[:len(*last)+n]
	o.size += int64(n)
}

func (o *Output) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sealed {
		o.dropped = true
	}
}

// ReadFrom reads r to its end. What is over the limit, or comes after Seal, is read and dropped.
func (o *Output) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for {
		buf := o.space()
		if buf == nil {
			n, err := discard(r, o.drop)
			return total + n, err
		}
		n, err := r.Read(buf)
		o.commit(n)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// discard reads r to its end and calls first when it gets something. Small reads: a forgotten background process that
// keeps its output open for days must not cost much.
func discard(r io.Reader, first func()) (int64, error) {
	var buf [2048]byte
	var total int64
	for {
		n, err := r.Read(buf[:])
		if n > 0 && first != nil {
			first()
			first = nil
		}
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Write appends p; it never fails.
func (o *Output) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		buf := o.space()
		if buf == nil {
			o.drop()
			break
		}
		n := copy(buf, rest)
		o.commit(n)
		rest = rest[n:]
	}
	return len(p), nil
}

// Seal ends the collection. Only after it the output may be read.
func (o *Output) Seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
}

// Release gives the memory back. The output is empty after it.
func (o *Output) Release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	o.budget.held.Add(-o.taken)
	o.taken, o.chunks = 0, nil
}

// Size returns the number of bytes kept.
func (o *Output) Size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// mark is the last line of an output that was cut.
func (o *Output) mark() string {
	if !o.dropped {
		return ""
	}
	return fmt.Sprintf("\n[output truncated: the first %d bytes are shown, the rest was dropped]\n", o.size)
}

// String returns the whole output: for small ones and tests.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := make([]byte, 0, o.size)
	for _, c := range o.chunks {
		b = append(b, c...)
	}
	return string(b) + o.mark()
}

// Tail returns the last bytes of the output, at most n, beginning with a whole character.
func (o *Output) Tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b []byte
	for i := len(o.chunks) - 1; i >= 0 && len(b) < n; i-- {
		c := o.chunks[i]
		if over := len(c) + len(b) - n; over > 0 {
			c = c[over:]
		}
		b = append(append([]byte(nil), c...), b...)
	}
	if o.size > int64(len(b)) {
		for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
			b = b[1:]
		}
	}
	return string(b)
}

// WriteJSON writes the output as one JSON string, quotes included, without holding it a second time.
func (o *Output) WriteJSON(w io.Writer) error {
	o.mu.Lock()
	chunks, mark := o.chunks, o.mark()
	o.mu.Unlock()
	e, _ := jsonWriters.Get().(*jsonWriter)
	defer jsonWriters.Put(e)
	e.w, e.err, e.n, e.carry = w, nil, 0, e.carry[:0]
	defer func() { e.w = nil }()
	e.raw('"')
	for _, c := range chunks {
		e.text(c)
	}
	e.flushCarry()
	e.text([]byte(mark))
	e.raw('"')
	return e.flush()
}

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
