// Package image keeps unpacked images on a host and builds them from recipes, out of Debian packages and language
// package indexes only: no image registry is needed for a first sandbox.
//
// A store is one directory:
//
//	images/<name>/<digest>/rootfs      the root filesystem, owned by uid and gid 0–65535 as in the image
//	images/<name>/<digest>/image.json  what is written at last; a directory without it is not an image
//	tmp/                               builds and removals under way, and the locks that say whose they are
//
// images and tmp are readable by root alone: a root filesystem has set-user-ID programs that no user of the host may run.
// An image never changes once it is listed. Several processes may have the same store open.
package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Image is an unpacked image of the store.
type Image struct {
	Name       string            `json:"name"`
	Ref        string            `json:"ref"`
	Digest     string            `json:"digest"` // of the recipe it was built from; 64 hexadecimal characters
	About      string            `json:"about,omitempty"`
	User       string            `json:"user"`       // default user; empty: root
	Workdir    string            `json:"workdir"`    // empty: the user's home
	Env        map[string]string `json:"env"`        // PATH is there; HOME is not, it follows from the user
	Entrypoint []string          `json:"entrypoint"` // may be empty
	SizeBytes  int64             `json:"size"`       // blocks on disk, hard links once
	Created    time.Time         `json:"created"`

	Rootfs string `json:"-"` // absolute path of the root filesystem on this host
}

const (
	imagesDir    = "images"
	tmpDir       = "tmp"
	rootfsDir    = "rootfs"
	imageFile    = "image.json"
	maxImageFile = 256 << 10
)

// Store is a directory of images. Its methods may be called from several goroutines.
type Store struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex         // guards flights and their fields; never held over I/O
	flights map[string]*flight // builds under way in this process, by digest
}

// Open makes dir a store, or opens the one that is there, and removes what builds and removals that died left behind.
// Builds of other processes that are still at work are left alone.
func Open(dir string, log *slog.Logger) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, errs.Wrap(err, errs.Invalid, "the image store %q has no absolute path", dir)
	}
	s := &Store{dir: abs, log: log, flights: map[string]*flight{}}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, errs.Wrap(err, errs.Internal, "the image store %s cannot be made", abs)
	}
	for _, sub := range []string{imagesDir, tmpDir} {
		p := filepath.Join(abs, sub)
		if err := os.MkdirAll(p, 0o700); err != nil {
			return nil, errs.Wrap(err, errs.Internal, "the image store %s cannot be made", abs)
		}
		if err := os.Chmod(p, 0o700); err != nil {
			return nil, errs.Wrap(err, errs.Internal, "the image store %s cannot be closed to other users", abs)
		}
	}
	if err := s.sweep(); err != nil {
		return nil, err
	}
	return s, nil
}

// List returns the images, newest first. What cannot be read is logged and left out.
func (s *Store) List() []Image {
	var images []Image
	root := filepath.Join(s.dir, imagesDir)
	for _, name := range s.entries(root) {
		for _, digest := range s.entries(filepath.Join(root, name)) {
			img, err := readImage(filepath.Join(root, name, digest))
			if errors.Is(err, fs.ErrNotExist) {
				continue // being removed
			}
			if err != nil {
				s.log.Warn("image left out", "name", name, "digest", digest, "error", err)
				continue
			}
			images = append(images, img)
		}
	}
	slices.SortFunc(images, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name+a.Digest, b.Name+b.Digest)
	})
	return images
}

// Get returns the newest image that answers to ref: a ref or name, or either followed by "@" and a digest.
// errs.NotFound says which refs there are.
func (s *Store) Get(ref string) (Image, error) {
	want, digest, pinned := strings.Cut(ref, "@")
	var have []string
	for _, img := range s.List() {
		if img.Ref != want && img.Name != want {
			have = append(have, img.Ref)
			continue
		}
		if !pinned || img.Digest == digest {
			return img, nil
		}
		have = append(have, img.Ref+"@"+img.Digest)
	}
	if len(have) == 0 {
		return Image{}, errs.New(errs.NotFound, "there is no image %.200q on this host, nor any other: build one first", ref)
	}
	slices.Sort(have)
	const show = 20
	rest := ""
	have = slices.Compact(have)
	if len(have) > show {
		rest = fmt.Sprintf(" and %d more", len(have)-show)
		have = have[:show]
	}
	return Image{}, errs.New(errs.NotFound, "there is no image %.200q on this host; there are: %s%s", ref, strings.Join(have, ", "), rest)
}

