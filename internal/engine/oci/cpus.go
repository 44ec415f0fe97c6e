package oci

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Programs ask how many processors they may run on (nproc, os.cpu_count, GOMAXPROCS) and start that many threads. So each
// start of a sandbox is given as many of the host's processors as its limit has cores, those with the fewest sandboxes, and
// its daemon starts programs there. That is advice and no boundary: the boundary is the control group's quota, and a
// program that widens its affinity gains nothing over it.

// hostCPUs lists the processors that this process may use.
func hostCPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var out []int
	for i := 0; len(out) < set.Count(); i++ {
		if set.IsSet(i) {
			out = append(out, i)
		}
	}
	return out
}

// pickCPUs chooses processors for a start of b; nil: all.
func (e *Engine) pickCPUs(b *box, milli int64) []int {
	n := int((milli + 999) / 1000)
	if n <= 0 || n >= len(e.cpus) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	load := map[int]int{}
	for _, other := range e.boxes {
		other.mu.Lock()
		if other != b {
			for _, cpu := range other.cpus {
				load[cpu]++
			}
		}
		other.mu.Unlock()
	}
	free := slices.Clone(e.cpus)
	slices.SortStableFunc(free, func(x, y int) int { return cmp.Compare(load[x], load[y]) })
	picked := free[:n]
	slices.Sort(picked)
	b.set(func() { b.cpus = picked })
	return picked
}

// cpuList writes processors as the kernel does: 0,2,3.
func cpuList(cpus []int) string {
	text := make([]string, len(cpus))
	for i, cpu := range cpus {
		text[i] = strconv.Itoa(cpu)
	}
	return strings.Join(text, ",")
}
