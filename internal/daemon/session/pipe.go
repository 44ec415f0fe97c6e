//go:build linux

package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// A command gets pipes of its own, so that what its background children write later still goes into its log. The shell runs
// already: it opens them by name.

// pipe is a named pipe of a command.
type pipe struct {
	path string
	r    *os.File // output: what is read; input: nil
	w    *os.File // output: keeps the pipe from ending before the shell has opened it; input: what is written to
}

// make creates the pipe and opens it for what the daemon does with it.
func (p *pipe) make(path string, input bool) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return &fs.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	p.path = path
	open := func(flags int) (*os.File, error) {
		fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	var err error
	if input { // for both, so that the shell does not wait for a writer, and writing before it has opened is no error
		p.w, err = open(unix.O_RDWR)
		return err
	}
	if p.r, err = open(unix.O_RDONLY); err != nil {
		return err
	}
	p.w, err = open(unix.O_WRONLY)
	return err
}

// release lets an output end when its last writer does, and removes the pipe's name.
func (p *pipe) release() {
	if p.w != nil {
		_ = p.w.Close()
		p.w = nil
	}
	p.unlink()
}

func (p *pipe) unlink() {
	if p.path != "" {
		_ = os.Remove(p.path)
		p.path = ""
	}
}

// take removes the pipe's name and returns what is to be closed. Closing waits for those who are about to read or write, and they
// for the locks: it must be done without any.
func (p *pipe) take() []*os.File {
	p.unlink()
	files := []*os.File{p.r, p.w} // closing none is harmless
	p.w = nil
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// whenReadable calls step each time that f can be read, until step reports true. It returns an error when f was closed or its
// deadline passed.
func whenReadable(f *os.File, step func(fd int) bool) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Read(func(fd uintptr) bool { return step(int(fd)) })
}

// whenWritable is the same for writing.
func whenWritable(f *os.File, step func(fd int) bool) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Write(func(fd uintptr) bool { return step(int(fd)) })
}

// now calls step once, without waiting.
func now(f *os.File, step func(fd int)) {
	if rc, err := f.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { step(int(fd)) })
	}
}

// again reports whether a call that failed with err is to be made again later or at once.
func again(err error) (later, atOnce bool) {
	return errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR)
}

// rooms are the directory for the names of pipes: in memory where that is possible, because sessions must work on a full
// disk too.
type rooms struct {
	mu  sync.Mutex // guards dir
	dir string
}

// get returns the directory, or "" when there can be none.
func (r *rooms) get() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir != "" {
		if st, err := os.Lstat(r.dir); err == nil && st.IsDir() {
			return r.dir
		}
	}
	for _, base := range []string{"/dev/shm", os.TempDir()} {
		if dir, err := os.MkdirTemp(base, "dugout-session-"); err == nil {
			r.dir = filepath.Clean(dir)
			return r.dir
		}
	}
	return ""
}

func (r *rooms) remove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
		r.dir = ""
	}
}
