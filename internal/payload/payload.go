// Package payload carries the programs that are put into sandboxes, embedded in the dugout binary by `make build`.
package payload

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dugout-dev/dugout/internal/errs"
)

//go:embed all:files
var files embed.FS

// Names of the embedded programs.
const (
	Daemon     = "dugoutd"
	Transpiler = "dugoutd-ts"
	Git        = "dugoutd-git"
)

// Extract writes a program to dir/<digest>/<name>, where it is not there yet, and returns its path. The name stays the same
// inside sandboxes; the digest keeps the one that running sandboxes use apart from that of a newer version.
func Extract(dir, name string) (string, error) {
	data, err := files.ReadFile("files/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errs.New(errs.Unavailable, "this binary was built without %s; build it with make", name)
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	path := filepath.Join(dir, hex.EncodeToString(sum[:8]), name)
	if have, err := os.ReadFile(path); err == nil && sha256.Sum256(have) == sum {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write %s", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write %s", path)
	}
	defer os.Remove(tmp.Name())
	_, werr := tmp.Write(data)
	if err := errors.Join(werr, tmp.Chmod(0o755), tmp.Sync(), tmp.Close()); err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write %s", path)
	}
	return path, os.Rename(tmp.Name(), path)
}
