//go:build linux

package gogit

import (
	"context"
	"errors"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

const heads = "refs/heads/"

// list asks a remote for its refs.
func (w *wire) list(ctx context.Context) (map[plumbing.ReferenceName]*plumbing.Reference, error) {
	remote := git.NewRemote(memory.NewStorage(), &config.RemoteConfig{Name: "origin", URLs: []string{w.url}})
	refs, err := remote.ListContext(ctx, &git.ListOptions{Auth: w.auth, InsecureSkipTLS: w.skipTLS})
	if err != nil {
		return nil, w.fault(err)
	}
	out := map[plumbing.ReferenceName]*plumbing.Reference{}
	for _, ref := range refs {
		out[ref.Name()] = ref
	}
	return out, nil
}

func (l *Library) clone(ctx context.Context, r *op.Request) (*op.Result, error) {
	made, err := op.Prepare(r.Dir)
	if err != nil {
		return nil, err
	}
	if err := l.cloneInto(ctx, r); err != nil {
		op.Undo(r.Dir, made)
		return nil, err
	}
	return &op.Result{}, nil
}

func (l *Library) cloneInto(ctx context.Context, r *op.Request) error {
	w, err := l.wire(r.URL, r.Auth, r.SkipTLS)
	if err != nil {
		return err
	}
	refs, err := w.list(ctx)
	if err != nil {
		return err
	}
	head := refs[plumbing.HEAD]
	if r.Branch != "" {
		if head = refs[plumbing.NewBranchReferenceName(r.Branch)]; head == nil {
			head = refs[plumbing.NewTagReferenceName(r.Branch)]
		}
		if head == nil {
			return op.NoBranch(r.Branch, op.Shown(r.URL.Text))
		}
	} else if head != nil && head.Type() == plumbing.SymbolicReference {
		head = refs[head.Target()]
	}
	if head == nil {
		return op.EmptyRemote(op.Shown(r.URL.Text))
	}
	// The reference of a branch is stored under its own name; a tag or a detached HEAD as a commit alone.
	local := plumbing.NewBranchReferenceName("master")
	if head.Name().IsBranch() {
		local = head.Name()
	}
	g, err := git.PlainInitWithOptions(r.Dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: local}})
	if err != nil {
		return err
	}
	p := &repo{Repository: g, lib: l, dir: r.Dir}
	spec := config.RefSpec("+" + head.Name().String() + ":" + head.Name().String())
	if head.Name().IsBranch() {
		spec = config.RefSpec("+" + head.Name().String() + ":" + plumbing.NewRemoteReferenceName("origin", head.Name().Short()).String())
	} else if head.Name() == plumbing.HEAD {
		spec = "+HEAD:refs/remotes/origin/HEAD"
	}
	if _, err := g.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{r.URL.Text}, Fetch: []config.RefSpec{spec}}); err != nil {
		return err
	}
	depth := r.Depth
	if r.URL.Origin == "" && !strings.HasPrefix(r.URL.Text, "ssh:") { // a repository on this disk is not served in part
		depth = 0
	}
	if err := w.fetch(ctx, g, "origin", depth, spec); err != nil {
		return err
	}
	at := head.Hash()
	if tag, err := g.TagObject(at); err == nil {
		c, err := tag.Commit()
		if err != nil {
			return op.NoRevision(r.Branch)
		}
		at = c.Hash
	}
	detach := !head.Name().IsBranch()
	if r.Rev != "" {
		c := p.commitOf(r.Rev)
		if c == nil { // not on the branch
			if err := w.fetch(ctx, g, "origin", 0, fetchSpec("origin")...); err != nil {
				return err
			}
			c = p.commitOf(r.Rev)
		}
		if c == nil {
			return op.NoRevision(r.Rev)
		}
		at, detach = c.Hash, true
	}
	if head.Name().IsBranch() {
		if err := g.Storer.SetReference(plumbing.NewHashReference(head.Name(), head.Hash())); err != nil {
			return err
		}
		if err := p.track(head.Name().Short(), "origin", head.Name()); err != nil {
			return err
		}
	}
	ref := plumbing.NewSymbolicReference(plumbing.HEAD, local)
	if detach {
		ref = plumbing.NewHashReference(plumbing.HEAD, at)
	}
	if err := p.move(plumbing.ZeroHash, at, "the clone", true); err != nil {
		return err
	}
	return g.Storer.SetReference(ref)
}

// fetch gets refs from a remote; that there is nothing new is a success.
func (w *wire) fetch(ctx context.Context, g *git.Repository, remote string, depth int, specs ...config.RefSpec) error {
	err := g.FetchContext(ctx, &git.FetchOptions{RemoteName: remote, RemoteURL: w.url, RefSpecs: specs, Depth: depth, Auth: w.auth, InsecureSkipTLS: w.skipTLS})
	if err == nil || errors.Is(err, git.NoErrAlreadyUpToDate) {
		return nil
	}
	return w.fault(err)
}

