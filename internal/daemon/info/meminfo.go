//go:build linux

package info

import (
	"bytes"
	"fmt"
)

// MemInfo is /proc/meminfo as the sandbox should see it: its limit as the whole memory, no swap, and what its control group
// counts. Programs that size themselves by it, free and top then agree with the limit. Fields that a control group does not
// count are 0.
func (h *Handler) MemInfo() []byte {
	return memInfo(h.usage("/sys/fs/cgroup"))
}

func memInfo(u usage) []byte {
	m := u.memory
	free := u.memTotal - min(u.memTotal, m.used)
	available := min(u.memTotal, free+m.activeFile+m.inactiveFile+m.reclaimable)
	var b bytes.Buffer
	for _, f := range []struct {
		name  string
		bytes uint64
	}{
		{"MemTotal", u.memTotal}, {"MemFree", free}, {"MemAvailable", available}, {"Buffers", 0}, {"Cached", m.cache},
		{"SwapCached", 0}, {"Active", m.activeAnon + m.activeFile}, {"Inactive", m.inactiveAnon + m.inactiveFile},
		{"Active(anon)", m.activeAnon}, {"Inactive(anon)", m.inactiveAnon}, {"Active(file)", m.activeFile}, {"Inactive(file)", m.inactiveFile},
		{"Unevictable", m.unevictable}, {"Mlocked", m.unevictable}, {"SwapTotal", 0}, {"SwapFree", 0}, {"Dirty", m.dirty}, {"Writeback", m.writeback},
		{"AnonPages", m.anon}, {"Mapped", m.mapped}, {"Shmem", m.shmem}, {"KReclaimable", m.reclaimable},
		{"Slab", m.reclaimable + m.unreclaimable}, {"SReclaimable", m.reclaimable}, {"SUnreclaim", m.unreclaimable},
	} {
		fmt.Fprintf(&b, "%-15s %8d kB\n", f.name+":", f.bytes/1024)
	}
	return b.Bytes()
}
