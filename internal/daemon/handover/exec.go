//go:build linux

package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Format is the number of the state's layout. A program that cannot read it must not be started: it would be the end of all
// processes. [Formats] tells which ones a program reads.
const Format = 1

// variable names the descriptor of the state in the environment of the next program. It never reaches a child.
const variable = "DUGOUT_HANDOVER"

// FormatsFlag as the only argument makes the daemon print [Formats] and exit: whoever wants to start a program asks it first.
const FormatsFlag = "--handover-formats"

// Formats returns the layouts that this program reads, as it prints them.
func Formats() string { return strconv.Itoa(Format) }

// Reads reports whether a program that printed formats reads what this one writes.
func Reads(formats string) bool {
	for f := range strings.FieldsSeq(formats) {
		if f == strconv.Itoa(Format) {
			return true
		}
	}
	return false
}

// state is what lies in the file that the next program finds.
type state struct {
	Format   int                        `json:"format"`
	Families map[string]json.RawMessage `json:"families"`
	FDs      []int                      `json:"fds"`
}

// Exec replaces this program by the one at path, with what out holds. It returns only when that fails; then nothing has happened.
// Before the exec, prepare is called on the thread that does it, for what belongs to threads; its function undoes it.
func Exec(path string, argv, env []string, out *Out, prepare func() (undo func(), err error)) error {
	err := exec(path, argv, env, out, prepare)
	out.Close()
	return err
}

func exec(path string, argv, env []string, out *Out, prepare func() (func(), error)) error {
	b, err := json.Marshal(state{Format: Format, Families: out.state, FDs: out.fds})
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("handover", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer func() { _ = f.Close() }()
	if _, err := f.Write(b); err != nil {
		return err
	}
	n, err := out.Pass(f)
	if err != nil {
		return err
	}
	next := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if !strings.HasPrefix(kv, variable+"=") {
			next = append(next, kv)
		}
	}
	next = append(next, variable+"="+strconv.Itoa(n))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	undo, err := prepare()
	if err != nil {
		return err
	}
	err = syscall.Exec(path, argv, next)
	undo()
	return os.NewSyscallError("execve", err)
}

// Close closes the copies of descriptors that were to survive the exec.
func (o *Out) Close() {
	for _, fd := range o.fds {
		_ = unix.Close(fd)
	}
	o.fds = nil
}

// Resume returns what the program before this one handed over; nil: there was none, this is a first start. Everything that it
// passed is closed on exec from here on.
func Resume() (*In, error) {
	v, ok := os.LookupEnv(variable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s names no descriptor: %.20q", variable, v)
	}
	f := os.NewFile(uintptr(fd), "handover")
	if f == nil {
		return nil, errors.New("the state's descriptor is not there")
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return parse(b, fd)
}

// parse reads a state that came on descriptor own.
func parse(b []byte, own int) (*In, error) {
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if st.Format != Format {
		return nil, fmt.Errorf("the state has layout %d, this program reads %s", st.Format, Formats())
	}
	in := &In{state: st.Families, fds: map[int]bool{}}
	for _, fd := range st.FDs {
		if fd >= 3 && fd != own {
			unix.CloseOnExec(fd)
			in.fds[fd] = true
		}
	}
	return in, nil
}

// Close closes what nobody took.
func (in *In) Close() {
	for fd := range in.fds {
		_ = unix.Close(fd)
	}
	clear(in.fds)
}
