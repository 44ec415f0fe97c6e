//go:build linux

package info

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Limits of the sandbox, where the engine told them: a sandbox that cannot see its control group knows them only from there.
type Limits struct {
	MilliCPU    int64 // thousandths of a core; 0: unknown
	MemoryBytes int64 // 0: unknown
}

// usage is one reading of the counters.
type usage struct {
	cpu               time.Duration // used since the start
	milliCPU          int64         // limit; 0: unknown
	memTotal          uint64        // 0: unknown
	memUsed, memCache uint64
	memory            memory
	oomKills          uint64
}

// memory is what the control group counts, in bytes; 0 also where this version of it does not count.
type memory struct {
	used                                               uint64 // with all caches
	cache, anon, shmem, mapped, dirty, writeback       uint64
	activeAnon, inactiveAnon, activeFile, inactiveFile uint64
	unevictable, reclaimable, unreclaimable            uint64
}

// minWindow is the shortest time over which CPU use is measured: a call right after another gets the same figure.
const minWindow = 200 * time.Millisecond

// window remembers the previous reading of the CPU counter. Nothing runs between the calls.
type window struct {
	mu   sync.Mutex // guards all below
	at   time.Time
	used time.Duration
	pct  float64
}

func (w *window) percent(used time.Duration, milli int64) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.at.IsZero() {
		w.at, w.used = now, used
		return 0
	}
	wall := now.Sub(w.at)
	if wall < minWindow {
		return w.pct
	}
	share := float64(used-w.used) / float64(wall) * 1000 / float64(milli) * 100
	w.at, w.used = now, used
	w.pct = math.Round(max(share, 0)*100) / 100
	return w.pct
}

// usage is a reading with the limits filled in.
func (h *Handler) usage(root string) usage {
	u := read(root)
	if u.memory.used == 0 { // no control group: all is taken for programs' own
		u.memory.used, u.memory.anon = u.memUsed, u.memUsed
	}
	if u.milliCPU <= 0 {
		u.milliCPU = h.Limits.MilliCPU
	}
	if u.milliCPU <= 0 {
		u.milliCPU = int64(runtime.NumCPU()) * 1000
	}
	if u.memTotal == 0 {
		u.memTotal = uint64(h.Limits.MemoryBytes)
	}
	if total := machineMemory(); u.memTotal == 0 || total > 0 && u.memTotal > total {
		u.memTotal = total
	}
	return u
}

func (h *Handler) metrics(context.Context, *struct{}) (toolbox.Metrics, error) {
	return h.measure(&h.cpu), nil
}

// measure reads all figures. Each caller has a window of its own, so that one does not shorten the other's.
func (h *Handler) measure(w *window) toolbox.Metrics {
	u := h.usage("/sys/fs/cgroup")
	now := time.Now().UTC()
	m := toolbox.Metrics{CPUCount: int((u.milliCPU + 999) / 1000), CPUUsedPct: w.percent(u.cpu, u.milliCPU),
		MemTotal: u.memTotal, MemUsed: u.memUsed, MemCache: u.memCache, OOMKills: u.oomKills, Timestamp: now.Format(time.RFC3339Nano), TimestampUnix: now.Unix()}
	var fs unix.Statfs_t
	if unix.Statfs("/", &fs) == nil {
		size := uint64(fs.Bsize)
		m.DiskTotal, m.DiskFree, m.DiskUsed = fs.Blocks*size, fs.Bavail*size, (fs.Blocks-fs.Bfree)*size
	}
	return m
}

// read takes the counters from the control group that is visible below root, version 2 or 1, or else from the process table.
func read(root string) usage {
	if u, ok := readV2(root); ok {
		return u
	}
	if u, ok := readV1(root); ok {
		return u
	}
	return readProc("/proc")
}

