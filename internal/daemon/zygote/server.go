//go:build linux

package zygote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/code"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// server is one zygote.
type server struct {
	key   string
	large []string
	child *run.Child
	ctl   *os.File // the socket to it
	seen  []watched
	names map[string]bool // modules loaded ahead of time that a file could shadow

	spares chan *spare   // at most one waits
	more   chan struct{} // asks for one
	quit   chan struct{}
	done   chan struct{} // the loop has ended
	once   sync.Once
}

// watched is a file or folder, and its state when the zygote began.
type watched struct{ path, state string }

// spare is a process that waits for its program.
type spare struct {
	child *run.Child
	sock  *os.File
}

// launch starts a zygote and waits until it is ready.
func (p *Pool) launch(path string, env []string, k string, large []string) (*server, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	_ = unix.SetNonblock(pair[0], true)
	ctl := os.NewFile(uintptr(pair[0]), "zygote")
	theirs := os.NewFile(uintptr(pair[1]), "zygote")
	defer func() { _ = theirs.Close() }()
	text, err := run.MemFile("zygote", []byte(program+"\x00"+code.Prelude()+"\x00"+strings.Join(large, " ")))
	if err != nil {
		_ = ctl.Close()
		return nil, err
	}
	defer func() { _ = text.Close() }()
	// Its streams are of the kinds that programs get: some properties are found out when the interpreter starts.
	in, err := run.MemFile("program", nil)
	if err != nil {
		_ = ctl.Close()
		return nil, err
	}
	defer func() { _ = in.Close() }()
	out, outW, err := os.Pipe()
	if err != nil {
		_ = ctl.Close()
		return nil, err
	}
	defer func() { _, _ = out.Close(), outW.Close() }()
	files := []uintptr{in.Fd(), outW.Fd(), outW.Fd(), theirs.Fd(), text.Fd()}
	child, err := p.Runner.Spawn(path, []string{path, "-u", "-c", loader}, &syscall.ProcAttr{Dir: p.Dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		_ = ctl.Close()
		return nil, err
	}
	_ = theirs.Close() // so that its end shows
	s := &server{key: k, large: large, child: child, ctl: ctl, spares: make(chan *spare, 1), more: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	_ = ctl.SetReadDeadline(time.Now().Add(startWait))
	buf := make([]byte, maxHello)
	n, err := ctl.Read(buf)
	if err == nil {
		s.seen, s.names, err = parseHello(buf[:n])
	}
	if err != nil {
		child.KillTree()
		_ = ctl.Close()
		return nil, fmt.Errorf("hello of the zygote: %w", err)
	}
	s.more <- struct{}{}
	go s.loop(p.Runner, p) // end waits for it
	return s, nil
}

// parseHello reads a zygote's first message: texts separated by NUL bytes, a name, then pairs of path and state, an empty
// text, and names of modules.
func parseHello(b []byte) (seen []watched, names map[string]bool, err error) {
	parts := strings.Split(string(b), "\x00")
	if len(b) >= maxHello || parts[0] != "dugout-zygote" {
		return nil, nil, errors.New("not what a zygote says")
	}
	parts = parts[1:]
	for len(parts) > 1 && parts[0] != "" {
		if !filepath.IsAbs(parts[0]) {
			return nil, nil, errors.New("a path is not absolute")
		}
		seen, parts = append(seen, watched{parts[0], parts[1]}), parts[2:]
	}
	if len(parts) == 0 || parts[0] != "" {
		return nil, nil, errors.New("it ends too early")
	}
	names = map[string]bool{}
	for _, n := range parts[1:] {
		if n != "" {
			names[n] = true
		}
	}
	return seen, names, nil
}

// stateOf is state in zygote.py.
func stateOf(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return "-"
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "-"
	}
	return strconv.FormatInt(sys.Mtim.Nano(), 10) + ":" + strconv.FormatUint(sys.Ino, 10) + ":" + strconv.FormatInt(sys.Size, 10)
}

// stale reports whether a new interpreter would start differently by now.
func (s *server) stale() bool {
	for _, w := range s.seen {
		if stateOf(w.path) != w.state {
			return true
		}
	}
	return false
}

// maxListed is how many entries of the working directory are looked at; with more, each name is looked up.
const maxListed = 1000

// shadowed reports whether the working directory has what a new interpreter would load instead of a module that is loaded
// already, or a file that matplotlib reads.
func (s *server) shadowed(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return true
	}
	defer func() { _ = d.Close() }()
	entries, _ := d.Readdirnames(maxListed)
	if len(entries) < maxListed {
		for _, e := range entries {
			name, _, _ := strings.Cut(e, ".")
			if s.names[name] || e == "matplotlibrc" {
				return true
			}
		}
		return false
	}
	return true // rare: not worth the time to look at each
}

