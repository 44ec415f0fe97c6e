//go:build linux

package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

func (c *repo) add(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	if len(r.Files) == 0 {
		return &op.Result{}, nil
	}
	a, err := c.run(ctx, command{args: append([]string{"add", "-A", "--"}, r.Files...)})
	if err != nil || a.code == 0 {
		return &op.Result{}, err
	}
	for _, f := range r.Files { // which one
		if _, err := os.Lstat(filepath.Join(c.dir, f)); err != nil {
			if known, err := c.asks(ctx, "ls-files", "--error-unmatch", "--", f); err == nil && !known {
				return nil, op.NoFile(f)
			}
			continue
		}
		if a, err := c.run(ctx, command{args: []string{"check-ignore", "-q", "--", "./" + f}, paths: true}); err == nil && a.code == 0 {
			return nil, op.Ignored(f)
		}
	}
	return nil, c.fault(a)
}

func (c *repo) commit(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	args := []string{"commit", "-q", "--cleanup=verbatim", "--allow-empty-message", "-F", "-"}
	if r.Empty {
		args = append(args, "--allow-empty")
	}
	a, err := c.run(ctx, command{args: args, stdin: []byte(r.Message), env: []string{"GIT_AUTHOR_NAME=" + r.Name, "GIT_AUTHOR_EMAIL=" + r.Email,
		"GIT_COMMITTER_NAME=" + r.Name, "GIT_COMMITTER_EMAIL=" + r.Email}})
	if err != nil {
		return nil, err
	}
	if a.code != 0 {
		if unmerged, err := c.unmerged(ctx); err == nil && unmerged {
			return nil, op.Unmerged()
		}
		if !r.Empty {
			if clean, err := c.clean(ctx); err == nil && clean {
				return nil, op.NothingStaged()
			}
		}
		if hook := c.hook(ctx, "pre-commit", "prepare-commit-msg", "commit-msg"); hook != "" && a.code == 1 {
			why, _ := words(a)
			return nil, errs.New(errs.Conflict, "the commit was refused, as by the hook %s: %s", op.Clip(hook), op.Clip(why))
		}
		return nil, c.fault(a)
	}
	oid, err := c.commitOf(ctx, "HEAD")
	return &op.Result{Hash: oid}, err
}

// clean reports whether nothing is staged.
func (c *repo) clean(ctx context.Context) (bool, error) {
	head, err := c.commitOf(ctx, "HEAD")
	if err != nil {
		return false, err
	}
	if head == "" {
		out, err := c.ok(ctx, "ls-files", "-z", "--")
		return out == "", err
	}
	return c.asks(ctx, "diff-index", "--cached", "--quiet", "HEAD", "--")
}

// hook returns the path of the first of these hooks that would run, "" for none.
func (c *repo) hook(ctx context.Context, names ...string) string {
	for _, name := range names {
		out, err := c.ok(ctx, "rev-parse", "--git-path", "hooks/"+name)
		if err != nil {
			return ""
		}
		path := strings.TrimSuffix(out, "\n")
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, path)
		}
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func (c *repo) reset(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare && r.Mode != "soft" {
		return nil, op.Bare(c.dir)
	}
	target, err := c.commitOf(ctx, r.Rev)
	if err != nil {
		return nil, err
	}
	if target == "" && r.Rev != "HEAD" {
		return nil, op.NoRevision(r.Rev)
	}
	args := []string{"reset", "-q"}
	if len(r.Files) == 0 {
		args = append(args, "--"+r.Mode)
	}
	if target != "" { // in a new repository there is none yet
		args = append(args, target)
	}
	a, err := c.run(ctx, command{args: append(append(args, "--"), r.Files...)})
	if err != nil || a.code == 0 {
		return &op.Result{}, err
	}
	if len(r.Files) > 0 {
		if file := c.unknown(ctx, r.Files, target); file != "" {
			return nil, op.NoFile(file)
		}
	} else if r.Mode == "keep" || r.Mode == "merge" {
		if a.code == 128 && target != "" {
			if unmerged, err := c.unmerged(ctx); err == nil && unmerged {
				return nil, op.Unmerged()
			}
			return nil, op.Dirty("the reset")
		}
	}
	if unmerged, err := c.unmerged(ctx); err == nil && unmerged && r.Mode == "soft" {
		return nil, op.Unmerged()
	}
	return nil, c.fault(a)
}

// unknown returns the first of files that is neither in the index nor in the commit.
func (c *repo) unknown(ctx context.Context, files []string, commit string) string {
	for _, f := range files {
		known, err := c.asks(ctx, "ls-files", "--error-unmatch", "--", f)
		if err != nil || known {
			continue
		}
		if commit != "" {
			if out, err := c.ok(ctx, "ls-tree", "-z", commit, "--", f); err != nil || out != "" {
				continue
			}
		}
		return f
	}
	return ""
}

func (c *repo) restore(ctx context.Context, r *op.Request) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	args, source := []string{"restore", "-q"}, ""
	if r.Staged {
		args = append(args, "--staged")
	}
	if r.Worktree {
		args = append(args, "--worktree")
	}
	if r.Rev != "" {
		var err error
		if source, err = c.commitOf(ctx, r.Rev); err != nil {
			return nil, err
		}
		if source == "" {
			return nil, op.NoRevision(r.Rev)
		}
		args = append(args, "--source="+source)
	}
	a, err := c.run(ctx, command{args: append(append(args, "--"), r.Files...)})
	if err != nil || a.code == 0 {
		return &op.Result{}, err
	}
	if file := c.unknown(ctx, r.Files, source); file != "" {
		return nil, op.NoFile(file)
	}
	if unmerged, err := c.unmerged(ctx); err == nil && unmerged {
		return nil, op.Unmerged()
	}
	return nil, c.fault(a)
}
