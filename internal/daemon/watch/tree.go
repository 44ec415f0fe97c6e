//go:build linux

package watch

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// mask is what the kernel is asked to tell. A write that is still going on is told, and its end, which is also told where
// nothing but the times changed; not permissions.
const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// errFull says that a directory cannot be watched because of a limit.
var errFull = errors.New("limit")

// tree is the watched directories of one connection: what the kernel numbers, by path. It is used by one goroutine.
type tree struct {
	f         *os.File // of inotify
	fd        int      // of f
	root      string   // the watched directory
	file      string   // name in root, when only that file is watched
	recursive bool
	exclude   []pattern
	all       *atomic.Int64 // counts directories of all trees

	dirs map[int32]string
	wds  map[string]int32

	stopped atomic.Bool
}

// plant starts to watch path. What happens after it returns is in the kernel's queue.
func plant(path string, recursive bool, exclude []pattern, all *atomic.Int64) (*tree, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	t := &tree{root: path, recursive: recursive, exclude: exclude, all: all, dirs: map[int32]string{}, wds: map[string]int32{}}
	if !st.IsDir() { // its directory is watched, because programs replace files by renaming others
		t.root, t.file = filepath.Split(path)
		t.root, t.recursive = filepath.Clean(t.root), false
	}
	if t.fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	t.f = os.NewFile(uintptr(t.fd), "inotify")
	if err := t.add(t.root, nil); err != nil {
		t.fell()
		if errors.Is(err, errFull) {
			err = errs.New(errs.Exhausted, "%s has too many directories: at most %d are watched by one connection and %d by all; exclude some", clip(path), maxDirectories, maxAll).WithCode(codeLimit)
		}
		return nil, err
	}
	return t, nil
}

// fell gives everything back.
func (t *tree) fell() {
	_ = t.f.Close()
	t.all.Add(-int64(len(t.dirs)))
	t.dirs, t.wds = nil, nil
}

// add watches dir and, in a recursive tree, all below it. found is called for everything that is in them: a new directory
// is filled while it is new. nil: nobody asks.
//
// Each directory is watched before it is read, so that nothing falls between.
func (t *tree) add(dir string, found func(path string, dir bool)) error {
	for todo := []string{dir}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := t.watch(dir)
		root := dir == t.root
		switch {
		case err == nil:
		case !root && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ELOOP)):
			continue // it is gone by now, or not for us to see
		default:
			return err
		}
		if !t.recursive {
			continue
		}
		if todo, err = t.look(dir, todo, found); err != nil && root {
			return err
		}
	}
	return nil
}

// look reads dir and appends the directories in it to todo.
func (t *tree) look(dir string, todo []string, found func(string, bool)) ([]string, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil && dir == t.root { // it may be a link: whoever asked for it said so
		d, err = os.Open(dir)
	}
	if err != nil {
		return todo, err
	}
	defer func() { _ = d.Close() }()
	st, err := d.Stat()
	if err != nil {
		return todo, err
	}
	for {
		entries, err := d.ReadDir(512)
		for _, e := range entries {
			path := join(dir, e.Name())
			if t.out(path) {
				continue
			}
			if found != nil {
				found(path, e.IsDir())
			}
			if !e.IsDir() || other(st, e) && synthetic(path) {
				continue
			}
			if len(todo) >= maxDirectories {
				return todo, errFull
			}
			todo = append(todo, path)
		}
		if errors.Is(err, io.EOF) || err != nil {
			return todo, nil
		}
	}
}

// watch asks the kernel to tell about dir.
func (t *tree) watch(dir string) error {
	m := uint32(mask)
	if dir == t.root {
		m |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	} else {
		m |= unix.IN_DONT_FOLLOW
	}
	_, known := t.wds[dir]
	if !known && (len(t.dirs) >= maxDirectories || t.all.Load() >= maxAll) {
		return errFull
	}
	n, err := unix.InotifyAddWatch(t.fd, dir, m)
	if err != nil {
		return err
	}
	wd := int32(n)
	if old, ok := t.wds[dir]; ok && old != wd { // another directory took the place of the one that was watched
		t.unwatch(old)
	}
	if was, ok := t.dirs[wd]; ok { // it was moved, and is found here before that is told
		delete(t.wds, was)
	} else {
		t.all.Add(1)
	}
	t.dirs[wd], t.wds[dir] = dir, wd
	return nil
}

