//go:build linux

// Package shell knows which shell of the sandbox runs commands, how a command is handed to it, and where programs are.
package shell

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// shells is the order of preference on the 0.x wire: the first of these that /etc/shells lists.
var shells = []string{"/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"}

// Pick returns the shell for commands: the first of shells that /etc/shells lists and that is there, else $SHELL, else
// sh. An absolute path, unless nothing was found at all.
func Pick(getenv func(string) string) string {
	var listed []string
	for line := range strings.Lines(readSmall("/etc/shells")) {
		listed = append(listed, strings.TrimSpace(line))
	}
	for _, s := range shells {
		if slices.Contains(listed, s) && Executable(s) {
			return s
		}
	}
	if s := getenv("SHELL"); filepath.IsAbs(s) && Executable(s) {
		return s
	}
	if s := LookPath("sh", getenv("PATH")); s != "" {
		return s
	}
	return "/bin/sh"
}

// MaxInline is the longest command, in bytes, that travels as an argument: the kernel's limit for one is 128 KiB.
const MaxInline = 100 << 10

// loader runs what it finds on its standard input, which from then on is empty. It goes through eval and not through
// `sh -s`, because a shell that reads its script from standard input lets the first child that reads eat the rest of it.
const loader = `eval 'exec </dev/null;' "$(cat)"`

// Args returns the arguments that make shell run command, and its standard input, nil: empty. `$0` is the shell,
// exit codes, heredocs and line numbers are those of the command in all of bash, dash, zsh and busybox.
func Args(shell, command string) ([]string, *os.File, error) {
	if len(command) <= MaxInline {
		if command[0] == '-' || command[0] == '+' { // would be read as an option
			command = " " + command
		}
		return []string{shell, "-c", command}, nil, nil
	}
	f, err := run.MemFile("command", []byte(command))
	if err != nil {
		return nil, nil, err
	}
	return []string{shell, "-c", loader}, f, nil
}

// spareLoader is loader for a command that comes on descriptor 3, because standard input is the caller's.
const spareLoader = `eval 'exec 3<&-;' "$(cat <&3)"`

// ArgsBeside is [Args] for a command that has a standard input: a long command travels on descriptor 3, nil: it does not.
func ArgsBeside(shell, command string) ([]string, *os.File, error) {
	argv, f, err := Args(shell, command)
	if f != nil {
		argv[2] = spareLoader
	}
	return argv, f, err
}

// LookPath finds a program in a search path; "" when it is not there.
func LookPath(name, path string) string {
	for dir := range strings.SplitSeq(path, ":") {
		if p := filepath.Join(dir, name); filepath.IsAbs(dir) && Executable(p) {
			return p
		}
	}
	return ""
}

// Executable reports whether path is a plain file that the daemon's user may execute.
func Executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) == nil
}

// readSmall reads a file of the sandbox that should be small; what is over 64 KiB, or no plain file, counts as empty.
func readSmall(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > 64<<10 {
		return ""
	}
	var b bytes.Buffer
	_, _ = b.ReadFrom(io.LimitReader(f, 64<<10))
	return b.String()
}
