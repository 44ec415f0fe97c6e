package oci

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// cgroups knows where the control groups of this host lie. With version 1 (also "hybrid") every controller has a tree of
// its own; with version 2 there is one. runc makes the group of a sandbox; everything after that is done here.
type cgroups struct {
	v2       bool
	parent   string            // below each mount, e.g. /dugout-ab12
	mounts   []string          // of all hierarchies that runc makes a group in
	by       map[string]string // controller -> mount; version 2: every controller -> the one mount
	problems []string
}

func findCgroups(parent string) (cgroups, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, errs.Wrap(err, errs.Unavailable, "/proc is not readable")
	}
	return parseCgroups(b, parent)
}

// parseCgroups reads /proc/PID/mountinfo.
func parseCgroups(mountinfo []byte, parent string) (cgroups, error) {
	c := cgroups{parent: parent, by: map[string]string{}}
	unified := ""
	for line := range bytes.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimSpace(string(line)), " - ")
		fields, rest := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		switch rest[0] {
		case "cgroup2":
			unified = fields[4]
		case "cgroup":
			c.mounts = append(c.mounts, fields[4])
			for _, option := range strings.Split(rest[2], ",") {
				switch option {
				case "cpu", "cpuacct", "memory", "pids", "devices", "freezer", "blkio", "cpuset":
					if c.by[option] == "" {
						c.by[option] = fields[4]
					}
				}
			}
		}
	}
	if len(c.by) == 0 && unified != "" {
		c.v2, c.mounts = true, []string{unified}
		for _, name := range []string{"cpu", "cpuacct", "memory", "pids"} {
			c.by[name] = unified
		}
	} else if unified != "" {
		c.mounts = append(c.mounts, unified)
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if c.by[name] == "" {
			return c, errs.New(errs.Unavailable, "no %s cgroup controller is mounted on this host", name)
		}
	}
	if !c.v2 {
		if _, err := os.Stat(filepath.Join(c.by["memory"], "memory.memsw.limit_in_bytes")); err != nil {
			c.problems = append(c.problems, "swap is not limited: the kernel has no swap accounting; boot with swapaccount=1 or without swap")
		}
	}
	return c, nil
}

func (c cgroups) String() string {
	if c.v2 {
		return "v2"
	}
	return "v1"
}

// file returns the path of a control file of a sandbox.
func (c cgroups) file(controller, id, name string) string {
	return filepath.Join(c.by[controller], c.parent, id, name)
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// readKey returns the number after key in a file of "key number" lines; 0 when there is none.
func readKey(path, key string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && name == key {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, nil
}

// oomKills returns how many processes of a sandbox the kernel killed for memory since its group was made.
func (c cgroups) oomKills(id string) int64 {
	name := "memory.oom_control"
	if c.v2 {
		name = "memory.events"
	}
	n, _ := readKey(c.file("memory", id, name), "oom_kill")
	return n
}

// usage fills in what control groups know.
func (c cgroups) usage(id string) (u engine.Usage, err error) {
	var cpu, memory, inactive int64
	if c.v2 {
		if cpu, err = readKey(c.file("cpu", id, "cpu.stat"), "usage_usec"); err != nil {
			return u, err
		}
		u.CPU = time.Duration(cpu) * time.Microsecond
		if memory, err = readNumber(c.file("memory", id, "memory.current")); err != nil {
			return u, err
		}
		inactive, err = readKey(c.file("memory", id, "memory.stat"), "inactive_file")
	} else {
		if c.by["cpuacct"] != "" {
			if cpu, err = readNumber(c.file("cpuacct", id, "cpuacct.usage")); err != nil {
				return u, err
			}
			u.CPU = time.Duration(cpu)
		}
		if memory, err = readNumber(c.file("memory", id, "memory.usage_in_bytes")); err != nil {
			return u, err
		}
		inactive, err = readKey(c.file("memory", id, "memory.stat"), "total_inactive_file")
	}
	if err != nil {
		return u, err
	}
	u.MemoryBytes = max(memory-inactive, 0)
	u.Pids, err = readNumber(c.file("pids", id, "pids.current"))
	return u, err
}

// setLimits changes the limits of a running sandbox from old to new and puts old ones back when one cannot be had.
// Exhausted: the sandbox uses more memory than the new limit and the kernel could not take it away.
func (c cgroups) setLimits(id string, old, new engine.Limits) error {
	if err := c.writeLimits(id, old, new); err != nil {
		_ = c.writeLimits(id, new, old)
		return err
	}
	return nil
}

func (c cgroups) writeLimits(id string, from, to engine.Limits) error {
	quota, shares := cpuQuota(to.MilliCPU)
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	type write struct{ controller, file, value string }
	var writes []write
	if c.v2 {
		writes = []write{
			{"cpu", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod)}, {"cpu", "cpu.weight", number(cpuWeight(shares))},
			{"memory", "memory.max", number(to.MemoryBytes)}, {"pids", "pids.max", number(to.Pids)},
		}
	} else {
		writes = []write{
			{"cpu", "cpu.cfs_quota_us", number(quota)}, {"cpu", "cpu.shares", number(int64(shares))}, {"pids", "pids.max", number(to.Pids)},
		}
		memory := []write{{"memory", "memory.limit_in_bytes", number(to.MemoryBytes)}, {"memory", "memory.memsw.limit_in_bytes", number(to.MemoryBytes)}}
		if to.MemoryBytes > from.MemoryBytes { // the sum of memory and swap is never below memory
			memory[0], memory[1] = memory[1], memory[0]
		}
		writes = append(writes, memory...)
	}
	for _, w := range writes {
		err := os.WriteFile(c.file(w.controller, id, w.file), []byte(w.value), 0)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrNotExist) && strings.Contains(w.file, "memsw"):
		case isErrno(err, unix.EBUSY):
			return errs.Wrap(err, errs.Exhausted, "the sandbox uses more memory than the new limit of %d bytes", to.MemoryBytes)
		default:
			return errs.Wrap(err, errs.Internal, "cannot change the limit %s", w.file)
		}
	}
	return nil
}

