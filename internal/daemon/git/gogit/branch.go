//go:build linux

package gogit

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

func (p *repo) branches() (*op.Result, error) {
	it, err := p.Branches()
	if err != nil {
		return nil, err
	}
	r := &op.Result{Branches: []string{}}
	if err := it.ForEach(func(ref *plumbing.Reference) error {
		r.Branches = append(r.Branches, valid(ref.Name().Short()))
		return nil
	}); err != nil {
		return nil, err
	}
	slices.Sort(r.Branches)
	current, err := p.current()
	r.Current = valid(strings.TrimPrefix(current.String(), "refs/heads/"))
	return r, err
}

func (p *repo) exists(ref plumbing.ReferenceName) (bool, error) {
	_, err := p.Reference(ref, false)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (p *repo) createBranch(r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	name := plumbing.NewBranchReferenceName(r.Branch)
	there, err := p.exists(name)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, op.BranchExists(r.Branch)
	}
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	if !head.IsZero() {
		if err := p.Storer.SetReference(plumbing.NewHashReference(name, head)); err != nil {
			return nil, err
		}
	}
	return &op.Result{}, p.Storer.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, name))
}

func (p *repo) deleteBranch(r *op.Request) (*op.Result, error) {
	name := plumbing.NewBranchReferenceName(r.Branch)
	there, err := p.exists(name)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, op.NoBranch(r.Branch, p.dir)
	}
	current, err := p.current()
	if err != nil {
		return nil, err
	}
	if current == name && !p.bare {
		return nil, op.CurrentBranch(r.Branch)
	}
	if err := p.Storer.RemoveReference(name); err != nil {
		return nil, err
	}
	return &op.Result{}, p.configure(func(cfg *config.Config) { delete(cfg.Branches, r.Branch) })
}

// configure changes the repository's own settings.
func (p *repo) configure(change func(cfg *config.Config)) error {
	cfg, err := p.Storer.Config()
	if err != nil {
		return err
	}
	change(cfg)
	return p.Storer.SetConfig(cfg)
}

// track makes a branch of a remote the upstream branch of a local one.
func (p *repo) track(branch, remote string, merge plumbing.ReferenceName) error {
	return p.configure(func(cfg *config.Config) {
		cfg.Branches[branch] = &config.Branch{Name: branch, Remote: remote, Merge: merge}
	})
}

func (p *repo) checkout(r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	name := plumbing.NewBranchReferenceName(r.Rev)
	if ref, err := p.Reference(name, true); err == nil {
		if err := p.move(head, ref.Hash(), "the checkout", true); err != nil {
			return nil, err
		}
		return &op.Result{}, p.Storer.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, name))
	}
	remote, at, err := p.remoteBranch(r.Rev)
	if err != nil {
		return nil, err
	}
	if remote != "" {
		if err := p.move(head, at, "the checkout", true); err != nil {
			return nil, err
		}
		if err := p.Storer.SetReference(plumbing.NewHashReference(name, at)); err != nil {
			return nil, err
		}
		if err := p.track(r.Rev, remote, name); err != nil {
			return nil, err
		}
		return &op.Result{}, p.Storer.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, name))
	}
	c := p.commitOf(r.Rev)
	if c == nil {
		return nil, op.NoRevision(r.Rev)
	}
	if err := p.move(head, c.Hash, "the checkout", true); err != nil {
		return nil, err
	}
	return &op.Result{}, p.Storer.SetReference(plumbing.NewHashReference(plumbing.HEAD, c.Hash))
}

// remoteBranch returns the one remote that has a branch of that name, "" when there is none or several.
func (p *repo) remoteBranch(name string) (remote string, at plumbing.Hash, err error) {
	cfg, err := p.Config()
	if err != nil {
		return "", at, err
	}
	for r := range cfg.Remotes {
		ref, err := p.Reference(plumbing.NewRemoteReferenceName(r, name), true)
		if err != nil {
			continue
		}
		if remote != "" {
			return "", at, nil
		}
		remote, at = r, ref.Hash()
	}
	return remote, at, nil
}
