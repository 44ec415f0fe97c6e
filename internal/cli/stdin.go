package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

const (
	// maxStdin is how much standard input exec passes on, in bytes. It becomes a file in the sandbox, on its disk.
	maxStdin = 256 << 20
	// stdinPatience is how long a pipe may bring nothing before it counts as one that nobody writes to: a program started
	// by another often inherits such a pipe, and must not wait for it.
	stdinPatience = 250 * time.Millisecond
)

// stdin is standard input on its way into a sandbox: a file there that the command's shell opens and removes before the
// command starts.
type stdin struct {
	path      string // in the sandbox; empty: nothing is passed on
	delivered bool   // the shell ran, so the file is gone
	late      func() bool
}

// sendStdin uploads what there is on standard input; it never waits for input that is not coming.
func (e *env) sendStdin(ctx context.Context, s *dugout.Sandbox, o execOptions, run string) (*stdin, error) {
	none := &stdin{late: func() bool { return false }}
	if o.noIn || e.in == nil || isTerminal(e.in) && !o.waitIn {
		return none, nil
	}
	f, isFile := fileOf(e.in)
	if isFile && f == nil {
		return none, nil
	}
	if isFile && !o.waitIn && !readable(f, stdinPatience) {
		none.late = func() bool { return hasInput(f) }
		return none, nil
	}
	r := bufio.NewReaderSize(e.in, 256<<10)
	if _, err := r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			return none, nil
		}
		return none, nil // a descriptor that cannot be read, such as one opened for writing, brings nothing
	}
	in := &stdin{path: "/tmp/.dugout-stdin-" + run, late: none.late}
	if err := s.Files().Upload(ctx, in.path, &bounded{r: r, left: maxStdin}); err != nil {
		in.remove(ctx, s)
		return nil, err
	}
	return in, nil
}

// wrap lets the shell open the file as its standard input and remove it at once, so that it is gone whatever becomes of the
// command. All on the command's first line: line numbers in the shell's messages stay true.
func (in *stdin) wrap(command string) string {
	p := quote(in.path)
	return "exec <" + p + " && rm -f " + p + "; " + command
}

// remove deletes the file where the shell did not come to do it.
func (in *stdin) remove(ctx context.Context, s *dugout.Sandbox) {
	if in.delivered {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = s.Files().Remove(ctx, in.path, false)
}

// bounded fails when more than left bytes come.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("standard input is larger than the limit of %s: copy it with dugout cp and read it there", size(maxStdin))
	}
	return n, err
}
