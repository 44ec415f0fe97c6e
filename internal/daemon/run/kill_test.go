//go:build linux

package run_test

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// The number of a program that was waited for may be in use again, also as that of a session.
func TestKillTreeOfAnEndedChildSparesWhoHasItsNumber(t *testing.T) {
	r := runner(t)
	other, err := r.Start(shell("sleep 30", io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Kill()
	gone := r.RestoreChild(run.ChildState{Pid: other.Pid, Mark: 1<<52 + 1, Dead: true})
	gone.KillTree()
	select {
	case <-other.Done():
		t.Error("another program was killed")
	case <-time.After(50 * time.Millisecond):
	}
	if err := syscall.Kill(other.Pid, 0); err != nil {
		t.Error(err)
	}
}
