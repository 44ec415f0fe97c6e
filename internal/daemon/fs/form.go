//go:build linux

package fs

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// formReader reads a multipart form part by part, from a buffer that is large: the reader of mime/multipart looks at 4 KiB
// at a time, which is most of the cost of a large upload. Everything in a part's head is bounded.
type formReader struct {
	r     io.Reader
	buf   []byte // all of it is memory; buf[pos:end] is read and not consumed
	pos   int
	end   int
	err   error  // of r, once it ended
	delim []byte // CRLF, two dashes and the boundary
	parts int
	state formState
}

type formState uint8

const (
	formStart formState = iota // before the first boundary
	formHead                   // behind a boundary: a part's head follows
	formBody                   // in a part's content
	formEnd                    // the closing boundary was seen
)

const (
	formBuffer  = 512 << 10
	maxFormHead = 16 << 10 // bytes of one part's head
	maxFormPart = 2 * maxPaths
)

// errForm is a malformed form. What is wrong with it goes into the message.
func errForm(format string, args ...any) error {
	return errs.New(errs.Invalid, "malformed multipart form: "+format, args...)
}

// isForm reports whether the body of r is a multipart form.
func isForm(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "multipart/form-data" || err != nil && strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/")
}

// newForm returns a reader of the form in body.
func newForm(contentType string, body io.Reader) (*formReader, error) {
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil || t != "multipart/form-data" {
		return nil, errs.New(errs.Invalid, "the body must be multipart/form-data, got %q", clip(contentType))
	}
	b := params["boundary"]
	if b == "" || len(b) > 200 {
		return nil, errForm("the boundary must have 1 to 200 characters")
	}
	f := &formReader{r: body, buf: make([]byte, formBuffer), delim: []byte("\r\n--" + b)}
	copy(f.buf, "\r\n") // so that the first boundary looks like the others
	f.end = 2
	return f, nil
}

// fill reads more into the buffer, after moving what is left to its beginning. It returns false when there is no more.
func (f *formReader) fill() bool {
	if f.err != nil {
		return false
	}
	if f.pos > 0 && (f.pos == f.end || f.end == len(f.buf)) {
		f.end = copy(f.buf, f.buf[f.pos:f.end])
		f.pos = 0
	}
	if f.end == len(f.buf) {
		return false
	}
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	f.err = err
	return n > 0 || err == nil
}

// broken is the error for a form that ends too early.
func (f *formReader) broken() error {
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return f.err
	}
	return errForm("it ends without its closing boundary")
}

// formPart is the head of a part.
type formPart struct {
	name    string
	isFile  bool
	content io.Reader // valid until the next part
}

// next returns the next part, io.EOF after the last one. What is left of the present part is skipped.
func (f *formReader) next() (*formPart, error) {
	for f.state == formStart || f.state == formBody {
		if _, err := f.body(nil); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if f.state == formEnd {
		return nil, io.EOF
	}
	if f.parts++; f.parts > maxFormPart {
		return nil, errs.New(errs.TooLarge, "the form has more than %d parts", maxFormPart)
	}
	head, err := f.head()
	if err != nil {
		return nil, err
	}
	p := &formPart{content: formContent{f}}
	for line := range strings.SplitSeq(head, "\r\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(strings.TrimSpace(key), "Content-Disposition") {
			continue
		}
		p.name, p.isFile = disposition(value)
	}
	f.state = formBody
	return p, nil
}

// disposition reads the name of a field and whether it is a file. The name of the file itself is of no interest: it may hold
// anything, also what a strict parser refuses, so only the two parameters are looked for.
func disposition(value string) (name string, isFile bool) {
	if t, params, err := mime.ParseMediaType(value); err == nil || errors.Is(err, mime.ErrInvalidMediaParameter) {
		if t != "form-data" {
			return "", false
		}
		_, isFile = params["filename"]
		if n := params["name"]; n != "" {
			return n, isFile
		}
	}
	_, rest, ok := strings.Cut(value, ` name="`)
	if !ok {
		return "", false
	}
	name, rest, _ = strings.Cut(rest, `"`)
	return name, strings.Contains(rest, "filename")
}

// head consumes a part's head and returns it without the empty line.
func (f *formReader) head() (string, error) {
	for {
		b := f.buf[f.pos:f.end]
		if bytes.HasPrefix(b, []byte("\r\n")) { // no fields at all
			f.pos += 2
			return "", nil
		}
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 && i <= maxFormHead {
			head := string(b[:i])
			f.pos += i + 4
			return head, nil
		}
		if len(b) > maxFormHead {
			return "", errForm("the head of a part is longer than %d bytes", maxFormHead)
		}
		if !f.fill() {
			return "", f.broken()
		}
	}
}

// body hands the next piece of the present content to use, or skips it, and consumes what use took. io.EOF: the content
// ended, and its boundary with it.
func (f *formReader) body(use func([]byte) (int, error)) (int, error) {
	for {
		b := f.buf[f.pos:f.end]
		i := bytes.Index(b, f.delim)
		safe := i
		if i < 0 { // a boundary may have begun in the last bytes
			safe = len(b) - len(f.delim) + 1
		}
		if safe > 0 {
			n, err := safe, error(nil)
			if use != nil {
				n, err = use(b[:safe])
			}
			f.pos += n
			return n, err
		}
		if i == 0 {
			done, ended, err := f.boundary()
			if err != nil {
				return 0, err
			}
			if done {
				f.state = formHead
				if ended {
					f.state = formEnd
				}
				return 0, io.EOF
			}
			// It only looked like the boundary: its first byte is content.
			n, err := 1, error(nil)
			if use != nil {
				n, err = use(f.buf[f.pos : f.pos+1])
			}
			f.pos += n
			return n, err
		}
		if !f.fill() {
			return 0, f.broken()
		}
	}
}

// boundary consumes the boundary at pos if it is one: it is followed by two dashes, or by blanks and the end of the line.
func (f *formReader) boundary() (ok, last bool, err error) {
	for {
		b := f.buf[f.pos+len(f.delim) : f.end]
		if bytes.HasPrefix(b, []byte("--")) {
			f.pos += len(f.delim) + 2
			return true, true, nil
		}
		blanks := 0
		for blanks < len(b) && blanks < 64 && (b[blanks] == ' ' || b[blanks] == '\t') {
			blanks++
		}
		if bytes.HasPrefix(b[blanks:], []byte("\r\n")) {
			f.pos += len(f.delim) + blanks + 2
			return true, false, nil
		}
		if len(b) >= blanks+2 {
			return false, false, nil
		}
		if !f.fill() {
			if errors.Is(f.err, io.EOF) {
				return false, false, f.broken()
			}
			return false, false, f.broken()
		}
	}
}

// formContent is the content of the present part.
type formContent struct{ f *formReader }

func (c formContent) Read(p []byte) (int, error) {
	if c.f.state != formBody {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	return c.f.body(func(b []byte) (int, error) { return copy(p, b), nil })
}

// WriteTo writes straight from the buffer.
func (c formContent) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for c.f.state == formBody {
		n, err := c.f.body(w.Write)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// text reads a short text field.
func (p *formPart) text(limit int) (string, error) {
	b, err := io.ReadAll(io.LimitReader(p.content, int64(limit)+1))
	if err != nil {
		return "", err
	}
	if len(b) > limit {
		return "", errs.New(errs.Invalid, "form field %s is longer than %d bytes", clip(p.name), limit)
	}
	return string(b), nil
}

// drain reads a body to its end, so that a client that sends on is not cut off before it reads the answer.
func drain(r io.Reader) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 64<<10))
}
