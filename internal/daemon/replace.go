//go:build linux

package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// The daemon can be replaced by another version of itself: POST toolbox.ReplacePath, answered with 101; then one byte comes with
// the descriptor of the new program, and a line of JSON goes back, [toolbox.DaemonReplaced], from the new program when all went well.
//
// Only the host may do that. The caller must be outside the sandbox's pid namespace, as the kernel tells; and because the requests
// of clients come from outside too, through the runner, he must pass a descriptor: no client of a relay can.
//
// Nothing is lost: see package handover. Requests under way would be cut, so the daemon refuses while there are any, but for
// executions, which are handed over with the connections that wait for them, and streams, whose clients come back.

// Limits of a replacement.
const (
	maxProgram   = 256 << 20              // bytes of the new program
	programWait  = 5 * time.Second        // for the new program to arrive, and for it to say what it reads
	drainWait    = 100 * time.Millisecond // for requests under way
	freezeWait   = 2 * time.Second        // for one family to come to rest: far beyond the 50 ms it may take
	replyTimeout = 5 * time.Second
)

// Replacement is how the daemon is replaced; the process's part of it.
type Replacement struct {
	Argv    []string
	Prepare func() (undo func(), err error) // on the thread of the exec, just before it
}

// selfState is the daemon's own part of a handover.
type selfState struct {
	Workdir  string `json:"workdir"`
	Bin      string `json:"bin"`
	Listener int    `json:"listener"`
	Conn     int    `json:"conn"` // of whoever asked for the replacement; 0: nobody
	Version  string `json:"version"`
	Began    int64  `json:"began"` // when connections were no longer taken; ns since 1970
	Frozen   int64  `json:"frozen"`
	Left     int64  `json:"left"` // just before the exec
}

const selfFamily = "daemon"

// Resumed is what a daemon that replaces another one finds.
type Resumed struct {
	In       *handover.In
	Listener net.Listener
	Workdir  string
	Bin      string // where the programs lie that belong to the daemon

	conn  net.Conn
	state selfState
}

// Resume takes over from the daemon before; nil: there was none.
func Resume() (*Resumed, error) {
	in, err := handover.Resume()
	if in == nil || err != nil {
		return nil, err
	}
	_ = os.WriteFile("/proc/self/comm", []byte("dugoutd"), 0) // the kernel named the process after the descriptor's number
	var st selfState
	if ok, err := in.Get(selfFamily, &st); err != nil || !ok {
		return nil, errors.Join(errors.New("the daemon before left no word of itself"), err)
	}
	f, err := in.Take(st.Listener, "listener")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	out := &Resumed{In: in, Workdir: st.Workdir, Bin: st.Bin, state: st}
	if out.Listener, err = net.FileListener(f); err != nil {
		return nil, err
	}
	if st.Conn > 0 {
		if f, err := in.Take(st.Conn, "replacement"); err == nil {
			out.conn, _ = net.FileConn(f)
			_ = f.Close()
		}
	}
	return out, nil
}

// takeOver restores all families and reports to whoever asked for the replacement.
func (d *Daemon) takeOver(r *Resumed) {
	for _, k := range d.keepers() {
		if err := k.Restore(r.In); err != nil { // the others are not to suffer from it
			d.log.Error("state could not be taken over", "family", fmt.Sprintf("%T", k), "error", err)
		}
	}
	r.In.Close()
	d.reaper.Thaw()
	began, ms := time.Unix(0, r.state.Began), func(ns int64) int64 { return (ns - r.state.Began) / 1e6 }
	took := time.Since(began)
	d.log.Info("daemon was replaced", "before", r.state.Version, "now", d.version, "frozen_ms", ms(r.state.Frozen), "left_ms", ms(r.state.Left), "blackout_ms", took.Milliseconds())
	if r.conn != nil {
		report(r.conn, toolbox.DaemonReplaced{OK: true, Version: d.version, BlackoutMS: float64(took.Microseconds()) / 1000})
	}
}

func report(c net.Conn, r toolbox.DaemonReplaced) {
	defer func() { _ = c.Close() }()
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(replyTimeout))
	_, _ = c.Write(append(b, '\n'))
}