// Remove deletes the image that Get(ref) returns. The caller must know that no sandbox is made from it: the engine mounts
// the directory itself. errs.NotFound when there is none.
func (s *Store) Remove(ref string) error {
	img, err := s.Get(ref)
	if err != nil {
		return err
	}
	dir := s.imageDir(img.Name, img.Digest)
	trash := filepath.Join(s.dir, tmpDir, removedPrefix+id.Token(12))
	if err := os.Rename(dir, trash); err != nil {
		return errs.Wrap(err, errs.Internal, "the image %s cannot be taken out of the store", img.Ref)
	}
	_ = os.Remove(filepath.Dir(dir)) // the name's folder, when it was the last
	if err := os.RemoveAll(trash); err != nil {
		return errs.Wrap(err, errs.Internal, "the image %s is out of the store, but its files could not all be deleted", img.Ref)
	}
	return nil
}

func (s *Store) imageDir(name, digest string) string {
	return filepath.Join(s.dir, imagesDir, name, digest)
}

// entries names the directories in dir.
func (s *Store) entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("image store cannot be listed", "path", dir, "error", err)
	}
	var names []string
	for _, e := range list {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// built returns the image of that name and digest, if it is complete.
func (s *Store) built(name, digest string) (Image, bool) {
	img, err := readImage(s.imageDir(name, digest))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("image is damaged", "name", name, "digest", digest, "error", err)
	}
	return img, err == nil
}

// Entries of the folder tmp. A build's lock is held from before its folder exists until after it is gone.
const (
	buildPrefix   = "build-"
	removedPrefix = "removed-"
	lockSuffix    = ".lock"
)

// sweep deletes what is left of builds and removals whose process died.
func (s *Store) sweep() error {
	tmp := filepath.Join(s.dir, tmpDir)
	for _, name := range s.entries(tmp) {
		dir := filepath.Join(tmp, name)
		switch {
		case strings.HasPrefix(name, buildPrefix):
			lock, err := tryLock(dir + lockSuffix)
			if errors.Is(err, errLocked) {
				continue // another process is building it
			}
			if err != nil {
				return errs.Wrap(err, errs.Internal, "the lock of the unfinished build %s cannot be taken", name)
			}
			err = os.RemoveAll(dir)
			lock.release()
			if err != nil {
				return errs.Wrap(err, errs.Internal, "the unfinished build %s cannot be removed", dir)
			}
			s.log.Info("unfinished image build removed", "path", dir)
		case strings.HasPrefix(name, removedPrefix):
			if err := os.RemoveAll(dir); err != nil {
				return errs.Wrap(err, errs.Internal, "the removed image %s cannot be deleted", dir)
			}
		}
	}
	return nil
}

// readImage reads the description of the image in dir and checks that it is where it says.
func readImage(dir string) (Image, error) {
	f, err := os.Open(filepath.Join(dir, imageFile))
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxImageFile))
	if err != nil {
		return Image{}, err
	}
	var img Image
	if err := json.Unmarshal(data, &img); err != nil {
		return Image{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if img.Name != filepath.Base(filepath.Dir(dir)) || img.Digest != filepath.Base(dir) {
		return Image{}, fmt.Errorf("%s is of another image, %.100q %.100q", f.Name(), img.Name, img.Digest)
	}
	img.Rootfs = filepath.Join(dir, rootfsDir)
	if st, err := os.Stat(img.Rootfs); err != nil {
		// Not wrapped: a root that is missing is damage, and not an image that is not there.
		return Image{}, fmt.Errorf("%s describes a root filesystem that cannot be used: %v", f.Name(), err)
	} else if !st.IsDir() {
		return Image{}, fmt.Errorf("%s is not a directory", img.Rootfs)
	}
	return img, nil
}

func writeImage(dir string, img Image) error {
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imageFile), append(data, '\n'), 0o644)
}
