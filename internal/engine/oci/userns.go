package oci

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// usernsCache keeps a descriptor of one empty user namespace per id range, for the id mapping of image mounts. A namespace
// costs a fork (about 1.5 ms), so they are made ahead and kept while their range goes from one sandbox to the next. No
// process ever runs in one.
type usernsCache struct {
	binary string // any static executable: it is stopped at its first instruction and killed
	spawn  *spawner
	mu     sync.Mutex // guards files
	files  map[uint32]*os.File
}

// maxIdleUserns bounds the namespaces kept for ranges that nobody uses.
const maxIdleUserns = 256

func newUsernsCache(binary string, spawn *spawner) *usernsCache {
	return &usernsCache{binary: binary, spawn: spawn, files: map[uint32]*os.File{}}
}

// get returns a descriptor of the namespace that maps 0..65535 to first..first+65535. The cache owns the file.
func (c *usernsCache) get(first uint32) (*os.File, error) {
	c.mu.Lock()
	f := c.files[first]
	c.mu.Unlock()
	if f != nil {
		return f, nil
	}
	f, err := c.make(first)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		f.Close()
		return nil, errSpawnerClosed
	}
	if other := c.files[first]; other != nil {
		f.Close()
		return other, nil
	}
	c.files[first] = f
	return f, nil
}

// trim lets go of the namespace of a range that was given back, when there are many.
func (c *usernsCache) trim(first uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.files) > maxIdleUserns && c.files[first] != nil {
		c.files[first].Close()
		delete(c.files, first)
	}
}

func (c *usernsCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.files {
		f.Close()
	}
	c.files = nil
}

// make starts a process in a new user namespace, stopped by ptrace before its first instruction, takes the namespace
// from /proc and kills the process.
func (c *usernsCache) make(first uint32) (f *os.File, err error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(first), Size: idRangeSize}}
	attr := &syscall.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{
		Ptrace: true, Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
	}}
	err = c.spawn.do(func() error { // ptrace belongs to a thread
		pid, err := syscall.ForkExec(c.binary, []string{c.binary}, attr)
		if err != nil {
			return err
		}
		defer func() {
			_ = unix.Kill(pid, unix.SIGKILL)
			for {
				var ws unix.WaitStatus
				if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR && (err != nil || ws.Exited() || ws.Signaled()) {
					return
				}
			}
		}()
		f, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		return err
	})
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot make a user namespace for ids %d to %d", first, first+idRangeSize-1)
	}
	return f, nil
}
