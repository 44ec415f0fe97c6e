//go:build linux

package fs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/errs"
)

func (h *Handler) download(w http.ResponseWriter, r *http.Request, in *pathIn) error {
	path, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	f, st, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	content, _, err := contentOf(f, st)
	if err != nil {
		return fault(err, path)
	}
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Content-Description", "File Transfer")
	head.Set("Content-Transfer-Encoding", "binary")
	head.Set("Content-Disposition", "attachment; "+fileNames(filepath.Base(path)))
	head.Set("Expires", "0")
	head.Set("Cache-Control", "must-revalidate")
	head.Set("Pragma", "public")
	out := &wide{ResponseWriter: w}
	http.ServeContent(out, r, "", st.ModTime(), content)
	if out.refused == 0 {
		return nil
	}
	for _, name := range []string{"Content-Description", "Content-Transfer-Encoding", "Content-Disposition", "Content-Length", "X-Content-Type-Options"} {
		head.Del(name)
	}
	why := errs.New(errs.Invalid, "the range %s does not lie within the %d bytes of %s", clip(r.Header.Get("Range")), st.Size(), clip(path)).WithCode("RANGE_NOT_SATISFIABLE")
	if out.refused == http.StatusPreconditionFailed {
		why = errs.New(errs.Invalid, "%s is not as the condition of the request wants it", clip(path)).WithCode("PRECONDITION_FAILED")
	}
	body := h.Edge.Body(r, why)
	body.StatusCode = out.refused
	h.Edge.Write(w, out.refused, body)
	return nil
}

// Limits of files that do not tell their size.
const (
	maxUnsized  = 16 << 20 // bytes; what is over it is not sent
	unsizedWait = 2 * time.Second
)

// contentOf returns what a regular file holds and how many bytes that is. The files of /proc tell no size: they are read
// first.
func contentOf(f *os.File, st os.FileInfo) (io.ReadSeeker, int64, error) {
	if st.Size() > 0 {
		return f, st.Size(), nil
	}
	_ = f.SetReadDeadline(time.Now().Add(unsizedWait)) // a few of them wait for news; the others know no deadline
	b, err := io.ReadAll(io.LimitReader(f, maxUnsized))
	if err != nil {
		return nil, 0, err
	}
	return bytes.NewReader(b), int64(len(b)), nil
}

// copyBuffer is the size of the pieces in which files are sent.
const copyBuffer = 512 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// wide makes io.Copy send large pieces. Errors, which the library answers in plain text, are kept from the client.
type wide struct {
	http.ResponseWriter
	refused int // the status of an error; 0: none
}

// WriteHeader implements http.ResponseWriter.
func (w *wide) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *wide) Write(b []byte) (int, error) {
	if w.refused != 0 {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (w *wide) ReadFrom(r io.Reader) (int64, error) {
	return copyWide(w.ResponseWriter, r)
}

func copyWide(w io.Writer, r io.Reader) (int64, error) {
	buf, _ := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
}

// boundary of a bulk download; fixed on the 0.x wire.
const boundary = "DAYTONA-FILE-BOUNDARY"

type bulkDownloadIn struct {
	Body toolbox.BulkDownload
}

func (h *Handler) bulkDownload(w http.ResponseWriter, r *http.Request, in *bulkDownloadIn) error {
	if len(in.Body.Paths) == 0 || len(in.Body.Paths) > maxPaths {
		return errs.New(errs.Invalid, "paths must name 1 to %d files, got %d", maxPaths, len(in.Body.Paths))
	}
	w.Header().Set("Content-Type", "multipart/form-data; boundary="+boundary)
	w.WriteHeader(http.StatusOK)
	for _, p := range in.Body.Paths {
		if err := h.sendPart(w, r, p); err != nil {
			return err // cuts the answer: its closing boundary is missing
		}
	}
	if _, err := io.WriteString(w, "--"+boundary+"--\r\n"); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// sendPart sends one file, or the reason why not. An error means that the answer cannot go on.
func (h *Handler) sendPart(w http.ResponseWriter, r *http.Request, given string) error {
	path, err := h.resolve(given)
	var content io.Reader
	var size int64
	if err == nil {
		f, st, e := openRegular(path)
		if err = e; err == nil {
			defer func() { _ = f.Close() }()
			content, size, err = contentOf(f, st)
			err = fault(err, path)
		}
	}
	if err != nil {
		return h.sendError(w, r, given, err)
	}
	_, err = fmt.Fprintf(w, "--%s\r\nContent-Disposition: form-data; name=\"file\"; %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		boundary, partNames(r, given), contentType(path), size)
	if err != nil {
		return err
	}
	n, err := copyWide(w, io.LimitReader(content, size))
	if err != nil {
		return err
	}
	if n != size {
		return errs.New(errs.Internal, "%s shrank while it was sent", clip(path))
	}
	_, err = io.WriteString(w, "\r\n")
	return err
}

func (h *Handler) sendError(w io.Writer, r *http.Request, given string, cause error) error {
	body := h.Edge.Body(r, cause)
	body.Path = given
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "--%s\r\nContent-Disposition: form-data; name=\"error\"; %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s\r\n",
		boundary, partNames(r, given), len(b), b)
	return err
}

// partNames is fileNames for a part of a bulk download. Python clients of 2025 read only the plain form, as UTF-8, and give up
// on other bytes: for them it is the name itself.
func partNames(r *http.Request, name string) string {
	if c := caller.Of(r); c.Source != "python-sdk" || !utf8.ValidString(name) {
		return fileNames(name)
	}
	return `filename="` + quoted.Replace(name) + `"`
}

var quoted = strings.NewReplacer("\r", "", "\n", "", "\x00", "", `"`, `\"`, `\`, `\\`)

// fileNames encodes a name for Content-Disposition, twice: in Latin-1 with _ for what it lacks, and in full (RFC 5987).
// Clients find their files by it, so the full form must give back every byte.
func fileNames(name string) string {
	var plain, full strings.Builder
	for _, r := range name {
		switch {
		case r == '\r' || r == '\n' || r == 0:
		case r == '"' || r == '\\':
			plain.WriteByte('\\')
			plain.WriteByte(byte(r))
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r > 0xff:
			plain.WriteByte('_')
		default:
			plain.WriteByte(byte(r))
		}
	}
	const hex = "0123456789ABCDEF"
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '\r' || c == '\n' || c == 0:
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			full.WriteByte(c)
		default:
			full.WriteByte('%')
			full.WriteByte(hex[c>>4])
			full.WriteByte(hex[c&15])
		}
	}
	return `filename="` + plain.String() + `"; filename*=utf-8''` + full.String()
}

// kinds are the types told for the files that agents ask for; the rest are plain bytes. The system's own list is not read:
// it belongs to the sandbox.
var kinds = map[string]string{".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8", ".xml": "text/xml; charset=utf-8", ".json": "application/json", ".pdf": "application/pdf",
	".wasm": "application/wasm", ".zip": "application/zip", ".gz": "application/gzip", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
	".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml", ".mp4": "video/mp4", ".mp3": "audio/mpeg", ".wav": "audio/wav"}

func contentType(path string) string {
	if t, ok := kinds[strings.ToLower(filepath.Ext(path))]; ok {
		return t
	}
	return "application/octet-stream"
}
