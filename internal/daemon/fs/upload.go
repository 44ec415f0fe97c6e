//go:build linux

package fs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// put writes what from holds to path. It makes the directories above. The content goes to a file beside it that is renamed
// at the end, so that a reader sees the old file or the new one, and a failure leaves nothing behind; the mode of a
// replaced file is kept. Where that would change more than the content — the file has other names or another owner, or
// its directory cannot be written — the file is overwritten in place, and removed when that fails.
func put(path string, from io.Reader) (int64, error) {
	target := path
	st, err := os.Stat(path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return 0, notRegular(path, st)
	case err == nil:
		if real, err := filepath.EvalSymlinks(path); err == nil {
			target = real // replace what a link leads to, not the link
		}
		if !replaceable(st) {
			return putInPlace(target, from)
		}
	case errors.Is(err, fs.ErrNotExist):
		if l, err := os.Lstat(path); err == nil && l.Mode()&fs.ModeSymlink != 0 { // a link to nowhere: create what it names
			return putInPlace(path, from)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return 0, err
		}
	default:
		return 0, err
	}
	mode := fs.FileMode(0o666) // less the umask
	if st != nil {
		mode = st.Mode().Perm()
	}
	dir, base, err := beside(target, st)
	if err != nil {
		return 0, err
	}
	defer func() { _ = dir.Close() }()
	temp := ".dugout-" + id.Token(12)
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if st != nil && errors.Is(err, fs.ErrPermission) {
			return putInPlace(target, from)
		}
		return 0, err
	}
	n, err := fillFile(f, from)
	if err == nil && st != nil {
		err = f.Chmod(st.Mode()) // also what the umask took
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Rename(temp, base)
	}
	if err != nil {
		_ = dir.Remove(temp)
	}
	return n, err
}

// beside opens the directory of a file that is going to be replaced by a rename, so that what is renamed is what was written,
// also when that directory is exchanged meanwhile. st is the file as it was looked at; nil: there was none.
func beside(path string, st fs.FileInfo) (dir *os.Root, base string, err error) {
	dir, err = os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, "", err
	}
	base = filepath.Base(path)
	if st != nil {
		now, err := dir.Lstat(base)
		if err == nil && !os.SameFile(now, st) {
			err = errs.New(errs.Conflict, "%s was exchanged in this moment; try again", clip(path))
		}
		if err != nil {
			_ = dir.Close()
			return nil, "", err
		}
	}
	return dir, base, nil
}

// replaceable reports whether a rename over the file changes nothing but its content.
func replaceable(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Nlink == 1 && int(sys.Uid) == os.Geteuid() && (int(sys.Gid) == os.Getegid() || os.Geteuid() == 0 && sys.Gid == 0)
}

func putInPlace(path string, from io.Reader) (int64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o666)
	if err != nil {
		return 0, err
	}
	n, err := fillFile(f, from)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return n, err
}

