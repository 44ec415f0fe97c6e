package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// maxLinks bounds what a sandbox can make this host remember while its folder is copied.
const maxLinks = 100_000

// noArchives reports that a sandbox was made by a server that does not pack folders yet: each file is copied by itself then.
func noArchives(err error) bool {
	var e *dugout.Error
	return errors.As(err, &e) && e.Status == 404 && e.Code != "FILE_NOT_FOUND" && e.Code != "SANDBOX_NOT_FOUND"
}

// uploadDir copies a folder as one stream: a request for each file costs more than most files.
func (c *copier) uploadDir(ctx context.Context, src, dst string) error {
	dst = path.Join(dst, ".")
	empty := make([]byte, 1024) // a tar of nothing: makes the folder, and tells whether there is such an operation
	_, err := c.files.UploadArchive(ctx, dst, dugout.Tar, bytes.NewReader(empty), 0)
	if noArchives(err) {
		return c.uploadEach(ctx, src, dst)
	}
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, dst, err)
	}
	r, w := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		_ = w.CloseWithError(c.pack(src, w))
	}()
	_, err = c.files.UploadArchive(ctx, dst, dugout.Tar, r, 0)
	_ = r.Close() // ends the packing when the sandbox refused the rest
	<-packed
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, dst, err)
	}
	return nil
}

// pack writes the folder src as a tar. Links to files are packed as those files.
func (c *copier) pack(src string, to io.Writer) error {
	w := tar.NewWriter(to)
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil || rel == "." && d.IsDir() {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		if ok, err := c.wanted(p, d); !ok {
			return err
		}
		return c.packFile(w, p, name)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func (c *copier) packFile(w *tar.Writer, p, name string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	c.bar.begin(c.env, p, st.Size())
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(st.Mode().Perm()), Size: st.Size()}); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(&counter{c: c, r: f}, st.Size()), make([]byte, 256<<10))
	if err == nil && n != st.Size() {
		err = fmt.Errorf("%s became shorter while it was copied", p)
	}
	if err == nil {
		c.count.Add(1)
	}
	return err
}

// downloadDir copies a folder as one stream. Everything is written below a root that no name from the sandbox and no link in
// the destination leads out of.
func (c *copier) downloadDir(ctx context.Context, src, dst string) error {
	archive, err := c.files.DownloadArchive(ctx, src, dugout.Tar)
	if noArchives(err) {
		return c.downloadEach(ctx, src, dst)
	}
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	defer archive.Close()
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	links, err := c.unpack(root, archive, src)
	if err != nil {
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	if _, err := io.Copy(io.Discard, archive); err != nil { // the rest, and what was left out behind it
		return fmt.Errorf("%s:%s: %w", c.name, src, err)
	}
	if left, err := archive.Skipped(); err == nil {
		for _, s := range left.First {
			c.skip(c.name+":"+path.Join(src, s.Path), "it is "+s.Reason)
		}
		if more := left.Count - int64(len(left.First)); more > 0 {
			c.skip(fmt.Sprintf("%s:%s: %d more", c.name, src, more), "as those before")
		}
	}
	for _, rel := range links {
		if err := c.follow(ctx, root, src, rel); err != nil {
			return err
		}
	}
	return nil
}

// unpack writes what the sandbox packed, links excepted, which it returns.
func (c *copier) unpack(root *os.Root, from io.Reader, src string) (links []string, err error) {
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return links, nil
		}
		if err != nil {
			return nil, err
		}
		rel := strings.TrimSuffix(h.Name, "/")
		to, lerr := filepath.Localize(rel)
		if lerr != nil || rel == "." {
			return nil, fmt.Errorf("the folder holds a file with a name that cannot be used here: %q", h.Name)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(to, 0o755)
		case tar.TypeReg:
			c.bar.begin(c.env, rel, h.Size)
			perm := fs.FileMode(h.Mode)&0o777 | 0o600 // never setuid, and ours to read and replace
			err = c.store(root, to, perm, func(w io.Writer) error {
				_, err := io.CopyBuffer(struct{ io.Writer }{w}, &counter{c: c, r: r}, make([]byte, 256<<10))
				return err
			})
		case tar.TypeSymlink:
			if links = append(links, rel); len(links) > maxLinks {
				return nil, fmt.Errorf("the folder holds more than %d links; copy it in parts", maxLinks)
			}
		default:
			c.skip(c.name+":"+path.Join(src, rel), "it is not a regular file")
		}
		if err != nil {
			return nil, err
		}
	}
}

// follow copies what a link in the sandbox points to: a file, or an empty folder for a folder.
func (c *copier) follow(ctx context.Context, root *os.Root, src, rel string) error {
	to, err := filepath.Localize(rel)
	if err != nil {
		return err
	}
	remote := path.Join(src, rel)
	info, err := c.files.Info(ctx, remote)
	switch {
	case err == nil && info.IsDir:
		return root.MkdirAll(to, 0o755)
	case err == nil && regular(info):
		return c.fetch(ctx, root, remote, to, info)
	case err == nil:
		c.skip(c.name+":"+remote, "the link points to no regular file")
	case errors.Is(err, dugout.ErrNotFound), errors.Is(err, dugout.ErrInvalid), errors.Is(err, dugout.ErrDenied):
		c.skip(c.name+":"+remote, "the link points to nothing that can be read")
	default:
		return fmt.Errorf("%s:%s: %w", c.name, remote, err)
	}
	return nil
}
