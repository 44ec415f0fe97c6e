package app

import (
	"os"
	"path/filepath"

	"github.com/dugout-dev/dugout/internal/errs"
)

// passable checks that the users inside sandboxes, who are nobody on the host, get through every directory above dir: their
// root file system is mounted below it.
func passable(dir string) error {
	for {
		dir = filepath.Dir(dir)
		fi, err := os.Stat(dir)
		if err == nil && fi.Mode().Perm()&0o001 == 0 {
			return errs.New(errs.Invalid, "the users of sandboxes must get through %s on the way to the run directory, and its mode is %04o", dir, fi.Mode().Perm())
		}
		if dir == "/" || dir == "." {
			return nil
		}
	}
}
