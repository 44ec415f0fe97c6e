//go:build linux

package fs_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/fs"
	"github.com/dugout-dev/dugout/internal/errs"
)

// tree describes what is below dir, one line for each entry.
func tree(t testing.TB, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == dir {
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		line := st.Mode().String() + " " + strings.TrimPrefix(p, dir+"/")
		switch {
		case st.Mode().IsRegular():
			line += fmt.Sprintf(" %d %q", st.ModTime().Unix(), clip(read(t, p)))
		case st.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// sample makes a tree with one of everything, and returns what an archive of it must hold.
func sample(t testing.TB, dir string) []string {
	t.Helper()
	old := unix.Umask(0)
	defer unix.Umask(old)
	write(t, dir+"/b.txt", "b")
	write(t, dir+"/a/x/deep", "deep")
	write(t, dir+"/a/empty", "")
	write(t, dir+"/ü \"quoted\" \\ back", "unicode")
	write(t, dir+"/"+strings.Repeat("long/", 40)+strings.Repeat("n", 200), "long")
	for _, err := range []error{os.Mkdir(dir+"/nothing", 0o750), os.Chmod(dir+"/b.txt", 0o755), os.Chtimes(dir+"/b.txt", time.Unix(1e9, 0), time.Unix(1e9, 0)),
		os.Symlink("b.txt", dir+"/link"), os.Symlink("/etc", dir+"/a/out"), os.Symlink("nowhere", dir+"/dangling")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree(t, dir)
}

func TestArchiveRoundTrip(t *testing.T) {
	d := daemontest.Start(t)
	src := t.TempDir()
	want := sample(t, src)
	if err := unix.Mkfifo(src+"/pipe ü", 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("unix", src+"/sock"); err != nil {
		t.Fatal(err)
	} else {
		defer l.Close()
	}
	for _, format := range []string{"tar", "tar.gz", "zip"} {
		t.Run(format, func(t *testing.T) {
			r := download(t, d, "/files/archive"+q("path", src, "format", format))
			again := download(t, d, "/files/archive"+q("path", src, "format", format))
			if !bytes.Equal(r.Body, again.Body) {
				t.Error("two archives of the same tree differ")
			}
			if n := r.Header.Get("X-Dugout-Skipped"); n != "2" {
				t.Errorf("skipped %q", n)
			}
			var skipped []toolbox.Skipped
			if err := json.Unmarshal([]byte(r.Header.Get("X-Dugout-Skipped-Paths")), &skipped); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]toolbox.Skipped{{Path: "pipe ü", Reason: "a named pipe"}, {Path: "sock", Reason: "a socket"}}, skipped); diff != "" {
				t.Error(diff)
			}
			dst := t.TempDir() + "/made/for it"
			for range 2 { // into nothing, and over what is there
				var out toolbox.Extracted
				r := d.Do("POST", "/files/archive"+q("path", dst, "format", format), r.Body)
				if r.JSON(t, &out); r.Status != 200 || out.Files != 5 || out.Links != 3 || out.Bytes != 16 || out.Path != dst {
					t.Fatalf("%d %s", r.Status, r.Body)
				}
				if diff := cmp.Diff(want, tree(t, dst)); diff != "" {
					t.Fatal(diff)
				}
			}
			leftovers(t, dst)
		})
	}
}

// download is Do with the trailer among the header.
func download(t testing.TB, d *daemontest.Daemon, path string) daemontest.Reply {
	t.Helper()
	res, err := d.Client.Get("http://daemon" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %v %.300s", res.StatusCode, err, b)
	}
	for k, v := range res.Trailer {
		res.Header[k] = v
	}
	return daemontest.Reply{Status: res.StatusCode, Header: res.Header, Body: b}
}

// The system's own programs read what is made, and their archives are read.
func TestArchivesOfOtherPrograms(t *testing.T) {
	d := daemontest.Start(t)
	src := t.TempDir()
	sample(t, src)
	for _, tc := range []struct{ format, pack, list string }{
		{"tar", "tar -C %s -cf - .", "tar -tf -"},
		{"tar.gz", "tar -C %s --format=gnu -czf - .", "tar -tzf -"},
		{"zip", `cd %s && python3 -c 'import shutil,sys; sys.stdout.buffer.write(open(shutil.make_archive("/tmp/dugout-test-%d","zip","."),"rb").read())'; rm -f /tmp/dugout-test-%d.zip`,
			`f=$(mktemp); cat >$f; python3 -m zipfile -l $f; rm $f`},
	} {
		t.Run(tc.format, func(t *testing.T) {
			tool, _, _ := strings.Cut(strings.TrimPrefix(tc.list, "f=$(mktemp); cat >$f; "), " ")
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip(err)
			}
			list := exec.Command("sh", "-c", tc.list)
			list.Stdin = bytes.NewReader(download(t, d, "/files/archive"+q("path", src, "format", tc.format)).Body)
			if out, err := list.CombinedOutput(); err != nil || strings.Count(string(out), "\n") < 40 {
				t.Errorf("%v: %s", err, out)
			}
			cmd := fmt.Sprintf(strings.ReplaceAll(tc.pack, "%d", fmt.Sprint(os.Getpid())), src)
			packed, err := exec.Command("sh", "-c", cmd).Output()
			if err != nil {
				t.Fatal(err)
			}
			dst := t.TempDir()
			if r := d.Do("POST", "/files/archive"+q("path", dst, "format", tc.format), packed); r.Status != 200 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			if read(t, dst+"/a/x/deep") != "deep" || read(t, dst+"/ü \"quoted\" \\ back") != "unicode" {
				t.Error("not what was packed")
			}
		})
	}
	if _, err := exec.LookPath("tar"); err == nil { // a hole of a terabyte is a few bytes in the archive
		hole, dst := t.TempDir(), t.TempDir()
		if err := os.WriteFile(hole+"/hole", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(hole+"/hole", 1<<30); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"gnu", "posix"} {
			packed, err := exec.Command("tar", "-C", hole, "--format="+format, "--sparse", "-cf", "-", "hole").Output()
			if err != nil || len(packed) > 1<<20 {
				t.Fatal(err, len(packed))
			}
			if r := d.Do("POST", "/files/archive"+q("path", dst), packed); r.Status != 413 || !strings.Contains(string(r.Body), "ARCHIVE_TOO_LARGE") {
				t.Errorf("a bomb of holes (%s): %d %s", format, r.Status, r.Body)
			}
		}
		if got := tree(t, dst); got != nil {
			t.Errorf("left: %v", got)
		}
	}
}

func TestArchiveOfOneFileAndErrors(t *testing.T) {
	d := daemontest.Start(t)
	file := write(t, d.Dir+"/one.txt", "1")
	r := download(t, d, "/files/archive?path=one.txt")
	h, err := tar.NewReader(bytes.NewReader(r.Body)).Next()
	if err != nil || h.Name != "one.txt" || h.Size != 1 {
		t.Fatalf("%+v %v", h, err)
	}
	if cd := r.Header.Get("Content-Disposition"); cd != `attachment; filename="one.txt.tar"; filename*=utf-8''one.txt.tar` || r.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("%q", cd)
	}
	if r := d.Do("HEAD", "/files/archive?path=/", nil); r.Status != 200 || len(r.Body) != 0 { // at once, not after a walk
		t.Errorf("HEAD: %d", r.Status)
	}
	for _, tc := range []struct {
		method, query, body string
		status              int
		code                string
	}{
		{"GET", "path=missing", "", 404, "FILE_NOT_FOUND"},
		{"GET", "path=.&format=rar", "", 400, "BAD_REQUEST"},
		{"GET", "", "", 400, "BAD_REQUEST"},
		{"GET", "path=/dev/zero", "", 400, "INVALID_FILE_PATH"},
		{"POST", "path=" + file, "", 400, "INVALID_FILE_PATH"},
		{"POST", "path=x&format=rar", "", 400, "BAD_REQUEST"},
		{"POST", "path=x&maxBytes=0", "", 400, "BAD_REQUEST"},
		{"POST", "path=x&maxBytes=-5", "", 400, "BAD_REQUEST"},
		{"POST", "path=x&format=tar", strings.Repeat("no tar", 1000), 400, "INVALID_ARCHIVE"},
		{"POST", "path=x&format=tar.gz", "no gzip", 400, "INVALID_ARCHIVE"},
		{"POST", "path=x&format=zip", "no zip", 400, "INVALID_ARCHIVE"},
		{"POST", "path=x&format=zip", "", 400, "INVALID_ARCHIVE"},
	} {
		r := d.Do(tc.method, "/files/archive?"+tc.query, tc.body)
		var e api.Error
		if r.JSON(t, &e); r.Status != tc.status || e.Code != tc.code || e.Source != api.SourceDaemon || e.Reason != e.Message || e.Message == "" {
			t.Errorf("%s %s: %d %s", tc.method, tc.query, r.Status, r.Body)
		}
	}
}

// made writes a tar of the given headers; regular files hold their own name.
func made(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, strings.Repeat("x", int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped turns a tar into a zip of the same entries; what a zip cannot hold is left out.
func zipped(t testing.TB, packed []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, r := zip.NewWriter(&b), tar.NewReader(bytes.NewReader(packed))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		zh := &zip.FileHeader{Name: h.Name, Method: zip.Deflate}
		zh.SetMode(h.FileInfo().Mode())
		out, err := w.CreateHeader(zh)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			_, err = io.WriteString(out, h.Linkname)
		} else {
			_, err = io.Copy(out, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileArchives(t *testing.T) {
	d := daemontest.Start(t)
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to} }
	f := func(name string) tar.Header { return tar.Header{Name: name} }
	for i, tc := range []struct {
		name    string
		entries []tar.Header
		status  int
		code    string
		left    []string // names in the directory afterwards
		noZip   bool
	}{
		{"climbs", []tar.Header{f("ok"), f("../out")}, 400, "INVALID_ARCHIVE", []string{"ok"}, false},
		{"climbs in the middle", []tar.Header{f("a/../../out")}, 400, "INVALID_ARCHIVE", nil, false},
		{"climbs and comes back", []tar.Header{f("a/../b")}, 400, "INVALID_ARCHIVE", nil, false},
		{"absolute", []tar.Header{f("OUTSIDE/out")}, 400, "INVALID_ARCHIVE", nil, false},
		{"a link that leads elsewhere later", []tar.Header{f("a/x"), f("b/x"), link("l", "a"), f("l/y"), link("l", "b"), f("l/z")}, 200, "", []string{"a", "a/x", "a/y", "b", "b/x", "b/z", "l"}, false},
		{"a link that becomes a file", []tar.Header{f("a/x"), link("l", "a"), f("l/y"), f("l"), f("l/z")}, 409, "CONFLICT", []string{"a", "a/x", "a/y", "l"}, false},
		{"through its own absolute link", []tar.Header{link("l", "OUTSIDE"), f("l/out")}, 400, "INVALID_FILE_PATH", []string{"l"}, false},
		{"through its own relative link", []tar.Header{link("l", "../outside"), f("l/out")}, 400, "INVALID_FILE_PATH", []string{"l"}, false},
		{"through two links", []tar.Header{link("a", "b"), link("b", ".."), f("a/outside/out")}, 400, "INVALID_FILE_PATH", []string{"a", "b"}, false},
		{"a directory through a link", []tar.Header{link("l", "OUTSIDE"), {Typeflag: tar.TypeDir, Name: "l/out"}}, 400, "INVALID_FILE_PATH", []string{"l"}, false},
		{"a directory over a link", []tar.Header{link("l", "OUTSIDE"), {Typeflag: tar.TypeDir, Name: "l", Mode: 0o777}}, 400, "INVALID_FILE_PATH", []string{"l"}, false},
		{"a file over a link that leads out", []tar.Header{link("l", "OUTSIDE/canary"), f("l")}, 200, "", []string{"l"}, false},
		{"a link through a link", []tar.Header{link("l", "OUTSIDE"), link("l/out", "x")}, 400, "INVALID_FILE_PATH", []string{"l"}, false},
		{"a link inside", []tar.Header{f("real/a"), link("l", "real"), f("l/b")}, 200, "", []string{"l", "real", "real/a", "real/b"}, false},
		{"a hard link out", []tar.Header{hard("h", "../outside/canary")}, 400, "INVALID_ARCHIVE", nil, true},
		{"an absolute hard link", []tar.Header{hard("h", "OUTSIDE/canary")}, 400, "INVALID_ARCHIVE", nil, true},
		{"a hard link through a link", []tar.Header{link("l", "OUTSIDE"), hard("h", "l/canary")}, 400, "INVALID_FILE_PATH", []string{"l"}, true},
		{"a hard link to a link", []tar.Header{link("l", "OUTSIDE/canary"), hard("h", "l"), f("h")}, 400, "INVALID_ARCHIVE", []string{"l"}, true},
		{"a hard link to itself", []tar.Header{f("h"), hard("h", "h")}, 400, "INVALID_ARCHIVE", []string{"h"}, true},
		{"a hard link to nothing", []tar.Header{hard("h", "x")}, 404, "FILE_NOT_FOUND", nil, true},
		{"a hard link", []tar.Header{f("a"), hard("d/h", "a")}, 200, "", []string{"a", "d", "d/h"}, true},
		{"a file over a directory", []tar.Header{f("a/b"), f("a")}, 409, "CONFLICT", []string{"a", "a/b"}, false},
		{"a link over a directory", []tar.Header{f("a/b"), link("a", "x")}, 409, "CONFLICT", []string{"a", "a/b"}, false},
		{"a directory over a file", []tar.Header{f("a"), f("a/b")}, 409, "CONFLICT", []string{"a"}, false},
		{"twice", []tar.Header{f("a"), f("./a"), f(".//a")}, 200, "", []string{"a"}, false},
		{"the directory itself", []tar.Header{{Typeflag: tar.TypeDir, Name: "./", Mode: 0o777}, f("a")}, 200, "", []string{"a"}, false},
		{"a file that is the directory", []tar.Header{f(".")}, 400, "INVALID_ARCHIVE", nil, false},
		{"devices and pipes", []tar.Header{{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "b"}, {Typeflag: tar.TypeFifo, Name: "p"}, f("a")}, 200, "", []string{"a"}, false},
		{"set-id bits", []tar.Header{{Name: "a", Mode: 0o6755}, {Typeflag: tar.TypeDir, Name: "d", Mode: 0o7700}}, 200, "", []string{"a", "d"}, false},
		{"too deep", []tar.Header{f(strings.Repeat("d/", fs.MaxFolderDepth) + "f")}, 400, "INVALID_ARCHIVE", nil, false},
		{"too long a name", []tar.Header{f(strings.Repeat("n", 5000))}, 400, "INVALID_ARCHIVE", nil, false},
		{"too long a part", []tar.Header{f(strings.Repeat("n", 256))}, 400, "INVALID_FILE_PATH", nil, false},
		{"an empty link", []tar.Header{link("l", "")}, 400, "INVALID_ARCHIVE", nil, true},
	} {
		for _, format := range []string{"tar", "zip"} {
			if tc.noZip && format == "zip" {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", format, i, tc.name), func(t *testing.T) {
				base := t.TempDir()
				dir, outside := base+"/dir", base+"/outside"
				write(t, outside+"/canary", "sings")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				entries := slices.Clone(tc.entries)
				for i := range entries {
					entries[i].Name = strings.ReplaceAll(entries[i].Name, "OUTSIDE", outside)
					entries[i].Linkname = strings.ReplaceAll(entries[i].Linkname, "OUTSIDE", outside)
				}
				body := made(t, entries...)
				if format == "zip" {
					body = zipped(t, body)
				}
				before := tree(t, outside)
				r := d.Do("POST", "/files/archive"+q("path", dir, "format", format), body)
				var out toolbox.ExtractFailed
				r.JSON(t, &out)
				if r.Status != tc.status || out.Code != tc.code {
					t.Errorf("%d %s", r.Status, r.Body)
				}
				if diff := cmp.Diff(before, tree(t, outside)); diff != "" {
					t.Errorf("outside: %s", diff)
				}
				var left []string
				for _, line := range tree(t, dir) {
					name, _, _ := strings.Cut(line[strings.Index(line, " ")+1:], " ")
					left = append(left, name)
					if strings.ContainsAny(line[:10], "ugts") && !strings.HasPrefix(line, "d") && !strings.HasPrefix(line, "-") && !strings.HasPrefix(line, "L") {
						t.Errorf("set-id: %s", line)
					}
				}
				if diff := cmp.Diff(tc.left, left); diff != "" {
					t.Errorf("left: %s", diff)
				}
				if tc.name == "devices and pipes" {
					var ok toolbox.Extracted
					if r.JSON(t, &ok); ok.Skipped.Count != 3 || len(ok.Skipped.First) != 3 || ok.Files != 1 {
						t.Errorf("%s", r.Body)
					}
				}
				if tc.name == "climbs" && (out.Extracted.Files != 1 || out.Extracted.Bytes != 2 || out.Extracted.Path != dir) {
					t.Errorf("what was written before is not told: %s", r.Body)
				}
			})
		}
	}
}

func TestArchiveLimits(t *testing.T) {
	d := daemontest.Start(t)
	pack := func(format string, size int64) []byte {
		var b bytes.Buffer
		var w io.Writer = &b
		if format == "zip" {
			z := zip.NewWriter(&b)
			out, err := z.Create("zeros")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.CopyN(out, zeros{}, size)
			_ = z.Close()
			return b.Bytes()
		}
		if format == "tar.gz" {
			w = gzip.NewWriter(&b)
		}
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "zeros", Size: size, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(tw, zeros{}, size)
		_ = tw.Close()
		if gz, ok := w.(*gzip.Writer); ok {
			_ = gz.Close()
		}
		return b.Bytes()
	}
	const size, slack = 2 << 20, 1 << 20
	for _, format := range []string{"tar.gz", "zip"} {
		body, dir := pack(format, size), t.TempDir()
		if len(body) > size/300 {
			t.Fatalf("%s: %d bytes are no bomb", format, len(body))
		}
		if _, err := fs.Unpack(format, bytes.NewReader(body), dir, 0, 1<<40, slack); !errs.Is(err, errs.TooLarge) || !strings.Contains(err.Error(), "250 times") || tree(t, dir) != nil {
			t.Errorf("%s: %v", format, err)
		}
		if out, err := fs.Unpack(format, bytes.NewReader(body), t.TempDir(), 0, 1<<40, size); err != nil || out.Bytes != size {
			t.Errorf("%s, not beyond: %v", format, err)
		}
		at := func(limit int64) daemontest.Reply {
			return d.Do("POST", "/files/archive"+q("path", dir, "format", format, "maxBytes", fmt.Sprint(limit)), body)
		}
		if r := at(size - 1); r.Status != 413 || !strings.Contains(string(r.Body), "ARCHIVE_TOO_LARGE") || tree(t, dir) != nil {
			t.Errorf("%s, a byte less: %d %s", format, r.Status, r.Body)
		}
		if r := at(size); r.Status != 200 {
			t.Errorf("%s, just enough: %d %s", format, r.Status, r.Body)
		}
	}

	body := made(t, tar.Header{Name: "a"}, tar.Header{Name: "b"})
	if out, err := fs.Unpack("tar", bytes.NewReader(body), t.TempDir(), fs.MaxTarEntries-2, 1<<40, -1); err != nil || out.Files != 2 {
		t.Errorf("at the limit of entries: %v", err)
	}
	if out, err := fs.Unpack("tar", bytes.NewReader(body), t.TempDir(), fs.MaxTarEntries-1, 1<<40, -1); err == nil || out.Files != 1 || !strings.Contains(err.Error(), "entries") {
		t.Errorf("over the limit of entries: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A broken upload leaves what was whole, tells it, and nothing else.
func TestArchiveTornOff(t *testing.T) {
	d := daemontest.Start(t)
	body := made(t, tar.Header{Name: "whole"}, tar.Header{Name: "torn", Size: 100_000})
	dir := t.TempDir()
	r := d.Do("POST", "/files/archive"+q("path", dir), body[:len(body)-50_000])
	var out toolbox.ExtractFailed
	if r.JSON(t, &out); r.Status != 400 || out.Code != "INVALID_ARCHIVE" || out.Extracted.Files != 1 || out.Extracted.Bytes != 5 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if got := tree(t, dir); len(got) != 1 || !strings.Contains(got[0], "whole") {
		t.Errorf("left: %v", got)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, _ = w.Write(body)
	_ = w.Close()
	damaged := gz.Bytes()
	damaged[len(damaged)-5] ^= 1 // the checksum
	if r := d.Do("POST", "/files/archive"+q("path", t.TempDir(), "format", "tar.gz"), damaged); r.Status != 400 {
		t.Errorf("a wrong checksum: %d %s", r.Status, r.Body)
	}
}

func TestArchiveIsCutWhenAFileShrinks(t *testing.T) {
	d := daemontest.Start(t)
	const size = 64 << 20
	path := write(t, d.Dir+"/tree/big", "")
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"tar", "tar.gz", "zip"} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if format != "tar" { // else it is sent before it is cut
			noise := exec.Command("sh", "-c", `head -c 67108864 /dev/urandom >"$0"`, path)
			if err := noise.Run(); err != nil {
				t.Fatal(err)
			}
		}
		res, err := d.Client.Get("http://daemon/files/archive?path=tree&format=" + format)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, res.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%s: a file that shrank was sent as if it were whole", format)
		}
		_ = res.Body.Close()
	}
}

func TestArchivesAtATime(t *testing.T) {
	d := daemontest.Start(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	var ends []*io.PipeWriter
	for i := range fs.MaxArchives {
		r, w := io.Pipe()
		ends = append(ends, w)
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://daemon/files/archive"+q("path", dir), r)
			if err != nil {
				t.Error(err)
				return
			}
			if res, err := d.Client.Do(req); err != nil || res.StatusCode != 200 {
				t.Errorf("%v %v", res, err)
			} else {
				_ = res.Body.Close()
			}
		})
		name := fmt.Sprintf("%d", i)
		if _, err := w.Write(made(t, tar.Header{Name: name})[:1024]); err != nil { // without the end
			t.Fatal(err)
		}
		daemontest.Until(t, "the first entry", func() bool { _, err := os.Stat(dir + "/" + name); return err == nil })
	}
	body := made(t, tar.Header{Name: "a"})
	if r := d.Do("POST", "/files/archive"+q("path", dir), body); r.Status != 429 || !strings.Contains(string(r.Body), "TOO_MANY_ARCHIVES") {
		t.Errorf("one more: %d %s", r.Status, r.Body)
	}
	if r := d.Do("GET", "/files/archive"+q("path", dir), nil); r.Status != 429 {
		t.Errorf("one more to pack: %d %s", r.Status, r.Body)
	}
	for _, w := range ends {
		_, _ = w.Write(body)
		_ = w.Close()
	}
	wg.Wait()
	if r := d.Do("POST", "/files/archive"+q("path", dir), body); r.Status != 200 {
		t.Errorf("after it: %d %s", r.Status, r.Body)
	}
}

func FuzzUnpackTar(f *testing.F) {
	f.Add(made(f, tar.Header{Name: "a/b"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../outside"}, tar.Header{Name: "l/x"}))
	f.Add(made(f, tar.Header{Name: "../outside/canary"}))
	f.Add(made(f, tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "../outside/canary"}, tar.Header{Name: "h"}))
	f.Add(made(f, tar.Header{Name: "ü\xff", Mode: 0o7777}, tar.Header{Typeflag: tar.TypeFifo, Name: "p"}))
	fuzzUnpack(f, "tar")
}

func FuzzUnpackZip(f *testing.F) {
	f.Add(zipped(f, made(f, tar.Header{Name: "a/b"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../outside"}, tar.Header{Name: "l/x"})))
	f.Add(zipped(f, made(f, tar.Header{Name: "../outside/canary"})))
	f.Add([]byte("PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	fuzzUnpack(f, "zip")
}

// fuzzUnpack unpacks anything into a directory: nothing beside it may change.
func fuzzUnpack(f *testing.F, format string) {
	f.Fuzz(func(t *testing.T, body []byte) {
		base := t.TempDir()
		write(t, base+"/outside/canary", "sings")
		if err := os.Mkdir(base+"/dir", 0o755); err != nil {
			t.Fatal(err)
		}
		const limit = 1 << 20
		out, _ := fs.Unpack(format, bytes.NewReader(body), base+"/dir", 0, limit, -1)
		if out.Bytes > limit {
			t.Errorf("%d bytes", out.Bytes)
		}
		if read(t, base+"/outside/canary") != "sings" {
			t.Error("the canary changed")
		}
		if e, err := os.ReadDir(base); err != nil || len(e) != 2 {
			t.Errorf("%v %v", e, err)
		}
		if e, err := os.ReadDir(base + "/outside"); err != nil || len(e) != 1 {
			t.Errorf("%v %v", e, err)
		}
		_ = filepath.WalkDir(base+"/dir", func(p string, e os.DirEntry, err error) error {
			if err == nil {
				if st, err := e.Info(); err == nil && st.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice|os.ModeNamedPipe|os.ModeSocket) != 0 && !st.IsDir() {
					t.Errorf("%s %s", st.Mode(), p)
				}
			}
			return nil
		})
	})
}

func FuzzEntryName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "/a", "./", "a/..", "a//b", "..a", "\x00", strings.Repeat("a/", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := fs.EntryName(name)
		if err != nil {
			return
		}
		if got != "" && (!filepath.IsLocal(got) || filepath.Clean(got) != got) || strings.Contains(got, "\x00") {
			t.Errorf("%q became %q", name, got)
		}
	})
}

func FuzzSkippedHeader(f *testing.F) {
	f.Add("a", "b")
	f.Add("ü \"\\\r\n\x00\x7f", "😀\xff")
	f.Fuzz(func(t *testing.T, path, why string) {
		s := fs.ASCIIJSON([]toolbox.Skipped{{Path: path, Reason: why}, {Path: why}})
		for _, c := range []byte(s) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q cannot stand in a header", s)
			}
		}
		var got []toolbox.Skipped
		if err := json.Unmarshal([]byte(s), &got); err != nil || len(got) != 2 || got[0].Path != strings.ToValidUTF8(path, "\ufffd") && len(strings.ToValidUTF8(path, "")) == len(path) {
			t.Errorf("%q: %v", s, err)
		}
	})
}
