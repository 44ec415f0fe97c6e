package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// RuncFloor is the oldest runc that may run a sandbox: older ones lack fixes of known escapes (2025-31133, 2025-52565,
// 2025-52881, 2026-41579).
const RuncFloor = "1.5.2"

type runtimeBinary struct {
	path    string
	version string
}

// versionCache remembers the version of a binary by its path, size and time of change.
var versionCache sync.Map // string -> string

// findRunc checks that runc is there and new enough.
func findRunc(ctx context.Context, path string) (*runtimeBinary, error) {
	if path == "" {
		found, err := exec.LookPath("runc")
		if err != nil {
			return nil, errs.New(errs.Unavailable, "runc is not installed; sandboxes need runc %s or later", RuncFloor)
		}
		path = found
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "runc is not at %s; sandboxes need runc %s or later", path, RuncFloor)
	}
	key := fmt.Sprintf("%s %d %d", path, fi.Size(), fi.ModTime().UnixNano())
	version, ok := versionCache.Load(key)
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return nil, errs.Wrap(err, errs.Unavailable, "runc at %s does not run", path)
		}
		if !bytes.Contains(out, []byte("libseccomp")) {
			return nil, errs.New(errs.Unavailable, "runc at %s was built without seccomp", path)
		}
		version = parseRuncVersion(string(out))
		versionCache.Store(key, version)
	}
	if !versionAtLeast(version.(string), RuncFloor) {
		return nil, errs.New(errs.Unavailable, "runc at %s is version %q; sandboxes need %s or later, which has the fixes of known escapes", path, version, RuncFloor)
	}
	return &runtimeBinary{path: path, version: version.(string)}, nil
}

func parseRuncVersion(out string) string {
	line, _, _ := strings.Cut(out, "\n")
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[0] != "runc" {
		return clip(line)
	}
	return fields[2]
}

var versionPattern = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(-rc\.?\d+)?`)

// versionAtLeast compares major.minor.patch; a release candidate comes before its release. What does not look like a
// version is older than everything.
func versionAtLeast(version, floor string) bool {
	v, f := versionPattern.FindStringSubmatch(version), versionPattern.FindStringSubmatch(floor)
	if v == nil || f == nil {
		return false
	}
	for i := 1; i <= 3; i++ {
		a, _ := strconv.Atoi(v[i])
		b, _ := strconv.Atoi(f[i])
		if a != b {
			return a > b
		}
	}
	return v[4] == "" || f[4] != ""
}

// runContainer runs the bundle of a sandbox and returns the pid of its first process once the daemon says that it
// listens. fuse, when not nil, reaches the daemon as [meminfoFD]. When it fails, something may be left: the caller cleans up.
func (e *Engine) runContainer(ctx context.Context, id string, fuse *os.File) (int, error) {
	bundle := e.run("b", id)
	pidFile := bundle + "/pid"
	logFile := bundle + "/log.json"
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return 0, errs.Wrap(err, errs.Exhausted, "the host has no file descriptors left")
	}
	defer ready.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		readyChild.Close()
		return 0, errs.Wrap(err, errs.Internal, "cannot open %s", os.DevNull)
	}
	defer null.Close()
	pass := []*os.File{readyChild}
	if fuse != nil {
		pass = append(pass, fuse)
	}
	cmd := exec.Cmd{
		Path: e.runc.path,
		Args: []string{"runc", "--root", e.run("runc"), "--log", logFile, "--log-format", "json", "run", "--detach",
			"--bundle", bundle, "--pid-file", pidFile, "--preserve-fds", strconv.Itoa(len(pass)), id},
		// No garbage collection: runc lives for some milliseconds.
		Env:        []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOGC=off", "GOMEMLIMIT=256MiB"},
		Dir:        "/",
		Stdin:      null,
		Stdout:     null,
		Stderr:     null,
		ExtraFiles: pass,
		// If this process dies, runc dies and makes nothing more, so that what the next one finds stays as it is.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	err = e.spawn.do(cmd.Start)
	readyChild.Close()
	if err != nil {
		return 0, errs.Wrap(err, errs.Unavailable, "cannot start runc at %s", e.runc.path)
	}
	e.crash("runc-started")
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	answered := make(chan error, 1)
	go func() {
		var b [1]byte
		_, err := io.ReadFull(ready, b[:])
		answered <- err
	}()
	for running, silent := true, true; running || silent; {
		select {
		case err := <-waited:
			if err != nil {
				return 0, e.runcError(logFile, err)
			}
			running, waited = false, nil
			e.crash("runc-ended")
		case err := <-answered:
			if err != nil {
				if running {
					if err := <-waited; err != nil {
						return 0, e.runcError(logFile, err)
					}
				}
				return 0, errs.New(errs.Internal, "the daemon ended before it was ready")
			}
			silent, answered = false, nil
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			if running {
				<-waited //nolint:errcheck // that it was killed is known
			}
			return 0, timeoutError(ctx, "the sandbox did not start in time")
		}
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, errs.Wrap(err, errs.Internal, "runc left no pid")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, errs.New(errs.Internal, "runc left the pid %q", firstLine(b))
	}
	return pid, nil
}

// deleteContainer is the way out when something looks odd: runc finds and kills what is left.
func (e *Engine) deleteContainer(ctx context.Context, id string) {
	if _, err := os.Lstat(e.run("runc", id)); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.runc.path, "--root", e.run("runc"), "delete", "--force", id)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		e.log.WarnContext(ctx, "runc delete failed", "sandbox", id, "error", err, "output", firstLine(out))
	}
}

// runcError turns the last error line of runc's log into an error of ours. The text is for people and for logs; the class
// comes from what the kernel said.
func (e *Engine) runcError(logFile string, err error) error {
	text := ""
	if f, ferr := os.Open(logFile); ferr == nil {
		b, _ := io.ReadAll(io.LimitReader(f, 64<<10))
		f.Close()
		for line := range bytes.Lines(b) {
			var entry struct{ Level, Msg string }
			if json.Unmarshal(line, &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
				text = entry.Msg
			}
		}
	}
	text = strings.ToValidUTF8(text, "?")
	if len(text) > 500 {
		text = text[:500]
	}
	cause := fmt.Errorf("runc: %w: %s", err, text)
	for _, c := range []struct {
		errno unix.Errno
		what  string
	}{{unix.ENOSPC, "disk space"}, {unix.EDQUOT, "disk quota"}, {unix.ENOMEM, "memory"}, {unix.EAGAIN, "processes"}, {unix.EMFILE, "file descriptors"}, {unix.ENFILE, "file descriptors"}} {
		if strings.HasSuffix(text, c.errno.Error()) {
			return errs.Wrap(cause, errs.Exhausted, "the host has no %s left to start the sandbox", c.what)
		}
	}
	return errs.Wrap(cause, errs.Internal, "the sandbox could not be started: %s", e.runcReason(text))
}

// runcReason is the part of runc's words that may be shown: what happened inside, without paths of the host.
func (e *Engine) runcReason(text string) string {
	_, reason, ok := strings.Cut(text, "error during container init: ")
	if ok && !strings.Contains(reason, e.cfg.RunDir) && !strings.Contains(reason, e.cfg.Dir) && !strings.Contains(reason, filepath.Dir(e.cfg.Daemon)) {
		return reason
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return "see the log of the runner"
}

// timeoutError is what a verb returns when its context ended.
func timeoutError(ctx context.Context, message string) error {
	return errs.Wrap(context.Cause(ctx), errs.Timeout, "%s", message)
}
