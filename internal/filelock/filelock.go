// Package filelock keeps a second process away from a directory by a lock on a file in it. The kernel lets go of the lock
// when the process ends, however it ends; so there is nothing to clean up after a crash.
package filelock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Patience is how long a start waits for a predecessor that is just ending: one that was killed while it started a program
// keeps its lock until that program runs, because the descriptor is closed only then.
const Patience = 2 * time.Second

// retryEvery is short beside a start, and rare enough to cost nothing.
const retryEvery = 10 * time.Millisecond

// Acquire locks the file at path, made when missing, readable by its owner only. Closing the file unlocks it. Conflict when
// another process still has it after wait, Unavailable when the file cannot be used.
func Acquire(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot open the lock %s", path)
	}
	for deadline := time.Now().Add(wait); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || !time.Now().Before(deadline) || ctx.Err() != nil {
			_ = f.Close()
			return nil, errs.Wrap(err, errs.Conflict, "another process holds %s", path)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}
