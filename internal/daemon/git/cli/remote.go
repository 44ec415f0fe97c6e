//go:build linux

package cli

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// talk runs a command that talks to the remote at url.
func (c *repo) talk(ctx context.Context, s *secret, url string, args ...string) error {
	a, err := c.run(ctx, command{args: args, secret: s})
	if err == nil && a.code != 0 {
		err = c.remoteFault(a, url)
	}
	return err
}

// lacks asks the remote whether it has none of these refs: git tells by its exit code. With no refs: whether it has none at
// all.
func (c *repo) lacks(ctx context.Context, s *secret, options []string, remote string, refs ...string) (bool, error) {
	args := append(append([]string{}, options...), "ls-remote", "-q", "--exit-code", "--", remote)
	a, err := c.run(ctx, command{args: append(args, refs...), secret: s, out: io.Discard})
	if err != nil {
		return false, err
	}
	if a.code != 0 && a.code != 2 {
		return false, c.remoteFault(a, remote)
	}
	return a.code == 2, nil
}

func (c *repo) clone(ctx context.Context, r *op.Request) (*op.Result, error) {
	made, err := op.Prepare(r.Dir)
	if err != nil {
		return nil, err
	}
	c.dir = r.Dir
	if made { // the directory is git's to make; until then its parent will do
		c.dir = filepath.Dir(r.Dir)
	}
	if err := c.cloneInto(ctx, r); err != nil {
		op.Undo(r.Dir, made)
		return nil, err
	}
	return &op.Result{}, nil
}

func (c *repo) cloneInto(ctx context.Context, r *op.Request) error {
	s := newSecret(r.Auth, r.URL.Origin)
	var options []string
	if r.SkipTLS {
		options = []string{"-c", "http.sslVerify=false"}
	}
	args := append(append([]string{}, options...), "clone", "-q", "--no-checkout", "--single-branch", "--no-recurse-submodules", "--origin", "origin")
	if r.Branch != "" {
		args = append(args, "--branch", r.Branch)
	}
	if r.Depth > 0 {
		args = append(args, "--depth", strconv.Itoa(r.Depth))
	}
	url := r.URL.Text
	if r.Depth > 0 && strings.HasPrefix(url, "/") { // git ignores a depth where it may link files
		url = "file://" + url
	}
	if err := c.talk(ctx, s, r.URL.Text, append(args, "--", url, r.Dir)...); err != nil {
		if e, ok := errs.As(err); ok && e.Class == errs.Internal && r.Branch != "" {
			if lacks, lerr := c.lacks(ctx, s, options, url, heads+r.Branch, "refs/tags/"+r.Branch); lerr == nil && lacks {
				return op.NoBranch(r.Branch, op.Shown(r.URL.Text))
			}
		}
		return err
	}
	c.dir = r.Dir
	rev := r.Rev
	if rev == "" {
		rev = "HEAD"
	}
	oid, err := c.commitOf(ctx, rev)
	if err != nil {
		return err
	}
	if oid == "" && r.Rev != "" && wholeID(r.Rev) { // not on the branch: ask for it by its name
		fetch := append(append([]string{}, options...), "fetch", "-q")
		if r.Depth > 0 {
			fetch = append(fetch, "--depth", strconv.Itoa(r.Depth))
		}
		if err := c.talk(ctx, s, r.URL.Text, append(fetch, "origin", r.Rev)...); err != nil {
			if e, ok := errs.As(err); !ok || e.Class != errs.Internal {
				return err
			}
		}
		if oid, err = c.commitOf(ctx, rev); err != nil {
			return err
		}
	}
	switch {
	case oid == "" && r.Rev != "":
		return op.NoRevision(r.Rev)
	case oid == "":
		return op.EmptyRemote(op.Shown(r.URL.Text))
	case r.Rev != "":
		_, err = c.ok(ctx, "checkout", "-q", "--detach", oid, "--")
		return err
	}
	current, err := c.current(ctx)
	if err != nil {
		return err
	}
	if current == "" { // a tag
		_, err = c.ok(ctx, "checkout", "-q", "--detach", oid, "--")
	} else {
		_, err = c.ok(ctx, "checkout", "-q", current, "--")
	}
	return err
}