const cpuPeriod = 100000 // microseconds

func cpuQuota(milli int64) (quota int64, shares uint64) {
	return milli * cpuPeriod / 1000, uint64(min(max(milli*1024/1000, 2), 262144))
}

// cpuWeight turns shares (2..262144) into the weight of version 2 (1..10000), as runc does.
func cpuWeight(shares uint64) int64 { return int64(1 + (shares-2)*9999/262142) }

// processes returns the pids in a sandbox's group, in the host's pid namespace.
func (c cgroups) processes(id string) []int {
	f, err := os.Open(c.file("pids", id, "cgroup.procs"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if pid, err := strconv.Atoi(lines.Text()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// remove removes the groups of a sandbox in every hierarchy. Call it when no process is left. A process that ended a
// moment ago may still count for some microseconds, hence the short wait.
func (c cgroups) remove(id string) error {
	var failed error
	for _, mount := range c.mounts {
		dir := filepath.Join(mount, c.parent, id)
		for wait := 100 * time.Microsecond; ; wait *= 2 {
			err := unix.Rmdir(dir)
			if err == unix.EBUSY && wait < 500*time.Millisecond {
				if removeChildren(dir) == 0 {
					time.Sleep(wait)
				}
				continue
			}
			if err != nil && err != unix.ENOENT {
				failed = errs.Wrap(err, errs.Internal, "cannot remove the cgroup %s", dir)
			}
			break
		}
	}
	return failed
}

// removeChildren removes empty groups below dir and returns how many.
func removeChildren(dir string) (n int) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.IsDir() {
			child := filepath.Join(dir, entry.Name())
			n += removeChildren(child)
			if unix.Rmdir(child) == nil {
				n++
			}
		}
	}
	return n
}

// list returns the ids that have a group in any hierarchy.
func (c cgroups) list() map[string]bool {
	ids := map[string]bool{}
	for _, mount := range c.mounts {
		entries, _ := os.ReadDir(filepath.Join(mount, c.parent))
		for _, entry := range entries {
			if entry.IsDir() && isSandboxID(entry.Name()) {
				ids[entry.Name()] = true
			}
		}
	}
	return ids
}

// prepareMove starts, in the background, what the next move of a process into a group would wait for: with version 1 the
// kernel lets a full grace period (5 to 10 ms) pass before the first move after a pause, and none before those that follow
// soon. A process is "moved" to where it is, which changes nothing. Version 2 clones into the group and needs none of it.
func (c cgroups) prepareMove() {
	if c.v2 {
		return
	}
	go func() {
		path, ok := c.own("pids")
		if !ok {
			return
		}
		_ = os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
	}()
}

// own returns the directory of the group that this process is in.
func (c cgroups) own(controller string) (string, bool) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range bytes.Lines(b) {
		fields := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), controller) {
			return filepath.Join(c.by[controller], fields[2]), true
		}
	}
	return "", false
}
