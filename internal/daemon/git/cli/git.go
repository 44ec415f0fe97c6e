//go:build linux

// Package cli carries out operations on repositories with the git program of the sandbox's image.
//
// What went wrong is told by kind: exit codes, porcelain formats, and questions asked before or after. Git says some things
// about remotes in text alone; fault.go is the one place that reads it.
//
// Credentials reach git through a pipe that only the remote's own origin is answered from. No process of such a command runs
// a hook, so no hook can read it; see secret.go.
package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of what is kept of one command's output, in bytes.
const (
	maxText   = 32 << 20 // of an answer that is kept whole
	maxErrors = 16 << 10 // of messages, at each end
)

// Git is the git program. It is used for one operation.
type Git struct {
	Runner *run.Runner
	Path   string   // of the program
	Env    []string // of the sandbox
}

// Do implements op.Backend.
func (g *Git) Do(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	c := &repo{git: g, dir: r.Dir, reads: r.Kind.Reads()}
	switch r.Kind {
	case op.Clone:
		return c.clone(ctx, r)
	case op.Init:
		return c.init(ctx, r)
	case op.GetConfig:
		return c.getConfig(ctx, r)
	case op.SetConfig:
		return c.setConfig(ctx, r)
	case op.Store:
		return c.store(ctx, r)
	default: // needs a repository
	}
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	switch r.Kind {
	case op.Status:
		return c.status(ctx)
	case op.Branches:
		return c.branches(ctx)
	case op.CreateBranch:
		return c.createBranch(ctx, r)
	case op.DeleteBranch:
		return c.deleteBranch(ctx, r)
	case op.Checkout:
		return c.checkout(ctx, r)
	case op.Add:
		return c.add(ctx, r)
	case op.Commit:
		return c.commit(ctx, r)
	case op.History:
		return c.history(ctx, r, commit)
	case op.Pull:
		return c.pull(ctx, r)
	case op.Push:
		return c.push(ctx, r)
	case op.Reset:
		return c.reset(ctx, r)
	case op.Restore:
		return c.restore(ctx, r)
	case op.Remotes:
		return c.remotes(ctx)
	case op.AddRemote:
		return c.addRemote(ctx, r)
	default:
		return nil, errs.New(errs.Internal, "no operation %s", r.Kind)
	}
}

// repo is a directory in which git runs.
type repo struct {
	git   *Git
	dir   string
	reads bool
	bare  bool
}

// command is one call of git.
type command struct {
	args   []string
	stdin  []byte
	env    []string  // on top
	out    io.Writer // nil: kept and returned
	secret *secret   // nil: none
	paths  bool      // its arguments are paths, and it knows no literal patterns
}

// answer is what git said.
type answer struct {
	out  string
	errs string
	code int
}

// ok runs git and makes any exit code but 0 an error.
func (c *repo) ok(ctx context.Context, args ...string) (string, error) {
	a, err := c.run(ctx, command{args: args})
	if err != nil {
		return "", err
	}
	if a.code != 0 {
		return "", c.fault(a)
	}
	return a.out, nil
}

// asks runs git for a question that it answers with its exit code: 0 for yes, 1 for no.
func (c *repo) asks(ctx context.Context, args ...string) (bool, error) {
	a, err := c.run(ctx, command{args: args})
	if err != nil {
		return false, err
	}
	if a.code > 1 || a.code < 0 {
		return false, c.fault(a)
	}
	return a.code == 0, nil
}

// run runs git to its end, or kills it when ctx ends.
func (c *repo) run(ctx context.Context, cmd command) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(err)
	}
	argv := append([]string{"git"}, c.settings(cmd.secret)...)
	if !cmd.paths {
		argv = append(argv, "--literal-pathspecs")
	}
	argv = append(argv, cmd.args...)
	kept := &keeper{max: maxText}
	messages := &edges{max: maxErrors}
	spec := run.Spec{Path: c.git.Path, Argv: argv, Env: c.environ(cmd.env), Dir: c.dir, Out: kept, Err: messages}
	if cmd.out != nil {
		spec.Out = cmd.out
	}
	if cmd.stdin != nil {
		in, err := run.MemFile("input", cmd.stdin)
		if err != nil {
			return nil, err
		}
		defer func() { _ = in.Close() }()
		spec.Stdin = in
	}
	if cmd.secret != nil {
		pipe, err := cmd.secret.pipe()
		if err != nil {
			return nil, err
		}
		defer func() { _ = pipe.Close() }()
		spec.Files = []*os.File{pipe}
	}
	p, err := c.git.Runner.Start(spec)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "git could not be started in %s: %v", op.Clip(c.dir), err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
		return nil, ended(ctx.Err())
	}
	if kept.over {
		return nil, errs.New(errs.TooLarge, "git answered more than %d bytes", maxText)
	}
	a := &answer{out: kept.buf.String(), errs: messages.String(), code: p.ExitCode()}
	if cmd.secret != nil {
		a.errs = strings.ReplaceAll(a.errs, cmd.secret.auth.Password, "***")
	}
	return a, nil
}

