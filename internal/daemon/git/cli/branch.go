//go:build linux

package cli

import (
	"context"
	"strings"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

const heads = "refs/heads/"

func (c *repo) branches(ctx context.Context) (*op.Result, error) {
	out, err := c.ok(ctx, "for-each-ref", "--format=%(refname)", "--sort=refname", heads)
	if err != nil {
		return nil, err
	}
	r := &op.Result{Branches: []string{}}
	for line := range strings.Lines(out) {
		r.Branches = append(r.Branches, valid(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), heads)))
	}
	r.Current, err = c.current(ctx)
	return r, err
}

// current returns the branch that HEAD is on, "" when it is detached. The branch need not exist yet.
func (c *repo) current(ctx context.Context) (string, error) {
	a, err := c.run(ctx, command{args: []string{"symbolic-ref", "-q", "HEAD"}})
	switch {
	case err != nil:
		return "", err
	case a.code == 1:
		return "", nil
	case a.code != 0:
		return "", c.fault(a)
	}
	return valid(strings.TrimPrefix(strings.TrimSuffix(a.out, "\n"), heads)), nil
}

// commitOf resolves a revision to the id of a commit, "" when there is none.
func (c *repo) commitOf(ctx context.Context, rev string) (string, error) {
	a, err := c.run(ctx, command{args: []string{"rev-parse", "--verify", "-q", rev + "^{commit}", "--"}})
	if err != nil || a.code != 0 { // anything but a commit: it also exits with 128
		return "", err
	}
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(a.out), "--")), nil
}

func (c *repo) exists(ctx context.Context, ref string) (bool, error) {
	return c.asks(ctx, "show-ref", "--verify", "-q", ref)
}

func (c *repo) createBranch(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	there, err := c.exists(ctx, heads+r.Branch)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, op.BranchExists(r.Branch)
	}
	_, err = c.ok(ctx, "checkout", "-q", "-b", r.Branch)
	return &op.Result{}, err
}

func (c *repo) deleteBranch(ctx context.Context, r *op.Request) (*op.Result, error) {
	there, err := c.exists(ctx, heads+r.Branch)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, op.NoBranch(r.Branch, c.dir)
	}
	current, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	if current == r.Branch && !c.bare {
		return nil, op.CurrentBranch(r.Branch)
	}
	_, err = c.ok(ctx, "branch", "-q", "-D", "--", r.Branch)
	return &op.Result{}, err
}

func (c *repo) checkout(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	args, target := []string{"checkout", "-q"}, heads+r.Rev
	switch there, err := c.exists(ctx, target); {
	case err != nil:
		return nil, err
	case there:
		args = append(args, r.Rev, "--")
	default:
		remote, err := c.remoteBranch(ctx, r.Rev)
		if err != nil {
			return nil, err
		}
		if remote != "" {
			target = remote
			args = append(args, "--track", "-b", r.Rev, remote, "--")
			break
		}
		oid, err := c.commitOf(ctx, r.Rev)
		if err != nil {
			return nil, err
		}
		if oid == "" {
			return nil, op.NoRevision(r.Rev)
		}
		target = oid
		args = append(args, "--detach", oid, "--")
	}
	return &op.Result{}, c.switchTo(ctx, target, args)
}

// switchTo runs a checkout of target. When it fails it asks whether local changes are in the way.
func (c *repo) switchTo(ctx context.Context, target string, args []string) error {
	a, err := c.run(ctx, command{args: args})
	if err != nil || a.code == 0 {
		return err
	}
	if unmerged, err := c.unmerged(ctx); err == nil && unmerged {
		return op.Unmerged()
	}
	if blocked, err := c.blocked(ctx, target); err == nil && blocked {
		return op.Dirty("the checkout")
	}
	return c.fault(a)
}

// blocked reports whether going from HEAD to target would overwrite local changes.
func (c *repo) blocked(ctx context.Context, target string) (bool, error) {
	a, err := c.run(ctx, command{args: []string{"read-tree", "-n", "-m", "-u", "--exclude-standard", "HEAD", target}})
	if err == nil && a.code == 129 { // old git wants the file's name, new git none
		a, err = c.run(ctx, command{args: []string{"read-tree", "-n", "-m", "-u", "HEAD", target}})
	}
	return err == nil && a.code != 0, err
}

// unmerged reports whether a merge is not finished.
func (c *repo) unmerged(ctx context.Context) (bool, error) {
	out, err := c.ok(ctx, "ls-files", "-u", "-z", "--")
	return out != "", err
}

// remoteBranch returns the one remote branch of that name, "" when there is none or several.
func (c *repo) remoteBranch(ctx context.Context, name string) (string, error) {
	out, err := c.ok(ctx, "config", "-z", "--name-only", "--get-regexp", `^remote\..*\.url$`)
	if err != nil {
		if out == "" { // no remote at all
			return "", nil
		}
		return "", err
	}
	found := ""
	seen := map[string]bool{}
	for key := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		ref := "refs/remotes/" + remoteName(key) + "/" + name
		if seen[ref] {
			continue
		}
		seen[ref] = true
		switch there, err := c.exists(ctx, ref); {
		case err != nil:
			return "", nil // not a name of a branch
		case there && found != "":
			return "", nil
		case there:
			found = ref
		}
	}
	return found, nil
}

// remoteName takes it out of remote.NAME.url.
func remoteName(key string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
}