// keepers lists what holds something across a replacement, in the order in which they come to rest. The runner is last: it
// starts no process while frozen, so whoever waits for one must be at rest before.
func (d *Daemon) keepers() (out []handover.Keeper) {
	for _, f := range []any{&envKeeper{d.env}, d.mem, d.info, d.files, d.process, d.session, d.pty, d.interp, d.git, d.lsp, d.port, d.desktop, d.watch, d.runner} {
		if k, ok := f.(handover.Keeper); ok {
			out = append(out, k)
		}
	}
	return out
}

// replace serves toolbox.ReplacePath.
func (d *Daemon) replace(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) { d.edge.Fail(w, r, err) }
	if d.replacement == nil {
		fail(errs.New(errs.Denied, "this daemon cannot be replaced: it is not the first process of a sandbox"))
		return
	}
	if r.Method != http.MethodPost || !strings.EqualFold(r.Header.Get("Upgrade"), toolbox.ReplaceProtocol) {
		fail(errs.New(errs.Invalid, "a replacement is a POST with Upgrade: %s", toolbox.ReplaceProtocol))
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		fail(err)
		return
	}
	if !fromOutside(conn) {
		d.log.WarnContext(r.Context(), "a caller from inside the sandbox asked for a replacement")
		body := `{"statusCode":403,"code":"FORBIDDEN","source":"` + api.SourceDaemon + `","message":"only the host can replace the daemon"}`
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		_ = conn.Close()
		return
	}
	if err := d.receive(conn, rw, r.URL.Query().Get("force") == "true"); err != nil {
		d.log.WarnContext(r.Context(), "daemon was not replaced", "error", err)
		report(conn, toolbox.DaemonReplaced{Error: err.Error(), Version: d.version, Busy: errors.Is(err, errBusy)})
	}
}

var errBusy = errors.New("busy")

// receive takes the new program and starts it. It returns only when that fails.
func (d *Daemon) receive(conn net.Conn, rw *bufio.ReadWriter, force bool) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("the connection carries no descriptors")
	}
	_ = conn.SetDeadline(time.Now().Add(programWait))
	if _, err := rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + toolbox.ReplaceProtocol + "\r\n\r\n"); err != nil {
		return err
	}
	if err := rw.Flush(); err != nil {
		return err
	}
	program, err := receiveFile(uc)
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	_ = conn.SetDeadline(time.Time{})
	return d.execute(uc, program, force)
}

// receiveFile reads one byte and the descriptor that comes with it.
func receiveFile(c *net.UnixConn) (*os.File, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, m := range msgs {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("%d descriptors came with the request, want that of the new program", len(fds))
	}
	unix.CloseOnExec(fds[0])
	f := os.NewFile(uintptr(fds[0]), "program")
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 || st.Size() > maxProgram {
		_ = f.Close()
		return nil, errors.New("what came with the request is no program")
	}
	return f, nil
}

// execute goes over to the new program. It returns only when that fails; then everything goes on as before.
func (d *Daemon) execute(conn *net.UnixConn, program *os.File, force bool) error {
	if !d.replacing.TryLock() {
		return fmt.Errorf("%w: another replacement is under way", errBusy)
	}
	defer d.replacing.Unlock()
	path := "/proc/self/fd/" + strconv.Itoa(int(program.Fd()))
	if err := d.ask(path); err != nil {
		return err
	}
	began := time.Now()
	d.door.pause()
	defer d.door.resume()
	d.reaper.Freeze()
	defer d.reaper.Thaw()
	d.idle.hold()
	defer d.idle.release()
	var frozen []handover.Keeper
	defer func() {
		for i := range frozen { // the last first
			frozen[len(frozen)-1-i].Thaw()
		}
	}()
	rest := d.keepers()
	freeze := func(k handover.Keeper) error {
		done := make(chan struct{})
		go func() { defer close(done); k.Freeze() }()
		select {
		case <-done:
			frozen = append(frozen, k)
			return nil
		case <-time.After(freezeWait):
			go func() { <-done; k.Thaw() }()
			return fmt.Errorf("%T does not come to rest", k)
		}
	}
	// These families first: they take what waits for executions and commands out of the requests under way.
	for _, k := range []handover.Keeper{d.process, d.session} {
		if err := freeze(k); err != nil {
			return err
		}
	}
	if left := d.idle.drain(1, drainWait) + d.process.Pending(); left > 1 && !force { // 1: this request
		return fmt.Errorf("%w: %d requests are under way", errBusy, left-1)
	}
	for _, k := range rest {
		if k == handover.Keeper(d.process) || k == handover.Keeper(d.session) {
			continue
		}
		if err := freeze(k); err != nil {
			return err
		}
	}
	still := time.Now()
	out := &handover.Out{}
	for _, k := range rest {
		if err := k.Save(out); err != nil {
			out.Close()
			return fmt.Errorf("%T: %w", k, err)
		}
	}
	if err := d.saveSelf(out, conn, began, still); err != nil {
		out.Close()
		return err
	}
	return handover.Exec(path, d.replacement.Argv, os.Environ(), out, d.replacement.Prepare)
}

