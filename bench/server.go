package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is the process that is measured.
type server struct {
	url, key string
	pid      int
	dir      string
	cgroup   string // its CPU account; empty where none could be made
	cmd      *exec.Cmd
	ended    chan error
}

// startServer starts the binary on a free port of loopback with an empty data directory and waits until it is ready.
// The process is put into a cgroup of its own before it starts, so that its CPU time and that of its short-lived children
// can be told from everything else on the host.
func startServer(ctx context.Context, o options) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dugout-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the root of a sandbox is another user, and must reach its own files
		return nil, err
	}
	binary, err := filepath.Abs(o.server)
	if err != nil {
		return nil, err
	}
	s := &server{url: fmt.Sprintf("http://127.0.0.1:%d", port), key: "bench-" + rand.Text(), dir: dir, ended: make(chan error, 1)}
	s.cgroup = makeAccount(fmt.Sprintf("dugout-bench-%d", port))

	args := append([]string{"up", "--data", filepath.Join(dir, "data"),
		"--listen", fmt.Sprintf("127.0.0.1:%d", port), "--log-level", "warn"}, o.upArgs...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// The shell enters the account and becomes the server; "$0" is the account, "$@" the server.
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", `[ -z "$0" ] || echo $$ >"$0/cgroup.procs"; exec "$@"`, s.cgroup, binary}, args...)...)
	s.cmd.Env = append(os.Environ(), "DUGOUT_ADMIN_API_KEY="+s.key)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	go func() { s.ended <- s.cmd.Wait() }()

	deadline := time.Now().Add(3 * time.Minute)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if resp, err := http.Get(s.url + "/api/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			_ = s.stop()
			return nil, fmt.Errorf("the server ended at its start (%v): %s", err, tail(text, 2000))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, errors.Join(errors.New("the server was not ready within 3 minutes"), s.stop())
}

// stop ends the server and removes its data. Sandboxes are deleted before, by those who made them.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	unmountBelow(s.dir)
	s.dropRunDir()
	dropAccount(s.cgroup)
	if text, err := os.ReadFile(filepath.Join(s.dir, "log")); err == nil && len(text) > 0 {
		fmt.Fprintf(os.Stderr, "bench: the server's last warnings:\n%s\n", tail(text, 3000))
	}
	return os.RemoveAll(s.dir)
}

// dropRunDir removes what a server leaves on the host for its next start, all named for the instance: the folder of its
// sockets and networks on a tmpfs, and its packet rules.
func (s *server) dropRunDir() {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "instance"))
	name := strings.TrimSpace(string(text))
	if err != nil || name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return
	}
	dir := filepath.Join("/run/dugout", name)
	unmountBelow(dir)
	_ = os.RemoveAll(dir)
	_ = exec.Command("nft", "delete", "table", "inet", "dugout_"+name).Run()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tail(text []byte, n int) []byte {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}
