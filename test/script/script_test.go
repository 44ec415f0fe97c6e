//go:build linux

// Package script_test drives the command line as a user does: each file in testdata is a shell session with what it must
// print, against a server whose sandboxes are directories with a real daemon in front of each.
package script_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dugout-dev/dugout/internal/cli"
	"github.com/dugout-dev/dugout/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dugoutd": daemonMain,
		"dugout": func() {
			deps := cli.Deps{Version: "1.2.3", Up: pretendUp, Down: pretendDown, Doctor: pretendDoctor}
			os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, deps))
		},
	})
}

// pretendUp has the outside of a server: it says that it is ready and ends when it is told to.
func pretendUp(ctx context.Context, cfg config.Config, out cli.UpOutput) error {
	if _, err := config.EnsureAdminKey(cfg); err != nil {
		return err
	}
	fmt.Fprintln(out.Log, "listening on", cfg.Server.Listen)
	out.Ready("http://" + cfg.Server.Listen + "/api")
	<-ctx.Done()
	return ctx.Err()
}

func pretendDown(_ context.Context, cfg config.Config, out cli.UpOutput) (int, error) {
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return 0, err
	}
	out.Progress("stopping sandbox one")
	return 1, nil
}

func pretendDoctor(_ context.Context, cfg config.Config) []cli.Finding {
	list := []cli.Finding{{Name: "kernel", OK: true, Detail: "6.18"}}
	if cfg.Runner.RuncPath == "/nowhere" {
		list = append(list, cli.Finding{Name: "runc", Detail: "not found", Fix: "install runc 1.5.2"})
	}
	return list
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			root, err := os.MkdirTemp("", "script") // a socket's path must be short
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(root) })
			d := newDouble(root, filepath.SplitList(env.Getenv("PATH"))[0])
			env.Defer(d.close)
			env.Setenv("DUGOUT_API_URL", d.URL+"/api")
			env.Setenv("DUGOUT_API_KEY", d.key)
			env.Setenv("KEY", d.key)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second under the race detector
			env.Setenv("DUGOUT_CONFIG", filepath.Join(env.WorkDir, "empty.yaml"))
			return os.WriteFile(filepath.Join(env.WorkDir, "empty.yaml"), nil, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"interrupt": interrupt,
			"slowpipe":  slowpipe,
		},
	})
}

// exits CODE COMMAND...: the command ends with exactly this code. Its output can be looked at as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if got := fmt.Sprint(code); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// start begins a command in the background with the script's environment.
func start(ts *testscript.TestScript, args []string) (*exec.Cmd, *strings.Builder) {
	path, err := exec.LookPath(args[0])
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, args[0]); err != nil || !filepath.IsAbs(path) {
			if _, serr := os.Stat(p); serr == nil {
				path, err = p, nil
			}
		}
	}
	if err != nil {
		ts.Fatalf("%v", err)
	}
	var out strings.Builder
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &out, &out
	for _, k := range []string{"PATH", "HOME", "DUGOUT_API_URL", "DUGOUT_API_KEY", "DUGOUT_CONFIG", "WORK", "TMPDIR", "GORACE"} {
		cmd.Env = append(cmd.Env, k+"="+ts.Getenv(k))
	}
	return cmd, &out
}

// interrupt CODE FILE COMMAND...: runs the command, sends it SIGINT once FILE exists, and checks its exit code. What it
// printed goes to the file interrupt.out.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt CODE FILE COMMAND...")
	}
	cmd, out := start(ts, args[2:])
	ts.Check(cmd.Start())
	waitFor(ts, args[1])
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	begin := time.Now()
	_ = cmd.Wait()
	ts.Logf("ended after %s", time.Since(begin).Round(time.Millisecond))
	ts.Check(os.WriteFile(ts.MkAbs("interrupt.out"), []byte(out.String()), 0o600))
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func waitFor(ts *testscript.TestScript, file string) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := os.Stat(ts.MkAbs(file)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear within 20 s", file)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// slowpipe FILE COMMAND...: runs the command with a pipe that stays open and brings one line only when FILE exists (- for
// never); fails when the command does not end. Its output goes to the file slow.out.
func slowpipe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: slowpipe FILE COMMAND...")
	}
	cmd, out := start(ts, args[1:])
	in, err := cmd.StdinPipe()
	ts.Check(err)
	defer in.Close()
	ts.Check(cmd.Start())
	if args[0] != "-" {
		waitFor(ts, args[0])
		_, err := in.Write([]byte("late\n"))
		ts.Check(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		ts.Fatalf("the command waits for a pipe that brings nothing")
	}
	ts.Check(os.WriteFile(ts.MkAbs("slow.out"), []byte(out.String()), 0o600))
}
