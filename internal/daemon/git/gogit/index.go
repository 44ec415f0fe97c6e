//go:build linux

package gogit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"time"
)

func (p *repo) add(r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	idx, files, _, err := p.index()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{} // also what is not merged
	for _, e := range idx.Entries {
		known[e.Name] = true
	}
	ignored, err := p.ignored()
	if err != nil {
		return nil, err
	}
	fresh := map[string]*index.Entry{}
	touched := map[string]bool{}
	take := func(name string) error {
		if files[name].mode == submoduleMode || touched[name] {
			return nil
		}
		touched[name] = true
		e, err := p.stage(name)
		if err != nil {
			return err
		}
		fresh[name], files[name] = e, entry{hash: e.Hash, mode: e.Mode}
		return nil
	}
	for _, f := range r.Files {
		st, err := p.lstat(f)
		found := false
		switch {
		case err == nil && st.IsDir():
			found = true
			err = p.walk(f, ignored, known, func(name string) error { return take(name) })
		case err == nil && (st.Mode().IsRegular() || st.Mode()&os.ModeSymlink != 0):
			found = true
			if !known[f] && ignored(f, false) {
				return nil, op.Ignored(f)
			}
			err = take(f)
		default:
			err = nil
		}
		if err != nil {
			return nil, err
		}
		for name := range known { // what is gone
			if !within(name, []string{f}) {
				continue
			}
			found = true
			if touched[name] || files[name].mode == submoduleMode {
				continue
			}
			if st, err := p.lstat(name); err != nil || st.IsDir() {
				touched[name] = true
				delete(files, name)
			}
		}
		if !found {
			return nil, op.NoFile(f)
		}
	}
	return &op.Result{}, p.saveMerged(idx, files, fresh, touched)
}

// saveMerged writes the index and keeps the stages of unmerged files that were not touched.
func (p *repo) saveMerged(old *index.Index, files map[string]entry, fresh map[string]*index.Entry, touched map[string]bool) error {
	var stages []*index.Entry
	for _, e := range old.Entries {
		if e.Stage != merged && !touched[e.Name] {
			stages = append(stages, e)
		}
	}
	if err := p.saveIndex(old, files, fresh); err != nil || len(stages) == 0 {
		return err
	}
	idx, err := p.Storer.Index()
	if err != nil {
		return err
	}
	idx.Entries = append(idx.Entries, stages...)
	return p.Storer.SetIndex(idx)
}

// ignored returns the rules of the repository, its .gitignore files and its info/exclude.
func (p *repo) ignored() (func(name string, dir bool) bool, error) {
	w, err := p.Worktree()
	if err != nil {
		return nil, err
	}
	patterns, err := gitignore.ReadPatterns(w.Filesystem, nil)
	if err != nil {
		return nil, err
	}
	m := gitignore.NewMatcher(append(patterns, w.Excludes...))
	return func(name string, dir bool) bool { return m.Match(strings.Split(name, "/"), dir) }, nil
}

// walk visits the files below dir that are known or not ignored. It goes into no other repository.
func (p *repo) walk(dir string, ignored func(string, bool) bool, known map[string]bool, visit func(name string) error) error {
	dirs := map[string]bool{}
	for name := range known {
		for i, c := range name {
			if c == '/' {
				dirs[name[:i]] = true
			}
		}
	}
	return filepath.WalkDir(filepath.Join(p.dir, dir), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(p.dir, path)
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return filepath.SkipDir
			}
			if _, err := os.Lstat(filepath.Join(path, ".git")); err == nil {
				return filepath.SkipDir
			}
			if !dirs[name] && ignored(name, true) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() && d.Type()&os.ModeSymlink == 0 {
			return nil
		}
		if !known[name] && ignored(name, false) {
			return nil
		}
		return visit(name)
	})
}

func (p *repo) commit(r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	_, _, unmerged, err := p.index()
	if err != nil {
		return nil, err
	}
	if unmerged {
		return nil, op.Unmerged()
	}
	w, err := p.Worktree()
	if err != nil {
		return nil, err
	}
	who := &object.Signature{Name: r.Name, Email: r.Email, When: time.Now()}
	opts := &git.CommitOptions{Author: who, Committer: who, AllowEmptyCommits: r.Empty}
	if other, err := p.Storer.Reference("MERGE_HEAD"); err == nil { // the merge that was resolved
		head, err := p.head()
		if err != nil {
			return nil, err
		}
		opts.Parents = []plumbing.Hash{head, other.Hash()}
	}
	h, err := w.Commit(r.Message, opts)
	if errors.Is(err, git.ErrEmptyCommit) {
		return nil, op.NothingStaged()
	}
	if err != nil {
		return nil, err
	}
	if len(opts.Parents) > 1 {
		for _, f := range []string{"MERGE_HEAD", "MERGE_MSG", "MERGE_MODE"} {
			_ = os.Remove(filepath.Join(p.dir, ".git", f))
		}
	}
	return &op.Result{Hash: h.String()}, nil
}