// ask makes sure that the program runs here and reads what it will be given.
func (d *Daemon) ask(path string) error {
	answer := run.NewOutput(d.runner.Budget, 4<<10)
	defer answer.Release()
	p, err := d.runner.Start(run.Spec{Path: path, Argv: []string{"dugoutd", handover.FormatsFlag}, Dir: "/", Out: answer, Timeout: programWait})
	if err != nil {
		return err
	}
	<-p.Done()
	answer.Seal()
	if p.ExitCode() != 0 || !handover.Reads(answer.String()) {
		return fmt.Errorf("the new program does not take over from this one: exit code %d, %q", p.ExitCode(), clip(answer.String()))
	}
	return nil
}

func (d *Daemon) saveSelf(out *handover.Out, conn *net.UnixConn, began, still time.Time) error {
	st := selfState{Workdir: d.workdir, Bin: d.bin, Version: d.version, Began: began.UnixNano(), Frozen: still.UnixNano(), Left: time.Now().UnixNano()}
	l, ok := d.door.listener().(syscall.Conn)
	if !ok {
		return errors.New("the listener cannot be handed over")
	}
	var err error
	if st.Listener, err = out.Pass(l); err != nil {
		return err
	}
	if st.Conn, err = out.Pass(conn); err != nil {
		return err
	}
	return out.Put(selfFamily, st)
}

// envKeeper hands over the environment for children.
type envKeeper struct{ env *environ.Env }

// Freeze implements [handover.Keeper].
func (*envKeeper) Freeze() {}

// Thaw implements [handover.Keeper].
func (*envKeeper) Thaw() {}

// Save implements [handover.Keeper].
func (k *envKeeper) Save(out *handover.Out) error { return out.Put("environ", k.env.All()) }

// Restore implements [handover.Keeper].
func (k *envKeeper) Restore(in *handover.In) error {
	var vars map[string]string
	if ok, err := in.Get("environ", &vars); err != nil || !ok {
		return err
	}
	k.env.Set(vars)
	return nil
}

// door is the listener, which can be shut for a moment: connections then wait in the kernel.
type door struct {
	mu   sync.Mutex // guards all below
	l    net.Listener
	open chan struct{} // closed by resume; nil: the door is open
}

func (d *door) listener() net.Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.l
}

func (d *door) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = make(chan struct{})
	if l, ok := d.l.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Unix(1, 0))
	}
}

func (d *door) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.l.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Time{})
	}
	close(d.open)
	d.open = nil
}

// guarded is a door as the HTTP server sees it.
type guarded struct {
	*door
	outside bool // refuse callers from inside the sandbox
	warn    func()
}

// Accept implements net.Listener.
func (g guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.listener().Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.mu.Lock()
			open := g.open
			g.mu.Unlock()
			if open != nil {
				<-open
			}
			continue
		}
		if err != nil || !g.outside || fromOutside(c) {
			return c, err
		}
		g.warn()
		_ = c.Close()
	}
}

// Close implements net.Listener.
func (g guarded) Close() error { return g.listener().Close() }

// Addr implements net.Listener.
func (g guarded) Addr() net.Addr { return g.listener().Addr() }

// fromOutside reports whether the caller is outside the sandbox: the kernel tells the pid of whoever connected, and for a process
// outside the daemon's pid namespace that is 0. Only where the daemon has a pid namespace of its own does that say anything.
func fromOutside(c net.Conn) bool {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return false
	}
	outside := false
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		outside = err == nil && cred.Pid == 0
	})
	return outside
}

// FormatsFlag is the command line on which the program prints [Formats] and exits: which states it can take over.
const FormatsFlag = handover.FormatsFlag

// Formats returns what is printed for FormatsFlag.
func Formats() string { return handover.Formats() }
