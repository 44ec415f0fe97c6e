package oci

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// watcher waits, in one goroutine and without ever waking up by itself, for the ends of all first processes.
type watcher struct {
	epoll int
	wake  int // eventfd
	done  chan struct{}

	mu   sync.Mutex // guards runs
	runs map[int32]func()
}

func newWatcher() (*watcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errs.Wrap(err, errs.Exhausted, "cannot watch processes")
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)})
	}
	if err != nil {
		unix.Close(epoll)
		return nil, errs.Wrap(err, errs.Exhausted, "cannot watch processes")
	}
	w := &watcher{epoll: epoll, wake: wake, done: make(chan struct{}), runs: map[int32]func(){}}
	go w.loop()
	return w, nil
}

// add calls ended, once, when the process has ended. ended must not block.
func (w *watcher) add(pidfd int, ended func()) error {
	w.mu.Lock()
	w.runs[int32(pidfd)] = ended
	w.mu.Unlock()
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, pidfd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(pidfd)})
	if err != nil {
		w.mu.Lock()
		delete(w.runs, int32(pidfd))
		w.mu.Unlock()
		return errs.Wrap(err, errs.Exhausted, "cannot watch the first process")
	}
	return nil
}

func (w *watcher) loop() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) == w.wake {
				return
			}
			_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(event.Fd), nil)
			w.mu.Lock()
			ended := w.runs[event.Fd]
			delete(w.runs, event.Fd)
			w.mu.Unlock()
			if ended != nil {
				ended()
			}
		}
	}
}

func (w *watcher) close() {
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.done
	unix.Close(w.epoll)
	unix.Close(w.wake)
}

// follow makes r the run of b and watches it. Call it holding the lock of the box.
func (e *Engine) follow(b *box, pidfd int) error {
	r := &run{pidfd: pidfd, ended: make(chan struct{})}
	b.set(func() { b.run, b.cpus = r, b.st.CPUs })
	err := e.watch.add(pidfd, func() {
		close(r.ended)
		if !e.begin() {
			return // the next engine finds it
		}
		go func() {
			defer e.work.Done()
			e.ended(b, r)
		}()
	})
	if err != nil {
		b.set(func() { b.run, b.cpus = nil, nil })
		r.close()
	}
	return err
}

// ended takes note of a first process that ended, unless a verb that was at work did already.
func (e *Engine) ended(b *box, r *run) {
	select {
	case b.lock <- struct{}{}:
	case <-e.closing.Done():
		return
	}
	defer func() { <-b.lock }()
	if _, _, now := b.get(); now != r {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.closing), undoTimeout)
	defer cancel()
	if err := e.finish(ctx, b, r, false); err != nil {
		e.log.Error("a sandbox ended and could not be cleaned up", "sandbox", b.id, "error", err)
	}
}

// finish records the end of a run and cleans up after it: nothing of the sandbox is left but its record and its layer.
// asked: a Stop or Destroy brought it about. Call it holding the lock of the box, when the first process has ended.
func (e *Engine) finish(ctx context.Context, b *box, r *run, asked bool) error {
	kills := e.cg.oomKills(b.id)
	code, signal, known := -1, unix.Signal(0), false
	if !asked {
		code, signal, known = waitExitInfo(r.pidfd)
	}
	rec, st, _ := b.get()
	st.Phase, st.Pid, st.StartTime, st.StoppedAt, st.ExitCode, st.OOMKills = phaseStopped, 0, 0, time.Now().UTC(), code, kills
	switch {
	case asked || st.Stopping:
		st.Reason = engine.ReasonStopped
	case kills > 0 && (!known || signal == unix.SIGKILL):
		st.Reason = engine.ReasonOOM
	default:
		st.Reason = engine.ReasonExited
	}
	st.Stopping = false
	err := e.clean(ctx, rec.Spec.ID)
	if werr := e.writeState(b.id, st); err == nil {
		err = werr
	}
	b.set(func() { b.st, b.run, b.cpus = st, nil, nil })
	r.close()
	if !asked && st.Reason != engine.ReasonStopped {
		status, _ := e.status(b)
		if e.begin() {
			go func() {
				defer e.work.Done()
				select {
				case e.exits <- engine.Exit{ID: b.id, Status: status}:
				case <-e.closing.Done():
				}
			}()
		}
	}
	return err
}

// waitExitInfo asks for the exit code. The kernel tells strangers only once the parent has taken note, which is a matter
// of microseconds; a parent that never does must not hold us up.
func waitExitInfo(pidfd int) (int, unix.Signal, bool) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: 0}} // POLLHUP comes with the parent's wait
	_, _ = unix.Poll(fds, 50)
	return exitInfo(pidfd)
}
