//go:build linux

// Package handover carries what the daemon holds over to the program that replaces it by exec: state as JSON and open
// descriptors. The process stays the same, so its children stay its children; what would be lost is in memory and in
// descriptors that close at exec.
//
// The order is: every [Keeper] is frozen, then saves, then the daemon executes the new program, whose keepers restore. If
// anything fails before the exec, they are thawed and nothing has happened.
package handover

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Keeper is a family that holds processes or their descriptors.
type Keeper interface {
	// Freeze stops reading from children and starting new ones. When it returns, every byte that was read is in the state
	// that Save writes, and nothing changes until Thaw or the exec. It must return within 50 ms.
	Freeze()
	// Save writes the state. It is called frozen.
	Save(out *Out) error
	// Thaw goes on as if nothing had happened: the exec failed.
	Thaw()
	// Restore takes over what Save wrote, in the new program, before it serves.
	Restore(in *In) error
}

// Out collects what is handed over.
type Out struct {
	state map[string]json.RawMessage
	fds   []int
}

// Put stores v as the state of family. v must survive JSON.
func (o *Out) Put(family string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state of %s: %w", family, err)
	}
	if o.state == nil {
		o.state = map[string]json.RawMessage{}
	}
	o.state[family] = b
	return nil
}

// Pass makes f survive the exec and returns the number under which the new program takes it ([In.Take]). f stays the
// caller's: it must remain open until the exec.
func (o *Out) Pass(f syscall.Conn) (int, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(raw uintptr) { fd, dupErr = unix.FcntlInt(raw, unix.F_DUPFD, 3) }); err != nil { // without CLOEXEC
		return 0, err
	}
	if dupErr != nil {
		return 0, os.NewSyscallError("dup", dupErr)
	}
	o.fds = append(o.fds, fd)
	return fd, nil
}

// In returns what the program that replaces this one would find, and takes the descriptors along: for tests.
func (o *Out) In() *In {
	in := &In{state: o.state, fds: map[int]bool{}}
	for _, fd := range o.fds {
		in.fds[fd] = true
	}
	o.fds = nil
	return in
}

// In is what was handed over.
type In struct {
	state map[string]json.RawMessage
	fds   map[int]bool
}

// Get reads the state of family into v. It reports false when there is none: the program before did not know the family.
func (in *In) Get(family string, v any) (bool, error) {
	b, ok := in.state[family]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("state of %s: %w", family, err)
	}
	return true, nil
}

// Take returns the descriptor that [Out.Pass] numbered, closed on exec again. Each can be taken once; those that nobody
// takes are closed.
func (in *In) Take(fd int, name string) (*os.File, error) {
	if !in.fds[fd] {
		return nil, fmt.Errorf("descriptor %d was not handed over", fd)
	}
	delete(in.fds, fd)
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}
