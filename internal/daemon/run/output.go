//go:build linux

package run

import (
	"fmt"
	"io"
	"sort"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// MaxOutput is how much of one run's output is kept, in bytes. The run goes on; what comes later is dropped and a last
	// line says so.
	MaxOutput = 64 << 20
	// MaxRing is how much of a run's output is kept, in bytes, where the end is kept and not the beginning.
	MaxRing = 8 << 20
	// MaxHeld bounds the output held for all runs together, in bytes: what is over it is dropped the same way.
	MaxHeld = 256 << 20

	minChunk = 4 << 10
	maxChunk = 1 << 20

	// ringSlack is how much a ring keeps behind the slowest reader, in bytes: what was sent to a client that then breaks off may
	// not have arrived.
	ringSlack = 4 << 20

	// MaxReaders is how many can read one output along at the same time.
	MaxReaders = 64

	// chunkCost is what a chunk takes besides its bytes: programs that change streams with every byte must pay for it.
	chunkCost = 64
)

// Stream is one of a program's outputs.
type Stream byte

// The streams. An output whose program has one pipe for both has all in Stdout.
const (
	Stdout Stream = 1
	Stderr Stream = 2
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

// Output collects what a run writes: bounded, and held once. There are two kinds. One of [NewOutput] keeps the beginning;
// one of [NewRing] keeps the end, and makes its program wait for those who read along.
//
// A byte's offset is its place in all that the run wrote, both streams together, in the order of arrival.
type Output struct {
	mu      sync.Mutex // guards the fields below; memory behind the length of the last chunk belongs to the one writer
	budget  *Budget
	max     int64
	ring    bool
	chunks  []chunk
	begin   int64  // offset of the first byte kept
	end     int64  // offset after the last byte
	taken   int64  // bytes of budget held
	mapped  []byte // memory of an earlier program that chunks lie in
	dropped bool   // what came after end was dropped
	sealed  bool
	hurry   bool // nobody waits for readers: the daemon is being replaced

	changed chan struct{} // closed when there is something new; nil: nobody waits for that
	room    chan struct{} // closed when a reader went on; nil: nobody waits for that
	readers map[*Reader]struct{}
	absent  *Reader // stands for those who left without a word or because the daemon was replaced, until one is back
}

type chunk struct {
	off    int64
	stream Stream
	data   []byte
}

// NewOutput returns an output that keeps the first limit bytes and takes its memory from budget.
func NewOutput(budget *Budget, limit int64) *Output { return &Output{budget: budget, max: limit} }

// NewRing returns an output that keeps the last limit bytes, about: less where the streams change often.
func NewRing(budget *Budget, limit int64) *Output {
	return &Output{budget: budget, max: limit, ring: true}
}

// space returns memory to read into, or nil when everything more is to be dropped. Only for an output with one writer.
func (o *Output) space() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed || o.dropped || o.end >= o.max {
		return nil
	}
	if n := len(o.chunks); n > 0 {
		if last := o.chunks[n-1].data; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	want := int64(minChunk)
	if n := len(o.chunks); n > 0 {
		want = min(2*int64(cap(o.chunks[n-1].data)), maxChunk)
	}
	want = min(want, o.max-o.end)
	if !o.budget.take(want) {
		o.dropped = true
		return nil
	}
	o.taken += want
	chunk := o.open(Stdout, want)
	return chunk.data[:want]
}

// open adds an empty chunk. The caller holds mu and took the memory.
func (o *Output) open(s Stream, size int64) *chunk {
	o.chunks = append(o.chunks, chunk{off: o.end, stream: s, data: make([]byte, 0, size)})
	return &o.chunks[len(o.chunks)-1]
}

func (o *Output) commit(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed || n == 0 {
		return
	}
	last := &o.chunks[len(o.chunks)-1]
	last.data = last.data[:len(last.data)+n]
	o.end += int64(n)
	o.wake(&o.changed)
}

// wake closes *c, which somebody waits for. The caller holds mu.
func (o *Output) wake(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

func (o *Output) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sealed {
		o.dropped = true
	}
}

// ReadFrom reads r to its end. What is over the limit, or comes after Seal, is read and dropped. Nobody else may write.
func (o *Output) ReadFrom(r io.Reader) (int64, error) {
	if o.ring {
		return o.Stream(Stdout).(io.ReaderFrom).ReadFrom(r)
	}
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
	o.add(Stdout, p)
	return len(p), nil
}

// add appends p and reports whether all of it was kept, at first. In a ring it waits for readers.
func (o *Output) add(s Stream, p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(p) > 0 {
		if o.sealed || o.dropped {
			return false
		}
		c := o.last(s)
		if c == nil && !o.grow(s, len(p)) {
			return false
		}
		if c = o.last(s); c == nil {
			continue // grow waited; look again
		}
		n := min(len(p), cap(c.data)-len(c.data))
		c.data = append(c.data, p[:n]...)
		o.end += int64(n)
		p = p[n:]
		o.wake(&o.changed)
	}
	return true
}

// last returns the last chunk if more of s fits into it.
func (o *Output) last(s Stream) *chunk {
	if n := len(o.chunks); n > 0 {
		if c := &o.chunks[n-1]; c.stream == s && len(c.data) < cap(c.data) {
			return c
		}
	}
	return nil
}

// grow adds a chunk for s, where need bytes wait. In a ring it makes room first, and may add nothing: then the caller looks
// again. It reports false when there is no memory.
func (o *Output) grow(s Stream, need int) bool {
	size := int64(min(max(need, 64), 64<<10))
	if n := len(o.chunks); n > 0 && o.chunks[n-1].stream == s { // a long stretch of one stream: fewer and larger pieces
		size = max(size, min(2*int64(cap(o.chunks[n-1].data)), 64<<10))
	}
	if !o.ring {
		size = min(size, o.max-o.end)
		if size <= 0 || o.taken+size+chunkCost > 2*o.max+minChunk || !o.budget.take(size+chunkCost) {
			o.dropped = true
			return false
		}
	} else {
		for len(o.chunks) > 0 && o.taken+size+chunkCost > o.max && !o.hurry {
			// Who has all there is would never go on: nothing new comes before there is room.
			if r := o.slowest(); r != nil && r.pos < o.end && r.pos-min(ringSlack, o.max/2) < o.chunks[0].off+int64(len(o.chunks[0].data)) {
				o.waitFor(r)
				return true
			}
			o.evict()
		}
		for !o.budget.take(size + chunkCost) {
			if len(o.chunks) == 0 { // nothing of this output is left to give up: these bytes are a gap
				o.end += int64(need)
				o.begin = o.end
				o.wake(&o.changed)
				return false
			}
			o.evict()
		}
	}
	o.taken += size + chunkCost
	o.open(s, size)
	return true
}

// evict gives the oldest chunk up.
func (o *Output) evict() {
	c := o.chunks[0]
	o.chunks[0] = chunk{}
	o.chunks = o.chunks[1:]
	o.begin = c.off + int64(len(c.data))
	cost := int64(cap(c.data)) + chunkCost
	o.taken -= cost
	o.budget.held.Add(-cost)
}

// Seal ends the collection: what is written later is dropped, and readers come to an end.
func (o *Output) Seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	o.wake(&o.changed)
	o.wake(&o.room)
}

