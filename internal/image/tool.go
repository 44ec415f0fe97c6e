package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Tools run as process 1 of a pid and a mount namespace of their own. So their mounts are nobody else's and end with them,
// and killing the one process ends everything it started: nothing of a build survives its cancellation or our death.

// hostScript prepares the namespaces and runs its arguments on the host's own file system. The shell stays process 1.
const hostScript = `set -e
umask 022
mount --make-rprivate /
mount -t proc proc /proc
"$@"
exit $?`

// chrootScript prepares ROOT and runs a command in it:
//
//	ROOT USER [SOURCE TARGET]... -- ENVIRONMENT... COMMAND...
//
// The directories that must be empty in the image are covered, so what is written there is gone afterwards. Sources are
// files or directories of the host that appear, read-only, at TARGET.
const chrootScript = `set -e
umask 022
mount --make-rprivate /
root=$1 user=$2
shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	: > "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
	if [ -d "$1" ]; then mkdir -p "$root$2"; elif ! [ -e "$root$2" ]; then : > "$root$2"; fi
	mount --bind "$1" "$root$2"
	mount -o remount,bind,ro "$root$2"
	shift 2
done
shift
chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
exit $?`

const (
	keptLines    = 30  // of a tool's output, for the error
	maxLineBytes = 300 // of each
	killWait     = 30 * time.Second
)

// runTool runs script with args and env, and calls line for each line of its output. An error has the output's end.
func runTool(ctx context.Context, script, dir string, env, args []string, line func(string)) error {
	out := &lines{each: line}
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = out, out
	// Process 1 of a namespace dies last, and its pipe is read to the end: when Wait returns, all of them are gone.
	cmd.WaitDelay = killWait
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started the process ends
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	out.flush()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &toolError{cause: err, last: out.last}
	}
	return nil
}

// toolError is the failure of a program that a build runs, which is mostly that of a mirror or an index it asks.
type toolError struct {
	cause error
	last  []string // the end of its output
}

func (e *toolError) Error() string {
	return fmt.Sprintf("%v; it said last:\n%s", e.cause, strings.Join(e.last, "\n"))
}

func (e *toolError) Unwrap() error { return e.cause }

// lines is a writer that cuts what it gets into lines and keeps the last ones.
type lines struct {
	each func(string)
	part []byte
	last []string
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			break
		}
		l.add(p[:i])
		l.flush()
		p = p[i+1:]
	}
	l.add(p)
	return n, nil
}

func (l *lines) add(p []byte) {
	l.part = append(l.part, p[:min(len(p), maxLineBytes-len(l.part))]...)
}

func (l *lines) flush() {
	text := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(l.part)))
	l.part = l.part[:0]
	if text == "" {
		return
	}
	if len(l.last) == keptLines {
		l.last = append(l.last[:0], l.last[1:]...)
	}
	l.last = append(l.last, text)
	if l.each != nil {
		l.each(text)
	}
}

// networkVariables are the ones of the host that say how to reach its package mirrors.
var networkVariables = []string{"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}

// hostEnv is the environment of tools that run on the host.
func hostEnv(tmp string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "TMPDIR=" + tmp,
	}
	return append(env, inherited(networkVariables)...)
}

// inherited copies the named variables of this process, where they are set.
func inherited(names []string) []string {
	var env []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
