package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fileLock is an exclusive lock between processes. The kernel drops it when its holder dies, however that happens.
type fileLock struct {
	file *os.File
}

var errLocked = errors.New("locked by someone else")

// tryLock takes the lock at path or returns errLocked.
func tryLock(path string) (*fileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// A holder deletes the file before it lets go. Who opened it before that now has a lock on nothing and tries again.
		mine, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return &fileLock{file: f}, nil
		}
		_ = f.Close()
	}
}

// waitLock takes the lock at path when its holder lets go, calling waiting once before it starts to wait.
func waitLock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	const pause = 200 * time.Millisecond // flock cannot be waited for together with a context
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		l, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

func (l *fileLock) release() {
	_ = os.Remove(l.file.Name())
	_ = l.file.Close()
}
