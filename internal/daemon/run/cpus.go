//go:build linux

package run

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseCPUs reads a list of processors such as 0,2,3; "" is nil: all.
func ParseCPUs(list string) (*unix.CPUSet, error) {
	if list == "" {
		return nil, nil
	}
	set := &unix.CPUSet{}
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n >= 1024 {
			return nil, fmt.Errorf("%q is no processor: a list such as 0,2,3 is wanted", s)
		}
		set.Set(n)
	}
	return set, nil
}

// moveToCPUs makes what this goroutine forks run on r.CPUs, and counts no others: nproc says how many the sandbox has. The
// daemon itself runs everywhere. The returned function takes it back; both are two system calls.
func (r *Runner) moveToCPUs() (back func()) {
	if r.CPUs == nil {
		return func() {}
	}
	runtime.LockOSThread()
	var own unix.CPUSet
	if unix.SchedGetaffinity(0, &own) != nil || unix.SchedSetaffinity(0, r.CPUs) != nil { // they left: the quota holds anyway
		runtime.UnlockOSThread()
		return func() {}
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &own)
		runtime.UnlockOSThread()
	}
}
