//go:build linux

package gogit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

const submoduleMode = filemode.Submodule

// entry is a file of a commit or of the index. The zero one is no file.
type entry struct {
	hash plumbing.Hash
	mode filemode.FileMode
}

// disk describes the file of the working tree; the zero entry where there is none. A directory counts as none.
func (p *repo) disk(name string) (entry, error) {
	path := filepath.Join(p.dir, name)
	st, err := p.lstat(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	switch m := st.Mode(); {
	case m&os.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil {
			return entry{}, err
		}
		return entry{hash: plumbing.ComputeHash(plumbing.BlobObject, []byte(to)), mode: filemode.Symlink}, nil
	case m.IsRegular():
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return entry{}, err
		}
		defer func() { _ = f.Close() }()
		h := plumbing.NewHasher(plumbing.BlobObject, st.Size())
		if _, err := io.Copy(h, f); err != nil {
			return entry{}, err
		}
		return entry{hash: h.Sum(), mode: regularMode(m)}, nil
	}
	return entry{}, nil
}

func regularMode(m os.FileMode) filemode.FileMode {
	if m&0o100 != 0 {
		return filemode.Executable
	}
	return filemode.Regular
}

// lstat does not look through a symbolic link on the way: what is behind it is not in the repository.
func (p *repo) lstat(name string) (os.FileInfo, error) {
	for i, c := range name {
		if c != '/' {
			continue
		}
		st, err := os.Lstat(filepath.Join(p.dir, name[:i]))
		if err != nil {
			return nil, err
		}
		if !st.IsDir() {
			return nil, os.ErrNotExist
		}
	}
	return os.Lstat(filepath.Join(p.dir, name))
}

// stage stores the file of the working tree and returns its entry for the index.
func (p *repo) stage(name string) (*index.Entry, error) {
	path := filepath.Join(p.dir, name)
	st, err := p.lstat(name)
	if err != nil {
		return nil, err
	}
	obj := p.Storer.NewEncodedObject()
	obj.SetType(plumbing.BlobObject)
	w, err := obj.Writer()
	if err != nil {
		return nil, err
	}
	mode := filemode.Symlink
	if st.Mode()&os.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		obj.SetSize(int64(len(to)))
		if _, err := w.Write([]byte(to)); err != nil {
			return nil, err
		}
	} else {
		mode = regularMode(st.Mode())
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		obj.SetSize(st.Size())
		if _, err := io.Copy(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	h, err := p.Storer.SetEncodedObject(obj)
	if err != nil {
		return nil, err
	}
	return noted(name, entry{hash: h, mode: mode}, st), nil
}

// noted is an entry of the index with what is known of the file on disk.
func noted(name string, f entry, st os.FileInfo) *index.Entry {
	e := &index.Entry{Name: name, Hash: f.hash, Mode: f.mode, ModifiedAt: st.ModTime(), Size: uint32(st.Size())}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		e.CreatedAt = time.Unix(s.Ctim.Sec, s.Ctim.Nsec)
		e.Dev, e.Inode, e.UID, e.GID = uint32(s.Dev), uint32(s.Ino), s.Uid, s.Gid
	}
	return e
}

// put writes one file of the working tree. The caller has made sure that nothing of value is lost.
func (p *repo) put(name string, f entry) (*index.Entry, error) {
	if !plainPath(name) {
		return nil, errs.New(errs.Invalid, "the repository has a file with a name that is not allowed: %q", op.Clip(name))
	}
	path := filepath.Join(p.dir, name)
	for i, c := range name { // nothing is written through a link that stands for a directory
		if c != '/' {
			continue
		}
		dir := filepath.Join(p.dir, name[:i])
		if st, err := os.Lstat(dir); err == nil && !st.IsDir() {
			if err := os.Remove(dir); err != nil {
				return nil, err
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	if f.mode == submoduleMode {
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		return &index.Entry{Name: name, Hash: f.hash, Mode: f.mode}, nil
	}
	blob, err := p.BlobObject(f.hash)
	if err != nil {
		return nil, err
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if st, err := os.Lstat(path); err == nil {
		if st.IsDir() {
			err = emptyDirs(path)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			return nil, err
		}
	}
	if f.mode == filemode.Symlink {
		to, err := io.ReadAll(io.LimitReader(r, op.MaxPath+1))
		if err != nil {
			return nil, err
		}
		if err := os.Symlink(string(to), path); err != nil {
			return nil, err
		}
	} else {
		perm := os.FileMode(0o666)
		if f.mode == filemode.Executable {
			perm = 0o777
		}
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, perm)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(w, r)
		if err := errors.Join(err, w.Close()); err != nil {
			return nil, err
		}
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return noted(name, f, st), nil
}

// emptyDirs removes a directory that holds nothing but directories.
func emptyDirs(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			return &os.PathError{Op: "remove", Path: path, Err: syscall.ENOTEMPTY}
		}
		if err := emptyDirs(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// remove takes a file out of the working tree, and the directories that are empty then.
func (p *repo) remove(name string) error {
	if _, err := p.lstat(name); err != nil || !plainPath(name) {
		return nil
	}
	if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		if st, serr := os.Lstat(filepath.Join(p.dir, name)); serr == nil && st.IsDir() { // a submodule's stays
			return nil
		}
		return err
	}
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if os.Remove(filepath.Join(p.dir, dir)) != nil {
			return nil
		}
	}
	return nil
}

// plainPath refuses names that a hostile repository may hold: out of the tree, or into .git.
func plainPath(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		switch lower := strings.ToLower(part); {
		case part == "", part == ".", part == "..", lower == ".git", strings.IndexByte(part, 0) >= 0:
			return false
		}
	}
	return true
}

// change is what happens to one file.
type change struct {
	name string
	to   entry
}

// apply makes changes to the working tree, removals first, and returns what to note in the index.
func (p *repo) apply(changes []change) (map[string]*index.Entry, error) {
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.name, b.name) })
	for _, c := range changes {
		if c.to == (entry{}) {
			if err := p.remove(c.name); err != nil {
				return nil, err
			}
		}
	}
	fresh := map[string]*index.Entry{}
	for _, c := range changes {
		if c.to == (entry{}) {
			continue
		}
		e, err := p.put(c.name, c.to)
		if err != nil {
			return nil, err
		}
		fresh[c.name] = e
	}
	return fresh, nil
}

