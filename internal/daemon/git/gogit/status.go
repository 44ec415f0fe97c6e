//go:build linux

package gogit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

func (p *repo) status() (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	if head.IsZero() {
		return nil, op.NoCommits(p.dir)
	}
	st, err := p.branchStatus(head)
	if err != nil {
		return nil, err
	}
	if st.FileStatus, err = p.fileStatus(head); err != nil {
		return nil, err
	}
	return &op.Result{Status: st}, nil
}

// branchStatus is all but the files.
func (p *repo) branchStatus(head plumbing.Hash) (*toolbox.GitStatus, error) {
	branch, err := p.current()
	if err != nil {
		return nil, err
	}
	detached, upstream := branch == "", ""
	st := &toolbox.GitStatus{CurrentBranch: branch.Short(), Detached: &detached, Upstream: &upstream}
	if detached {
		st.CurrentBranch = "HEAD"
		return st, nil
	}
	tracking, err := p.tracking(branch)
	if err != nil || tracking == "" {
		return st, err
	}
	upstream = strings.TrimPrefix(strings.TrimPrefix(tracking.String(), "refs/remotes/"), "refs/heads/")
	ref, err := p.Reference(tracking, true)
	if err != nil { // configured, and not there
		return st, nil
	}
	st.BranchPublished = true
	if st.Ahead, st.Behind, err = p.distance(head, ref.Hash()); err != nil {
		return nil, err
	}
	return st, nil
}

// tracking returns the local name of the upstream branch, "" when there is none.
func (p *repo) tracking(branch plumbing.ReferenceName) (plumbing.ReferenceName, error) {
	cfg, err := p.Config()
	if err != nil {
		return "", err
	}
	b := cfg.Branches[branch.Short()]
	if b == nil || b.Merge == "" || b.Remote == "" {
		return "", nil
	}
	if b.Remote == "." {
		return b.Merge, nil
	}
	remote := cfg.Remotes[b.Remote]
	if remote == nil {
		return "", nil
	}
	for _, spec := range remote.Fetch {
		if spec.Match(b.Merge) {
			return spec.Dst(b.Merge), nil
		}
	}
	return "", nil
}

func (p *repo) fileStatus(head plumbing.Hash) ([]toolbox.GitFileStatus, error) {
	tree, err := p.flat(head)
	if err != nil {
		return nil, err
	}
	idx, files, _, err := p.index()
	if err != nil {
		return nil, err
	}
	written := p.indexTime()
	states := map[string]*toolbox.GitFileStatus{}
	at := func(name string) *toolbox.GitFileStatus {
		s := states[name]
		if s == nil {
			s = &toolbox.GitFileStatus{Name: strings.ToValidUTF8(name, "\uFFFD"), Staging: toolbox.GitUnmodified, Worktree: toolbox.GitUnmodified}
			states[name] = s
		}
		return s
	}
	stages := map[string]string{}
	known := map[string]bool{}
	for _, e := range idx.Entries {
		known[e.Name] = true
		if e.Stage != merged {
			stages[e.Name] += string(rune('0' + int(e.Stage)))
			continue
		}
		have, err := p.seen(e, written)
		if err != nil {
			return nil, err
		}
		switch {
		case e.SkipWorktree, e.Mode == submoduleMode:
		case have == (entry{}):
			at(e.Name).Worktree = toolbox.GitDeleted
		case e.IntentToAdd:
			at(e.Name).Worktree = toolbox.GitAdded
		case have != entry{hash: e.Hash, mode: normal(e.Mode)}:
			at(e.Name).Worktree = toolbox.GitModified
		}
		if e.IntentToAdd {
			continue
		}
		switch was, ok := tree[e.Name]; {
		case !ok:
			at(e.Name).Staging = toolbox.GitAdded
		case was.hash != e.Hash || normal(was.mode) != normal(e.Mode):
			at(e.Name).Staging = toolbox.GitModified
		}
	}
	for name := range tree {
		if _, ok := files[name]; !ok && stages[name] == "" {
			at(name).Staging = toolbox.GitDeleted
		}
	}
	for name, which := range stages {
		s := at(name)
		s.Staging, s.Worktree, s.Extra = toolbox.GitUnmerged, toolbox.GitUnmerged, sides[which]
	}
	var untracked []toolbox.GitFileStatus
	ignored, err := p.ignored()
	if err != nil {
		return nil, err
	}
	err = p.walk(".", ignored, known, func(name string) error {
		if !known[name] {
			if len(untracked) >= op.MaxFileStatus {
				return op.TooManyFiles()
			}
			untracked = append(untracked, toolbox.GitFileStatus{Name: strings.ToValidUTF8(name, "\uFFFD"), Staging: toolbox.GitUntracked, Worktree: toolbox.GitUntracked})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(states)+len(untracked) > op.MaxFileStatus {
		return nil, op.TooManyFiles()
	}
	out := untracked
	for _, s := range states {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b toolbox.GitFileStatus) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// sides tell by the stages of an unmerged file (1 ancestor, 2 ours, 3 theirs) how it came to be.
var sides = map[string]string{"1": "both deleted", "2": "added by us", "12": "deleted by them", "3": "added by them", "13": "deleted by us",
	"23": "both added", "123": "both modified"}

func normal(m filemode.FileMode) filemode.FileMode {
	if m == filemode.Deprecated {
		return filemode.Regular
	}
	return m
}

// indexTime is when the index was written: a file that is not older may have changed since without showing it.
func (p *repo) indexTime() time.Time {
	if st, err := os.Stat(filepath.Join(p.dir, ".git", "index")); err == nil {
		return st.ModTime()
	}
	return time.Time{}
}

// seen is disk for a file of the index: one whose size and time are as noted is not read.
func (p *repo) seen(e *index.Entry, written time.Time) (entry, error) {
	st, err := p.lstat(e.Name)
	if err == nil && st.Mode().IsRegular() && e.Size == uint32(st.Size()) && e.ModifiedAt.Equal(st.ModTime()) && e.ModifiedAt.Before(written) {
		return entry{hash: e.Hash, mode: regularMode(st.Mode())}, nil
	}
	return p.disk(e.Name)
}