func (p *repo) reset(r *op.Request) (*op.Result, error) {
	if p.bare && r.Mode != "soft" {
		return nil, op.Bare(p.dir)
	}
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	target := head
	if r.Rev != "HEAD" {
		c := p.commitOf(r.Rev)
		if c == nil {
			return nil, op.NoRevision(r.Rev)
		}
		target = c.Hash
	}
	if r.Mode == "soft" {
		return &op.Result{}, p.moveHead(head, target)
	}
	want, err := p.flat(target)
	if err != nil {
		return nil, err
	}
	idx, files, unmerged, err := p.index()
	if err != nil {
		return nil, err
	}
	if len(r.Files) > 0 {
		return &op.Result{}, p.resetFiles(idx, files, want, r.Files)
	}
	var fresh map[string]*index.Entry
	switch r.Mode {
	case "keep":
		if err := p.move(head, target, "the reset", false); err != nil {
			return nil, err
		}
		return &op.Result{}, p.moveHead(head, target)
	case "merge":
		if unmerged {
			return nil, op.Unmerged()
		}
		var changes []change
		for name := range union(files, want) {
			if files[name] == want[name] {
				continue
			}
			if have, err := p.disk(name); err != nil {
				return nil, err
			} else if have != files[name] && have != (entry{}) {
				return nil, op.Dirty("the reset")
			}
			changes = append(changes, change{name, want[name]})
		}
		if fresh, err = p.apply(changes); err != nil {
			return nil, err
		}
	case "hard":
		var changes []change
		all := union(files, want)
		for _, e := range idx.Entries { // also what is not merged
			all[e.Name] = true
		}
		for name := range all {
			have, err := p.disk(name)
			if err != nil {
				return nil, err
			}
			if have != want[name] {
				changes = append(changes, change{name, want[name]})
			}
		}
		if fresh, err = p.apply(changes); err != nil {
			return nil, err
		}
	}
	if err := p.saveIndex(idx, want, fresh); err != nil {
		return nil, err
	}
	return &op.Result{}, p.moveHead(head, target)
}

func (p *repo) moveHead(from, to plumbing.Hash) error {
	if from == to {
		return nil
	}
	return p.setHead(to)
}

func (p *repo) resetFiles(idx *index.Index, files, want map[string]entry, names []string) error {
	for _, n := range names {
		found := false
		for name := range union(files, want) {
			found = found || within(name, []string{n})
		}
		if !found {
			return op.NoFile(n)
		}
	}
	touched := map[string]bool{}
	for name := range union(files, want) {
		if !within(name, names) {
			continue
		}
		touched[name] = true
		if f, ok := want[name]; ok {
			files[name] = f
		} else {
			delete(files, name)
		}
	}
	return p.saveMerged(idx, files, nil, touched)
}

func (p *repo) restore(r *op.Request) (*op.Result, error) {
	if p.bare {
		return nil, op.Bare(p.dir)
	}
	idx, files, unmerged, err := p.index()
	if err != nil {
		return nil, err
	}
	if unmerged {
		return nil, op.Unmerged()
	}
	source := files
	if r.Rev != "" || r.Staged {
		rev := r.Rev
		if rev == "" {
			rev = "HEAD"
		}
		c := p.commitOf(rev)
		if c == nil && r.Rev == "" {
			return nil, op.NoCommits(p.dir)
		}
		if c == nil {
			return nil, op.NoRevision(r.Rev)
		}
		if source, err = p.flat(c.Hash); err != nil {
			return nil, err
		}
	}
	all := union(files, source)
	for _, n := range r.Files {
		found := false
		for name := range all {
			found = found || within(name, []string{n})
		}
		if !found {
			return nil, op.NoFile(n)
		}
	}
	var changes []change
	next := map[string]entry{}
	for name, f := range files {
		next[name] = f
	}
	for name := range all {
		if !within(name, r.Files) {
			continue
		}
		to := source[name]
		if r.Staged {
			if next[name] = to; to == (entry{}) {
				delete(next, name)
			}
		}
		if !r.Worktree {
			continue
		}
		have, err := p.disk(name)
		if err != nil {
			return nil, err
		}
		if have != to && to.mode != submoduleMode {
			changes = append(changes, change{name, to})
		}
	}
	fresh, err := p.apply(changes)
	if err != nil {
		return nil, err
	}
	for name, e := range fresh { // noted only where the index has that content
		if f := next[name]; f.hash != e.Hash || f.mode != e.Mode {
			delete(fresh, name)
		}
	}
	return &op.Result{}, p.saveIndex(idx, next, fresh)
}
