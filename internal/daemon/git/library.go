//go:build linux

package git

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// maxLine limits one message of dugoutd-git, in bytes.
const maxLine = 64 << 20

// library has dugoutd-git do the work: one process for one operation. The request, credentials included, is its standard
// input, which lives in memory alone; the answer is lines of JSON on its standard output.
type library struct{ h *Handler }

// Do implements op.Backend.
func (l *library) Do(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	request, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	in, err := run.MemFile("request", request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &replies{commit: commit, stop: cancel}
	messages := run.NewOutput(l.h.Runner.Budget, 16<<10)
	defer messages.Release()
	p, err := l.h.Runner.Start(run.Spec{Path: l.h.Library, Argv: []string{l.h.Library}, Env: l.h.Env.List(nil), Dir: "/", Stdin: in, Out: out, Err: messages})
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "%s could not be started: %v", l.h.Library, err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
	}
	messages.Seal()
	switch {
	case out.bad != nil:
		return nil, out.bad
	case out.last != nil && out.last.Error != nil:
		return nil, out.last.Error.Err()
	case out.last != nil && out.last.Result != nil:
		return out.last.Result, nil
	case ctx.Err() == context.DeadlineExceeded:
		return nil, errs.Wrap(ctx.Err(), errs.Timeout, "git did not end in time and was killed")
	case ctx.Err() != nil:
		return nil, errs.Wrap(ctx.Err(), errs.Timeout, "the client left before git ended")
	}
	return nil, errs.New(errs.Internal, "%s ended with exit code %d: %s", l.h.Library, p.ExitCode(), op.Clip(strings.TrimSpace(messages.String()))).WithCode(op.CodeInternal)
}

// replies reads the lines of dugoutd-git.
type replies struct {
	rest   []byte
	last   *op.Reply
	commit func(*toolbox.GitCommitInfo) error
	stop   func()
	bad    error
}

func (o *replies) Write(b []byte) (int, error) {
	n := len(b)
	for o.bad == nil {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		o.rest = append(o.rest, b[:i]...)
		o.line()
		b = b[i+1:]
	}
	if o.bad == nil {
		if o.rest = append(o.rest, b...); len(o.rest) > maxLine {
			o.fail(errs.New(errs.TooLarge, "git answered more than %d bytes", maxLine))
		}
	}
	return n, nil
}

func (o *replies) fail(err error) {
	o.bad = err
	o.stop()
}

func (o *replies) line() {
	var r op.Reply
	err := json.Unmarshal(o.rest, &r)
	o.rest = o.rest[:0]
	switch {
	case err != nil:
		o.fail(errs.Wrap(err, errs.Internal, "dugoutd-git wrote what cannot be read").WithCode(op.CodeInternal))
	case r.Commit == nil:
		o.last = &r
	case o.commit != nil:
		if err := o.commit(r.Commit); err != nil {
			o.fail(err)
		}
	}
}
