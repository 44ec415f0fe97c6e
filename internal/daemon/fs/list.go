//go:build linux

package fs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// describe makes the wire's description of a file.
func describe(name string, st fs.FileInfo) toolbox.FileInfo {
	fi := toolbox.FileInfo{Name: name, Size: st.Size(), Mode: st.Mode().String(), ModTime: st.ModTime().String(),
		ModifiedAt: st.ModTime().Format(time.RFC3339Nano), IsDir: st.IsDir(), Permissions: fmt.Sprintf("%04o", st.Mode().Perm())}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		fi.Owner = strconv.FormatUint(uint64(sys.Uid), 10)
		fi.Group = strconv.FormatUint(uint64(sys.Gid), 10)
	}
	return fi
}

func (h *Handler) info(_ context.Context, in *pathIn) (toolbox.FileInfo, error) {
	path, err := h.resolve(in.Path)
	if err != nil {
		return toolbox.FileInfo{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return toolbox.FileInfo{}, fault(err, path)
	}
	return describe(st.Name(), st), nil
}

type listIn struct {
	Path  string `query:"path" default:"." doc:"Directory; a relative one starts at the working directory."`
	Depth *int   `query:"depth" minimum:"1" maximum:"1000" doc:"How many levels to list; 1: the entries of the directory itself. When given, entries carry their path."`
}

func (h *Handler) list(ctx context.Context, in *listIn) ([]toolbox.FileInfo, error) {
	if in.Path == "" {
		in.Path = "."
	}
	path, err := h.resolve(in.Path)
	if err != nil {
		return nil, err
	}
	l := lister{ctx: ctx, out: []toolbox.FileInfo{}, depth: 1}
	if in.Depth != nil {
		l.depth, l.withPath = *in.Depth, true
	}
	if err := l.list(path, 1); err != nil {
		return nil, fault(err, path)
	}
	return l.out, nil
}

// lister collects entries: each directory is followed by what is in it.
type lister struct {
	ctx      context.Context
	out      []toolbox.FileInfo
	depth    int
	withPath bool
}

func (l *lister) list(dir string, level int) error {
	entries, err := readDir(dir, maxResults)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if err != nil {
			continue // gone, or a link to nowhere
		}
		if len(l.out) >= maxResults {
			return tooMany(dir)
		}
		fi := describe(e.Name(), st)
		if l.withPath {
			fi.Path = path
		}
		l.out = append(l.out, fi)
		if level < l.depth && e.IsDir() {
			if err := l.list(path, level+1); err != nil {
				if errs.Is(err, errs.TooLarge) || l.ctx.Err() != nil {
					return err
				} // else: not readable, so nothing is listed
			}
		}
	}
	return nil
}

func tooMany(dir string) error {
	return errs.New(errs.TooLarge, "%s holds more than %d entries; list parts of it", clip(dir), maxResults)
}

// readDir returns the entries of a directory in the order of their names; more than limit are an error.
func readDir(dir string, limit int) ([]fs.DirEntry, error) {
	st, err := os.Stat(dir) // before opening: opening a FIFO would wait
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, errs.New(errs.Invalid, "%s is not a directory", clip(dir)).WithCode(codeInvalid)
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var out []fs.DirEntry
	for {
		batch, err := f.ReadDir(4096)
		out = append(out, batch...)
		if len(out) > limit {
			return nil, tooMany(dir)
		}
		if err != nil || len(batch) == 0 {
			break
		}
	}
	sortEntries(out)
	return out, nil
}
