//go:build linux

package cli

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// maxCommit limits the text of one commit, in bytes.
const maxCommit = 8 << 20

func (c *repo) history(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	head, err := c.commitOf(ctx, "HEAD")
	if err != nil {
		return nil, err
	}
	if head == "" {
		return nil, op.NoCommits(c.dir)
	}
	args := []string{"log", "-z", "--no-color", "--no-show-signature", "--no-notes", "--no-decorate", "--encoding=UTF-8", "--no-mailmap", "--format=%H%n%an%n%ae%n%aI%n%B"}
	if r.Limit > 0 {
		args = append(args, "--max-count="+strconv.Itoa(r.Limit))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &logParser{commit: commit, stop: cancel}
	a, err := c.run(ctx, command{args: append(args, head, "--"), out: p})
	switch {
	case p.bad != nil:
		return nil, p.bad
	case err != nil:
		return nil, err
	case a.code != 0:
		return nil, c.fault(a)
	}
	p.end()
	return &op.Result{}, p.bad
}

// logParser reads records that end in NUL: id, name, address, time, and the message as the rest. It passes them on as they
// come, so that a history of any length takes the memory of one commit.
type logParser struct {
	rest   []byte
	commit func(*toolbox.GitCommitInfo) error
	stop   func()
	bad    error
}

func (p *logParser) Write(b []byte) (int, error) {
	n := len(b)
	for p.bad == nil {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			break
		}
		p.rest = append(p.rest, b[:i]...)
		p.record()
		b = b[i+1:]
	}
	if p.bad == nil {
		if p.rest = append(p.rest, b...); len(p.rest) > maxCommit {
			p.fail(errs.New(errs.TooLarge, "a commit's message is larger than %d bytes", maxCommit))
		}
	}
	return n, nil
}

func (p *logParser) end() {
	if len(p.rest) > 0 && p.bad == nil {
		p.record()
	}
}

func (p *logParser) fail(err error) {
	p.bad = err
	p.stop()
}

func (p *logParser) record() {
	f := strings.SplitN(string(p.rest), "\n", 5)
	p.rest = p.rest[:0]
	if len(f) < 4 {
		p.fail(errs.New(errs.Internal, "git log wrote what cannot be read").WithCode(op.CodeInternal))
		return
	}
	info := toolbox.GitCommitInfo{Hash: f[0], Author: valid(f[1]), Email: valid(f[2]), Timestamp: f[3]}
	if len(f) == 5 {
		info.Message = valid(f[4])
	}
	if t, err := time.Parse(time.RFC3339, info.Timestamp); err == nil {
		info.Timestamp = t.Format(time.RFC3339)
	}
	if err := p.commit(&info); err != nil {
		p.fail(err)
	}
}