// safe reports whether replacing the file loses nothing: it is as the index has it, or as it shall be, or not there; and no
// untracked file stands where a directory is needed.
func (p *repo) safe(name string, staged, to entry, tracked map[string]entry, going map[string]bool) (bool, error) {
	have, err := p.disk(name)
	if err != nil {
		return false, err
	}
	if have != (entry{}) && have != staged && have != to && to.mode != submoduleMode && staged.mode != submoduleMode {
		return false, nil
	}
	if to == (entry{}) {
		return true, nil
	}
	if st, err := p.lstat(name); err == nil && st.IsDir() && to.mode != submoduleMode { // only what goes may be in it
		lost := false
		_ = filepath.WalkDir(filepath.Join(p.dir, name), func(path string, d os.DirEntry, err error) error {
			rel, rerr := filepath.Rel(p.dir, path)
			if err == nil && rerr == nil && !d.IsDir() && !going[rel] {
				lost = true
				return filepath.SkipAll
			}
			return nil
		})
		if lost {
			return false, nil
		}
	}
	for i, c := range name {
		if c != '/' {
			continue
		}
		st, err := os.Lstat(filepath.Join(p.dir, name[:i]))
		if err != nil {
			break
		}
		if _, known := tracked[name[:i]]; !st.IsDir() && !known {
			return false, nil
		}
	}
	return true, nil
}

// move changes index and working tree from one commit to another and keeps local changes to files that are the same in both.
// Where others would be lost it refuses, before it changes anything. With keepIndex what is staged stays staged.
func (p *repo) move(from, to plumbing.Hash, what string, keepIndex bool) error {
	old, err := p.flat(from)
	if err != nil {
		return err
	}
	target, err := p.flat(to)
	if err != nil {
		return err
	}
	idx, files, unmerged, err := p.index()
	if err != nil {
		return err
	}
	if unmerged {
		return op.Unmerged()
	}
	going := map[string]bool{}
	var changes []change
	for name := range union(old, target) {
		if old[name] != target[name] {
			changes = append(changes, change{name, target[name]})
			going[name] = target[name] == (entry{})
		}
	}
	next := map[string]entry{}
	if keepIndex {
		for name, f := range files {
			next[name] = f
		}
	} else {
		for name, f := range target {
			next[name] = f
		}
	}
	for _, c := range changes {
		staged := files[c.name]
		if staged != old[c.name] && staged != c.to {
			return op.Dirty(what)
		}
		if ok, err := p.safe(c.name, staged, c.to, files, going); err != nil {
			return err
		} else if !ok {
			return op.Dirty(what)
		}
		if c.to == (entry{}) {
			delete(next, c.name)
		} else {
			next[c.name] = c.to
		}
	}
	fresh, err := p.apply(changes)
	if err != nil {
		return err
	}
	return p.saveIndex(idx, next, fresh)
}

func union(a, b map[string]entry) map[string]bool {
	out := map[string]bool{}
	for name := range a {
		out[name] = true
	}
	for name := range b {
		out[name] = true
	}
	return out
}

// setHead moves the branch that HEAD is on, or HEAD itself when it is detached.
func (p *repo) setHead(to plumbing.Hash) error {
	branch, err := p.current()
	if err != nil {
		return err
	}
	if branch == "" {
		branch = plumbing.HEAD
	}
	return p.Storer.SetReference(plumbing.NewHashReference(branch, to))
}
