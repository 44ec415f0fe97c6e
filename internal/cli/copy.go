package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

const (
	copyWorkers = 4
	maxDepth    = 1000 // of folders in a sandbox; the most the wire knows
)

// copier copies between this host and one sandbox.
type copier struct {
	env          *env
	files        dugout.Files
	name         string // of the sandbox
	bar          progress
	count, bytes atomic.Int64
	mu           sync.Mutex
	skipped      []string // guarded by mu
}

func (c *copier) skip(path, why string) {
	c.mu.Lock()
	c.skipped = append(c.skipped, skippedMessage(path, why))
	c.mu.Unlock()
}

// wanted reports whether the entry of a local folder is a file to copy, or a link to one. What is neither is skipped and told.
func (c *copier) wanted(p string, d fs.DirEntry) (bool, error) {
	st, err := os.Stat(p) // of what a link points to
	switch {
	case err != nil && d.Type()&fs.ModeSymlink != 0:
		c.skip(p, "the link points to nothing")
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode().IsRegular():
		c.skip(p, "it is not a regular file")
		return false, nil
	}
	return true, nil
}

// upload copies the local file or folder src to dst in the sandbox.
func (c *copier) upload(ctx context.Context, src, dst string) error {
	if src == "-" {
		if strings.HasSuffix(dst, "/") || base(dst) == "" {
			return usagef("standard input has no name; give the destination one")
		}
		return c.put(ctx, c.env.in, dst, -1, 0)
	}
	st, err := os.Stat(src)
	if err != nil {
		return err
	}
	if !st.IsDir() && !st.Mode().IsRegular() {
		return usagef("%s is neither a file nor a folder", src)
	}
	info, err := c.files.Info(ctx, dst)
	switch {
	case err == nil && info.IsDir, err != nil && errors.Is(err, dugout.ErrNotFound) && strings.HasSuffix(dst, "/"):
		dst = path.Join(dst, base(filepath.ToSlash(src)))
	case err == nil && st.IsDir():
		return &stateError{msg: fmt.Sprintf("%s:%s is a file; a folder cannot take its place", c.name, dst)}
	case err != nil && !errors.Is(err, dugout.ErrNotFound):
		return err
	}
	if !st.IsDir() {
		return c.uploadFile(ctx, src, dst)
	}
	return c.uploadDir(ctx, src, dst)
}

// uploadEach copies a folder file by file.
func (c *copier) uploadEach(ctx context.Context, src, dst string) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(copyWorkers)
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if gctx.Err() != nil {
			return gctx.Err()
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		remote := path.Join(dst, filepath.ToSlash(rel))
		if d.IsDir() {
			return c.files.Mkdir(gctx, remote, 0o755)
		}
		if ok, err := c.wanted(p, d); !ok {
			return err
		}
		group.Go(func() error { return c.uploadFile(gctx, p, remote) })
		return nil
	})
	if werr := group.Wait(); werr != nil {
		return werr // what stopped the walk, if it was stopped
	}
	return err
}

func (c *copier) uploadFile(ctx context.Context, src, dst string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return c.put(ctx, f, dst, st.Size(), st.Mode().Perm())
}

// put writes one file into the sandbox; perm 0 leaves its permissions to the sandbox.
func (c *copier) put(ctx context.Context, r io.Reader, dst string, length int64, perm fs.FileMode) error {
	c.bar.begin(c.env, dst, length)
	counted := &counter{c: c, r: r}
	var body io.Reader = counted
	if _, isFile := r.(*os.File); isFile && length >= 0 {
		body = &sized{counter: counted, left: length}
	}
	if err := c.files.Upload(ctx, dst, body); err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, dst, err)
	}
	if perm != 0 && perm != 0o644 {
		if err := c.files.Chmod(ctx, dst, perm); err != nil {
			return fmt.Errorf("%s:%s: set permissions: %w", c.name, dst, err)
		}
	}
	c.count.Add(1)
	return nil
}

// counter counts what is read through it.
type counter struct {
	c *copier
	r io.Reader
}

