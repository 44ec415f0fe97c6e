package image

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
)

// For the tests, which are in a package of their own.
var (
	AptSources       = aptSources
	WithoutPasswords = withoutPasswords
	Authorities      = authorities
)

// TidyTree runs the last step of a build over work/rootfs.
func TidyTree(ctx context.Context, work string, r Recipe) (int64, error) {
	b := newBuilder(r, work, slog.New(slog.DiscardHandler), func(Progress) {})
	root, err := os.OpenRoot(filepath.Join(work, rootfsDir))
	if err != nil {
		return 0, err
	}
	defer root.Close()
	b.root = root
	err = b.tidy(ctx)
	return b.size, err
}
