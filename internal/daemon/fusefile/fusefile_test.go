//go:build linux

package fusefile_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/fusefile"
)

// mount serves content at the returned path until the test ends.
func mount(t *testing.T, content func() []byte) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = unix.Mount("test", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY,
		fmt.Sprintf("fd=%d,rootmode=100444,user_id=0,group_id=0,allow_other", fd))
	if err != nil {
		t.Skip("FUSE cannot be mounted here: ", err)
	}
	dev := os.NewFile(uintptr(fd), "fuse")
	done := make(chan error, 1)
	go func() { done <- fusefile.Serve(dev, content) }()
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		_ = dev.Close()
	})
	return path
}

// file is opened without Go's poller: to ask the kernel whether a file can be polled would wait for the server, which waits
// in the same poller. No other process has that problem.
type file int

func open(t *testing.T, path string) file {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return file(fd)
}

func (f file) ReadAt(b []byte, at int64) (int, error) {
	n, err := unix.Pread(int(f), b, at)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (f file) all() (string, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	return string(b), err
}

func TestEachOpenSeesItsMoment(t *testing.T) {
	var n atomic.Int64
	path := mount(t, func() []byte { return fmt.Appendf(nil, "moment %d\n", n.Add(1)) })
	a := open(t, path)
	for range 2 { // read twice from the beginning: the same
		if s, err := a.all(); s != "moment 1\n" || err != nil {
			t.Errorf("%q %v", s, err)
		}
	}
	if b, err := exec.CommandContext(t.Context(), "cat", path).Output(); string(b) != "moment 2\n" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o444 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if fd, err := unix.Open(path, unix.O_WRONLY, 0); err == nil {
		_ = unix.Close(fd)
		t.Error("it could be opened for writing")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Blocks != 0 {
		t.Errorf("%d blocks, %v", fs.Blocks, err)
	}
}

func TestManyReaders(t *testing.T) {
	want := strings.Repeat("0123456789abcdef", 500)
	path := mount(t, func() []byte { return []byte(want) })
	var wg sync.WaitGroup
	for range 300 { // more than are remembered
		f := open(t, path)
		wg.Go(func() {
			if s, err := f.all(); s != want || err != nil {
				t.Errorf("%d bytes, %v", len(s), err)
			}
		})
	}
	wg.Wait()
}

func TestContentIsBounded(t *testing.T) {
	path := mount(t, func() []byte { return make([]byte, 1<<20) })
	if s, err := open(t, path).all(); len(s) != 8<<10 || err != nil {
		t.Errorf("%d bytes, %v", len(s), err)
	}
}
