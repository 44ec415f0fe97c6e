package dugout

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// ArchiveFormat is how a folder is packed.
type ArchiveFormat string

// The formats. A zip holds at most 100,000 entries and is kept on the sandbox's disk while it is unpacked; the others stream.
const (
	Tar   ArchiveFormat = "tar"
	TarGz ArchiveFormat = "tar.gz"
	Zip   ArchiveFormat = "zip"
)

// Types of the archive API.
type (
	// Extracted is what was written of an archive.
	Extracted = toolbox.Extracted
	// Skips is what an archive was made or unpacked without.
	Skips = toolbox.Skips
)

// Archive is a folder of a sandbox, as it is being packed. The caller reads it to its end and closes it. A connection or a
// file that breaks in the middle shows as an error of Read, never as the end.
type Archive struct {
	io.ReadCloser
	trailer *http.Response
}

// Skipped tells what the folder was packed without: sockets, pipes, devices and what could not be read. It is known only
// after Read has returned io.EOF.
func (a *Archive) Skipped() (Skips, error) {
	var s Skips
	n, err := strconv.ParseInt(a.trailer.Trailer.Get("X-Dugout-Skipped"), 10, 64)
	if err != nil {
		return s, errors.New("what the archive was packed without is known only at its end")
	}
	s.Count = n
	return s, json.Unmarshal([]byte(a.trailer.Trailer.Get("X-Dugout-Skipped-Paths")), &s.First)
}

// DownloadArchive packs the folder at path, or a single file, and streams it. Names in the archive begin below the folder.
// Symbolic links are packed as links.
func (f Files) DownloadArchive(ctx context.Context, path string, format ArchiveFormat) (*Archive, error) {
	resp, err := f.sandbox.open(ctx, request{method: "GET", url: "/files/archive", query: url.Values{"path": {path}, "format": {string(format)}}}) //nolint:bodyclose // Archive.Close does
	if err != nil {
		return nil, err
	}
	return &Archive{resp.Body, resp}, nil
}

// UploadArchive unpacks what r yields into the folder at path, which is made when it is missing. Nothing is written outside
// the folder; an archive that tries is an [ErrInvalid]. maxBytes bounds what all files together may have; 0 leaves that to
// the sandbox: its free disk, and 250 times what was sent. On an error the text tells why, and what was unpacked before it
// stays.
func (f Files) UploadArchive(ctx context.Context, path string, format ArchiveFormat, r io.Reader, maxBytes int64) (*Extracted, error) {
	q := url.Values{"path": {path}, "format": {string(format)}}
	if maxBytes > 0 {
		q.Set("maxBytes", strconv.FormatInt(maxBytes, 10))
	}
	var out Extracted
	if err := f.sandbox.inside(ctx, request{method: "POST", url: "/files/archive", query: q, raw: r}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}
