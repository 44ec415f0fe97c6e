//go:build linux

package fs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// swapper exchanges a directory and a link to a place outside, as fast as it can, until the test ends. What a daemon with more
// rights than the process that does so must not do is follow it.
func swapper(t *testing.T, dir, outside string) {
	t.Helper()
	if err := os.Symlink(outside, dir+".link"); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, dir+".link", unix.RENAME_EXCHANGE)
			if errors.Is(err, unix.ENOENT) { // one of them was removed
				_ = os.Mkdir(dir, 0o755)
				_ = os.Symlink(outside, dir)
				_ = os.Symlink(outside, dir+".link")
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// soon is how long a race is run: many rounds on an idle machine.
func soon() time.Time { return time.Now().Add(400 * time.Millisecond) }

// arena is a tree with a directory t/a that is swapped with a link, and a place outside it that must stay as it is.
func arena(t *testing.T) (tree, outside string, intact func()) {
	t.Helper()
	base := t.TempDir()
	tree, outside = base+"/t", base+"/outside"
	write(t, outside+"/canary", "sings")
	write(t, outside+"/sub/canary", "sings")
	write(t, tree+"/a/f", "sings")
	swapper(t, tree+"/a", outside)
	return tree, outside, func() {
		t.Helper()
		if read(t, outside+"/canary") != "sings" || read(t, outside+"/sub/canary") != "sings" {
			t.Fatal("the canary changed")
		}
		for _, dir := range []string{outside, outside + "/sub"} {
			e, err := os.ReadDir(dir)
			if err != nil || len(e) != 2 && dir == outside || len(e) != 1 && dir != outside {
				t.Fatalf("%s holds %v %v", dir, e, err)
			}
		}
	}
}

func TestDeleteRaces(t *testing.T) {
	d := daemontest.Start(t)
	tree, _, intact := arena(t)
	for end := soon(); time.Now().Before(end); {
		for i := range 5 {
			_ = os.WriteFile(fmt.Sprintf("%s/a.link/%d", tree, i), nil, 0o600) // may go outside: taken back below
			_ = os.Remove(fmt.Sprintf("%s/../outside/%d", tree, i))
		}
		d.Do("DELETE", "/files"+q("path", tree+"/b", "recursive", "true"), nil)
		_ = os.MkdirAll(tree+"/b", 0o755)
		_ = os.Rename(tree+"/a", tree+"/b/a") // a directory or a link, whatever it is now
		d.Do("DELETE", "/files"+q("path", tree+"/b", "recursive", "true"), nil)
		_ = os.Mkdir(tree+"/a", 0o755)
	}
	for i := range 5 {
		_ = os.Remove(fmt.Sprintf("%s/../outside/%d", tree, i))
	}
	intact()
}

// Moving to another file system copies and then deletes: the dangerous pair.
func TestMoveRaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a mount")
	}
	d := daemontest.Start(t)
	other := t.TempDir()
	if err := mountTmpfs(other, "size=8m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unmount(other) })
	tree, _, intact := arena(t)
	for i, end := 0, soon(); time.Now().Before(end); i++ {
		d.Do("POST", "/files/move"+q("source", tree, "destination", fmt.Sprintf("%s/%d", other, i)), nil)
		d.Do("DELETE", "/files"+q("path", fmt.Sprintf("%s/%d", other, i), "recursive", "true"), nil)
		_ = os.MkdirAll(tree+"/a", 0o755)
		_ = os.WriteFile(tree+"/a.link/f", nil, 0o600)
		_ = os.Remove(tree + "/../outside/f")
	}
	intact()
}

func TestArchiveRaces(t *testing.T) {
	d := daemontest.Start(t)
	tree, outside, intact := arena(t)
	var entries []tar.Header
	for i := range 20 {
		entries = append(entries, tar.Header{Name: fmt.Sprintf("a/%d", i)}, tar.Header{Name: fmt.Sprintf("a/sub/%d", i)}, tar.Header{Typeflag: tar.TypeSymlink, Name: "a/l", Linkname: "x"})
	}
	body := made(t, entries...)
	for end := soon(); time.Now().Before(end); {
		d.Do("POST", "/files/archive"+q("path", tree), body)
	}
	intact()
	// And outwards: what is packed lies in the tree.
	if err := os.WriteFile(outside+"/canary", []byte("sings"), 0o600); err != nil {
		t.Fatal(err)
	}
	links := 0
	for end := soon(); time.Now().Before(end); {
		r := tar.NewReader(bytes.NewReader(download(t, d, "/files/archive"+q("path", tree)).Body))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeSymlink {
				links++
			}
			if strings.HasSuffix(h.Name, "canary") {
				t.Fatalf("packed from outside: %s", h.Name)
			}
		}
	}
	if links == 0 {
		t.Error("nothing was swapped")
	}
}