func (s *server) alive() bool {
	select {
	case <-s.child.Done():
		return false
	case <-s.done:
		return false
	default:
		return true
	}
}

// loop makes a process ahead whenever the one before was taken.
func (s *server) loop(r *run.Runner, p *Pool) {
	defer close(s.done)
	for {
		select {
		case <-s.quit:
			return
		case <-s.child.Done():
			return
		case <-s.more:
		}
		sp, err := s.fork(r)
		if err != nil {
			select {
			case <-s.quit:
			default:
				p.Log.Warn("python zygote forks no more", "err", err)
			}
			return
		}
		select {
		case s.spares <- sp:
		case <-s.quit:
			sp.drop()
			return
		}
	}
}

// fork has the zygote make a process and takes it into care.
func (s *server) fork(r *run.Runner) (*spare, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	fail := func(err error) (*spare, error) {
		_ = unix.Close(pair[0])
		return nil, err
	}
	defer r.Expect()()
	err = sendFiles(s.ctl, []byte{'f'}, pair[1])
	_ = unix.Close(pair[1])
	if err != nil {
		return fail(err)
	}
	_ = s.ctl.SetReadDeadline(time.Now().Add(forkWait))
	buf := make([]byte, 32)
	n, err := s.ctl.Read(buf)
	if err != nil {
		return fail(err)
	}
	pid, err := strconv.Atoi(string(buf[:n]))
	if err != nil {
		return fail(errors.New("no pid"))
	}
	child, err := r.Foster(pid, s.child)
	if err != nil {
		return fail(err)
	}
	return &spare{child: child, sock: os.NewFile(uintptr(pair[0]), "program")}, nil
}

// sendFiles sends a message with descriptors.
func sendFiles(f *os.File, data []byte, fds ...int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := rc.Write(func(fd uintptr) bool {
		serr = unix.Sendmsg(int(fd), data, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		return serr != unix.EAGAIN
	}); err != nil {
		return err
	}
	return serr
}

// want asks for a process that waits ahead.
func (s *server) want() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// take returns a process that waits for a program; nil: there is none now.
func (s *server) take() *spare {
	var sp *spare
	select {
	case sp = <-s.spares:
	default:
		s.want()
		t := time.NewTimer(takeWait)
		defer t.Stop()
		select {
		case sp = <-s.spares:
		case <-s.done:
			return nil
		case <-t.C:
			return nil
		}
	}
	select {
	case <-sp.child.Done(): // somebody killed it
		sp.drop()
		return nil
	default:
		return sp
	}
}

// give hands the process its program: arguments, environment, and descriptors from 0 on.
func (sp *spare) give(dir string, args, env []string, files []uintptr) (*run.Child, error) {
	fields := append(append([]string{dir, strconv.Itoa(len(args))}, args...), env...)
	job, err := run.MemFile("job", []byte(strings.Join(fields, "\x00")))
	if err != nil {
		return nil, err
	}
	defer func() { _ = job.Close() }()
	fds := []int{int(job.Fd())}
	for _, f := range files {
		fds = append(fds, int(f))
	}
	sp.child.Started = time.Now()
	if err := sendFiles(sp.sock, []byte{'j'}, fds...); err != nil {
		return nil, err
	}
	sp.drop()
	return sp.child, nil
}

// drop closes the socket. A process that got no program ends.
func (sp *spare) drop() { _ = sp.sock.Close() }

// end ends the zygote and the process that waits. Programs go on.
func (s *server) end() {
	s.once.Do(func() {
		close(s.quit)
		_ = s.ctl.SetReadDeadline(time.Unix(1, 0))
		s.child.KillTree()
		<-s.done
		_ = s.ctl.Close()
		select {
		case sp := <-s.spares:
			sp.drop()
		default:
		}
	})
}