func (r *counter) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.c.bytes.Add(int64(n))
	r.c.bar.add(n)
	return n, err
}

// sized is a counter that says its length, so that the upload goes out with one.
type sized struct {
	*counter
	left int64
}

// Len is the length the file had when it was opened.
func (s *sized) Len() int { return int(s.left) }

// download copies src of the sandbox to dst here.
func (c *copier) download(ctx context.Context, src, dst string) error {
	info, err := c.files.Info(ctx, src)
	if err != nil {
		return err
	}
	if dst == "-" {
		if info.IsDir {
			return usagef("%s:%s is a folder; only a file can go to standard output", c.name, src)
		}
		return c.get(ctx, src, -1, c.env.out)
	}
	st, err := os.Stat(dst)
	switch {
	case err == nil && st.IsDir():
		dst = filepath.Join(dst, base(src))
	case err == nil && info.IsDir:
		return &stateError{msg: fmt.Sprintf("%s is a file; a folder cannot take its place", dst)}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil && strings.HasSuffix(dst, string(filepath.Separator)):
		dst = filepath.Join(dst, base(src))
	}
	if info.IsDir {
		return c.downloadDir(ctx, src, dst)
	}
	if !regular(info) {
		return usagef("%s:%s is neither a file nor a folder", c.name, src)
	}
	dir, name := filepath.Split(dst)
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return c.fetch(ctx, root, src, name, info)
}

func regular(f *dugout.FileInfo) bool { return strings.HasPrefix(f.Mode, "-") }

// downloadEach copies a folder file by file, below a root as downloadDir.
func (c *copier) downloadEach(ctx context.Context, src, dst string) error {
	list, err := c.files.List(ctx, src, maxDepth)
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(copyWorkers)
	top := "" // as the sandbox writes it: the directory of the first entry
	if len(list) > 0 {
		top = path.Dir(list[0].Path)
	}
	for _, f := range list {
		if gctx.Err() != nil {
			break
		}
		rel, below := strings.CutPrefix(f.Path, strings.TrimSuffix(top, "/")+"/")
		to, lerr := filepath.Localize(rel)
		switch {
		case !below || lerr != nil || rel == ".":
			err = fmt.Errorf("%s:%s holds a file with a name that cannot be used here: %q", c.name, src, f.Path)
		case f.IsDir:
			err = root.MkdirAll(to, 0o755)
		case !regular(&f):
			c.skip(c.name+":"+f.Path, "it is not a regular file")
		default:
			group.Go(func() error { return c.fetch(gctx, root, f.Path, to, &f) })
		}
		if err != nil {
			break
		}
	}
	if gerr := group.Wait(); gerr != nil {
		return gerr
	}
	return err
}

// fetch downloads one file to a place below root.
func (c *copier) fetch(ctx context.Context, root *os.Root, src, dst string, info *dugout.FileInfo) error {
	perm := fs.FileMode(0o644)
	if n, err := strconv.ParseUint(info.Permissions, 8, 32); err == nil {
		perm = fs.FileMode(n)&0o777 | 0o600 // never setuid, and ours to read and replace
	}
	return c.store(root, dst, perm, func(w io.Writer) error { return c.get(ctx, src, info.Size, w) })
}

// store writes one file to a place below root: beside it first, so that a broken copy never stands in for the file.
func (c *copier) store(root *os.Root, dst string, perm fs.FileMode, fill func(io.Writer) error) error {
	tmp := filepath.Join(filepath.Dir(dst), ".dugout-"+strconv.FormatInt(c.count.Add(1), 36)+"-"+filepath.Base(dst))
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Chmod(perm), f.Close())
	if err == nil {
		err = root.Rename(tmp, dst)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}

// get streams one file out of the sandbox.
func (c *copier) get(ctx context.Context, src string, length int64, w io.Writer) error {
	c.bar.begin(c.env, src, length)
	r, err := c.files.Download(ctx, src)
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	defer r.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, &counter{c: c, r: r}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	return nil
}
