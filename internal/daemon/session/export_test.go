//go:build linux

package session

var (
	Quote     = quote
	Statement = statement
	DirName   = dirName
)

// Report looks for the report of command seq in what came in pieces out of the shell's descriptor.
func Report(pieces [][]byte, seq uint64) (exit int, found bool) {
	var r reports
	for _, p := range pieces {
		if e, ok := r.take(p, seq); ok && !found {
			exit, found = e, true
		}
		if len(r.Line) > maxReport {
			panic("the begin of a report grows without a limit")
		}
	}
	return exit, found
}

// Framer makes a log.
type Framer struct{ f framer }

func (f *Framer) Add(s int, b []byte) []byte { return f.f.add(stream(s), b) }
func (f *Framer) Flush() []byte              { return f.f.flush() }
func (f *Framer) Finish() []byte             { return f.f.finish() }

// Split takes a log, in pieces, apart.
func Split(pieces ...[]byte) (both, out, errs []byte) {
	var p splitter
	keep := func(s stream, b []byte) {
		both = append(both, b...)
		if s == stdout {
			out = append(out, b...)
		} else {
			errs = append(errs, b...)
		}
	}
	for _, b := range pieces {
		p.feed(b, keep)
	}
	p.drain(keep)
	return both, out, errs
}
