package oci

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// reattach finds what earlier engines left in Dir and RunDir: complete sandboxes are taken over, everything else of this
// instance is removed. It runs before the first verb.
func (e *Engine) reattach(ctx context.Context) error {
	entries, err := os.ReadDir(e.path("sandboxes"))
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot read the records in %s", e.cfg.Dir)
	}
	leftovers := e.cg.list() // ids of which something is there that only a running sandbox has
	for _, dir := range []string{"b", "s", "runc"} {
		found, _ := os.ReadDir(e.run(dir))
		for _, entry := range found {
			if isSandboxID(entry.Name()) {
				leftovers[entry.Name()] = true
			}
		}
	}
	for _, entry := range entries {
		id := entry.Name()
		if !isSandboxID(id) {
			continue
		}
		switch rec, err := readRecord(filepath.Join(e.recordDir(id), "record.json"), id); {
		case err == nil:
			if err := e.adopt(ctx, id, rec, leftovers); err != nil {
				return err
			}
		case os.IsNotExist(err): // its Create did not return
			if err := os.Rename(e.recordDir(id), e.path("trash", id)); err != nil {
				return errs.Wrap(err, errs.Internal, "cannot remove a half-made sandbox")
			}
		default:
			aside := e.path("broken", fmt.Sprintf("%s.%d", id, time.Now().UnixNano()))
			e.log.ErrorContext(ctx, "a record cannot be read and was put aside", "sandbox", id, "path", aside, "error", err)
			e.problems = append(e.problems, fmt.Sprintf("the record of sandbox %s could not be read and was put aside as %s; its disk is kept", id, aside))
			if err := os.Rename(e.recordDir(id), aside); err != nil {
				return errs.Wrap(err, errs.Internal, "cannot put a broken record aside")
			}
		}
	}
	trash, err := os.ReadDir(e.path("trash"))
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot read the trash in %s", e.cfg.Dir)
	}
	for _, entry := range trash {
		if id := entry.Name(); isSandboxID(id) {
			delete(leftovers, id)
			if err := e.removeAll(ctx, id); err != nil {
				return err
			}
		}
	}
	for id := range leftovers {
		if err := e.clean(ctx, id); err != nil {
			return err
		}
	}
	return e.removeStrayLayers()
}

// adopt takes over a sandbox and, where it runs, its first process. It takes ids off leftovers that need no clean-up.
func (e *Engine) adopt(ctx context.Context, id string, rec record, leftovers map[string]bool) error {
	b := newBox(id)
	st := state{Phase: phaseStopped, ExitCode: -1}
	if err := readJSON(filepath.Join(e.recordDir(id), "state.json"), &st); err != nil && !os.IsNotExist(err) {
		e.log.WarnContext(ctx, "the last state of a sandbox cannot be read", "sandbox", id, "error", err)
		st = state{Phase: phaseStopped, ExitCode: -1}
	}
	b.made, b.rec, b.st = true, rec, st
	e.boxes[id] = b
	e.ids.adopt(rec.IDs)
	_ = os.Remove(filepath.Join(e.recordDir(id), "intent.json"))
	if st.Phase == phaseStopped {
		return nil
	}
	if st.Phase == phaseRunning && st.BootID == e.bootID {
		pidfd, _, err := openProcess(st.Pid, st.StartTime)
		if err == nil && e.cg.inCgroup(st.Pid, id) {
			delete(leftovers, id)
			if st.Stopping { // a Stop died under way; it did not return, and the next one ends it
				b.st.Stopping = false
			}
			return e.follow(b, pidfd)
		}
		if err == nil {
			unix.Close(pidfd)
		}
	}
	kills := e.cg.oomKills(id)
	if err := e.clean(ctx, id); err != nil {
		return err
	}
	if err := e.disk.setLimit(id, rec.Spec.Limits.DiskBytes); err != nil { // a start may have died while it was lifted
		e.log.ErrorContext(ctx, "a disk limit cannot be set again", "sandbox", id, "error", err)
	}
	delete(leftovers, id)
	if st.Phase == phaseRunning {
		st.StoppedAt, st.ExitCode, st.OOMKills = time.Now().UTC(), -1, kills
		switch {
		case st.BootID != e.bootID:
			st.Reason = engine.ReasonHost
		case st.Stopping:
			st.Reason = engine.ReasonStopped
		case kills > 0:
			st.Reason = engine.ReasonOOM
		default:
			st.Reason = engine.ReasonExited
		}
	}
	st.Phase, st.Pid, st.StartTime, st.Stopping = phaseStopped, 0, 0, false
	b.st = st
	return e.writeState(id, st)
}

// removeStrayLayers removes writable layers that belong to no sandbox and to no record that was put aside.
func (e *Engine) removeStrayLayers() error {
	keep := map[string]bool{}
	aside, _ := os.ReadDir(e.path("broken"))
	for _, entry := range aside {
		if name := entry.Name(); len(name) > 36 {
			keep[name[:36]] = true
		}
	}
	layers, err := e.disk.list()
	if err != nil {
		return err
	}
	for _, id := range layers {
		if e.boxes[id] != nil || keep[id] {
			continue
		}
		e.log.Warn("a writable layer without a sandbox is removed", "sandbox", id)
		if err := e.disk.remove(id); err != nil {
			return err
		}
	}
	return nil
}

// fillUserns makes some user namespaces ahead, in the background.
func (e *Engine) fillUserns() {
	if !e.begin() {
		return
	}
	go func() {
		defer e.work.Done()
		for _, first := range e.ids.next(8) {
			if e.closing.Err() != nil {
				return
			}
			if _, err := e.userns.get(first); err != nil {
				e.log.Warn("cannot make user namespaces ahead", "error", err)
				return
			}
		}
	}()
}
