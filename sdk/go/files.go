package dugout

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strconv"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Types of the file API, so that callers need no second import.
type (
	// FileInfo describes a file or a directory.
	FileInfo = toolbox.FileInfo
	// Match is one line found in a file.
	Match = toolbox.Match
	// Replaced is what became of one file.
	Replaced = toolbox.Replaced
)

// Files are the files of a sandbox. Paths that are not absolute count from the sandbox's working directory; a missing file
// is an [ErrNotFound], one that the sandbox's user may not touch an [ErrDenied].
type Files struct{ sandbox *Sandbox }

// Files returns the files of the sandbox, which must be started.
func (s *Sandbox) Files() Files { return Files{s} }

// Upload writes what r yields to the file at path, makes the directories above it and replaces a file that is there. It
// returns when the file is complete. r is read once, as a stream, and not closed.
func (f Files) Upload(ctx context.Context, path string, r io.Reader) error {
	q := request{method: "POST", url: "/files/upload-v2", query: url.Values{"path": {path}}, raw: r}
	switch r := r.(type) {
	case *os.File:
		if st, err := r.Stat(); err == nil && st.Mode().IsRegular() {
			if at, err := r.Seek(0, io.SeekCurrent); err == nil {
				q.size = st.Size() - at
			}
		}
	case interface{ Len() int }: // of bytes and strings
		q.size = int64(r.Len())
	}
	return f.sandbox.inside(ctx, q, nil)
}

// Download opens the file at path. The caller closes it. A connection that breaks in the middle shows as an error of Read,
// never as the end of the file.
func (f Files) Download(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := f.sandbox.open(ctx, request{method: "GET", url: "/files/download", query: url.Values{"path": {path}}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// List returns the entries of a directory and, with a depth above 1, those of the directories below it, depth levels in all;
// entries below carry their Path.
func (f Files) List(ctx context.Context, path string, depth int) ([]FileInfo, error) {
	q := url.Values{"path": {path}}
	if depth > 1 {
		q.Set("depth", strconv.Itoa(depth))
	}
	var out []FileInfo
	err := f.sandbox.inside(ctx, request{method: "GET", url: "/files", query: q}, &out)
	return out, err
}

// Info describes a file or a directory; symbolic links are followed.
func (f Files) Info(ctx context.Context, path string) (*FileInfo, error) {
	var out FileInfo
	err := f.sandbox.inside(ctx, request{method: "GET", url: "/files/info", query: url.Values{"path": {path}}}, &out)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// Mkdir makes a directory and those above it. The sandbox's umask applies to perm.
func (f Files) Mkdir(ctx context.Context, path string, perm fs.FileMode) error {
	return f.sandbox.inside(ctx, request{method: "POST", url: "/files/folder", query: url.Values{"path": {path}, "mode": {octal(perm)}}}, nil)
}

// Move renames a file or a directory; a destination that exists is an [ErrConflict].
func (f Files) Move(ctx context.Context, from, to string) error {
	return f.sandbox.inside(ctx, request{method: "POST", url: "/files/move", query: url.Values{"source": {from}, "destination": {to}}}, nil)
}

// Remove removes a file, or with recursive a directory and all in it.
func (f Files) Remove(ctx context.Context, path string, recursive bool) error {
	q := url.Values{"path": {path}}
	if recursive {
		q.Set("recursive", "true")
	}
	return f.sandbox.inside(ctx, request{method: "DELETE", url: "/files", query: q}, nil)
}

// Find returns the lines of text files below path that contain text, literally.
func (f Files) Find(ctx context.Context, path, text string) ([]Match, error) {
	var out []Match
	err := f.sandbox.inside(ctx, request{method: "GET", url: "/files/find", query: url.Values{"path": {path}, "pattern": {text}}}, &out)
	return out, err
}

// Search returns the paths below path whose base name matches a shell pattern such as *.go.
func (f Files) Search(ctx context.Context, path, pattern string) ([]string, error) {
	var out toolbox.Search
	err := f.sandbox.inside(ctx, request{method: "GET", url: "/files/search", query: url.Values{"path": {path}, "pattern": {pattern}}}, &out)
	if err == nil && out.Truncated {
		err = fmt.Errorf("%w: more than %d files match; narrow the pattern", ErrTooLarge, len(out.Files))
	}
	return out.Files, err
}

// Replace replaces a text, literally, in each of the files and tells for each how it went.
func (f Files) Replace(ctx context.Context, files []string, text, with string) ([]Replaced, error) {
	var out []Replaced
	body := toolbox.Replace{Files: files, Pattern: text, NewValue: &with}
	err := f.sandbox.inside(ctx, request{method: "POST", url: "/files/replace", body: body}, &out)
	return out, err
}

// Chmod sets the permission bits of a file.
func (f Files) Chmod(ctx context.Context, path string, perm fs.FileMode) error {
	return f.sandbox.inside(ctx, request{method: "POST", url: "/files/permissions", query: url.Values{"path": {path}, "mode": {octal(perm)}}}, nil)
}

func octal(perm fs.FileMode) string { return fmt.Sprintf("%04o", perm.Perm()) }
