package main

import (
	"bytes"
	"context"
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

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// startTime is how long a start may take: the first one may build the base snapshot.
const startTime = 10 * time.Minute

// server is a running `dugout up`.
type server struct {
	program string
	access  dugout.Options
	cmd     *exec.Cmd
	ended   chan error // gets the one result of cmd
	log     string
	conf    string
}

// start runs a server that shares nothing with an installation on this host: own configuration, data, run directory and
// port. It returns when the API answers.
func start(ctx context.Context, program, dir string, note func(string)) (*server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	listen, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o711); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("data_dir: %q\nserver:\n  listen: %q\nrunner:\n  run_dir: /run/dugout-demo\n", data, listen)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s := &server{program: program, ended: make(chan error, 1), log: filepath.Join(dir, "server.log"), conf: conf}
	logFile, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the server has its own
	s.cmd = exec.Command(program, "up", "--config", conf)
	s.cmd.Env = environment()
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which stops the server last
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w (run make build first)", err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	note("log: " + s.log)
	if err := s.await(ctx, "http://"+listen+"/api/health", note); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.access, err = dugout.Local(data)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.access.APIURL = "http://" + listen + "/api"
	return s, nil
}

// await returns when url answers.
func (s *server) await(ctx context.Context, url string, note func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	slow := time.After(5 * time.Second)
	for {
		select {
		case err := <-s.ended:
			s.ended <- err
			return fmt.Errorf("the server ended (%v); its last words:\n%s", err, tail(s.log))
		case <-ctx.Done():
			return fmt.Errorf("the server did not answer at %s: %w; its last words:\n%s", url, ctx.Err(), tail(s.log))
		case <-slow:
			note("the first start prepares the base snapshot; this takes a few minutes once")
		case <-tick.C:
			if answers(ctx, url) {
				return nil
			}
		}
	}
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// run runs the command line against the server and returns its standard output and its exit code.
func (s *server) run(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = append(environment(), "DUGOUT_API_URL="+s.access.APIURL, "DUGOUT_API_KEY="+s.access.APIKey)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	code, err := exitCode(cmd.Run())
	if err == nil && code != 0 {
		_, err = out.Write(messages.Bytes())
	}
	return out.String(), code, err
}

// leave stops the server and takes what it left on the host away, sandboxes of an earlier demo that was killed included.
func (s *server) leave() error {
	if err := s.stop(); err != nil {
		return err
	}
	cmd := exec.Command(s.program, "down", "--config", s.conf)
	cmd.Env = environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dugout down: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// stop ends the server and waits for it.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("the server: %w; its log: %s", err, s.log)
		}
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("the server did not stop in 30 s; its log: %s", s.log), s.cmd.Process.Kill())
	}
}

// environment is this process's, without what would point the server or the command line elsewhere.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DUGOUT_") && !strings.HasPrefix(kv, "DAYTONA_") {
			env = append(env, kv)
		}
	}
	return env
}

// freePort returns an address of this host that nobody listens on.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tail returns the end of a file.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
