//go:build linux

package parts_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/parts"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long for: ", what)
		}
	}
}

// script is a part that runs a shell script in dir; it is ready when the file of its name is there.
func script(dir, name string, priority int, text string) *parts.Part {
	return &parts.Part{Name: name, Priority: priority,
		Command: func() (parts.Command, error) {
			return parts.Command{Path: "/bin/sh", Argv: []string{"sh", "-c", text}, Env: map[string]string{"PART": name}}, nil
		},
		Ready: func(context.Context) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil },
	}
}

func set(t *testing.T, dir string, list ...*parts.Part) (*parts.Set, *run.Runner) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reaper := reap.New(false)
	runner := run.New(reaper, log)
	s := &parts.Set{Runner: runner, Log: log, Dir: func() string { return filepath.Join(dir, "logs") }, Work: func() string { return dir }, Parts: list,
		Env: func(extra map[string]string) []string { return append(os.Environ(), "PART="+extra["PART"]) }}
	t.Cleanup(func() { s.Close(); runner.Close(); reaper.Close() })
	return s, runner
}

func never(string) bool { return false }

func TestStartInOrder(t *testing.T) {
	dir := t.TempDir()
	s, _ := set(t, dir,
		script(dir, "one", 1, "echo said; echo wrong >&2; echo one >> order; sleep .1; touch one; exec sleep 100"),
		script(dir, "two", 2, "test -e one && echo two >> order; touch two; sleep 100 & exec sleep 100"),
	)
	if err := s.Start(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "order")); string(b) != "one\ntwo\n" {
		t.Errorf("order %q", b)
	}
	if s.Logs("one", false) != "said\n" || s.Logs("one", true) != "wrong\n" || s.Logs("three", false) != "" {
		t.Errorf("logs %q %q", s.Logs("one", false), s.Logs("one", true))
	}
	before := s.States(t.Context())
	if err := s.Start(t.Context(), never); err != nil { // all runs: nothing happens
		t.Fatal(err)
	}
	for i, p := range s.States(t.Context()) {
		if p.Pid == 0 || p != before[i] {
			t.Errorf("%+v, before %+v", p, before[i])
		}
	}
	two, _ := s.Find("two")
	if err := s.Restart(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if now := s.States(t.Context()); now[1].Pid == before[1].Pid || now[0].Pid != before[0].Pid {
		t.Errorf("after a restart: %+v, before %+v", now, before)
	}
	s.Stop()
	for _, p := range s.States(t.Context()) {
		if p.Pid != 0 {
			t.Errorf("%s still runs", p.Name)
		}
	}
	if left := group(before[1].Pid); left != "" {
		t.Error("what a part started still runs: ", left)
	}
}

// group returns a process of a group that is alive.
func group(id int) string {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 2 && f[2] == strconv.Itoa(id) && f[0] != "Z" {
			return string(b)
		}
	}
	return ""
}

func TestWhatDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	s, _ := set(t, dir, script(dir, "ends", 1, "echo no luck >&2; exit 3"))
	err := s.Start(t.Context(), never)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "ends") || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("%v", err)
	}
	s.Stop()
	if err := s.Start(t.Context(), func(string) bool { return true }); err != nil {
		t.Errorf("a part that may be missing: %v", err)
	}
	slow, _ := set(t, dir, script(dir, "never ready", 1, "exec sleep 100"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := slow.Start(ctx, never); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("%v", err)
	}
	gone, _ := set(t, dir, &parts.Part{Name: "x", Command: func() (parts.Command, error) { return parts.Command{Path: "/nowhere", Argv: []string{"x"}}, nil }})
	if err := gone.Start(t.Context(), never); !errs.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestWhatOthersProvideIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	p := script(dir, "given", 1, "exit 1")
	p.Given = func(context.Context) bool { return true }
	s, _ := set(t, dir, p)
	if err := s.Start(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	if st := s.States(t.Context())[0]; !st.Given || st.Pid != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Restart(t.Context(), p); !errs.Is(err, errs.Conflict) {
		t.Error(err)
	}
}

func TestAPartThatEndsIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	s, _ := set(t, dir, script(dir, "p", 1, "echo x >> starts; touch p; exec sleep 100"))
	if err := s.Start(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	first := s.States(t.Context())[0].Pid
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the next start", func() bool { pid := s.States(t.Context())[0].Pid; return pid != 0 && pid != first })
	s.Stop()
	if pid := s.States(t.Context())[0].Pid; pid != 0 {
		t.Error("it runs after the stop")
	}
}

func TestHandover(t *testing.T) {
	dir := t.TempDir()
	make := func() *parts.Part { return script(dir, "p", 1, "touch p; exec sleep 100") }
	s, runner := set(t, dir, make())
	if err := s.Start(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	pid := s.States(t.Context())[0].Pid
	s.Freeze()
	saved := s.Save()
	s.Thaw()
	if len(saved) != 1 || saved[0].Pid != pid || saved[0].Mark == 0 {
		t.Fatalf("%+v", saved)
	}
	next := &parts.Set{Runner: runner, Log: s.Log, Dir: s.Dir, Work: s.Work, Env: s.Env, Parts: []*parts.Part{make()}}
	if err := next.Restore(saved); err != nil {
		t.Fatal(err)
	}
	if st := next.States(t.Context())[0]; st.Pid != pid {
		t.Errorf("%+v", st)
	}
	if err := next.Restore([]parts.Saved{{Name: "other"}}); err == nil {
		t.Error("an unknown part was restored")
	}
	next.Close()
	if syscall.Kill(pid, 0) == nil {
		t.Error("the new set did not end what it took over")
	}
}

func TestHostileLogs(t *testing.T) {
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	for _, f := range []struct{ path, text string }{{secret, "secret"}, {filepath.Join(logs, "big.log"), strings.Repeat("x", 2*parts.MaxLog) + "end\xff"}} {
		if err := os.WriteFile(f.path, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(logs, "link.log")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(logs, "pipe.log"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := set(t, dir, script(dir, "pipe", 1, "echo lost; touch pipe; exec sleep 100"), script(dir, "link", 1, "echo lost; touch link; exec sleep 100"))
	if err := s.Start(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	if got := s.Logs("link", false) + s.Logs("pipe", false); got != "" {
		t.Errorf("%q", got)
	}
	if b, _ := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("a link was followed: %q", b)
	}
	if got := s.Logs("big", false); len(got) > parts.MaxLog+3 || !strings.HasSuffix(got, "end\uFFFD") {
		t.Errorf("%d bytes, the end is %q", len(got), got[max(0, len(got)-8):])
	}
}