func (t *tree) unwatch(wd int32) {
	_, _ = unix.InotifyRmWatch(t.fd, uint32(wd))
	t.forget(wd)
}

// forget is for a directory that the kernel no longer tells about.
func (t *tree) forget(wd int32) {
	dir, ok := t.dirs[wd]
	if !ok {
		return
	}
	delete(t.dirs, wd)
	if t.wds[dir] == wd {
		delete(t.wds, dir)
	}
	t.all.Add(-1)
}

// moved renames dir and all below it.
func (t *tree) moved(from, to string) {
	for wd, dir := range t.dirs {
		if dir == from || strings.HasPrefix(dir, from+"/") {
			delete(t.wds, dir)
			dir = to + dir[len(from):]
			t.dirs[wd], t.wds[dir] = dir, wd
		}
	}
}

// left forgets dir and all below it: they are outside now.
func (t *tree) left(dir string) {
	for wd, d := range t.dirs {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			t.unwatch(wd)
		}
	}
}

// again looks at everything anew, after the kernel lost count.
func (t *tree) again() error {
	old := t.dirs
	t.all.Add(-int64(len(old)))
	t.dirs, t.wds = map[int32]string{}, map[string]int32{}
	err := t.add(t.root, nil)
	for wd := range old {
		if _, ok := t.dirs[wd]; !ok {
			_, _ = unix.InotifyRmWatch(t.fd, uint32(wd))
		}
	}
	return err
}

// out reports whether path is not to be told.
func (t *tree) out(path string) bool {
	if t.file != "" {
		return path != join(t.root, t.file)
	}
	return excluded(t.exclude, strings.TrimPrefix(strings.TrimPrefix(path, t.root), "/"))
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// event is one of the kernel's.
type event struct {
	wd     int32
	mask   uint32
	cookie uint32
	name   string
}

// parse takes the kernel's bytes apart. What is cut off at the end is left out.
func parse(b []byte, each func(event)) {
	for len(b) >= unix.SizeofInotifyEvent {
		e := event{wd: int32(binary.NativeEndian.Uint32(b)), mask: binary.NativeEndian.Uint32(b[4:]), cookie: binary.NativeEndian.Uint32(b[8:])}
		n := int64(binary.NativeEndian.Uint32(b[12:]))
		b = b[unix.SizeofInotifyEvent:]
		if n > int64(len(b)) {
			return
		}
		e.name, _, _ = strings.Cut(string(b[:n]), "\x00")
		b = b[n:]
		each(e)
	}
}

// read waits for events until the deadline; zero: as long as it takes. After interrupt it returns os.ErrClosed.
func (t *tree) read(buf []byte, deadline time.Time) (int, error) {
	if err := t.f.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if t.stopped.Load() {
		return 0, os.ErrClosed
	}
	n, err := t.f.Read(buf)
	if err != nil && t.stopped.Load() {
		err = os.ErrClosed
	}
	return n, err
}

// interrupt makes read return. It may be called by any goroutine. Closing the file instead would give its number to
// another one while it is in use here.
func (t *tree) interrupt() {
	t.stopped.Store(true)
	_ = t.f.SetReadDeadline(time.Unix(1, 0))
}

// poll reads events that are there already; 0: there are none.
func (t *tree) poll(buf []byte) (int, error) {
	if err := t.f.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	rc, err := t.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := 0
	var rerr error
	err = rc.Read(func(fd uintptr) bool {
		n, rerr = unix.Read(int(fd), buf)
		return true
	})
	if errors.Is(rerr, unix.EAGAIN) || errors.Is(rerr, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), errors.Join(err, rerr)
}

// other reports whether e lies on another file system than its directory.
func other(dir fs.FileInfo, e fs.DirEntry) bool {
	st, err := e.Info()
	if err != nil {
		return false
	}
	a, ok := dir.Sys().(*syscall.Stat_t)
	b, ok2 := st.Sys().(*syscall.Stat_t)
	return ok && ok2 && a.Dev != b.Dev
}

// synthetic reports whether path lies in a file system whose files are views into the kernel: nothing is told about those.
func synthetic(path string) bool {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return true
	}
	switch int64(s.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
}
