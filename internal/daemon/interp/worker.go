//go:build linux

package interp

import (
	"bytes"
	_ "embed" // the worker's program
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/code"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

//go:embed worker.py
var program string

// loader runs the worker's program, which comes on descriptor 4 so that the command line stays short. The part that knows
// charts comes after a NUL byte and is handed over as text: most workers never need it.
const loader = `import io,types
with io.open(4, 'rb') as f: t = f.read().decode('ascii').split('\0')
m = types.ModuleType('dugout_interpreter')
exec(compile(t[0], '<dugout>', 'exec'), m.__dict__)
m.main(t[1])`

var (
	errDeleted  = errors.New("the context was deleted")
	errNonsense = errors.New("the interpreter's process sent what is no message")
)

// worker is a Python process that holds a namespace. Its channel and pipes are read by whoever has the turn of its scope.
type worker struct {
	child *run.Child
	ch    *os.File // the protocol
	out   *os.File // standard output, nonblocking
	err   *os.File

	reading sync.Mutex // guards all below, and is held while ch is read
	pending []byte     // of the protocol: read, but no whole message yet
	scanned int        // bytes of pending without the end of a message
	running bool       // it has a job whose end was not read
	owed    bool       // it waits for an answer

	closing sync.Once
}

// start starts a worker in dir.
func (h *Handler) start(dir string) (*worker, error) {
	path := ""
	for _, name := range []string{"python3", "python"} {
		if path = shell.LookPath(name, h.Env.Get("PATH")); path != "" {
			break
		}
	}
	if path == "" {
		return nil, errs.New(errs.Unimplemented, "this sandbox has no python3 in PATH; the interpreter needs it")
	}
	var mine, theirs []int
	defer func() {
		for _, fd := range theirs {
			_ = unix.Close(fd)
		}
	}()
	fail := func(err error) (*worker, error) {
		for _, fd := range mine {
			_ = unix.Close(fd)
		}
		return nil, errs.Wrap(err, errs.Internal, "the interpreter cannot be started: %v", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	mine, theirs = append(mine, pair[0]), append(theirs, pair[1])
	for range 2 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fail(err)
		}
		mine, theirs = append(mine, p[0]), append(theirs, p[1])
	}
	text, err := run.MemFile("interpreter", []byte(program+"\x00"+code.Prelude()))
	if err != nil {
		return fail(err)
	}
	defer func() { _ = text.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = null.Close() }()
	files := []uintptr{null.Fd(), uintptr(theirs[1]), uintptr(theirs[2]), uintptr(theirs[0]), text.Fd()}
	child, err := h.Runner.Spawn(path, []string{path, "-c", loader}, &syscall.ProcAttr{Dir: dir, Env: h.Env.List(nil), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		for _, fd := range mine {
			_ = unix.Close(fd)
		}
		if pe := (*os.PathError)(nil); errors.As(err, &pe) && pe.Op == "chdir" {
			return nil, errs.New(errs.Invalid, "cwd %s: %v", clip(dir), pe.Err)
		}
		return nil, errs.Wrap(err, errs.Internal, "%s cannot be started: %v", path, err)
	}
	return newWorker(child, mine), nil
}

// newWorker wraps the daemon's ends of a worker's descriptors: protocol, output, errors.
func newWorker(child *run.Child, fds []int) *worker {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		_ = unix.SetNonblock(fd, true)
		files[i] = os.NewFile(uintptr(fd), "interpreter")
	}
	return &worker{child: child, ch: files[0], out: files[1], err: files[2]}
}

func (w *worker) files() []*os.File { return []*os.File{w.ch, w.out, w.err} }

func (w *worker) alive() bool {
	select {
	case <-w.child.Done():
		return false
	default:
		return true
	}
}

// end kills the worker and all it started. Its descriptors stay open for whoever reads them.
func (w *worker) end() {
	w.child.KillTree()
	w.unblock()
}

// unblock makes reads and writes of the protocol end.
func (w *worker) unblock() { _ = w.ch.SetDeadline(time.Unix(1, 0)) }

// close gives the descriptors back.
func (w *worker) close() {
	w.closing.Do(func() {
		_ = w.ch.Close()
		_ = w.out.Close()
		_ = w.err.Close()
	})
}

// job is what a worker gets.
type job struct {
	Code string            `json:"code"`
	Envs map[string]string `json:"envs,omitempty"`
	Rich bool              `json:"rich"`
}

// send hands the worker a job.
func (w *worker) send(j job) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	w.reading.Lock()
	w.running = true
	w.reading.Unlock()
	_, err = w.ch.Write(append(b, '\n'))
	return err
}

// answer lets the worker go on that waits after a message. Nobody may freeze the worker between the note that it has its
// answer and the answer; and a worker that waits has room for a byte, so that this never waits for one that does not.
func (w *worker) answer() {
	w.reading.Lock()
	defer w.reading.Unlock()
	if !w.owed {
		return
	}
	w.owed = false
	if rc, err := w.ch.SyscallConn(); err == nil {
		_ = rc.Write(func(fd uintptr) bool { _, _ = unix.Write(int(fd), []byte{'\n'}); return true })
	}
}

// next returns the worker's next message. It ends with an error when the worker does.
func (w *worker) next() (*toolbox.InterpreterMessage, error) {
	for {
		if m, err := w.read(); m != nil || err != nil {
			return m, err
		}
	}
}

// read returns a message, or nil after a read that did not complete one.
func (w *worker) read() (*toolbox.InterpreterMessage, error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	if i := bytes.IndexByte(w.pending[w.scanned:], '\n'); i >= 0 {
		i += w.scanned
		line := w.pending[:i:i]
		w.pending, w.scanned = w.pending[i+1:], 0
		m, asks, err := parseMessage(line)
		if err != nil {
			return nil, errors.Join(errNonsense, err)
		}
		w.running = m.Type != typeDone
		w.owed = asks
		return m, nil
	}
	w.scanned = len(w.pending)
	if len(w.pending) > maxMessage {
		return nil, errNonsense
	}
	if len(w.pending) == 0 {
		w.pending = nil // what a large message needed goes back
	}
	buf := make([]byte, 16<<10)
	var n int
	var err error
	if w.alive() { // when it ends, unblock ends this
		n, err = w.ch.Read(buf)
	} else { // a child of the worker may hold the channel open
		n, err = readNow(w.ch, buf)
	}
	w.pending = append(w.pending, buf[:n]...)
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return nil, err
}

// readNow reads what is there without waiting; io.EOF: nothing.
func readNow(f *os.File, buf []byte) (n int, err error) {
	_ = f.SetReadDeadline(time.Time{})
	rc, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if rerr := rc.Read(func(fd uintptr) bool { n, err = unix.Read(int(fd), buf); return true }); rerr != nil {
		return 0, rerr
	}
	if err != nil || n <= 0 {
		return 0, io.EOF
	}
	return n, nil
}