// fillFile copies from into f in large pieces.
func fillFile(f *os.File, from io.Reader) (int64, error) {
	if wt, ok := from.(io.WriterTo); ok {
		return wt.WriteTo(f)
	}
	buf := make([]byte, formBuffer)
	var total int64
	for {
		n, err := from.Read(buf)
		if n > 0 {
			m, werr := f.Write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// inbound classifies an error of an upload: of the disk, or of the client that sent it.
func inbound(err error, path string) error {
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) || errors.As(err, &le) {
		return fault(err, path)
	}
	if _, ok := errs.As(err); ok {
		return err
	}
	return errs.Wrap(err, errs.Invalid, "%s: the upload ended early", clip(path))
}

func (h *Handler) upload(w http.ResponseWriter, r *http.Request, in *pathIn) error {
	path, err := h.resolve(in.Path)
	if err == nil {
		err = h.receive(path, r)
	}
	if err != nil {
		drain(r.Body)
		return err
	}
	h.Edge.Write(w, http.StatusOK, toolbox.UploadedFile{Name: filepath.Base(path), Path: path, Type: "file"})
	return nil
}

func (h *Handler) uploadForm(w http.ResponseWriter, r *http.Request, in *pathIn) error {
	path, err := h.resolve(in.Path)
	if err == nil && !isForm(r) {
		err = errs.New(errs.Invalid, "the body must be multipart/form-data with a field named file")
	}
	if err == nil {
		err = h.receive(path, r)
	}
	if err != nil {
		drain(r.Body)
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// receive writes the body, or the field named file of a form, to path.
func (h *Handler) receive(path string, r *http.Request) error {
	if !isForm(r) {
		_, err := put(path, r.Body)
		return inboundOrNil(err, path)
	}
	form, err := newForm(r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		return err
	}
	for {
		p, err := form.next()
		if errors.Is(err, io.EOF) {
			return errs.New(errs.Invalid, "the form has no field named file")
		}
		if err != nil {
			return inbound(err, path)
		}
		if p.name != "file" {
			continue
		}
		if _, err := put(path, p.content); err != nil {
			return inbound(err, path)
		}
		drain(r.Body)
		return nil
	}
}

func inboundOrNil(err error, path string) error {
	if err == nil {
		return nil
	}
	return inbound(err, path)
}

type none struct{}

// bulkUpload takes pairs files[N].path and files[N].file. A file that fails does not stop the others. The body is read to
// its end before anything is answered.
func (h *Handler) bulkUpload(w http.ResponseWriter, r *http.Request, _ *none) error {
	form, err := newForm(r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		drain(r.Body)
		return err
	}
	out := toolbox.BulkUpload{Files: []toolbox.BulkUploaded{}}
	paths := map[string]string{}
	for {
		p, err := form.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			out.Errors = append(out.Errors, sentence(inbound(err, "form")))
			break
		}
		index, kind, ok := fieldName(p.name)
		if !ok {
			continue
		}
		if kind == "path" {
			text, err := p.text(maxPath)
			if err != nil {
				out.Errors = append(out.Errors, sentence(inbound(err, p.name)))
				continue
			}
			paths[index] = text
			continue
		}
		given, ok := paths[index]
		if !ok {
			out.Errors = append(out.Errors, fmt.Sprintf("files[%s].file: no files[%s].path came before it", index, index))
			continue
		}
		delete(paths, index)
		n, err := h.receiveOne(given, p)
		if err != nil {
			out.Errors = append(out.Errors, sentence(err))
			continue
		}
		out.Files = append(out.Files, toolbox.BulkUploaded{Path: given, Bytes: n})
	}
	for index := range paths {
		out.Errors = append(out.Errors, fmt.Sprintf("files[%s].path: no files[%s].file came after it", index, index))
	}
	drain(r.Body)
	status := http.StatusOK
	if len(out.Errors) > 0 {
		status = http.StatusBadRequest
	} else if len(out.Files) == 0 {
		return errs.New(errs.Invalid, "the form has no field files[N].file")
	}
	h.Edge.Write(w, status, out)
	return nil
}

func (h *Handler) receiveOne(given string, p *formPart) (int64, error) {
	path, err := h.resolve(given)
	if err != nil {
		return 0, err
	}
	n, err := put(path, p.content)
	return n, inboundOrNil(err, path)
}

// fieldName takes a name like files[3].path apart.
func fieldName(name string) (index, kind string, ok bool) {
	rest, ok := strings.CutPrefix(name, "files[")
	if !ok {
		return "", "", false
	}
	index, kind, ok = strings.Cut(rest, "].")
	if n, err := strconv.ParseUint(index, 10, 32); !ok || err != nil || strconv.FormatUint(n, 10) != index || kind != "path" && kind != "file" {
		return "", "", false
	}
	return index, kind, true
}

// sentence is what a client may read of err.
func sentence(err error) string {
	if e, ok := errs.As(err); ok {
		return e.Message
	}
	return "internal error"
}
