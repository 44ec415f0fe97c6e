//go:build linux

package fs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/accounts"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

type removeIn struct {
	Path      string `query:"path" required:"true" doc:"What to delete; a symbolic link itself, not where it leads."`
	Recursive bool   `query:"recursive" doc:"Delete a directory with all that is in it."`
}

func (h *Handler) remove(_ context.Context, in *removeIn) (rest.None, error) {
	path, err := h.resolve(in.Path)
	if err != nil {
		return rest.None{}, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return rest.None{}, fault(err, path)
	}
	if !st.IsDir() {
		return rest.None{}, fault(os.Remove(path), path)
	}
	if !in.Recursive {
		return rest.None{}, errs.New(errs.Invalid, "%s is a directory; it is only deleted with recursive=true", clip(path)).WithCode(codeInvalid)
	}
	if path == "/" {
		return rest.None{}, errs.New(errs.Invalid, "the root directory cannot be deleted").WithCode(codeInvalid)
	}
	return rest.None{}, fault(os.RemoveAll(path), path)
}

type folderIn struct {
	Path string `query:"path" required:"true" doc:"Directory to make."`
	Mode string `query:"mode" doc:"Permission bits in octal, less the umask; 0755 when absent."`
}

func (h *Handler) folder(_ context.Context, in *folderIn) (rest.None, error) {
	path, err := h.resolve(in.Path)
	if err != nil {
		return rest.None{}, err
	}
	mode := fs.FileMode(0o755)
	if in.Mode != "" {
		if mode, err = parseMode(in.Mode); err != nil {
			return rest.None{}, err
		}
	}
	return rest.None{}, fault(os.MkdirAll(path, mode), path)
}

// parseMode reads permission bits in octal.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, errs.New(errs.Invalid, "mode must be octal from 0 to 7777, got %q", clip(s))
	}
	mode := fs.FileMode(n & 0o777)
	if n&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if n&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if n&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode, nil
}

type moveIn struct {
	Source      string `query:"source" required:"true" doc:"What to move."`
	Destination string `query:"destination" required:"true" doc:"Its new path, which must not exist."`
}

func (h *Handler) move(ctx context.Context, in *moveIn) (rest.None, error) {
	from, err := h.resolve(in.Source)
	if err != nil {
		return rest.None{}, err
	}
	to, err := h.resolve(in.Destination)
	if err != nil {
		return rest.None{}, err
	}
	if _, err := os.Lstat(from); err != nil {
		return rest.None{}, fault(err, from)
	}
	if _, err := os.Stat(filepath.Dir(to)); err != nil {
		return rest.None{}, fault(err, filepath.Dir(to))
	}
	err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system knows the flag
		if _, e := os.Lstat(to); e == nil {
			err = unix.EEXIST
		} else {
			err = os.Rename(from, to)
		}
	}
	switch {
	case err == nil:
		return rest.None{}, nil
	case errors.Is(err, unix.EEXIST):
		return rest.None{}, errs.New(errs.Conflict, "%s exists already", clip(to))
	case errors.Is(err, unix.EXDEV):
		return rest.None{}, h.moveAcross(ctx, from, to)
	}
	return rest.None{}, fault(err, from)
}

// moveAcross moves to another file system: a copy, and only when that is whole the removal of the source. When the source
// cannot be removed, the copy stays and the request has succeeded, as on the 0.x wire.
func (h *Handler) moveAcross(ctx context.Context, from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return errs.New(errs.Conflict, "%s exists already", clip(to))
	}
	if err := copyAcross(ctx, from, to); err != nil {
		_ = os.RemoveAll(to)
		return fault(err, from)
	}
	if err := os.RemoveAll(from); err != nil {
		h.Log.WarnContext(ctx, "the source of a move could not be removed", "error", err)
	}
	return nil
}

type permissionsIn struct {
	Path  string `query:"path" required:"true" doc:"File or directory; what is in a directory stays as it is."`
	Owner string `query:"owner" doc:"User, by name or number."`
	Group string `query:"group" doc:"Group, by name or number."`
	Mode  string `query:"mode" doc:"Permission bits in octal."`
}

func (h *Handler) permissions(_ context.Context, in *permissionsIn) (rest.None, error) {
	path, err := h.resolve(in.Path)
	if err != nil {
		return rest.None{}, err
	}
	// One file is looked at and changed, whatever stands at the path meanwhile.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return rest.None{}, fault(err, path)
	}
	defer func() { _ = unix.Close(fd) }()
	uid, err := account("user", in.Owner, func(n string) (int, bool) { u, ok := accounts.UserByName(n); return u.UID, ok })
	if err != nil {
		return rest.None{}, err
	}
	gid, err := account("group", in.Group, accounts.GroupID)
	if err != nil {
		return rest.None{}, err
	}
	var mode fs.FileMode
	if in.Mode != "" {
		if mode, err = parseMode(in.Mode); err != nil {
			return rest.None{}, err
		}
	}
	if uid >= 0 || gid >= 0 { // before the mode: a change of owner clears the set-id bits
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return rest.None{}, fault(err, path)
		}
	}
	if in.Mode != "" {
		if err := os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode); err != nil {
			return rest.None{}, fault(err, path)
		}
	}
	return rest.None{}, nil
}

// account turns a name or a number into an id, -1 for "".
func account(kind, s string, find func(string) (int, bool)) (int, error) {
	if s == "" {
		return -1, nil
	}
	if n, ok := find(s); ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && n < 1<<31 {
		return int(n), nil
	}
	return 0, errs.New(errs.Invalid, "no %s %q", kind, clip(s))
}
