//go:build linux

package info

import "time"

// Reading is one reading of the counters.
type Reading struct {
	CPU               time.Duration
	MilliCPU          int64
	MemTotal          uint64
	MemUsed, MemCache uint64
}

// Read reads below root.
func Read(root string) Reading { return Reading(plain(read(root))) }

// ReadProc reads a process table.
func ReadProc(dir string) Reading { return Reading(plain(readProc(dir))) }

func plain(u usage) Reading {
	return Reading{CPU: u.cpu, MilliCPU: u.milliCPU, MemTotal: u.memTotal, MemUsed: u.memUsed, MemCache: u.memCache}
}
