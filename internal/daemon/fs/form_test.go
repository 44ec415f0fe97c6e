//go:build linux

package fs_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/daemon/fs"
)

const testBoundary = "XbX"

// standard reads a form with mime/multipart.
func standard(body []byte) (parts []fs.FormPart, err error) {
	r := multipart.NewReader(bytes.NewReader(body), testBoundary)
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return parts, err
		}
		parts = append(parts, fs.FormPart{Name: p.FormName(), IsFile: strings.Contains(p.Header.Get("Content-Disposition"), "filename"), Content: string(b)})
	}
}

// FuzzForm compares with the standard library: what that accepts must be read the same, in whatever pieces it comes.
func FuzzForm(f *testing.F) {
	head := "Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
	for _, s := range []string{
		"--XbX\r\n" + head + "content\r\n--XbX--\r\n",
		"--XbX\r\n" + head + "\r\n--XbX\r\n" + head + "b\r\n--XbX--",
		"preamble\r\n--XbX \t\r\n" + head + "a\r\n--XbX\r\n\r\nno head\r\n--XbX--",
		"--XbX\r\n" + head + "\r\n--XbXnot\r\n--Xb\r\n\r\n--XbX--",
		"--XbX\r\n" + head + strings.Repeat("x", 3000) + "\r\n-\r\n--\r\n--XbX--",
		"--XbX--", "", "--XbX\r\n", "--XbX\r\n" + head + "torn",
		"--XbX\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\nX: y\r\n\r\n/a\r\n--XbX--\r\nepilogue",
	} {
		f.Add([]byte(s))
	}
	const ct = "multipart/form-data; boundary=" + testBoundary
	f.Fuzz(func(t *testing.T, body []byte) {
		want, wantErr := standard(body)
		one, oneErr := fs.ReadForm(ct, bytes.NewReader(body), false)
		two, twoErr := fs.ReadForm(ct, iotest.OneByteReader(bytes.NewReader(body)), true)
		if diff := cmp.Diff(one, two); diff != "" && oneErr == nil || (oneErr == nil) != (twoErr == nil) {
			t.Fatalf("depends on the pieces: %v %v %s", oneErr, twoErr, diff)
		}
		if wantErr != nil || bytes.Contains(body, []byte("\n\n")) || !strict(body) {
			return // ours may be stricter or laxer where the standard library fails or bends the standard
		}
		if oneErr != nil {
			return
		}
		if diff := cmp.Diff(want, one); diff != "" {
			t.Errorf("differs from the standard library: %s", diff)
		}
	})
}

// strict reports whether body keeps to CRLF in what is not content, so that both readers must agree.
func strict(body []byte) bool {
	return !bytes.Contains(bytes.ReplaceAll(body, []byte("\r\n"), nil), []byte("\n")) && !bytes.Contains(bytes.ReplaceAll(body, []byte("\r\n"), nil), []byte("\r")) &&
		bytes.Count(body, []byte("form-data; name=")) == bytes.Count(body, []byte("Content-Disposition")) && !bytes.Contains(body, []byte("=?")) &&
		!bytes.Contains(bytes.ToLower(body), []byte("\r\n "))
}

func TestFormBoundaries(t *testing.T) {
	// Contents that look like the beginning of a boundary, across the end of the buffer.
	const ct = "multipart/form-data; boundary=" + testBoundary
	for _, n := range []int{0, 1, 512<<10 - 80, 512<<10 - 75, 512<<10 - 70, 512 << 10, 512<<10 + 1, 2 << 20} {
		content := strings.Repeat("x", n) + "\r\n--XbY\r\n--Xb\r\r\n--XbX?"
		body := "--XbX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" + content + "\r\n--XbX--\r\n"
		got, err := fs.ReadForm(ct, strings.NewReader(body), false)
		if err != nil || len(got) != 1 || got[0].Content != content {
			t.Errorf("n=%d: %v, %d parts", n, err, len(got))
		}
	}
}

func TestFormLimits(t *testing.T) {
	const ct = "multipart/form-data; boundary=" + testBoundary
	for name, body := range map[string]string{
		"long head":      "--XbX\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n\r\n--XbX--",
		"endless head":   "--XbX\r\n" + strings.Repeat("X: y\r\n", 1<<18),
		"many parts":     strings.Repeat("--XbX\r\n\r\n\r\n", 20001) + "--XbX--",
		"no boundary":    strings.Repeat("x", 1<<20),
		"torn":           "--XbX\r\n\r\nabc",
		"torn boundary":  "--XbX\r\n\r\nabc\r\n--XbX",
		"torn boundary2": "--XbX\r\n\r\nabc\r\n--XbX-",
	} {
		if _, err := fs.ReadForm(ct, strings.NewReader(body), false); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, ct := range []string{"", "multipart/form-data", "multipart/mixed; boundary=x", "text/plain", "multipart/form-data; boundary=" + strings.Repeat("x", 201)} {
		if _, err := fs.ReadForm(ct, strings.NewReader(""), false); err == nil {
			t.Errorf("content type %q accepted", ct)
		}
	}
}
