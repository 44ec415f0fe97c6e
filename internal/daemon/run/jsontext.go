//go:build linux

package run

import "io"

// WriteJSONText writes all that r has as one JSON string, quotes included, without holding it. Bytes that are not UTF-8
// become U+FFFD. An error is that of reading, or else of writing.
func WriteJSONText(w io.Writer, r io.Reader) error {
	e, _ := jsonWriters.Get().(*jsonWriter)
	defer jsonWriters.Put(e)
	e.w, e.err, e.n, e.carry = w, nil, 0, e.carry[:0]
	defer func() { e.w = nil }()
	buf := make([]byte, 16<<10)
	e.raw('"')
	for {
		n, err := r.Read(buf)
		e.text(buf[:n])
		if e.err != nil {
			return e.err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	e.flushCarry()
	e.raw('"')
	return e.flush()
}
