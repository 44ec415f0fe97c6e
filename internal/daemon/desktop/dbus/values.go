//go:build linux

package dbus

import (
	"encoding/binary"
	"math"
	"strings"
)

// Writer builds the body of a call.
type Writer struct{ b []byte }

func (w *Writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *Writer) sig(s string) {
	w.b = append(w.b, byte(len(s)))
	w.b = append(w.b, s...)
	w.b = append(w.b, 0)
}

// Uint32 appends a value of the type u or i.
func (w *Writer) Uint32(v uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
}

// String appends a value of the type s or o.
func (w *Writer) String(s string) {
	w.Uint32(uint32(len(s)))
	w.b = append(w.b, s...)
	w.b = append(w.b, 0)
}

// Bool appends a variant that holds a boolean.
func (w *Writer) Bool(v bool) {
	w.sig("b")
	var n uint32
	if v {
		n = 1
	}
	w.Uint32(n)
}

// Double appends a variant that holds a number.
func (w *Writer) Double(v float64) {
	w.sig("d")
	w.align(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(v))
}

// Body makes a body of strings.
func Body(values ...string) Writer {
	var w Writer
	for _, v := range values {
		w.String(v)
	}
	return w
}

// Reader reads values. After one that is not there it reads zeros, and Bad reports it.
type Reader struct {
	b     []byte
	at    int
	order binary.ByteOrder
	bad   bool
}

// Read returns a reader of the answer if its signature is sig.
func (r *Reply) Read(sig string) (*Reader, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	if r.Signature != sig {
		return nil, ErrAnswer
	}
	return &Reader{b: r.body, order: r.order}, nil
}

// Bad reports whether there was less to read than was asked for.
func (r *Reader) Bad() bool { return r.bad }

func (r *Reader) take(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.bad, r.at = true, len(r.b)
		return make([]byte, 8)
	}
	out := r.b[r.at : r.at+n]
	r.at += n
	return out
}

func (r *Reader) align(n int) {
	if over := r.at % n; over != 0 {
		r.take(n - over)
	}
}

func (r *Reader) byte() byte { return r.take(1)[0] }

func (r *Reader) sig() string {
	n := int(r.byte())
	b := r.take(n)
	if r.bad {
		return ""
	}
	r.take(1)
	return string(b)
}

// Uint32 reads a value of the type u, i or b.
func (r *Reader) Uint32() uint32 {
	r.align(4)
	return r.order.Uint32(r.take(4))
}

// Double reads a value of the type d.
func (r *Reader) Double() float64 {
	r.align(8)
	return math.Float64frombits(r.order.Uint64(r.take(8)))
}

// String reads a value of the type s or o. Bytes that are no text are replaced.
func (r *Reader) String() string {
	n := r.Uint32()
	if r.bad || n > uint32(len(r.b)) {
		r.bad = true
		return ""
	}
	b := r.take(int(n))
	if r.bad {
		return ""
	}
	s := strings.ToValidUTF8(string(b), "�")
	r.take(1)
	return s
}

// Array reads an array whose elements are aligned to n bytes: each is called until its end and has to read one whole element.
func (r *Reader) Array(n int, each func()) {
	size := r.Uint32()
	r.align(n)
	if r.bad || size > uint32(len(r.b)-r.at) {
		r.bad = true
		return
	}
	for end := r.at + int(size); r.at < end && !r.bad; {
		before := r.at
		each()
		if r.at == before {
			r.bad = true
		}
	}
}

// Struct goes to the beginning of a structure.
func (r *Reader) Struct() { r.align(8) }

// Variant reads the head of a variant and reports whether what follows is of the type sig.
func (r *Reader) Variant(sig string) bool { return r.sig() == sig && !r.bad }
