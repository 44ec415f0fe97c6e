package op

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Prepare makes room for a clone. made tells that dir is not there; its parent is.
func Prepare(dir string) (made bool, err error) {
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, MakeDir(filepath.Dir(dir))
	}
	if err != nil {
		return false, Unwritable(dir, Reason(err))
	}
	defer func() { _ = d.Close() }()
	if _, err := d.Readdirnames(1); !errors.Is(err, io.EOF) { // something in it, or no directory
		return false, NotEmpty(dir)
	}
	return false, nil
}

// Undo removes what a failed clone left, so that it can be tried again.
func Undo(dir string, made bool) {
	if made {
		_ = os.RemoveAll(dir)
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
	}
}

// MakeDir makes a directory and those above it.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Unwritable(dir, Reason(err))
	}
	return nil
}

// Reason is the operating system's word for what went wrong, without paths.
func Reason(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}
