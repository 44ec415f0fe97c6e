package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/image"
)

// library is where the runner finds images: the data directory's own, and those that were built beside the binary.
type library struct {
	own    *image.Store
	beside *image.Store // nil: none there
}

func openLibrary(dataDir string, log *slog.Logger) (*library, error) {
	own, err := image.Open(dataDir, log)
	if err != nil {
		return nil, err
	}
	l := &library{own: own}
	if dir := besideBinary(); dir != "" && dir != dataDir {
		if _, err := os.Stat(filepath.Join(dir, "images")); err == nil {
			if l.beside, err = image.Open(dir, log); err != nil {
				log.Warn("images beside the binary are not usable", "dir", dir, "error", err)
			}
		}
	}
	return l, nil
}

// besideBinary is the directory of the running binary, or "".
func besideBinary() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(exe)
}

func (l *library) find(ref string) (image.Image, error) {
	img, err := l.own.Get(ref)
	if errs.Is(err, errs.NotFound) && l.beside != nil {
		if other, e := l.beside.Get(ref); e == nil {
			return other, nil
		}
	}
	return img, err
}

// Image implements runner.Images.
func (l *library) Image(ref string) (engine.Image, error) {
	img, err := l.find(ref)
	if err != nil {
		return engine.Image{}, err
	}
	return engine.Image{Ref: img.Ref, Rootfs: img.Rootfs, User: img.User, Workdir: img.Workdir, Env: img.Env, Entrypoint: img.Entrypoint}, nil
}

// List implements runner.Images.
func (l *library) List() []wire.Image {
	out := []wire.Image{}
	have := map[string]bool{}
	for _, s := range []*image.Store{l.own, l.beside} {
		if s == nil {
			continue
		}
		for _, img := range s.List() {
			if !have[img.Ref] {
				have[img.Ref] = true
				out = append(out, wire.Image{Ref: img.Ref, Digest: img.Digest, SizeBytes: img.SizeBytes, Created: img.Created})
			}
		}
	}
	return out
}

// ensure builds the image of a recipe unless it is there: the small one for tests, and the default.
func (l *library) ensure(ctx context.Context, name string, progress func(image.Progress)) error {
	if _, err := l.find(name); err == nil {
		return nil
	}
	recipe, err := image.LoadRecipe(images.Recipes, name)
	if err != nil {
		return err
	}
	_, err = l.own.Build(ctx, recipe, progress)
	return err
}
