//go:build linux

package session

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
)

const (
	pieceSize  = 32 << 10 // what is read and sent at once, in bytes
	checkEvery = 1 << 20  // bytes of a log between two checkpoints
)

// checkpoint is a place in a log that is known both ways: with the marks and without.
type checkpoint struct {
	raw, plain int64
	cur        stream
}

// cursor reads a log forward, with the marks of the streams or without.
type cursor struct {
	r     *reader
	plain bool // without

	raw  int64 // where in the log
	pos  int64 // where in the log without marks
	skip int64 // bytes still to be left out
	sp   splitter
}

// seek returns a cursor that begins off bytes into the log, counted as it is delivered. Without marks that place is found
// from the nearest checkpoint, so that a thousand clients that come back do not each read the log from its begin.
func seek(r *reader, plain bool, off int64) *cursor {
	c := &cursor{r: r, plain: plain, raw: off}
	if !plain {
		return c
	}
	c.raw = 0
	c.from(func(p checkpoint) bool { return p.plain <= off })
	c.skip = off - c.pos
	return c
}

// buffers are what a cursor needs while it moves, and not while it waits.
type buffers struct {
	in  [pieceSize]byte
	out [pieceSize + 2]byte
}

var spare = sync.Pool{New: func() any { return new(buffers) }}

// next returns what comes next, up to the place end of the log: possibly nothing, when it was marks only. io.EOF: at end.
func (c *cursor) next(buf *buffers, end int64) ([]byte, error) {
	if c.raw >= end {
		return nil, io.EOF
	}
	n, err := c.r.ReadAt(buf.in[:min(pieceSize, end-c.raw)], c.raw)
	if errors.Is(err, io.EOF) {
		err = errShort
	}
	if err != nil {
		return nil, err
	}
	if !c.plain && c.raw+int64(n) < end {
		n = whole(buf.in[:n])
	}
	c.raw += int64(n)
	if !c.plain {
		return buf.in[:n], nil
	}
	out := buf.out[:0]
	c.sp.feed(buf.in[:n], func(_ stream, piece []byte) { out = append(out, piece...) })
	return c.deliver(out), nil
}

// whole returns how much of a piece to send so that it ends neither inside a mark nor with one: clients of 2025 take the
// first byte of a mark at the very end of a message for output.
func whole(piece []byte) int {
	n := len(piece)
	for i := 0; i < len(toolbox.StdoutMark) && n > 1 && (piece[n-1] == toolbox.StdoutMark[0] || piece[n-1] == toolbox.StderrMark[0]); i++ {
		n--
	}
	return n
}

// rest returns what was held back because it could have become a mark: the log has ended.
func (c *cursor) rest() []byte {
	if !c.plain { // nothing is held back, and its position without marks is not counted
		return nil
	}
	var out []byte
	c.sp.drain(func(_ stream, piece []byte) { out = append(out, piece...) })
	return c.deliver(out)
}

func (c *cursor) deliver(out []byte) []byte {
	c.pos += int64(len(out))
	if c.sp.n == 0 {
		c.check()
	}
	n := min(c.skip, int64(len(out)))
	c.skip -= n
	return out[n:]
}

// whose tells which stream the bytes belong to that come next in a log with marks.
func (c *cursor) whose(ctx context.Context) (stream, error) {
	before := &cursor{r: c.r, plain: true}
	before.from(func(p checkpoint) bool { return p.raw <= c.raw })
	buf, _ := spare.Get().(*buffers)
	defer spare.Put(buf)
	for ctx.Err() == nil {
		if _, err := before.next(buf, c.raw); errors.Is(err, io.EOF) {
			return before.sp.cur, nil
		} else if err != nil {
			return stdout, err
		}
	}
	return stdout, ctx.Err()
}

// from puts a cursor without marks on the last checkpoint that is not past its goal.
func (c *cursor) from(fits func(checkpoint) bool) {
	l := c.r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.checked) - 1; i >= 0; i-- {
		if p := l.checked[i]; fits(p) {
			c.raw, c.pos, c.sp.cur = p.raw, p.plain, p.cur
			return
		}
	}
}

func (c *cursor) check() {
	l := c.r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	last := int64(0)
	if n := len(l.checked); n > 0 {
		last = l.checked[n-1].raw
	}
	if c.raw >= last+checkEvery {
		l.checked = append(l.checked, checkpoint{raw: c.raw, plain: c.pos, cur: c.sp.cur})
	}
}

// copy sends the log to its end. With follow that is when the command has ended, without it is what is there now. It
// returns the error of ctx, of send, or of reading; errReplaced when closing is closed.
func (c *cursor) copy(ctx context.Context, follow bool, closing <-chan struct{}, send func([]byte) error) error {
	for {
		end, ended, changed := c.r.l.extent()
		if err := c.upTo(ctx, end, closing, send); err != nil {
			return err
		}
		if !follow || ended {
			if b := c.rest(); len(b) > 0 {
				return send(b)
			}
			return nil
		}
		select {
		case <-changed:
		case <-closing:
			return errReplaced
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *cursor) upTo(ctx context.Context, end int64, closing <-chan struct{}, send func([]byte) error) error {
	if c.raw >= end {
		return nil
	}
	buf, _ := spare.Get().(*buffers)
	defer spare.Put(buf)
	for ctx.Err() == nil {
		select {
		case <-closing:
			return errReplaced
		default:
		}
		b, err := c.next(buf, end)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) > 0 {
			if err := send(b); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
