package oci

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

type unixStat = syscall.Stat_t

const recordVersion = 1

// record is what Create promised. It lies in record.json once the writable layer is there, in intent.json before.
type record struct {
	Version int
	Spec    engine.Spec // with the limits that hold now
	Digest  string      // of the spec as Create got it, to tell a repeated Create from a clashing one
	User    sandboxUser
	IDs     uint32 // first host id of the range
	Created time.Time
}

// The phases of a sandbox's last run.
const (
	phaseStopped  = "stopped"
	phaseStarting = "starting" // a Start is under way, or died under way
	phaseRunning  = "running"
)

// state is the last run of a sandbox. Losing it (power failure) costs the times and the reason, nothing else.
type state struct {
	Phase     string
	BootID    string // of the host when the run began
	Pid       int
	StartTime uint64 // of Pid, in clock ticks since boot: with Pid and BootID it names a process for ever
	Stopping  bool   // a Stop has begun: an end is not an exit by itself
	Net       engine.Net
	CPUs      []int // where programs run; empty: everywhere
	StartedAt time.Time
	StoppedAt time.Time
	Reason    string
	ExitCode  int
	OOMKills  int64
}

func isSandboxID(s string) bool { return id.IsUUID(s) }

func specDigest(spec engine.Spec) string {
	b, _ := json.Marshal(spec) // maps are written in key order; the type has nothing that cannot be written
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (e *Engine) recordDir(id string) string { return e.path("sandboxes", id) }

// writeIntent puts a new sandbox on disk, before anything is made for it.
func (e *Engine) writeIntent(rec record) error {
	dir := e.recordDir(rec.Spec.ID)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return diskError(err, "make the record of the sandbox")
	}
	return writeJSON(filepath.Join(dir, "intent.json"), rec, true)
}

// commitRecord turns the intent into the record.
func (e *Engine) commitRecord(id string) error {
	dir := e.recordDir(id)
	if err := os.Rename(filepath.Join(dir, "intent.json"), filepath.Join(dir, "record.json")); err != nil {
		return diskError(err, "complete the record of the sandbox")
	}
	return nil
}

func (e *Engine) writeRecord(rec record) error {
	return writeJSON(filepath.Join(e.recordDir(rec.Spec.ID), "record.json"), rec, true)
}

func (e *Engine) writeState(id string, st state) error {
	return writeJSON(filepath.Join(e.recordDir(id), "state.json"), st, false)
}

// writeJSON replaces a file in one step. durable: its contents are on the disk before it gets its name, so that after a
// power failure it is old, new or missing, never torn.
func writeJSON(path string, v any, durable bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errs.Wrap(err, errs.Internal, "cannot write %s", filepath.Base(path))
	}
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return diskError(err, "write "+filepath.Base(path))
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return diskError(err, "write "+filepath.Base(path))
	}
	return nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	return decoder.Decode(v)
}

// readRecord reads and checks a record file.
func readRecord(path, id string) (record, error) {
	var rec record
	if err := readJSON(path, &rec); err != nil {
		return rec, err
	}
	if rec.Version != recordVersion || rec.Spec.ID != id || rec.IDs == 0 {
		return rec, fmt.Errorf("record of sandbox %s has version %d, id %q, ids %d", id, rec.Version, rec.Spec.ID, rec.IDs)
	}
	return rec, nil
}

func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }

// clip bounds foreign text in an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	if len(line) > 300 {
		line = line[:300]
	}
	return string(line)
}
