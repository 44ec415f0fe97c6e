package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// remembered returns the content of DIR/name, made by fresh at the first start and never changed after. Mode 0600: some of
// them are secrets.
func remembered(dir, name string, fresh func() string) (string, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(b)) != "" {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", errs.Wrap(err, errs.Unavailable, "cannot read %s", path)
	}
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write to the data directory %s", dir)
	}
	defer os.Remove(tmp.Name())
	value := fresh()
	_, werr := tmp.WriteString(value + "\n")
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write %s", path)
	}
	return value, os.Rename(tmp.Name(), path)
}

// newInstance names an installation on its host: interfaces, tables, cgroups and uid ranges carry it.
func newInstance() string { return id.Token(4) }

// uidRanges is how many ranges of 65,536 host ids an installation takes, and firstUID where they begin: one of eight blocks
// that no distribution gives out, chosen by the instance so that installations on one host seldom share.
const uidRanges = 4094

func firstUID(instance string) uint32 {
	var h uint32
	for _, c := range []byte(instance) {
		h = h*31 + uint32(c)
	}
	return 0x70000000 + h%8*0x10000000
}