func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errs.Wrap(err, errs.Timeout, "git did not end in time and was killed")
	}
	return errs.Wrap(err, errs.Timeout, "the client left before git ended")
}

// settings for this command alone, in front of the user's own.
func (c *repo) settings(s *secret) []string {
	out := []string{"-c", "advice.detachedHead=false", "-c", "core.quotePath=false"}
	if c.reads { // a read runs no program of the repository's choice where that can be told git
		out = append(out, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
	}
	if s != nil {
		out = append(out, s.settings()...)
	}
	return append(out, "--no-pager")
}

// keptPrefixes start the variables of git that the sandbox's owner may have set for good reason. The others would change
// which repository or what format an operation means.
var keptPrefixes = []string{"GIT_SSH", "GIT_SSL_", "GIT_HTTP_", "GIT_PROXY_", "GIT_CONFIG_GLOBAL=", "GIT_CONFIG_SYSTEM=", "GIT_CONFIG_NOSYSTEM=",
	"GIT_EXEC_PATH=", "GIT_TEMPLATE_DIR=", "GIT_ASKPASS="}

func (c *repo) environ(extra []string) []string {
	var out []string
	for _, kv := range c.git.Env {
		if strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANGUAGE=") {
			continue
		}
		if strings.HasPrefix(kv, "GIT_") && !hasAnyPrefix(kv, keptPrefixes) {
			continue
		}
		out = append(out, kv)
	}
	out = append(out, "LC_ALL=C.UTF-8", "LANGUAGE=C", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "GIT_EDITOR=true", "GIT_SEQUENCE_EDITOR=true",
		"GIT_MERGE_AUTOEDIT=no", "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GCM_INTERACTIVE=never", "SSH_ASKPASS_REQUIRE=never",
		"GIT_CEILING_DIRECTORIES="+filepath.Dir(c.dir)) // dir itself is the repository, or none is
	if c.reads {
		out = append(out, "GIT_OPTIONAL_LOCKS=0")
	}
	return append(out, extra...)
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// check makes sure that the directory is a repository, itself and not one above it.
func (c *repo) check(ctx context.Context) error {
	dir, err := filepath.EvalSymlinks(c.dir) // git compares the ceiling with the real path
	if err != nil {
		return op.NotRepository(c.dir)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return op.NotRepository(c.dir)
	}
	c.dir = dir
	a, err := c.run(ctx, command{args: []string{"rev-parse", "--is-bare-repository", "--is-inside-git-dir"}})
	if err != nil {
		return err
	}
	bare, inside := "", ""
	if f := strings.Fields(a.out); len(f) == 2 {
		bare, inside = f[0], f[1]
	}
	switch {
	case a.code != 0 && says(a, "dubious ownership"):
		return errs.New(errs.Denied, "the repository %s belongs to another user; allow it with: git config --global --add safe.directory %s", op.Clip(c.dir), op.Clip(c.dir))
	case a.code != 0, inside == "true" && bare == "false":
		return op.NotRepository(c.dir)
	}
	c.bare = bare == "true"
	return nil
}

// keeper keeps a bounded text.
type keeper struct {
	buf  bytes.Buffer
	max  int
	over bool
}

func (k *keeper) Write(p []byte) (int, error) {
	if k.buf.Len()+len(p) > k.max {
		k.over = true
		return len(p), nil
	}
	return k.buf.Write(p)
}

// edges keeps the beginning and the end of a text.
type edges struct {
	head, tail []byte
	max        int
	cut        bool
}

func (e *edges) Write(p []byte) (int, error) {
	n := len(p)
	if room := e.max - len(e.head); room > 0 {
		take := min(room, len(p))
		e.head, p = append(e.head, p[:take]...), p[take:]
	}
	e.tail = append(e.tail, p...)
	if over := len(e.tail) - e.max; over > 0 {
		e.tail, e.cut = append(e.tail[:0], e.tail[over:]...), true
	}
	return n, nil
}

func (e *edges) String() string {
	if e.cut {
		return string(e.head) + "\n…\n" + string(e.tail)
	}
	return string(e.head) + string(e.tail)
}
