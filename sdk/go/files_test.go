package dugout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
)

func TestUpload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "skipped content")
	open := func() io.Reader {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		_, _ = f.Seek(8, io.SeekStart)
		return f
	}
	for _, c := range []struct {
		name   string
		r      io.Reader
		want   string
		length int64
	}{
		{"bytes", bytes.NewReader([]byte("abc")), "abc", 3},
		{"empty", strings.NewReader(""), "", -1},
		{"a file from where it stands", open(), "content", 7},
		{"a stream", io.MultiReader(strings.NewReader("a"), strings.NewReader("b")), "ab", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				got = fmt.Sprintf("%s %s %s %d %q %v", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.ContentLength, b, err)
				reply(w, 200, toolbox.UploadedFile{})
			}))
			if err := s.Files().Upload(t.Context(), "/a b/ü&x", c.r); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("POST /files/upload-v2?path=%%2Fa+b%%2F%%C3%%BC%%26x application/octet-stream %d %q <nil>", c.length, c.want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUploadTellsWhoFailed(t *testing.T) {
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reply(w, 200, toolbox.UploadedFile{})
	}))
	mine := errors.New("my disk is broken")
	r := io.MultiReader(strings.NewReader("abc"), failing{mine})
	if err := s.Files().Upload(t.Context(), "x", r); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDownloadNeverEndsEarly(t *testing.T) {
	for _, c := range []struct {
		name    string
		declare bool
	}{{"with a length", true}, {"chunked", false}} {
		t.Run(c.name, func(t *testing.T) {
			s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.declare {
					w.Header().Set("Content-Length", "1000000")
				}
				_, _ = w.Write(make([]byte, 100000))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}))
			r, err := s.Files().Download(t.Context(), "big")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if n, err := io.Copy(io.Discard, r); err == nil {
				t.Errorf("a cut download of %d bytes looked whole", n)
			}
		})
	}
}

func TestFileCalls(t *testing.T) {
	var got string
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(b))
		switch r.URL.Path {
		case "/files", "/files/find", "/files/replace":
			if r.Method == "DELETE" {
				w.WriteHeader(204)
				return
			}
			reply(w, 200, []any{})
		case "/files/search":
			reply(w, 200, toolbox.Search{Files: []string{"a"}})
		case "/files/info":
			reply(w, 200, toolbox.FileInfo{Name: "a", Size: 3})
		default:
			w.WriteHeader(200)
		}
	}))
	f, ctx := s.Files(), t.Context()
	for _, c := range []struct {
		want string
		call func() error
	}{
		{"GET /files?path=.", func() error { _, err := f.List(ctx, ".", 1); return err }},
		{"GET /files?depth=3&path=.", func() error { _, err := f.List(ctx, ".", 3); return err }},
		{"GET /files/info?path=a", func() error { _, err := f.Info(ctx, "a"); return err }},
		{"POST /files/folder?mode=0750&path=d", func() error { return f.Mkdir(ctx, "d", 0o750) }},
		{"POST /files/move?destination=b&source=a", func() error { return f.Move(ctx, "a", "b") }},
		{"DELETE /files?path=a", func() error { return f.Remove(ctx, "a", false) }},
		{"DELETE /files?path=a&recursive=true", func() error { return f.Remove(ctx, "a", true) }},
		{"GET /files/find?path=a&pattern=x%2By", func() error { _, err := f.Find(ctx, "a", "x+y"); return err }},
		{"GET /files/search?path=a&pattern=%2A.go", func() error { _, err := f.Search(ctx, "a", "*.go"); return err }},
		{`POST /files/replace {"files":["a"],"pattern":"x","newValue":""}`, func() error { _, err := f.Replace(ctx, []string{"a"}, "x", ""); return err }},
		{"POST /files/permissions?mode=0700&path=a", func() error { return f.Chmod(ctx, "a", 0o700) }},
	} {
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
