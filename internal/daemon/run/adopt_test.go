//go:build linux

package run_test

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// Another process forks, as a zygote does, and marks the child; the tree of what is adopted is killed whole, also what left
// its session.
func TestAdoptKillsByMark(t *testing.T) {
	reaper := reap.New(false)
	defer reaper.Close()
	r := run.New(reaper, slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer r.Close()
	mark := r.Reserve()
	if again := r.Reserve(); again == mark {
		t.Fatal("a mark was given twice")
	}
	number := "37" + strconv.Itoa(os.Getpid())
	pid, err := syscall.ForkExec("/bin/bash", []string{"bash", "-c", "ulimit -S -R " + strconv.FormatUint(mark, 10) + "; setsid sleep " + number + " & exec sleep " + number},
		&syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		out := run.NewOutput(r.Budget, 1000)
		p, err := r.Start(shell("pgrep -c -f 'slee[p] "+number+"'", out))
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p)
		out.Seal()
		n, _ := strconv.Atoi(out.String()[:1])
		return n
	}
	for deadline := time.Now().Add(10 * time.Second); count() != 2; {
		if time.Now().After(deadline) {
			t.Fatal("the processes did not start")
		}
	}
	c := r.Adopt(pid, mark, time.Now())
	if c.Mark() != mark {
		t.Errorf("mark %d, want %d", c.Mark(), mark)
	}
	c.KillTree()
	<-c.Done()
	if n := count(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