// Release gives the memory back. The output is empty after it, and must not be read.
func (o *Output) Release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	o.budget.held.Add(-o.taken)
	o.taken, o.chunks = 0, nil
	o.wake(&o.changed)
	o.wake(&o.room)
	if o.mapped != nil {
		_ = unix.Munmap(o.mapped)
		o.mapped = nil
	}
}

// Size returns the number of bytes kept.
func (o *Output) Size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end - o.begin
}

// End returns the offset after the last byte.
func (o *Output) End() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

// marks are the lines before and after an output that was cut. The caller holds mu.
func (o *Output) marks() (before, after string) {
	if o.begin > 0 {
		before = fmt.Sprintf("[output truncated: the first %d bytes were dropped]\n", o.begin)
	}
	if o.dropped {
		after = fmt.Sprintf("\n[output truncated: the first %d bytes are shown, the rest was dropped]\n", o.end-o.begin)
	}
	return before, after
}

// Mark is the line that ends an output whose end was dropped, "" where it was not.
func (o *Output) Mark() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, after := o.marks()
	return after
}

// String returns the whole output: for small ones and tests.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, after := o.marks()
	b := make([]byte, 0, o.end-o.begin+int64(len(before)))
	b = append(b, before...)
	for _, c := range o.chunks {
		b = append(b, c.data...)
	}
	return string(b) + after
}

// Tail returns the last bytes of the output, at most n, beginning with a whole character.
func (o *Output) Tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	total := 0
	first := len(o.chunks)
	for first > 0 && total < n {
		first--
		total += len(o.chunks[first].data)
	}
	b := make([]byte, 0, total)
	for _, c := range o.chunks[first:] {
		b = append(b, c.data...)
	}
	b = b[max(0, total-n):]
	if o.end-o.begin > int64(len(b)) {
		for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
			b = b[1:]
		}
	}
	return string(b)
}

// WriteJSON writes the output as one JSON string, quotes included, without holding it a second time: that of the streams
// named, or all of it when none is.
func (o *Output) WriteJSON(w io.Writer, streams ...Stream) error {
	o.mu.Lock()
	chunks := o.chunks
	before, after := o.marks()
	o.mu.Unlock()
	e, _ := jsonWriters.Get().(*jsonWriter)
	defer jsonWriters.Put(e)
	e.w, e.err, e.n, e.carry = w, nil, 0, e.carry[:0]
	defer func() { e.w = nil }()
	e.raw('"')
	e.text([]byte(before))
	for _, c := range chunks {
		if len(streams) == 0 || c.stream == streams[0] {
			e.text(c.data)
		}
	}
	e.flushCarry()
	e.text([]byte(after))
	e.raw('"')
	return e.flush()
}

// Stream returns a writer for one stream, for outputs whose program has a pipe for each.
func (o *Output) Stream(s Stream) io.Writer { return &streamWriter{o, s} }

