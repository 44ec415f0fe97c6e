package filelock_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
)

func TestSecondIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := filelock.Acquire(t.Context(), path, 0); !errs.Is(err, errs.Conflict) {
		t.Fatalf("the second got %v, want a Conflict", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", fi.Mode(), err)
	}
	_ = first.Close()
	again, err := filelock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// A process that was killed leaves the lock, for a moment, to a program that it was just starting.
func TestWaitsForWhoInheritedIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	heir := exec.CommandContext(t.Context(), "sleep", "0.2")
	heir.ExtraFiles = []*os.File{first}
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if _, err := filelock.Acquire(t.Context(), path, 0); !errs.Is(err, errs.Conflict) {
		t.Errorf("without patience: %v, want a Conflict", err)
	}
	f, err := filelock.Acquire(t.Context(), path, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_ = heir.Wait()
}

func TestGivesUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := filelock.Acquire(ctx, path, time.Hour); !errs.Is(err, errs.Conflict) {
		t.Errorf("got %v, want a Conflict", err)
	}
}
