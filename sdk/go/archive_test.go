package dugout_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestDownloadArchive(t *testing.T) {
	whole := true
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Dugout-Skipped, X-Dugout-Skipped-Paths")
		_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI())
		_ = http.NewResponseController(w).Flush()
		if !whole {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Dugout-Skipped", "3")
		w.Header().Set("X-Dugout-Skipped-Paths", `[{"path":"p\u00fc","reason":"a socket"}]`)
	}))
	a, err := s.Files().DownloadArchive(t.Context(), "/a b", dugout.TarGz)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Skipped(); err == nil {
		t.Error("known before the end")
	}
	b, err := io.ReadAll(a)
	if err != nil || string(b) != "GET /files/archive?format=tar.gz&path=%2Fa+b" {
		t.Errorf("%q %v", b, err)
	}
	got, err := a.Skipped()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dugout.Skips{Count: 3, First: []toolbox.Skipped{{Path: "pü", Reason: "a socket"}}}, got); diff != "" {
		t.Error(diff)
	}
	whole = false
	if a, err = s.Files().DownloadArchive(t.Context(), "/a b", dugout.Tar); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := io.ReadAll(a); err == nil {
		t.Error("an archive that was cut counts as whole")
	}
}

func TestUploadArchive(t *testing.T) {
	var got string
	fail := false
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s %q %v", r.Method, r.URL.RequestURI(), b, err)
		if fail {
			reply(w, 413, toolbox.ExtractFailed{Error: api.Error{StatusCode: 413, Code: "ARCHIVE_TOO_LARGE", Message: "too much"}, Extracted: toolbox.Extracted{Files: 2}})
			return
		}
		reply(w, 200, toolbox.Extracted{Path: "/x", Files: 1})
	}))
	out, err := s.Files().UploadArchive(t.Context(), "x", dugout.Zip, strings.NewReader("PK"), 5)
	if err != nil || out.Files != 1 || out.Path != "/x" || got != `POST /files/archive?format=zip&maxBytes=5&path=x "PK" <nil>` {
		t.Errorf("%+v %v %s", out, err, got)
	}
	fail = true
	_, err = s.Files().UploadArchive(t.Context(), "x", dugout.Tar, strings.NewReader(""), 0)
	var e *dugout.Error
	if !errors.As(err, &e) || !errors.Is(err, dugout.ErrTooLarge) || e.Code != "ARCHIVE_TOO_LARGE" || strings.Contains(got, "maxBytes") {
		t.Errorf("%v %s", err, got)
	}
}