func wholeID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// address returns where a remote is, with the user's rewriting rules applied.
func (c *repo) address(ctx context.Context, name string, push bool) (string, error) {
	there, err := c.asks(ctx, "config", "--get", "remote."+name+".url")
	if err != nil {
		return "", err
	}
	if !there {
		return "", op.NoRemote(name)
	}
	args := []string{"remote", "get-url"}
	if push {
		args = append(args, "--push")
	}
	out, err := c.ok(ctx, append(args, name)...)
	first, _, _ := strings.Cut(out, "\n")
	return first, err
}

// secretFor returns the credentials for the remote at url, nil where it takes none.
func (c *repo) secretFor(auth *op.Auth, url string) *secret {
	u, _, err := op.ParseURL(url, c.dir)
	if err != nil {
		return nil
	}
	return newSecret(auth, u.Origin)
}

func (c *repo) pull(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	url, err := c.address(ctx, r.Remote, false)
	if err != nil {
		return nil, err
	}
	branch, err := c.pulled(ctx, r)
	if err != nil {
		return nil, err
	}
	s := c.secretFor(r.Auth, url)
	if err := c.talk(ctx, s, url, "fetch", "-q", "--no-recurse-submodules", r.Remote, heads+branch); err != nil {
		if e, ok := errs.As(err); ok && e.Class == errs.Internal {
			if lacks, lerr := c.lacks(ctx, s, nil, r.Remote, heads+branch); lerr == nil && lacks {
				if empty, lerr := c.lacks(ctx, s, nil, r.Remote); lerr == nil && empty {
					return nil, op.EmptyRemote(op.Shown(url))
				}
				return nil, op.NoBranch(branch, op.Shown(url))
			}
		}
		return nil, err
	}
	return &op.Result{}, c.forward(ctx, branch)
}

// pulled says which branch of the remote a pull is about.
func (c *repo) pulled(ctx context.Context, r *op.Request) (string, error) {
	if r.Branch != "" {
		return r.Branch, nil
	}
	current, err := c.current(ctx)
	if err != nil {
		return "", err
	}
	if current == "" {
		return "", op.DetachedHead("pull")
	}
	remote, err := c.run(ctx, command{args: []string{"config", "-z", "--get", "branch." + current + ".remote"}})
	if err != nil {
		return "", err
	}
	merge, err := c.run(ctx, command{args: []string{"config", "-z", "--get", "branch." + current + ".merge"}})
	if err != nil {
		return "", err
	}
	if name, ok := strings.CutPrefix(strings.TrimSuffix(merge.out, "\x00"), heads); ok && strings.TrimSuffix(remote.out, "\x00") == r.Remote && op.BranchName(name) == nil {
		return name, nil
	}
	return current, nil
}

// forward moves the current branch to what was fetched. Hooks run here, without credentials.
func (c *repo) forward(ctx context.Context, branch string) error {
	oid, err := c.commitOf(ctx, "FETCH_HEAD")
	if err != nil {
		return err
	}
	if oid == "" {
		return op.NoRevision("FETCH_HEAD")
	}
	head, err := c.commitOf(ctx, "HEAD")
	if err != nil {
		return err
	}
	if head != "" {
		if have, err := c.asks(ctx, "merge-base", "--is-ancestor", oid, head); err != nil || have {
			return err
		}
		if ahead, err := c.asks(ctx, "merge-base", "--is-ancestor", head, oid); err != nil {
			return err
		} else if !ahead {
			return op.NotFastForward(branch)
		}
	}
	a, err := c.run(ctx, command{args: []string{"merge", "-q", "--ff-only", "--no-verify-signatures", oid}})
	if err != nil || a.code == 0 {
		return err
	}
	if unmerged, err := c.unmerged(ctx); err == nil && unmerged {
		return op.Unmerged()
	}
	if head != "" {
		if blocked, err := c.blocked(ctx, oid); err == nil && blocked {
			return op.Dirty("the pull")
		}
	} else if a.code == 128 || a.code == 1 { // nothing but files in the way stops the first commit
		return op.Dirty("the pull")
	}
	return c.fault(a)
}

