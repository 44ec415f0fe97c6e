//go:build linux

package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// DefaultLogMax is the limit of one command's log, in bytes. What the command writes after it is read and dropped, and the
// log's last line says so. The sandbox's environment variable LogMaxEnv sets another.
const (
	DefaultLogMax = 2 << 30
	LogMaxEnv     = "SESSION_LOG_MAX"
)

// logName is the name of a log's file, in the directory of its command.
const logName = "output.log"

// record is the log of one command: a file that only grows, written by one at a time, and those who wait for it to grow.
// The file belongs to the sandbox: it may be changed or gone, and then readers get an error, never a wrong length.
type record struct {
	path string
	max  int64

	// of the writer alone
	w      *os.File // nil until something is written, and after close
	inLine bool     // the file does not end with the end of a line

	checked []checkpoint // guarded by mu; see cursor

	mu    sync.Mutex    // guards all below
	size  int64         // bytes of the log that are in the file
	tail  string        // the end of the log where it could not go into the file
	cut   bool          // the rest is dropped
	ended bool          // the command is over: followers stop at the end
	wake  chan struct{} // closed when something changes; nil: nobody waits
}

// extent tells how long the log is and whether followers need not wait for more; if they need, changed is closed when there
// is something new.
func (l *record) extent() (size int64, ended bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake == nil && !l.ended {
		l.wake = make(chan struct{})
	}
	return l.size + int64(len(l.tail)), l.ended, l.wake
}

func (l *record) notify() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// append adds b, as far as the limit and the disk allow. Only the writer may call it.
func (l *record) append(b []byte) {
	if len(b) == 0 {
		return
	}
	l.mu.Lock()
	size, cut := l.size, l.cut
	l.mu.Unlock()
	if cut {
		return
	}
	reason := ""
	if room := l.max - size; int64(len(b)) > room {
		b, reason = b[:max(room, 0)], fmt.Sprintf("at its limit of %d bytes", l.max)
	}
	n, err := l.write(b, size)
	size += int64(n)
	if n > 0 {
		l.inLine = b[n-1] != '\n'
	}
	tail := ""
	if err != nil {
		reason = err.Error()
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			reason = pe.Err.Error()
		}
	}
	if reason != "" {
		tail = toolbox.StderrMark + "[log truncated: " + reason + "; what follows was dropped]\n"
		if l.inLine {
			tail = "\n" + tail
		}
		if n, err := l.write([]byte(tail), size); err == nil {
			size, tail = size+int64(n), ""
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size, l.tail, l.cut = size, tail, reason != ""
	l.notify()
}

func (l *record) write(b []byte, at int64) (int, error) {
	if l.w == nil {
		flags := os.O_WRONLY | os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
		if at == 0 {
			flags |= os.O_TRUNC
		}
		f, err := os.OpenFile(l.path, flags, 0o600)
		if err != nil {
			return 0, err
		}
		l.w = f
	}
	return l.w.WriteAt(b, at)
}

// close ends writing. Only the writer may call it.
func (l *record) close() {
	if l.w != nil {
		_ = l.w.Close()
		l.w = nil
	}
}

// end lets followers stop at the end of the log.
func (l *record) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.notify()
}

// open returns a reader of the log, which the caller closes.
func (l *record) open() (*reader, error) {
	size, _, _ := l.extent()
	f, err := os.OpenFile(l.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.inFile() == 0:
		return &reader{l: l}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.NotFound, "the log of %d bytes is gone: its file was removed in the sandbox", size).WithCode("FILE_NOT_FOUND")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ELOOP):
		return nil, errs.Wrap(err, errs.Denied, "the log's file may not be read: it was changed in the sandbox").WithCode("FILE_ACCESS_DENIED")
	case err != nil:
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, errs.New(errs.Invalid, "the log is no plain file any more: it was changed in the sandbox")
	}
	return &reader{l: l, f: f}, nil
}

func (l *record) inFile() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// errShort is a log whose file is shorter than what was written to it.
var errShort = errs.New(errs.NotFound, "a part of the log is gone: its file was changed in the sandbox").WithCode("FILE_NOT_FOUND")

// reader reads a log that may still grow.
type reader struct {
	l *record
	f *os.File // nil: there was no file yet
}

// ReadAt reads what the log has at off: at least a byte and no error, or io.EOF at its present end.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.l.mu.Lock()
	size, tail := r.l.size, r.l.tail
	r.l.mu.Unlock()
	if off >= size {
		if off-size >= int64(len(tail)) {
			return 0, io.EOF
		}
		return copy(p, tail[off-size:]), nil
	}
	if r.f == nil {
		again, err := r.l.open()
		if err != nil {
			return 0, err
		}
		if again.f == nil {
			return 0, errShort
		}
		r.f = again.f
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), size-off)], off)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF || err == nil {
		err = errShort
	}
	return 0, err
}

func (r *reader) close() {
	if r.f != nil {
		_ = r.f.Close()
	}
}

// section reads the log from one place to another.
type section struct {
	r        *reader
	off, end int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.off >= s.end {
		return 0, io.EOF
	}
	n, err := s.r.ReadAt(p[:min(int64(len(p)), s.end-s.off)], s.off)
	s.off += int64(n)
	if errors.Is(err, io.EOF) {
		err = errShort
	}
	return n, err
}
