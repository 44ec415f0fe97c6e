package oci

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// killTimeout is how long processes may take to die after SIGKILL. Only one that hangs in the kernel takes this long.
const killTimeout = 20 * time.Second

// Stop ends all processes of a sandbox. Once it has begun it is carried through, whatever becomes of ctx.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	return e.verb(ctx, id, false, func(ctx context.Context, b *box) (func(context.Context), error) {
		return nil, e.stopRun(ctx, b, grace)
	})
}

// stopRun stops b if it runs. Call it holding the lock of the box.
func (e *Engine) stopRun(ctx context.Context, b *box, grace time.Duration) error {
	_, st, r := b.get()
	if r == nil {
		return nil
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout+undoTimeout+max(grace, 0))
	defer cancel()
	if pidfdGone(r) {
		return e.finish(work, b, r, false)
	}
	st.Stopping = true
	if err := e.writeState(b.id, st); err != nil {
		return err
	}
	b.set(func() { b.st = st })
	e.crash("stop-intent")
	if grace > 0 {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGTERM, nil, 0)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-r.ended:
		case <-timer.C:
		case <-ctx.Done(): // nobody waits for a gentle end any more
		}
	}
	if !pidfdGone(r) {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
		timer := time.NewTimer(killTimeout)
		defer timer.Stop()
		select {
		case <-r.ended:
		case <-timer.C:
			return errs.New(errs.Internal, "the sandbox did not die within %s of being killed", killTimeout)
		}
	}
	e.crash("stop-killed")
	return e.finish(work, b, r, true)
}

// Destroy kills and removes a sandbox. Once it has begun it is carried through, whatever becomes of ctx.
func (e *Engine) Destroy(ctx context.Context, id string) error {
	if e.lookup(id, false) == nil {
		return nil
	}
	err := e.verb(ctx, id, false, func(ctx context.Context, b *box) (func(context.Context), error) {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout+undoTimeout)
		defer cancel()
		return nil, e.destroy(work, b)
	})
	if errs.Is(err, errs.NotFound) { // someone else destroyed it meanwhile
		return nil
	}
	return err
}

// destroy moves the record to the trash, from where there is no way back, and then removes everything. Call it holding
// the lock of the box.
func (e *Engine) destroy(ctx context.Context, b *box) error {
	b.mu.Lock()
	made, rec, r := b.made, b.rec, b.run
	b.mu.Unlock()
	if !made {
		e.forget(b)
		return nil
	}
	trash := e.path("trash", b.id)
	if err := os.Rename(e.recordDir(b.id), trash); err != nil && !os.IsNotExist(err) {
		return errs.Wrap(err, errs.Internal, "cannot begin to remove the sandbox")
	}
	e.crash("destroy-intent")
	if r != nil {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
		select {
		case <-r.ended:
		case <-ctx.Done():
			return timeoutError(ctx, "the sandbox did not die in time; it is removed at the next attempt")
		}
		e.crash("destroy-killed")
	}
	if err := e.removeAll(ctx, b.id); err != nil {
		return err
	}
	if r != nil {
		b.set(func() { b.run, b.cpus = nil, nil })
		r.close()
	}
	e.ids.give(rec.IDs)
	e.userns.trim(rec.IDs)
	e.forget(b)
	return nil
}

// removeAll removes what a sandbox that is in the trash still has. It can be repeated.
func (e *Engine) removeAll(ctx context.Context, id string) error {
	if err := e.clean(ctx, id); err != nil {
		return err
	}
	e.crash("destroy-cleaned")
	if err := e.disk.remove(id); err != nil {
		return err
	}
	e.crash("destroy-disk")
	if err := os.RemoveAll(e.path("trash", id)); err != nil {
		return errs.Wrap(err, errs.Internal, "cannot remove the record of the sandbox")
	}
	return nil
}

// clean removes what a run leaves: processes, mounts, run files, runc's state, cgroups. Nothing there is a success.
func (e *Engine) clean(ctx context.Context, id string) error {
	if err := e.killAll(ctx, id); err != nil {
		e.deleteContainer(ctx, id)
		if err := e.killAll(ctx, id); err != nil {
			return err
		}
	}
	if err := e.unmountSandbox(id); err != nil {
		return err
	}
	return e.cg.remove(id)
}

// killAll kills every process in the groups of a sandbox and waits for their ends.
func (e *Engine) killAll(ctx context.Context, id string) error {
	deadline := time.Now().Add(killTimeout)
	for {
		pids := e.cg.processes(id)
		if len(pids) == 0 {
			return nil
		}
		var fds []unix.PollFd
		for _, pid := range pids {
			fd, _, err := openProcess(pid, 0)
			if err != nil {
				continue
			}
			if !e.cg.inCgroup(pid, id) || pidfdExited(fd) {
				unix.Close(fd)
				continue
			}
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		for i := range fds {
			one := fds[i : i+1]
			for {
				left := time.Until(deadline)
				n, err := unix.Poll(one, int(max(left.Milliseconds(), 0)))
				if n > 0 || err != unix.EINTR || left <= 0 {
					break
				}
			}
			unix.Close(int(fds[i].Fd))
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errs.New(errs.Internal, "%d processes of the sandbox did not die", len(e.cg.processes(id)))
		}
		if len(fds) == 0 { // all of them are ending already
			time.Sleep(time.Millisecond)
		}
	}
}
