//go:build linux

// Package gogit carries out operations on repositories with a library, for images that have no git program. It is linked into
// dugoutd-git alone: it is larger than the daemon.
//
// The library's own checkout, reset and add lose untracked files, move HEAD before they refuse, or read the whole tree for each
// file. What happens to the working tree is therefore done here, in worktree.go, with git's rules; the library reads and
// writes objects, refs, the index and the wire.
//
// What it does not do: it runs no hooks and no filters, finds no renames, does not look into submodules, and makes a shallow
// clone over http and ssh only.
package gogit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Library implements op.Backend.
type Library struct {
	Home string // of the user: settings, credentials and ssh keys are below it
}

// Do implements op.Backend.
func (l *Library) Do(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	switch r.Kind {
	case op.Clone:
		return l.clone(ctx, r)
	case op.Init:
		return l.init(r)
	case op.Store:
		return l.store(r)
	case op.GetConfig, op.SetConfig:
		return l.settings(r)
	default: // needs a repository
	}
	p, err := l.open(r.Dir)
	if err != nil {
		return nil, err
	}
	switch r.Kind {
	case op.Status:
		return p.status()
	case op.Branches:
		return p.branches()
	case op.CreateBranch:
		return p.createBranch(r)
	case op.DeleteBranch:
		return p.deleteBranch(r)
	case op.Checkout:
		return p.checkout(r)
	case op.Add:
		return p.add(r)
	case op.Commit:
		return p.commit(r)
	case op.History:
		return p.history(ctx, r, commit)
	case op.Pull:
		return p.pull(ctx, r)
	case op.Push:
		return p.push(ctx, r)
	case op.Reset:
		return p.reset(r)
	case op.Restore:
		return p.restore(r)
	case op.Remotes:
		return p.remotes()
	case op.AddRemote:
		return p.addRemote(ctx, r)
	default:
		return nil, errs.New(errs.Internal, "no operation %s", r.Kind)
	}
}

// merged is the stage of a file that is not in a conflict. The library's own constant for it has the number of another stage.
const merged = index.Stage(0)

// repo is an open repository.
type repo struct {
	*git.Repository
	lib  *Library
	dir  string
	bare bool
}

func (l *Library) open(dir string) (*repo, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, op.NotRepository(dir)
	}
	if _, err := os.Stat(filepath.Join(real, ".git")); err != nil {
		if _, err := os.Stat(filepath.Join(real, "HEAD")); err != nil || filepath.Base(real) == ".git" {
			return nil, op.NotRepository(dir)
		}
	}
	g, err := git.PlainOpenWithOptions(real, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, op.NotRepository(dir)
	}
	p := &repo{Repository: g, lib: l, dir: real}
	_, err = g.Worktree()
	p.bare = errors.Is(err, git.ErrIsBareRepository)
	return p, nil
}

// head returns the commit that HEAD is at; the zero hash in a new repository.
func (p *repo) head() (plumbing.Hash, error) {
	ref, err := p.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return plumbing.ZeroHash, nil
	}
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return ref.Hash(), nil
}

// current returns the branch that HEAD is on, "" when it is detached.
func (p *repo) current() (plumbing.ReferenceName, error) {
	ref, err := p.Reference(plumbing.HEAD, false)
	if err != nil {
		return "", err
	}
	if ref.Type() == plumbing.SymbolicReference {
		return ref.Target(), nil
	}
	return "", nil
}

// commitOf resolves a revision, nil when it names no commit.
func (p *repo) commitOf(rev string) *object.Commit {
	h, err := p.ResolveRevision(plumbing.Revision(rev))
	if err != nil {
		return nil
	}
	c, err := p.CommitObject(*h)
	if err != nil {
		return nil
	}
	return c
}

// flat lists the files of a commit; an empty one for the zero hash.
func (p *repo) flat(commit plumbing.Hash) (map[string]entry, error) {
	out := map[string]entry{}
	if commit.IsZero() {
		return out, nil
	}
	c, err := p.CommitObject(commit)
	if err != nil {
		return nil, err
	}
	t, err := c.Tree()
	if err != nil {
		return nil, err
	}
	w := object.NewTreeWalker(t, true, nil)
	defer w.Close()
	for {
		name, e, err := w.Next()
		if err != nil {
			if err.Error() == "EOF" {
				return out, nil
			}
			return nil, err
		}
		if e.Mode.IsFile() || e.Mode == submoduleMode {
			out[name] = entry{hash: e.Hash, mode: e.Mode}
		}
	}
}

// index returns the index as a map, and whether some files in it are not merged.
func (p *repo) index() (idx *index.Index, files map[string]entry, unmerged bool, err error) {
	idx, err = p.Storer.Index()
	if err != nil {
		return nil, nil, false, err
	}
	files = map[string]entry{}
	for _, e := range idx.Entries {
		if e.Stage != merged {
			unmerged = true
			continue
		}
		files[e.Name] = entry{hash: e.Hash, mode: e.Mode}
	}
	return idx, files, unmerged, nil
}

// saveIndex writes files as the new index. What is known of the files on disk is kept where it is still true.
func (p *repo) saveIndex(old *index.Index, files map[string]entry, fresh map[string]*index.Entry) error {
	known := map[string]*index.Entry{}
	for _, e := range old.Entries {
		if e.Stage == merged {
			known[e.Name] = e
		}
	}
	idx := &index.Index{Version: 2}
	for name, f := range files {
		e := fresh[name]
		if e == nil {
			if k := known[name]; k != nil && k.Hash == f.hash && k.Mode == f.mode {
				e = k
			} else {
				e = &index.Entry{Name: name, Hash: f.hash, Mode: f.mode}
			}
		}
		idx.Entries = append(idx.Entries, e)
	}
	slices.SortFunc(idx.Entries, func(a, b *index.Entry) int { return strings.Compare(a.Name, b.Name) })
	return p.Storer.SetIndex(idx)
}

// within reports whether name is one of files or below one; . is all.
func within(name string, files []string) bool {
	for _, f := range files {
		if f == "." || name == f || strings.HasPrefix(name, f+"/") {
			return true
		}
	}
	return false
}
