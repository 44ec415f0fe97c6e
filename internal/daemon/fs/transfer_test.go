//go:build linux

package fs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// form builds a multipart form: pairs of field name and content, names that end in .file or are "file" become files.
func form(t testing.TB, pairs ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		var part io.Writer
		var err error
		if pairs[i] == "file" || strings.HasSuffix(pairs[i], ".file") {
			part, err = w.CreateFormFile(pairs[i], `we"ird\name`)
		} else {
			part, err = w.CreateFormField(pairs[i])
		}
		if err == nil {
			_, err = io.WriteString(part, pairs[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

func TestUpload(t *testing.T) {
	d := daemontest.Start(t)
	body, ct := form(t, "other", "ignored", "file", "by form")
	if r := d.Do("POST", "/files/upload"+q("path", "new/dir/a.txt"), body, "Content-Type", ct); r.Status != 200 || len(r.Body) != 0 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	if got := read(t, d.Dir+"/new/dir/a.txt"); got != "by form" {
		t.Errorf("content %q", got)
	}
	for name, tt := range map[string]struct{ body, ct string }{"raw": {"raw content", "application/octet-stream"}, "form": {"", ""}} {
		body, ct := []byte(tt.body), tt.ct
		want := tt.body
		if name == "form" {
			body, ct = form(t, "file", "form content")
			want = "form content"
		}
		r := d.Do("POST", "/files/upload-v2"+q("path", "v2/"+name), body, "Content-Type", ct)
		var got toolbox.UploadedFile
		r.JSON(t, &got)
		if diff := cmp.Diff(toolbox.UploadedFile{Name: name, Path: d.Dir + "/v2/" + name, Type: "file"}, got); diff != "" || read(t, d.Dir+"/v2/"+name) != want {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Overwriting keeps the mode, links, and other names of the file.
	path := write(t, d.Dir+"/script", "old")
	if err := os.Chmod(path, 0o751); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("script", d.Dir+"/link")
	d.Do("POST", "/files/upload-v2"+q("path", "link"), "new")
	st, _ := os.Lstat(path)
	if l, _ := os.Lstat(d.Dir + "/link"); l.Mode()&os.ModeSymlink == 0 || st.Mode() != 0o751 || read(t, path) != "new" {
		t.Errorf("after an upload through a link: %v %q", st.Mode(), read(t, path))
	}
	if err := os.Link(path, d.Dir+"/other"); err != nil {
		t.Fatal(err)
	}
	d.Do("POST", "/files/upload-v2"+q("path", "other"), "both")
	if read(t, path) != "both" {
		t.Error("a hard link was torn off")
	}
	_ = os.Symlink("to-be", d.Dir+"/dangling")
	d.Do("POST", "/files/upload-v2"+q("path", "dangling"), "made")
	if read(t, d.Dir+"/to-be") != "made" {
		t.Error("a link to nowhere was not followed")
	}
	leftovers(t, d.Dir)
}

func TestUploadTornOff(t *testing.T) {
	d := daemontest.Start(t)
	path := write(t, d.Dir+"/kept", "old content")
	for _, target := range []string{"kept", "fresh"} {
		c := d.Conn()
		_, _ = fmt.Fprintf(c, "POST /files/upload-v2?path=%s HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000\r\n\r\n%s", target, strings.Repeat("x", 200000))
		if u, ok := c.(interface{ CloseWrite() error }); ok {
			_ = u.CloseWrite()
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == 200 {
				t.Errorf("%s: a torn upload succeeded", target)
			}
		}
		_ = c.Close()
	}
	if read(t, path) != "old content" {
		t.Error("a torn upload changed the file")
	}
	if _, err := os.Stat(d.Dir + "/fresh"); err == nil {
		t.Error("a torn upload left a file")
	}
	leftovers(t, d.Dir)
}

func TestUploadNoSpace(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	d := daemontest.Start(t)
	small := d.Dir + "/small"
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountTmpfs(small, "size=1m"); err != nil {
		t.Skip("no tmpfs: ", err)
	}
	t.Cleanup(func() { unmount(small) })
	r := d.Do("POST", "/files/upload-v2"+q("path", "small/big"), bytes.Repeat([]byte("x"), 3<<20))
	var e api.Error
	r.JSON(t, &e)
	if r.Status != 507 || e.Code != "DISK_FULL" || !strings.Contains(e.Message, "no space left") {
		t.Errorf("%d %+v", r.Status, e)
	}
	if list, _ := os.ReadDir(small); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func TestBulkUpload(t *testing.T) {
	d := daemontest.Start(t)
	for name, tt := range map[string]struct {
		pairs  []string
		status int
		want   toolbox.BulkUpload
	}{
		"interleaved": {[]string{"files[0].path", "i/a", "files[0].file", "AA", "files[1].path", "i/b", "files[1].file", ""}, 200,
			toolbox.BulkUpload{Files: []toolbox.BulkUploaded{{Path: "i/a", Bytes: 2}, {Path: "i/b", Bytes: 0}}}},
		"paths first": {[]string{"files[0].path", "p/a", "files[1].path", "p/ü b", "files[0].file", "1", "files[1].file", "22"}, 200,
			toolbox.BulkUpload{Files: []toolbox.BulkUploaded{{Path: "p/a", Bytes: 1}, {Path: "p/ü b", Bytes: 2}}}},
		"one fails": {[]string{"files[0].path", ".", "files[0].file", "x", "files[1].path", "f/b", "files[1].file", "ok"}, 400,
			toolbox.BulkUpload{Errors: []string{d.Dir + " is a directory; a regular file is needed"}, Files: []toolbox.BulkUploaded{{Path: "f/b", Bytes: 2}}}},
		"no path": {[]string{"files[0].file", "x", "files[1].path", "n/b", "files[1].file", "ok"}, 400,
			toolbox.BulkUpload{Errors: []string{"files[0].file: no files[0].path came before it"}, Files: []toolbox.BulkUploaded{{Path: "n/b", Bytes: 2}}}},
		"no file": {[]string{"files[3].path", "x"}, 400,
			toolbox.BulkUpload{Errors: []string{"files[3].path: no files[3].file came after it"}, Files: []toolbox.BulkUploaded{}}},
	} {
		t.Run(name, func(t *testing.T) {
			body, ct := form(t, tt.pairs...)
			for _, chunked := range []bool{false, true} {
				var in any = body
				if chunked {
					in = io.MultiReader(bytes.NewReader(body)) // no length: chunked
				}
				r := d.Do("POST", "/files/bulk-upload", in, "Content-Type", ct)
				var got toolbox.BulkUpload
				r.JSON(t, &got)
				if diff := cmp.Diff(tt.want, got); diff != "" || r.Status != tt.status {
					t.Errorf("%d %s", r.Status, diff)
				}
			}
		})
	}
	if read(t, d.Dir+"/p/ü b") != "22" || read(t, d.Dir+"/f/b") != "ok" {
		t.Error("wrong content")
	}
	body, ct := form(t, "x", "y")
	if r := d.Do("POST", "/files/bulk-upload", body, "Content-Type", ct); r.Status != 400 {
		t.Errorf("no files: %d", r.Status)
	}
	leftovers(t, d.Dir)
}

func TestBulkDownload(t *testing.T) {
	d := daemontest.Start(t)
	odd := "sub/ä \"q\" \\ 日本.txt"
	write(t, d.Dir+"/"+odd, "odd")
	write(t, d.Dir+"/empty", "")
	write(t, d.Dir+"/a.json", "{}")
	paths := []string{odd, "nope", d.Dir + "/a.json", "", ".", "empty"}
	r := d.Do("POST", "/files/bulk-download", toolbox.BulkDownload{Paths: paths})
	if r.Status != 200 || r.Header.Get("Content-Type") != "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY" {
		t.Fatalf("%d %s", r.Status, r.Header.Get("Content-Type"))
	}
	mr := multipart.NewReader(bytes.NewReader(r.Body), "DAYTONA-FILE-BOUNDARY")
	type part struct{ Name, File, Type, Length, Body string }
	var got []part
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if err != nil {
			t.Fatal(err)
		}
		one := part{Name: params["name"], File: params["filename"], Type: p.Header.Get("Content-Type"), Length: p.Header.Get("Content-Length"), Body: string(b)}
		if one.Name == "error" {
			var e api.Error
			if err := json.Unmarshal(b, &e); err != nil {
				t.Fatal(err)
			}
			one.Body, one.Length = fmt.Sprint(e.Code, " ", e.StatusCode, " ", e.Path, " ", e.Source), ""
		}
		got = append(got, one)
	}
	jsonType := "application/json; charset=utf-8"
	want := []part{
		{"file", odd, "text/plain; charset=utf-8", "3", "odd"},
		{"error", "nope", jsonType, "", "FILE_NOT_FOUND 404 nope DAYTONA_DAEMON"},
		{"file", d.Dir + "/a.json", "application/json", "2", "{}"},
		{"error", "", jsonType, "", "INVALID_FILE_PATH 400  DAYTONA_DAEMON"},
		{"error", ".", jsonType, "", "INVALID_FILE_PATH 400 . DAYTONA_DAEMON"},
		{"file", "empty", "application/octet-stream", "0", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.HasSuffix(r.Body, []byte("\r\n--DAYTONA-FILE-BOUNDARY--\r\n")) {
		t.Errorf("end %q", r.Body[len(r.Body)-40:])
	}
}

func TestBulkDownloadByAnOldClient(t *testing.T) {
	d := daemontest.Start(t)
	name := "ü \"q\" \\ 日本.txt"
	write(t, d.Dir+"/"+name, "odd")
	r := d.Do("POST", "/files/bulk-download", toolbox.BulkDownload{Paths: []string{name, "nö"}}, "X-Daytona-Source", "python-sdk", "X-Daytona-SDK-Version", "0.128.1")
	for _, want := range []string{`name="file"; filename="ü \"q\" \\ 日本.txt"` + "\r\n", `name="error"; filename="nö"` + "\r\n"} {
		if !bytes.Contains(r.Body, []byte(want)) {
			t.Errorf("no part %s in %q", want, r.Body)
		}
	}
}

func FuzzContentDisposition(f *testing.F) {
	for _, s := range []string{"a.txt", "", `a"b\c`, "ä", "日本", "a\r\nb", "\x00", "\xff", "%41", "a;b='c", " ", "\u0085", strings.Repeat("x", 5000)} {
		f.Add(s)
	}
	d := daemontest.Start(f)
	f.Fuzz(func(t *testing.T, name string) {
		body, err := json.Marshal(toolbox.BulkDownload{Paths: []string{name}})
		if err != nil {
			t.Skip()
		}
		var sent toolbox.BulkDownload
		_ = json.Unmarshal(body, &sent) // JSON cannot carry every byte
		d.T = t
		r := d.Do("POST", "/files/bulk-download", body)
		mr := multipart.NewReader(bytes.NewReader(r.Body), "DAYTONA-FILE-BOUNDARY")
		p, err := mr.NextRawPart()
		if err != nil {
			t.Fatalf("%v: %q", err, r.Body)
		}
		if _, err := mr.NextRawPart(); err != io.EOF {
			t.Fatalf("more than one part for one path: %q", r.Body)
		}
		if len(textproto.MIMEHeader(p.Header)) != 3 {
			t.Fatalf("header %v", p.Header)
		}
		_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if err != nil {
			t.Fatalf("%v: %q", err, p.Header)
		}
		want := strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(sent.Paths[0])
		if params["filename"] != want {
			t.Errorf("name %q, want %q", params["filename"], want)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "", ".", "..", "/", "../../etc/passwd", "a/../b", "//x", "~", "~root", "%2e%2e", "a\\b", "a\x00b", "./", " ", strings.Repeat("../", 100), strings.Repeat("a", 5000), "/proc/self/fd/3", "/dev/tty", "/proc/self/mem"} {
		f.Add(s)
	}
	d := daemontest.Start(f)
	f.Fuzz(func(t *testing.T, path string) {
		d.T = t
		for _, route := range []string{"/files/info", "/files/download"} {
			r := d.Do("GET", route+q("path", path), nil)
			if r.Status >= 500 && !strings.Contains(string(r.Body), "FILE_READ_FAILED") { // as /proc/self/mem
				t.Errorf("%s %q: %d %s", route, path, r.Status, r.Body)
			}
		}
	})
}

func BenchmarkUpload100MB(b *testing.B) {
	d := daemontest.Start(b)
	data := make([]byte, 100_000_000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if r := d.Do("POST", "/files/upload-v2?path=big", data); r.Status != 200 {
			b.Fatal(r.Status)
		}
	}
}

func BenchmarkBulkUpload100MB(b *testing.B) {
	d := daemontest.Start(b)
	body, ct := form(b, "files[0].path", "big", "files[0].file", string(make([]byte, 100_000_000)))
	b.SetBytes(100_000_000)
	for b.Loop() {
		if r := d.Do("POST", "/files/bulk-upload", io.MultiReader(bytes.NewReader(body)), "Content-Type", ct); r.Status != 200 {
			b.Fatal(r.Status)
		}
	}
}

func BenchmarkDownload100MB(b *testing.B) {
	d := daemontest.Start(b)
	write(b, d.Dir+"/big", string(make([]byte, 100_000_000)))
	b.SetBytes(100_000_000)
	for b.Loop() {
		res, err := d.Client.Get("http://d/files/download?path=big")
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 512<<10)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{res.Body}, buf)
		_ = res.Body.Close()
		if err != nil || n != 100_000_000 {
			b.Fatal(n, err)
		}
	}
}