// to finds a remote by its name.
func (p *repo) to(name string, auth *op.Auth) (*wire, error) {
	cfg, err := p.Config()
	if err != nil {
		return nil, err
	}
	remote := cfg.Remotes[name]
	if remote == nil || len(remote.URLs) == 0 {
		return nil, op.NoRemote(name)
	}
	u, inURL, err := op.ParseURL(remote.URLs[0], p.dir)
	if err != nil {
		return nil, err
	}
	if auth == nil {
		auth = inURL
	}
	return p.lib.wire(u, auth, false)
}

func (p *repo) pull(ctx context.Context, r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	w, err := p.to(r.Remote, r.Auth)
	if err != nil {
		return nil, err
	}
	branch := r.Branch
	if branch == "" {
		current, err := p.current()
		if err != nil {
			return nil, err
		}
		if current == "" {
			return nil, op.DetachedHead("pull")
		}
		branch = current.Short()
		cfg, err := p.Config()
		if err != nil {
			return nil, err
		}
		if b := cfg.Branches[branch]; b != nil && b.Remote == r.Remote && b.Merge.IsBranch() {
			branch = b.Merge.Short()
		}
	}
	refs, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	theirs := refs[plumbing.NewBranchReferenceName(branch)]
	switch {
	case len(refs) == 0:
		return nil, op.EmptyRemote(op.Shown(w.url))
	case theirs == nil:
		return nil, op.NoBranch(branch, op.Shown(w.url))
	}
	spec := config.RefSpec("+" + heads + branch + ":" + plumbing.NewRemoteReferenceName(r.Remote, branch).String())
	if err := w.fetch(ctx, p.Repository, r.Remote, 0, spec); err != nil {
		return nil, err
	}
	ref, err := p.Reference(plumbing.NewRemoteReferenceName(r.Remote, branch), true)
	if err != nil {
		return nil, err
	}
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	if !head.IsZero() {
		if have, err := p.reaches(head, ref.Hash()); err != nil || have {
			return &op.Result{}, err
		}
		if ahead, err := p.reaches(ref.Hash(), head); err != nil {
			return nil, err
		} else if !ahead {
			return nil, op.NotFastForward(branch)
		}
	}
	if err := p.move(head, ref.Hash(), "the pull", true); err != nil {
		return nil, err
	}
	return &op.Result{}, p.setHead(ref.Hash())
}

func (p *repo) push(ctx context.Context, r *op.Request) (*op.Result, error) {
	w, err := p.to(r.Remote, r.Auth)
	if err != nil {
		return nil, err
	}
	branch := r.Branch
	if branch == "" {
		current, err := p.current()
		if err != nil {
			return nil, err
		}
		if current == "" {
			return nil, op.DetachedHead("push")
		}
		branch = current.Short()
	}
	name := plumbing.NewBranchReferenceName(branch)
	mine, err := p.Reference(name, true)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return nil, op.NoBranch(branch, p.dir)
	}
	if err != nil {
		return nil, err
	}
	refs, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	if theirs := refs[name]; theirs != nil {
		if ok, err := p.reaches(mine.Hash(), theirs.Hash()); err != nil {
			return nil, err
		} else if !ok {
			return nil, op.PushRejected(branch, "it has commits that are not here")
		}
	}
	spec := config.RefSpec(name.String() + ":" + name.String())
	err = p.PushContext(ctx, &git.PushOptions{RemoteName: r.Remote, RemoteURL: w.url, RefSpecs: []config.RefSpec{spec}, Auth: w.auth, InsecureSkipTLS: w.skipTLS})
	if err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
		if why, ok := strings.CutPrefix(err.Error(), "command error on "+name.String()+": "); ok { // the remote's report has no type
			return nil, op.RemoteRejected(branch, valid(why))
		}
		return nil, w.fault(err)
	}
	if r.Upstream {
		if err := p.track(branch, r.Remote, name); err != nil {
			return nil, err
		}
		if known, err := p.tracking(name); err != nil {
			return nil, err
		} else if known == "" { // a clone of one branch now follows this one too
			if err := p.configure(func(cfg *config.Config) {
				remote := cfg.Remotes[r.Remote]
				remote.Fetch = append(remote.Fetch, config.RefSpec("+"+name.String()+":"+plumbing.NewRemoteReferenceName(r.Remote, branch).String()))
			}); err != nil {
				return nil, err
			}
		}
	}
	return &op.Result{}, p.Storer.SetReference(plumbing.NewHashReference(plumbing.NewRemoteReferenceName(r.Remote, branch), mine.Hash()))
}

func (p *repo) addRemote(ctx context.Context, r *op.Request) (*op.Result, error) {
	cfg, err := p.Storer.Config()
	if err != nil {
		return nil, err
	}
	old := cfg.Remotes[r.Remote]
	if old != nil && !r.Replace {
		return nil, op.RemoteExists(r.Remote)
	}
	if old != nil {
		old.URLs = []string{r.URL.Text}
	} else {
		cfg.Remotes[r.Remote] = &config.RemoteConfig{Name: r.Remote, URLs: []string{r.URL.Text}, Fetch: fetchSpec(r.Remote)}
	}
	if err := p.Storer.SetConfig(cfg); err != nil || !r.Fetch {
		return &op.Result{}, err
	}
	w, err := p.to(r.Remote, nil)
	if err != nil {
		return nil, err
	}
	return &op.Result{}, w.fetch(ctx, p.Repository, r.Remote, 0)
}
