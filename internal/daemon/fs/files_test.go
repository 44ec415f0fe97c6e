//go:build linux

package fs_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// q makes a query from pairs.
func q(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

// leftovers fails when a temporary file remains below dir.
func leftovers(t testing.TB, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		if strings.HasPrefix(filepath.Base(path), ".dugout-") {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
}

func TestInfo(t *testing.T) {
	d := daemontest.Start(t)
	path := write(t, d.Dir+"/a b.txt", "12345")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	var got toolbox.FileInfo
	d.Do("GET", "/files/info"+q("path", "a b.txt"), nil).JSON(t, &got)
	want := toolbox.FileInfo{Name: "a b.txt", Size: 5, Mode: "-rw-r-----", ModTime: at.Local().String(), ModifiedAt: at.Local().Format(time.RFC3339Nano),
		Owner: fmt.Sprint(os.Getuid()), Group: fmt.Sprint(os.Getgid()), Permissions: "0640"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestList(t *testing.T) {
	d := daemontest.Start(t)
	write(t, d.Dir+"/b/c/deep.txt", "x")
	write(t, d.Dir+"/a.txt", "x")
	_ = os.Symlink("nowhere", d.Dir+"/dangling")
	_ = os.Symlink("b", d.Dir+"/link")
	_ = os.Symlink("..", d.Dir+"/b/loop")
	names := func(path string) (out []string) {
		var list []toolbox.FileInfo
		d.Do("GET", path, nil).JSON(t, &list)
		for _, f := range list {
			out = append(out, f.Name+"|"+strings.TrimPrefix(f.Path, d.Dir)+"|"+fmt.Sprint(f.IsDir))
		}
		return out
	}
	plain := []string{"a.txt||false", "b||true", "link||true"}
	for _, path := range []string{"/files", "/files/", "/files" + q("path", d.Dir), "/files/" + q("path", ".")} {
		if diff := cmp.Diff(plain, names(path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if diff := cmp.Diff([]string{"a.txt|/a.txt|false", "b|/b|true", "c|/b/c|true", "loop|/b/loop|true", "link|/link|true"}, names("/files?depth=2")); diff != "" {
		t.Error(diff)
	}
	if got := names("/files?depth=9"); len(got) != 6 {
		t.Errorf("deep listing %v", got)
	}
	if err := os.Mkdir(d.Dir+"/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	if r := d.Do("GET", "/files"+q("path", "empty"), nil); string(r.Body) != "[]" {
		t.Errorf("an empty directory is %s, want []", r.Body)
	}
}

// TestErrors holds the status and code of every way a path can be wrong, for every route that takes one.
func TestErrors(t *testing.T) {
	d := daemontest.Start(t)
	dir := d.Dir
	file := write(t, dir+"/file", "x")
	if err := syscall.Mkfifo(dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("self", dir+"/self")
	full := write(t, dir+"/full/x", "x")
	for _, tt := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"GET", "/files" + q("path", "nope"), nil, 404, "FILE_NOT_FOUND"},
		{"GET", "/files" + q("path", file), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files" + q("path", "fifo"), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files?depth=0", nil, 400, "BAD_REQUEST"},
		{"GET", "/files?depth=x", nil, 400, "BAD_REQUEST"},
		{"GET", "/files/info", nil, 400, "BAD_REQUEST"},
		{"GET", "/files/info?path=", nil, 400, "BAD_REQUEST"},
		{"GET", "/files/info" + q("path", "nope"), nil, 404, "FILE_NOT_FOUND"},
		{"GET", "/files/info" + q("path", file+"/under"), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/info?path=a%00b", nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/info" + q("path", strings.Repeat("a", 300)), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/info" + q("path", strings.Repeat("a/", 2100)), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/info" + q("path", "self"), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/download", nil, 400, "BAD_REQUEST"},
		{"GET", "/files/download" + q("path", "nope"), nil, 404, "FILE_NOT_FOUND"},
		{"GET", "/files/download" + q("path", dir), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/download" + q("path", "fifo"), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/download" + q("path", "/dev/zero"), nil, 400, "INVALID_FILE_PATH"},
		{"POST", "/files/bulk-download", `{"paths":[]}`, 400, "BAD_REQUEST"},
		{"POST", "/files/bulk-download", `{}`, 400, "BAD_REQUEST"},
		{"POST", "/files/bulk-download", `{"paths":[1]}`, 400, "INVALID_REQUEST_BODY"},
		{"POST", "/files/upload", "x", 400, "BAD_REQUEST"},
		{"POST", "/files/upload" + q("path", "up"), "x", 400, "BAD_REQUEST"},
		{"POST", "/files/upload-v2" + q("path", dir), "x", 400, "INVALID_FILE_PATH"},
		{"POST", "/files/upload-v2" + q("path", "fifo"), "x", 400, "INVALID_FILE_PATH"},
		{"POST", "/files/upload-v2" + q("path", "/dev/null"), "x", 400, "INVALID_FILE_PATH"},
		{"POST", "/files/upload-v2" + q("path", file+"/under"), "x", 400, "INVALID_FILE_PATH"},
		{"POST", "/files/upload-v2?path=a%00b", "x", 400, "INVALID_FILE_PATH"},
		{"POST", "/files/folder", nil, 400, "BAD_REQUEST"},
		{"POST", "/files/folder" + q("path", file), nil, 400, "INVALID_FILE_PATH"},
		{"POST", "/files/folder" + q("path", "new", "mode", "999"), nil, 400, "BAD_REQUEST"},
		{"POST", "/files/folder" + q("path", "new", "mode", "10000"), nil, 400, "BAD_REQUEST"},
		{"POST", "/files/move" + q("source", "nope", "destination", "x"), nil, 404, "FILE_NOT_FOUND"},
		{"POST", "/files/move" + q("source", "file", "destination", "no/where"), nil, 404, "FILE_NOT_FOUND"},
		{"POST", "/files/move" + q("source", "file", "destination", "fifo"), nil, 409, "CONFLICT"},
		{"POST", "/files/move" + q("source", "file", "destination", "self"), nil, 409, "CONFLICT"},
		{"POST", "/files/move" + q("source", "full", "destination", "full/in"), nil, 400, "INVALID_FILE_PATH"},
		{"POST", "/files/move" + q("source", "file"), nil, 400, "BAD_REQUEST"},
		{"DELETE", "/files", nil, 400, "BAD_REQUEST"},
		{"DELETE", "/files" + q("path", "nope"), nil, 404, "FILE_NOT_FOUND"},
		{"DELETE", "/files" + q("path", "full"), nil, 400, "INVALID_FILE_PATH"},
		{"DELETE", "/files" + q("path", "full", "recursive", "1"), nil, 400, "INVALID_FILE_PATH"},
		{"DELETE", "/files" + q("path", "/", "recursive", "true"), nil, 400, "INVALID_FILE_PATH"},
		{"DELETE", "/files" + q("path", "/..", "recursive", "true"), nil, 400, "INVALID_FILE_PATH"},
		{"GET", "/files/search" + q("path", dir), nil, 400, "BAD_REQUEST"},
		{"GET", "/files/search" + q("path", dir, "pattern", "[a"), nil, 400, "BAD_REQUEST"},
		{"GET", "/files/search" + q("path", "nope", "pattern", "*"), nil, 404, "FILE_NOT_FOUND"},
		{"GET", "/files/find" + q("path", dir), nil, 400, "BAD_REQUEST"},
		{"GET", "/files/find" + q("path", "nope", "pattern", "x"), nil, 404, "FILE_NOT_FOUND"},
		{"POST", "/files/replace", `{"files":["file"],"pattern":"","newValue":""}`, 400, "BAD_REQUEST"},
		{"POST", "/files/replace", `{"files":["file"],"pattern":"x"}`, 400, "BAD_REQUEST"},
		{"POST", "/files/replace", `{"pattern":"x","newValue":""}`, 400, "BAD_REQUEST"},
		{"POST", "/files/permissions" + q("path", "nope", "mode", "644"), nil, 404, "FILE_NOT_FOUND"},
		{"POST", "/files/permissions" + q("path", "file", "mode", "8"), nil, 400, "BAD_REQUEST"},
		{"POST", "/files/permissions" + q("path", "file", "owner", "no such user"), nil, 400, "BAD_REQUEST"},
		{"POST", "/files/permissions" + q("path", "file", "group", "-1"), nil, 400, "BAD_REQUEST"},
		{"POST", "/files/permissions" + q("path", "file", "owner", "4294967295"), nil, 400, "BAD_REQUEST"},
		{"PUT", "/files", nil, 404, "NOT_FOUND"},
		{"GET", "/files/nothing", nil, 404, "NOT_FOUND"},
	} {
		t.Run(tt.method+" "+clip(tt.path), func(t *testing.T) {
			r := d.Do(tt.method, tt.path, tt.body)
			var e api.Error
			r.JSON(t, &e)
			if r.Status != tt.status || e.Code != tt.code {
				t.Errorf("%d %s, want %d %s: %s", r.Status, e.Code, tt.status, tt.code, e.Message)
			}
			want := api.Error{StatusCode: r.Status, Reason: e.Message, Message: e.Message, Code: e.Code, Source: "DAYTONA_DAEMON", Method: tt.method}
			if diff := cmp.Diff(want, e, cmpopts.IgnoreFields(api.Error{}, "Path", "Timestamp", "RequestID")); diff != "" || e.Message == "" {
				t.Error(diff)
			}
		})
	}
	if read(t, file) != "x" || read(t, full) != "x" {
		t.Error("a failed request changed a file")
	}
	leftovers(t, dir)
}

func clip(s string) string { return s[:min(len(s), 60)] }

func TestDelete(t *testing.T) {
	d := daemontest.Start(t)
	write(t, d.Dir+"/tree/a/b", "x")
	keep := write(t, d.Dir+"/keep", "x")
	_ = os.Symlink(keep, d.Dir+"/link")
	for _, path := range []string{"/files" + q("path", "link"), "/files/" + q("path", "tree", "recursive", "true")} {
		if r := d.Do("DELETE", path, nil); r.Status != 204 || len(r.Body) != 0 {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	list, _ := os.ReadDir(d.Dir)
	if len(list) != 1 || list[0].Name() != "keep" {
		t.Errorf("left: %v", list)
	}
}

func TestFolder(t *testing.T) {
	d := daemontest.Start(t)
	if r := d.Do("POST", "/files/folder"+q("path", "a/b/c", "mode", "0700"), nil); r.Status != 201 || len(r.Body) != 0 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	if st, err := os.Stat(d.Dir + "/a/b/c"); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st, err)
	}
	if r := d.Do("POST", "/files/folder"+q("path", "a/b"), nil); r.Status != 201 {
		t.Errorf("again: %d", r.Status)
	}
}

func TestMove(t *testing.T) {
	d := daemontest.Start(t)
	write(t, d.Dir+"/a/x", "1")
	for _, tt := range [][2]string{{"a/x", "a/y"}, {"a", "b"}} {
		if r := d.Do("POST", "/files/move"+q("source", tt[0], "destination", tt[1]), nil); r.Status != 200 {
			t.Fatalf("%v: %d %s", tt, r.Status, r.Body)
		}
	}
	if read(t, d.Dir+"/b/y") != "1" {
		t.Error("not moved")
	}
	shm, err := os.MkdirTemp("/dev/shm", "dugoutd-")
	if err != nil {
		t.Skip("no second file system to move to: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	_ = os.Symlink("y", d.Dir+"/b/link")
	if err := os.Chmod(d.Dir+"/b/y", 0o751); err != nil {
		t.Fatal(err)
	}
	if r := d.Do("POST", "/files/move"+q("source", "b", "destination", shm+"/b"), nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	st, err := os.Stat(shm + "/b/y")
	dest, _ := os.Readlink(shm + "/b/link")
	if err != nil || st.Mode().Perm() != 0o751 || dest != "y" || read(t, shm+"/b/y") != "1" {
		t.Errorf("after a move to another file system: %v %v %q", st, err, dest)
	}
	if _, err := os.Stat(d.Dir + "/b"); err == nil {
		t.Error("the source is still there")
	}
}

func TestSearchAndFind(t *testing.T) {
	d := daemontest.Start(t)
	write(t, d.Dir+"/one.py", "import os\nneedle [x]\r\nno\nneedle")
	write(t, d.Dir+"/sub/two.py", "a needle\n")
	write(t, d.Dir+"/sub/dir.py/three.txt", "nothing")
	write(t, d.Dir+"/bin", "needle\x00")
	write(t, d.Dir+"/long", "needle\n"+strings.Repeat("x", 70000)+"\nneedle")
	write(t, d.Dir+"/empty", "")
	if err := syscall.Mkfifo(d.Dir+"/pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("..", d.Dir+"/sub/loop")
	var s toolbox.Search
	d.Do("GET", "/files/search"+q("path", d.Dir, "pattern", "*.py"), nil).JSON(t, &s)
	if diff := cmp.Diff(toolbox.Search{Files: []string{d.Dir + "/one.py", d.Dir + "/sub/dir.py", d.Dir + "/sub/two.py"}}, s); diff != "" {
		t.Error(diff)
	}
	if r := d.Do("GET", "/files/search"+q("path", d.Dir, "pattern", "zzz"), nil); string(r.Body) != `{"files":[]}` {
		t.Errorf("%s", r.Body)
	}
	var m []toolbox.Match
	d.Do("GET", "/files/find"+q("path", d.Dir, "pattern", "needle"), nil).JSON(t, &m)
	want := []toolbox.Match{{File: d.Dir + "/long", Line: 1, Content: "needle"}, {File: d.Dir + "/one.py", Line: 2, Content: "needle [x]"}, {File: d.Dir + "/one.py", Line: 4, Content: "needle"},
		{File: d.Dir + "/sub/two.py", Line: 1, Content: "a needle"}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	m = nil
	d.Do("GET", "/files/find"+q("path", "one.py", "pattern", "[x]"), nil).JSON(t, &m)
	if len(m) != 1 {
		t.Errorf("in one file: %v", m)
	}
}

func TestReplace(t *testing.T) {
	d := daemontest.Start(t)
	path := write(t, d.Dir+"/a", "one two one")
	if err := os.Chmod(path, 0o754); err != nil {
		t.Fatal(err)
	}
	untouched := write(t, d.Dir+"/b", "zwei")
	before, _ := os.Stat(untouched)
	hard := write(t, d.Dir+"/hard", "one")
	if err := os.Link(hard, d.Dir+"/hard2"); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("a", d.Dir+"/link")
	empty := ""
	r := d.Do("POST", "/files/replace", toolbox.Replace{Files: []string{"link", "b", "nope", "hard", "."}, Pattern: "one", NewValue: &empty})
	var got []toolbox.Replaced
	r.JSON(t, &got)
	for i, want := range []bool{true, true, false, true, false} {
		if got[i].Success != want || (got[i].Error == "") != want {
			t.Errorf("%+v", got[i])
		}
	}
	if read(t, path) != " two " || read(t, d.Dir+"/hard2") != "" {
		t.Errorf("a=%q hard2=%q", read(t, path), read(t, d.Dir+"/hard2"))
	}
	if st, _ := os.Lstat(path); st.Mode() != 0o754 {
		t.Errorf("mode %v", st.Mode())
	}
	if st, _ := os.Lstat(d.Dir + "/link"); st.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced, not the file")
	}
	if after, _ := os.Stat(untouched); !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
		t.Error("a file without the text was rewritten")
	}
	leftovers(t, d.Dir)
}

// Matches may lie across the pieces in which a file is read.
func TestReplaceLarge(t *testing.T) {
	d := daemontest.Start(t)
	for _, shift := range []int{0, 1, 5, 7} {
		text := strings.Repeat("x", shift) + strings.Repeat("pattern-", 100000) + "patter"
		path := write(t, d.Dir+"/large", text)
		value := "P"
		d.Do("POST", "/files/replace", toolbox.Replace{Files: []string{path}, Pattern: "pattern", NewValue: &value})
		if read(t, path) != strings.ReplaceAll(text, "pattern", "P") {
			t.Errorf("shift %d: wrong", shift)
		}
	}
}

func TestPermissions(t *testing.T) {
	d := daemontest.Start(t)
	path := write(t, d.Dir+"/a", "x")
	r := d.Do("POST", "/files/permissions"+q("path", "a", "mode", "4750", "owner", fmt.Sprint(os.Getuid()), "group", fmt.Sprint(os.Getgid())), nil)
	st, _ := os.Stat(path)
	if r.Status != 200 || len(r.Body) != 0 || st.Mode() != 0o750|os.ModeSetuid {
		t.Errorf("%d %s, mode %v", r.Status, r.Body, st.Mode())
	}
	if os.Getuid() != 0 {
		t.Skip("giving files away needs root")
	}
	if r := d.Do("POST", "/files/permissions"+q("path", "a", "owner", "nobody", "group", "12345"), nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	var fi toolbox.FileInfo
	d.Do("GET", "/files/info"+q("path", "a"), nil).JSON(t, &fi)
	if fi.Owner != "65534" || fi.Group != "12345" {
		t.Errorf("%+v", fi)
	}
}

func TestDownload(t *testing.T) {
	d := daemontest.Start(t)
	write(t, d.Dir+`/grüße "日本".txt`, "0123456789")
	url := "/files/download" + q("path", `grüße "日本".txt`)
	r := d.Do("GET", url, nil)
	want := map[string]string{"Content-Type": "application/octet-stream", "Content-Description": "File Transfer", "Content-Transfer-Encoding": "binary",
		"Content-Disposition": "attachment; filename=\"gr\xfc\xdfe \\\"__\\\".txt\"; filename*=utf-8''gr%C3%BC%C3%9Fe%20%22%E6%97%A5%E6%9C%AC%22.txt",
		"Expires":             "0", "Cache-Control": "must-revalidate", "Pragma": "public", "Content-Length": "10", "Accept-Ranges": "bytes"}
	for k, v := range want {
		if r.Header.Get(k) != v {
			t.Errorf("%s: %q, want %q", k, r.Header.Get(k), v)
		}
	}
	if string(r.Body) != "0123456789" {
		t.Errorf("body %q", r.Body)
	}
	r = d.Do("GET", url, nil, "Range", "bytes=2-4")
	if r.Status != 206 || string(r.Body) != "234" || r.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("range: %d %q", r.Status, r.Body)
	}
	if r := d.Do("GET", url, nil, "If-Modified-Since", time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")); r.Status != 304 {
		t.Errorf("unchanged: %d", r.Status)
	}
	later := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, tc := range []struct {
		header, value, more, with string
		status                    int
		body, code                string
	}{
		{"Range", "bytes=-3", "", "", 206, "789", ""},
		{"Range", "bytes=8-", "", "", 206, "89", ""},
		{"Range", "bytes=8-100", "", "", 206, "89", ""},
		{"Range", "lines=1-2", "", "", 416, "", "RANGE_NOT_SATISFIABLE"},
		{"Range", "bytes=10-", "", "", 416, "", "RANGE_NOT_SATISFIABLE"},
		{"Range", "bytes=2-4", "If-Range", later, 200, "0123456789", ""},
		{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT", "", "", 412, "", "PRECONDITION_FAILED"},
		{"If-Match", `"x"`, "", "", 412, "", "PRECONDITION_FAILED"},
		{"If-None-Match", "*", "", "", 304, "", ""},
	} {
		head := []string{tc.header, tc.value}
		if tc.more != "" {
			head = append(head, tc.more, tc.with)
		}
		r := d.Do("GET", url, nil, head...)
		if r.Status != tc.status || tc.code == "" && string(r.Body) != tc.body {
			t.Errorf("%v: %d %q", head, r.Status, r.Body)
		}
		var e api.Error
		if tc.code != "" {
			if r.JSON(t, &e); e.Code != tc.code || e.StatusCode != tc.status || e.Source != api.SourceDaemon || e.Reason != e.Message || r.Header.Get("Content-Disposition") != "" {
				t.Errorf("%v: %s %v", head, r.Body, r.Header)
			}
		}
	}
	if r := d.Do("GET", url, nil, "Range", "bytes=0-1,5-6"); r.Status != 206 || !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges: %d %q", r.Status, r.Body)
	}
	if r := d.Do("GET", "/files/download?path=/proc/version", nil); r.Status != 200 || len(r.Body) == 0 {
		t.Errorf("a file that tells no size: %d, %d bytes", r.Status, len(r.Body))
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	write(t, d.Dir+"/big", string(big))
	if r := d.Do("GET", "/files/download?path=big", nil); !bytes.Equal(r.Body, big) {
		t.Error("a large file came out different")
	}
}
