package oci

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// startTimeout bounds a start whose caller set no deadline.
const startTimeout = 60 * time.Second

// mountRoom is by how much a disk limit is lifted while the root file system is being mounted. No process of the sandbox
// runs then.
const mountRoom = 16 << 20

// Start runs the sandbox in net and returns when its daemon answers.
func (e *Engine) Start(ctx context.Context, id string, net engine.Net) (engine.Status, error) {
	if net.Netns != "" && (!filepath.IsAbs(net.Netns) || strings.ContainsRune(net.Netns, 0)) {
		return engine.Status{}, errs.New(errs.Invalid, "net.netns is %q, it must be an absolute path", clip(net.Netns))
	}
	var status engine.Status
	err := e.verb(ctx, id, false, func(ctx context.Context, b *box) (func(context.Context), error) {
		if _, _, r := b.get(); r != nil {
			if !pidfdGone(r) {
				status, _ = e.status(b)
				return nil, nil
			}
			if err := e.finish(ctx, b, r, false); err != nil {
				return nil, err
			}
		}
		if err := e.start(ctx, b, net); err != nil {
			return nil, err
		}
		status, _ = e.status(b)
		return func(ctx context.Context) {
			if err := e.stopRun(ctx, b, 0); err != nil {
				e.log.ErrorContext(ctx, "an abandoned start could not be undone", "sandbox", b.id, "error", err)
			}
		}, nil
	})
	if err != nil {
		return engine.Status{}, err // status may still be written to
	}
	return status, nil
}

func (e *Engine) start(ctx context.Context, b *box, net engine.Net) (err error) {
	id := b.id
	rec, before, _ := b.get()
	if !e.disk.exists(id) {
		return errs.New(errs.Internal, "the writable layer of sandbox %s is lost", id)
	}
	st := before
	st.Phase, st.BootID, st.Net, st.CPUs = phaseStarting, e.bootID, net, e.pickCPUs(b, rec.Spec.Limits.MilliCPU)
	if err := e.writeState(id, st); err != nil {
		return err
	}
	e.crash("start-intent")
	e.cg.prepareMove()
	defer func() {
		if err == nil {
			return
		}
		b.set(func() { b.cpus = nil })
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if cerr := e.clean(undo, id); cerr != nil {
			e.log.ErrorContext(ctx, "a failed start could not be cleaned up", "sandbox", id, "error", cerr)
		}
		if werr := e.writeState(id, before); werr != nil {
			e.log.ErrorContext(ctx, "a failed start could not be recorded", "sandbox", id, "error", werr)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := os.MkdirAll(e.run("b", id), 0o711); err != nil {
		return diskError(err, "make the bundle of the sandbox")
	}
	if err := e.mountRun(id); err != nil {
		return err
	}
	e.crash("start-run-mount")
	// The overlay needs to write a little to mount. A sandbox whose disk is full must start, or nobody could ever make room.
	limit := rec.Spec.Limits.DiskBytes
	if err := e.disk.setLimit(id, limit+mountRoom); err != nil {
		return err
	}
	err = e.mountRootfs(id, rec.Spec.Image.Rootfs, e.disk.dir(id), rec.IDs)
	if lerr := e.disk.setLimit(id, limit); err == nil {
		err = lerr
	}
	if err != nil {
		return err
	}
	e.crash("start-rootfs")
	if err := e.makeCgroups(id); err != nil {
		return err
	}
	if err := e.makeBundle(rec, net, st.CPUs); err != nil {
		return err
	}
	e.crash("start-bundle")
	fuse, err := e.openFuse()
	if err != nil {
		return err
	}
	if fuse != nil {
		defer fuse.Close()
	}
	pid, err := e.runContainer(ctx, id, fuse)
	if err != nil {
		return err
	}
	pidfd, started, err := openProcess(pid, 0)
	if err != nil || !e.cg.inCgroup(pid, id) {
		if err == nil {
			unix.Close(pidfd)
		}
		return errs.Wrap(err, errs.Internal, "the first process of the sandbox ended at once")
	}
	if fuse != nil {
		if err := mountMeminfo(pidfd, fuse); err != nil { // it shows the host's memory then
			e.log.WarnContext(ctx, "meminfo could not be mounted", "sandbox", id, "error", err)
		}
	}
	st.Phase, st.Pid, st.StartTime, st.StartedAt = phaseRunning, pid, started, time.Now().UTC()
	st.StoppedAt, st.Reason, st.ExitCode, st.OOMKills, st.Stopping = time.Time{}, "", -1, 0, false
	if err := e.writeState(id, st); err != nil {
		unix.Close(pidfd)
		return err
	}
	e.crash("start-committed")
	_ = os.Remove(e.run("b", id, "config.json")) // runc has read it; it holds the environment, and memory
	b.set(func() { b.st = st })
	return e.follow(b, pidfd)
}
