package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// accounts is where the kernel keeps CPU time per group: the cpuacct hierarchy of cgroup v1, or the one of v2.
func accounts() string {
	if _, err := os.Stat("/sys/fs/cgroup/cpuacct/cgroup.procs"); err == nil {
		return "/sys/fs/cgroup/cpuacct"
	}
	return "/sys/fs/cgroup"
}

func makeAccount(name string) string {
	dir := filepath.Join(accounts(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return ""
	}
	return dir
}

func dropAccount(dir string) {
	if dir != "" {
		_ = os.Remove(dir)
	}
}

// findAccount returns the group that holds the sandbox's group: the account of all sandboxes of this server.
func findAccount(sandbox string) string {
	found := ""
	root := accounts()
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if d.Name() == sandbox {
			found = filepath.Dir(path)
			return fs.SkipAll
		}
		return nil
	})
	if found == root {
		return "" // the groups of sandboxes have no parent of their own
	}
	return found
}

// accountCPU reads the CPU time of a group and everything that ever ran below it.
func accountCPU(dir string) time.Duration {
	if text, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage")); err == nil {
		n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(n)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

// accountPSS sums the proportional set size of every process in the group and below, in bytes, and counts them.
func accountPSS(dir string) (sum int64, processes int) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil
		}
		text, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				sum += pss(pid)
				processes++
			}
		}
		return nil
	})
	return sum, processes
}

// hostCPU is the time all cores together were not idle, interrupts included. It is counted in ticks of 10 ms.
func hostCPU() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	var busy int64
	for i, field := range strings.Fields(line) {
		if i >= 1 && i <= 7 && i != 4 && i != 5 { // user nice system - idle iowait - irq softirq
			n, _ := strconv.ParseInt(field, 10, 64)
			busy += n
		}
	}
	return time.Duration(busy) * 10 * time.Millisecond
}

func fieldOf(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), name+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// pss is the proportional set size of a process in bytes.
func pss(pid int) int64 { return fieldOf(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss") }

// available is the memory the host could still hand out, in bytes.
func available() int64 { return fieldOf("/proc/meminfo", "MemAvailable") }

// unmountBelow detaches what a server that was killed may have left mounted in its directory.
func unmountBelow(dir string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	for i := len(points) - 1; i >= 0; i-- {
		_ = syscall.Unmount(points[i], syscall.MNT_DETACH)
	}
}

// hostFacts says on what machine the figures were taken.
type hostFacts struct {
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory_bytes"`
	Kernel  string `json:"kernel"`
	Cgroup  string `json:"cgroup"`
	LoadAvg string `json:"load_average_at_start"`
}

func readHost() hostFacts {
	h := hostFacts{Cores: runtime.NumCPU(), Memory: fieldOf("/proc/meminfo", "MemTotal"), Cgroup: "v2", LoadAvg: loadAverage()}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = strings.TrimSpace(string(text))
	}
	if accounts() != "/sys/fs/cgroup" {
		h.Cgroup = "v1"
	}
	return h
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(text))
	if len(f) < 3 {
		return ""
	}
	return strings.Join(f[:3], " ")
}