type streamWriter struct {
	o *Output
	s Stream
}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.o.add(w.s, p)
	return len(p), nil
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// ReadFrom reads r to its end.
func (w *streamWriter) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	buf := copyBuffers.Get().(*[]byte)
	defer func() {
		if buf != nil {
			copyBuffers.Put(buf)
		}
	}()
	for {
		n, err := r.Read(*buf)
		total += int64(n)
		if n > 0 && !w.o.add(w.s, (*buf)[:n]) && w.o.over() {
			copyBuffers.Put(buf)
			buf = nil
			w.o.drop()
			m, err := discard(r, nil)
			return total + m, err
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// over reports whether nothing more will be kept.
func (o *Output) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sealed || o.dropped
}

// readerStall is how long a program waits for one who reads along and does not go on, before its output leaves him behind.
var readerStall = 10 * time.Second // tests make it shorter

// Reader reads an output from an offset on, while it is written. It must be closed.
type Reader struct {
	o    *Output
	pos  int64
	lost bool // it was too slow: what it waits for is gone
}

// NewReader returns a reader that begins at offset, or at the end where offset is behind it; nil when [MaxReaders] read
// already. The program of a ring then waits for the reader, as long as it goes on, so that it loses nothing.
func (o *Output) NewReader(offset int64) *Reader {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.readers) >= MaxReaders {
		return nil
	}
	r := &Reader{o: o, pos: max(0, min(offset, o.end))}
	o.attach(r)
	if o.absent != nil { // whoever comes back knows how far he was
		delete(o.readers, o.absent)
		o.absent = nil
		o.wake(&o.room)
	}
	return r
}

func (o *Output) attach(r *Reader) {
	if o.readers == nil {
		o.readers = map[*Reader]struct{}{}
	}
	o.readers[r] = struct{}{}
}

// Close lets the program go on without the reader.
func (r *Reader) Close() {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	delete(r.o.readers, r)
	r.o.wake(&r.o.room)
}

// Leave is Close for a reader whose client may come back: the program waits for him as for one who is slow.
func (r *Reader) Leave() {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	if _, ok := r.o.readers[r]; !ok || !r.o.ring || r.lost {
		delete(r.o.readers, r)
		return
	}
	if old := r.o.absent; old != nil {
		r.pos = min(r.pos, old.pos)
		delete(r.o.readers, old)
	}
	r.o.absent = r
}

// Pos returns the offset of what comes next.
func (r *Reader) Pos() int64 {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	return r.pos
}

// Piece is a part of an output: bytes of one stream, or a gap. Its bytes must not be changed, nor read after the output is
// released.
type Piece struct {
	Stream Stream
	Offset int64
	Data   []byte
	Gap    int64 // bytes from Offset on that are not kept; there are no Data then
}

// Next returns the piece at the reader's place, at most limit bytes long. When there is none yet it returns nil and a channel
// that is closed when that has changed. At the end of a sealed output it returns io.EOF.
func (r *Reader) Next(limit int) (*Piece, <-chan struct{}, error) {
	o := r.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.pos < o.begin {
		p := &Piece{Offset: r.pos, Gap: o.begin - r.pos}
		r.pos = o.begin
		return p, nil, nil
	}
	if r.pos >= o.end || len(o.chunks) == 0 {
		if o.sealed {
			return nil, nil, io.EOF
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		return nil, o.changed, nil
	}
	i := sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i].off > r.pos }) - 1
	c := o.chunks[i]
	at := int(r.pos - c.off)
	data := c.data[at:min(len(c.data), at+limit):min(len(c.data), at+limit)]
	p := &Piece{Stream: c.stream, Offset: r.pos, Data: data}
	r.pos += int64(len(data))
	o.wake(&o.room)
	return p, nil, nil
}

// Lost reports whether the program stopped waiting for the reader.
func (r *Reader) Lost() bool {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	return r.lost
}

// slowest returns the reader that the program must wait for first; nil: none. Those who read now do not wait for one who left.
// The caller holds mu.
func (o *Output) slowest() (out *Reader) {
	for r := range o.readers {
		if !r.lost && r != o.absent && (out == nil || r.pos < out.pos) {
			out = r
		}
	}
	if out == nil && o.absent != nil && !o.absent.lost {
		out = o.absent
	}
	return out
}

// waitFor waits until some reader goes on. When none does for readerStall, r is left behind. The caller holds mu.
func (o *Output) waitFor(r *Reader) {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	room, pos := o.room, r.pos
	o.mu.Unlock()
	t := time.NewTimer(readerStall)
	select {
	case <-room:
	case <-t.C:
	}
	t.Stop()
	o.mu.Lock()
	select {
	case <-room:
	default:
		if r.pos == pos {
			r.lost = true
		}
		if r.lost && r == o.absent {
			delete(o.readers, r)
			o.absent = nil
		}
	}
}

// Hurry ends the program's waiting for readers, or lets it begin again: while the daemon is replaced, what was read from a
// program must go into memory at once.
func (o *Output) Hurry(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurry = on
	o.wake(&o.room)
}
