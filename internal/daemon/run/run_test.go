//go:build linux

package run_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

func runner(t *testing.T) *run.Runner {
	t.Helper()
	reaper := reap.New(false)
	t.Cleanup(reaper.Close)
	return run.New(reaper, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

func shell(script string, out io.Writer) run.Spec {
	return run.Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: os.Environ(), Dir: "/", Out: out}
}

func wait(t *testing.T, r *run.Run) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the run does not end")
	}
}

func TestStartErrors(t *testing.T) {
	r := runner(t)
	defer r.Close()
	for name, tt := range map[string]struct {
		change func(*run.Spec)
		want   error
	}{
		"no directory":  {func(s *run.Spec) { s.Dir = "/no/such" }, syscall.ENOENT},
		"a file":        {func(s *run.Spec) { s.Dir = "/etc/passwd" }, syscall.ENOTDIR},
		"no program":    {func(s *run.Spec) { s.Path = "/no/such" }, syscall.ENOENT},
		"not a program": {func(s *run.Spec) { s.Path = "/etc/passwd" }, syscall.EACCES},
		"too long":      {func(s *run.Spec) { s.Argv = append(s.Argv, strings.Repeat("x", 200<<10)) }, syscall.E2BIG},
	} {
		spec := shell("true", run.NewOutput(r.Budget, 1000))
		spec.Side = io.Discard
		tt.change(&spec)
		if _, err := r.Start(spec); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestSideChannelAndStdin(t *testing.T) {
	r := runner(t)
	defer r.Close()
	out, side := run.NewOutput(r.Budget, 1000), run.NewOutput(r.Budget, 1000)
	in, err := run.MemFile("in", []byte("given"))
	if err != nil {
		t.Fatal(err)
	}
	spec := shell("echo out; echo side >&3; cat", out)
	spec.Side, spec.Stdin = side, in
	p, err := r.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	wait(t, p)
	out.Seal()
	side.Seal()
	if out.String() != "out\ngiven" || side.String() != "side\n" || p.ExitCode() != 0 {
		t.Errorf("%q %q %d", out.String(), side.String(), p.ExitCode())
	}
}

func TestErrorOutputApart(t *testing.T) {
	r := runner(t)
	defer r.Close()
	for _, withSide := range []bool{false, true} {
		out, errOut, side := run.NewOutput(r.Budget, 1000), run.NewOutput(r.Budget, 1000), run.NewOutput(r.Budget, 1000)
		extra, err := run.MemFile("extra", []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		spec := shell("echo out; echo err >&2; cat <&3", out)
		if withSide {
			spec = shell("echo out; echo err >&2; echo side >&3; cat <&4", out)
			spec.Side = side
		}
		spec.Err, spec.Files = errOut, []*os.File{extra}
		p, err := r.Start(spec)
		if err != nil {
			t.Fatal(err)
		}
		_ = extra.Close()
		wait(t, p)
		for _, o := range []*run.Output{out, errOut, side} {
			o.Seal()
		}
		if out.String() != "out\nsecret" || errOut.String() != "err\n" || withSide != (side.String() == "side\n") {
			t.Errorf("side %v: %q %q %q", withSide, out.String(), errOut.String(), side.String())
		}
	}
}

func TestKillAndClose(t *testing.T) {
	r := runner(t)
	start := time.Now()
	p, err := r.Start(shell("sleep 100 & sleep 100", io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Kill()
	wait(t, p)
	if p.TimedOut() || p.ExitCode() != -1 {
		t.Errorf("timed out %v, exit %d", p.TimedOut(), p.ExitCode())
	}
	p, err = r.Start(shell("sleep 100", io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	wait(t, p)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
