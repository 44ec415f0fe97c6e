//go:build linux

package fs

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of archives.
const (
	maxArchives    = 4         // at a time; each holds buffers and, of a zip, the directory
	maxZipEntries  = 100_000   // a zip keeps its directory in memory
	maxTarEntries  = 1_000_000 // of one that is unpacked
	maxFolderDepth = 256       // directories below each other; one descriptor each
	maxTold        = 20        // of what was left out, by name
)

// What is told after an archive was sent, in the trailer.
const (
	skippedHeader      = "X-Dugout-Skipped"       // how many files were left out
	skippedPathsHeader = "X-Dugout-Skipped-Paths" // the first of them: JSON as of toolbox.Skipped, in ASCII
)

// Formats of archives.
const (
	formatTar   = "tar"
	formatTarGz = "tar.gz"
	formatZip   = "zip"
)

var archiveTypes = map[string]string{formatTar: "application/x-tar", formatTarGz: "application/gzip", formatZip: "application/zip"}

// enter counts an archive that is being made or unpacked. The caller calls leave when it got in.
func (h *Handler) enter() error {
	if h.archives.Add(1) > maxArchives {
		h.archives.Add(-1)
		return errs.New(errs.Busy, "%d archives are being made or unpacked already, which is the limit; try again", maxArchives).WithCode("TOO_MANY_ARCHIVES")
	}
	return nil
}

func (h *Handler) leave() { h.archives.Add(-1) }

type packIn struct {
	Path   string `query:"path" required:"true" doc:"Directory or file to pack. Names in the archive begin below the directory."`
	Format string `query:"format" enum:"tar,tar.gz,zip" default:"tar" doc:"Format of the archive."`
}

// pack sends a directory as an archive, in constant memory.
func (h *Handler) pack(w http.ResponseWriter, r *http.Request, in *packIn) error {
	path, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	root, err := openTop(path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	head := w.Header()
	head.Set("Content-Type", archiveTypes[in.Format])
	head.Set("Content-Disposition", "attachment; "+fileNames(archiveName(path)+"."+in.Format))
	head.Set("Trailer", skippedHeader+", "+skippedPathsHeader)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	const sendBuffer = 256 << 10
	out := bufio.NewWriterSize(struct{ io.Writer }{w}, sendBuffer)
	p := packer{ctx: r.Context(), sink: newSink(out, in.Format)}
	if err := p.top(root, filepath.Base(path)); err != nil {
		return err // cuts the answer
	}
	if err := p.sink.close(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	head.Set(skippedHeader, strconv.FormatInt(p.skipped.Count, 10))
	head.Set(skippedPathsHeader, asciiJSON(p.skipped.First))
	return nil
}

// archiveName is what an archive of path is called, without its ending.
func archiveName(path string) string {
	if path == "/" {
		return "root"
	}
	return filepath.Base(path)
}

// sink is a format that is written.
type sink interface {
	dir(name string, st os.FileInfo) error
	link(name, target string, st os.FileInfo) error
	file(name string, size int64, st os.FileInfo) (io.Writer, error) // exactly size bytes follow
	close() error
}

func newSink(out io.Writer, format string) sink {
	switch format {
	case formatZip:
		z := &zipSink{w: zip.NewWriter(out)}
		z.w.RegisterCompressor(zip.Deflate, z.compressor)
		return z
	case formatTarGz:
		gz, _ := gzip.NewWriterLevel(out, gzip.BestSpeed) // the level is a valid one
		return &tarSink{w: tar.NewWriter(gz), gz: gz}
	}
	return &tarSink{w: tar.NewWriter(out)}
}

// tarSink writes headers of its own making: the library's would look owners up in files that belong to the sandbox.
type tarSink struct {
	w  *tar.Writer
	gz *gzip.Writer // nil: plain
}

func tarHeader(kind byte, name string, st os.FileInfo) *tar.Header {
	h := &tar.Header{Typeflag: kind, Name: name, Mode: int64(st.Mode().Perm()), ModTime: st.ModTime().Truncate(time.Second)}
	for bit, mode := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if st.Mode()&mode != 0 {
			h.Mode |= bit
		}
	}
	h.Uid, h.Gid = owner(st)
	return h
}

func (t *tarSink) dir(name string, st os.FileInfo) error {
	return t.w.WriteHeader(tarHeader(tar.TypeDir, name+"/", st))
}

func (t *tarSink) link(name, target string, st os.FileInfo) error {
	h := tarHeader(tar.TypeSymlink, name, st)
	h.Linkname = target
	return t.w.WriteHeader(h)
}

func (t *tarSink) file(name string, size int64, st os.FileInfo) (io.Writer, error) {
	h := tarHeader(tar.TypeReg, name, st)
	h.Size = size
	return t.w, t.w.WriteHeader(h)
}

func (t *tarSink) close() error {
	if err := t.w.Close(); err != nil || t.gz == nil {
		return err
	}
	return t.gz.Close()
}

type zipSink struct {
	w       *zip.Writer
	deflate *flate.Writer // one for all entries: they follow each other
	entries int
}

func (z *zipSink) compressor(out io.Writer) (io.WriteCloser, error) {
	if z.deflate != nil {
		z.deflate.Reset(out)
		return z.deflate, nil
	}
	var err error
	z.deflate, err = flate.NewWriter(out, flate.BestSpeed)
	return z.deflate, err
}

func (z *zipSink) add(name string, method uint16, st os.FileInfo) (io.Writer, error) {
	if z.entries++; z.entries > maxZipEntries {
		return nil, errs.New(errs.TooLarge, "more than %d entries; ask for a tar", maxZipEntries)
	}
	h := &zip.FileHeader{Name: name, Method: method, Modified: st.ModTime()}
	h.SetMode(st.Mode())
	return z.w.CreateHeader(h)
}

func (z *zipSink) dir(name string, st os.FileInfo) error {
	_, err := z.add(name+"/", zip.Store, st)
	return err
}

func (z *zipSink) link(name, target string, st os.FileInfo) error {
	w, err := z.add(name, zip.Store, st)
	if err == nil {
		_, err = io.WriteString(w, target)
	}
	return err
}

func (z *zipSink) file(name string, _ int64, st os.FileInfo) (io.Writer, error) {
	return z.add(name, zip.Deflate, st)
}

func (z *zipSink) close() error { return z.w.Close() }

// note counts something that was left out.
func note(s *toolbox.Skips, path, why string) {
	s.Count++
	if len(s.First) < maxTold {
		s.First = append(s.First, toolbox.Skipped{Path: clip(path), Reason: why})
	}
}

// asciiJSON writes the names of what was left out so that they can stand in a header.
func asciiJSON(list []toolbox.Skipped) string {
	out := []byte{'['}
	for i, s := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"path":`...)
		out = appendASCII(out, s.Path)
		out = append(out, `,"reason":`...)
		out = appendASCII(out, s.Reason)
		out = append(out, '}')
	}
	return string(append(out, ']'))
}

// appendASCII writes a JSON string.
func appendASCII(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r >= 0x20 && r < 0x7f:
			out = append(out, byte(r))
		case r >= 0x10000:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return append(out, '"')
}
