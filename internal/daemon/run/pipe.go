//go:build linux

package run

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipe is what a program writes to, seen from here.
type pipe struct {
	f *os.File
	w io.Writer // gets all of it
	r *Runner

	reading bool // guarded by r.mu: somebody reads
	saved   bool // guarded by r.mu: it belongs to a run that is handed over
}

// pipe returns a pipe, whose reading end waits in the poller, and its writing end, which blocks as programs expect.
func (r *Runner) pipe(w io.Writer) (*pipe, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, os.NewSyscallError("pipe2", err)
	}
	_ = unix.SetNonblock(fds[0], true)
	return r.own(os.NewFile(uintptr(fds[0]), "output"), w), fds[1], nil
}

// own makes a pipe of a reading end.
func (r *Runner) own(f *os.File, w io.Writer) *pipe {
	p := &pipe{f: f, w: w, r: r}
	r.mu.Lock()
	r.open[p] = struct{}{}
	r.mu.Unlock()
	return p
}

func (r *Runner) closePipe(p *pipe) {
	r.mu.Lock()
	delete(r.open, p)
	r.mu.Unlock()
	r.changed()
	_ = p.f.Close()
}

// changed wakes a Freeze that waits.
func (r *Runner) changed() {
	select {
	case r.still <- struct{}{}:
	default:
	}
}

// collect reads p to its end in a goroutine of its own, then calls closed.
func (r *Runner) collect(p *pipe, closed func()) {
	r.pipes.Add(1)
	r.mu.Lock()
	p.reading = true
	if r.thawed != nil {
		_ = p.f.SetReadDeadline(past)
	}
	r.mu.Unlock()
	go func() {
		defer r.pipes.Done()
		defer r.closePipe(p)
		defer closed()
		if rf, ok := p.w.(io.ReaderFrom); ok {
			_, _ = rf.ReadFrom(p)
			return
		}
		buf := make([]byte, 32<<10)
		for {
			n, err := p.Read(buf)
			if n > 0 {
				_, _ = p.w.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
}

var past = time.Unix(1, 0)

// Read implements io.Reader. While the runner is frozen it reads nothing and does not return.
func (p *pipe) Read(b []byte) (int, error) {
	for {
		n, err := p.f.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		p.r.mu.Lock()
		thawed := p.r.thawed
		p.r.parked++
		p.r.mu.Unlock()
		if thawed != nil {
			p.r.changed()
			<-thawed
		}
	}
}
