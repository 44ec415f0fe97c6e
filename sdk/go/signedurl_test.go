package dugout_test

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSignedURLs(t *testing.T) {
	var asked []string
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		_, _ = io.WriteString(w, "dgs_secret")
	}))
	got, err := s.DownloadURL(t.Context(), "/home/daytona/a b+ü.txt", 0)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	// As the signing code of the official client signs it.
	if !strings.HasSuffix(u.Path, "/"+s.ID+"/files/download") || u.Query().Get("path") != "/home/daytona/a b+ü.txt" || u.Query().Get("expires") != "0" ||
		u.Query().Get("signature") != "v1_apmzWoBW1QrPM8mMTsv87rx6d7sAab0CmXYluqHgU7E" {
		t.Error(got)
	}
	if got, err = s.UploadURL(t.Context(), "x", time.Hour); err != nil {
		t.Fatal(err)
	}
	if u, err = url.Parse(got); err != nil {
		t.Fatal(err)
	}
	expires, err := strconv.ParseInt(u.Query().Get("expires"), 10, 64)
	if left := time.Until(time.Unix(expires, 0)); err != nil || left < 59*time.Minute || left > time.Hour || !strings.HasSuffix(u.Path, "/files/upload-v2") {
		t.Error(got)
	}
	if err := s.RotateSigningKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(asked); n != 3 || !strings.HasSuffix(asked[0], "GET /api/sandbox/"+s.ID+"/signing-key") || !strings.HasSuffix(asked[2], "POST /api/sandbox/"+s.ID+"/signing-key/rotate") {
		t.Errorf("%q", asked)
	}
}