func readV2(dir string) (u usage, ok bool) {
	used, ok1 := number(filepath.Join(dir, "memory.current"))
	stat := table(filepath.Join(dir, "cpu.stat"))
	usec, ok2 := stat["usage_usec"]
	if !ok1 || !ok2 {
		return usage{}, false
	}
	u.cpu = time.Duration(usec) * time.Microsecond
	m := table(filepath.Join(dir, "memory.stat"))
	u.memCache = m["inactive_file"]
	u.memory = memory{used: used, cache: m["file"], anon: m["anon"], shmem: m["shmem"], mapped: m["file_mapped"], dirty: m["file_dirty"], writeback: m["file_writeback"],
		activeAnon: m["active_anon"], inactiveAnon: m["inactive_anon"], activeFile: m["active_file"], inactiveFile: m["inactive_file"],
		unevictable: m["unevictable"], reclaimable: m["slab_reclaimable"], unreclaimable: m["slab_unreclaimable"]}
	u.memUsed = used - min(used, u.memCache)
	u.oomKills = table(filepath.Join(dir, "memory.events"))["oom_kill"]
	u.memTotal, _ = number(filepath.Join(dir, "memory.max"))
	if quota, period, found := strings.Cut(content(filepath.Join(dir, "cpu.max")), " "); found {
		u.milliCPU = milli(quota, period)
	}
	return u, true
}

func readV1(root string) (u usage, ok bool) {
	used, ok1 := number(filepath.Join(root, "memory/memory.usage_in_bytes"))
	if !ok1 {
		return usage{}, false
	}
	nsec, ok := number(filepath.Join(root, "cpuacct/cpuacct.usage"))
	if !ok {
		nsec, ok = number(filepath.Join(root, "cpu,cpuacct/cpuacct.usage"))
	}
	if u.cpu = time.Duration(nsec); !ok { // the group that counts is not shown
		u.cpu = readProc("/proc").cpu
	}
	m := table(filepath.Join(root, "memory/memory.stat"))
	u.memCache = m["total_inactive_file"]
	u.memory = memory{used: used, cache: m["total_cache"], anon: m["total_rss"], shmem: m["total_shmem"], mapped: m["total_mapped_file"], dirty: m["total_dirty"], writeback: m["total_writeback"],
		activeAnon: m["total_active_anon"], inactiveAnon: m["total_inactive_anon"], activeFile: m["total_active_file"], inactiveFile: m["total_inactive_file"],
		unevictable: m["total_unevictable"]}
	u.memUsed = used - min(used, u.memCache)
	u.oomKills = table(filepath.Join(root, "memory/memory.oom_control"))["oom_kill"]
	if limit, ok := number(filepath.Join(root, "memory/memory.limit_in_bytes")); ok && limit < 1<<60 {
		u.memTotal = limit
	}
	u.milliCPU = milli(content(filepath.Join(root, "cpu/cpu.cfs_quota_us")), content(filepath.Join(root, "cpu/cpu.cfs_period_us")))
	return u, true
}

// clockTick is the unit of times in /proc: it has been 100 per second on every architecture since Linux 2.6.
const clockTick = time.Second / 100

// readProc adds up all processes of the sandbox. The times of ended processes are in those of the process that waited for
// them, in the end in the daemon's. Shared memory counts once per process, so memory is an upper estimate.
func readProc(proc string) (u usage) {
	d, err := os.Open(proc)
	if err != nil {
		return u
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		stat := content(filepath.Join(proc, name, "stat"))
		i := strings.LastIndexByte(stat, ')')
		if i < 0 {
			continue
		}
		f := strings.Fields(stat[i+1:])
		if len(f) < 22 {
			continue
		}
		for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(ticks, 10, 64)
			u.cpu += time.Duration(n) * clockTick
		}
		m := strings.Fields(content(filepath.Join(proc, name, "statm")))
		if len(m) >= 3 {
			rss, _ := strconv.ParseUint(m[1], 10, 64)
			u.memUsed += rss * uint64(os.Getpagesize())
		}
	}
	return u
}

// machineMemory returns the memory of the machine in bytes. It does not read /proc/meminfo, which this process itself may
// be serving.
func machineMemory() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return uint64(si.Totalram) * uint64(si.Unit)
}

// milli is a CPU quota in thousandths of a core; 0: none.
func milli(quota, period string) int64 {
	q, err1 := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0
	}
	return q * 1000 / p
}

func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(path string) (uint64, bool) {
	n, err := strconv.ParseUint(content(path), 10, 64)
	return n, err == nil
}

// table reads lines of a name and a number.
func table(path string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(content(path)) {
		f := strings.Fields(line)
		if len(f) >= 2 {
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				out[f[0]] = n
			}
		}
	}
	return out
}