func (c *repo) push(ctx context.Context, r *op.Request) (*op.Result, error) {
	url, err := c.address(ctx, r.Remote, true)
	if err != nil {
		return nil, err
	}
	branch := r.Branch
	if branch == "" {
		if branch, err = c.current(ctx); err != nil {
			return nil, err
		}
		if branch == "" {
			return nil, op.DetachedHead("push")
		}
	}
	oid, err := c.commitOf(ctx, heads+branch)
	if err != nil {
		return nil, err
	}
	if oid == "" {
		return nil, op.NoBranch(branch, c.dir)
	}
	s := c.secretFor(r.Auth, url)
	if s != nil {
		if err := c.prePush(ctx, s, r.Remote, url, heads+branch, oid); err != nil {
			return nil, err
		}
	}
	args := []string{"push", "-q", "--porcelain", "--no-recurse-submodules"}
	if r.Upstream {
		args = append(args, "--set-upstream")
	}
	a, err := c.run(ctx, command{args: append(args, "--", r.Remote, heads+branch+":"+heads+branch), secret: s})
	switch {
	case err != nil:
		return nil, err
	case a.code != 0:
		return nil, c.pushFault(ctx, a, branch, url)
	case r.Upstream:
		return &op.Result{}, c.seeUpstream(ctx, r.Remote, branch, oid)
	}
	return &op.Result{}, nil
}

// seeUpstream makes a clone of one branch follow another one too: without that its upstream branch would have no name here.
func (c *repo) seeUpstream(ctx context.Context, remote, branch, oid string) error {
	upstream, err := c.ok(ctx, "for-each-ref", "--format=%(upstream)", heads+branch)
	if err != nil || strings.TrimSpace(upstream) != "" {
		return err
	}
	if _, err := c.ok(ctx, "remote", "set-branches", "--add", remote, branch); err != nil {
		return err
	}
	_, err = c.ok(ctx, "update-ref", "refs/remotes/"+remote+"/"+branch, oid)
	return err
}

// pushFault reads the porcelain lines of a push: flag, refs, and what became of it, with tabs between.
func (c *repo) pushFault(ctx context.Context, a *answer, branch, url string) error {
	for line := range strings.Lines(a.out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 3 || f[0] != "!" {
			continue
		}
		summary, why, _ := strings.Cut(f[2], " (")
		why = valid(strings.TrimSuffix(why, ")"))
		switch {
		case summary == "[rejected]":
			return op.PushRejected(branch, why)
		case strings.HasPrefix(summary, "[remote"):
			return op.RemoteRejected(branch, why)
		}
	}
	if hook := c.hook(ctx, "pre-push"); hook != "" && a.code == 1 {
		return refusedByHook(hook, a.errs)
	}
	return c.remoteFault(a, url)
}

func refusedByHook(hook, text string) error {
	return errs.New(errs.Conflict, "the hook %s refused the push: %s", op.Clip(hook), op.Clip(valid(strings.TrimSpace(text))))
}

// prePush runs the hook pre-push as git would, but outside of the command that has the credentials, where hooks are off.
func (c *repo) prePush(ctx context.Context, s *secret, remote, url, ref, oid string) error {
	path := c.hook(ctx, "pre-push")
	if path == "" {
		return nil
	}
	a, err := c.run(ctx, command{args: []string{"ls-remote", "-q", "--", remote, ref}, secret: s})
	if err != nil {
		return err
	}
	if a.code != 0 {
		return c.remoteFault(a, url)
	}
	old, _, _ := strings.Cut(a.out, "\t")
	if old == "" {
		old = strings.Repeat("0", len(oid))
	}
	if old == oid {
		return nil
	}
	in, err := run.MemFile("input", []byte(ref+" "+oid+" "+ref+" "+old+"\n"))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	text := &edges{max: maxErrors}
	spec := run.Spec{Path: path, Argv: []string{path, remote, op.Shown(url)}, Env: c.environ(nil), Dir: c.dir, Stdin: in, Out: text}
	p, err := c.git.Runner.Start(spec)
	if errors.Is(err, syscall.ENOEXEC) { // a script without its first line
		spec.Path, spec.Argv = "/bin/sh", append([]string{"sh"}, spec.Argv...)
		p, err = c.git.Runner.Start(spec)
	}
	if err != nil {
		return errs.Wrap(err, errs.Conflict, "the hook %s could not be started: %v", op.Clip(path), err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
		return ended(ctx.Err())
	}
	if p.ExitCode() != 0 {
		return refusedByHook(path, text.String())
	}
	return nil
}

func (c *repo) init(ctx context.Context, r *op.Request) (*op.Result, error) {
	if err := op.MakeDir(r.Dir); err != nil {
		return nil, err
	}
	args := []string{"-c", "advice.defaultBranchName=false", "init", "-q"}
	if r.Bare {
		args = append(args, "--bare")
	}
	if r.Branch != "" {
		args = append(args, "--initial-branch="+r.Branch)
	}
	_, err := c.ok(ctx, append(args, "--", r.Dir)...)
	return &op.Result{}, err
}
