package runner

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// admit refuses a start that this host could not carry, with the reason. Limits of sandboxes may add up to more than the
// host has, because idle ones use almost nothing; what counts is what is free now. From a success on the
// sandbox counts as running, until release.
func (h *Host) admit(sid string) error {
	if free, err := memAvailable(); err == nil && free < h.cfg.FreeMemory {
		return errs.New(errs.Exhausted, "no capacity: the runner has %d MiB of memory free and keeps %d MiB", free>>20, h.cfg.FreeMemory>>20).WithCode("RUNNER_FULL")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(h.cfg.Dir, &fs); err == nil {
		if free := int64(fs.Bavail) * fs.Bsize; free < h.cfg.FreeDisk {
			return errs.New(errs.Exhausted, "no capacity: the runner has %d MiB of disk free and keeps %d MiB", free>>20, h.cfg.FreeDisk>>20).WithCode("RUNNER_FULL")
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if limit := h.cfg.MaxSandboxes; limit > 0 && len(h.running) >= limit {
		return errs.New(errs.Exhausted, "no capacity: the runner already runs its limit of %d sandboxes", limit).WithCode("RUNNER_FULL")
	}
	h.running[sid] = -1
	return nil
}

// memAvailable is the kernel's estimate of what can be used without swapping, in bytes.
func memAvailable() (int64, error) { return meminfo("MemAvailable:") }

func meminfo(key string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), key); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, os.ErrNotExist
}
