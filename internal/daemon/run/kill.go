//go:build linux

package run

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Killing a run means killing what came out of it, also what left its process group, its session and its parent (setsid,
// daemons that fork twice). A parent's pid is lost when the parent dies, a session can be left, an environment be cleared.
// What a process cannot lose by accident are its resource limits: they are inherited over fork, exec and setsid, also
// through sudo. So each run carries a number of its own in the soft limit RLIMIT_RTTIME. That limit counts microseconds of
// real-time scheduling; the numbers start at 142 years, so it never takes effect. /proc/<pid>/limits shows it for every
// process, whoever owns it.
//
// A program that changes that limit on purpose escapes its timeout, and nothing else: it stays inside the sandbox.
const markBase = 1 << 52

// killWait bounds the fight against a run that forks faster than it dies.
const killWait = 10 * time.Second

// marking is held from setting a mark to the fork that inherits it: the limit is that of this process, however many runners
// it has (tests have many).
var marking sync.Mutex

func setMark(mark uint64) {
	var old unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &old) == nil && old.Max >= mark {
		_ = unix.Prlimit(0, unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: mark, Max: old.Max}, nil)
	}
}

// proc is one line of the process table.
type proc struct {
	pid, ppid, pgrp, sid int
	start                string // clock ticks since boot: with the pid it names a process
	zombie               bool
}

func (p proc) key() string { return strconv.Itoa(p.pid) + "." + p.start }

// KillTree kills the child and all that came out of it and returns when none of it is left, or after 10 s.
func (c *Child) KillTree() {
	self := os.Getpid()
	known := map[string]bool{}
	deadline := time.Now().Add(killWait)
	for round := 0; ; round++ {
		// The number of the session is surely the run's own as long as its first process was not waited for.
		owned := false
		select {
		case <-c.Done():
		default:
			owned = true
			_ = c.SignalGroup(syscall.SIGKILL) // at once, and atomic for the group
		}
		left := 0
		for _, p := range c.family(processes(), known, owned) {
			if p.pid == self || p.zombie {
				continue
			}
			left++
			signal(p, syscall.SIGKILL)
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.r.Log.Warn("processes of a run could not be killed in time", "count", left)
			return
		}
		time.Sleep(min(time.Duration(round+1)*time.Millisecond, 20*time.Millisecond))
	}
}

// SignalTree sends sig once to the child and to all that came out of it. Processes that start meanwhile may be missed.
func (c *Child) SignalTree(sig syscall.Signal) {
	owned := true
	select {
	case <-c.Done():
		owned = false
	default:
	}
	self := os.Getpid()
	for _, p := range c.family(processes(), map[string]bool{}, owned) {
		if p.pid != self && !p.zombie {
			signal(p, sig)
		}
	}
}

// family selects the processes of the child: by its mark, by session and group while that number is surely its own, and
// whatever descends from one of these or from one seen in an earlier round.
func (c *Child) family(table []proc, known map[string]bool, owned bool) []proc {
	self := os.Getpid()
	in := map[int]bool{}
	for _, p := range table {
		if p.pid == 1 || p.pid == self { // this process carries the mark of the last one it started
			continue
		}
		if known[p.key()] || owned && (p.sid == c.Pid || p.pgrp == c.Pid) || markOf(p.pid) == c.mark {
			in[p.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range table {
			if !in[p.pid] && p.pid != 1 && p.pid != self && in[p.ppid] {
				in[p.pid], grown = true, true
			}
		}
	}
	var out []proc
	for _, p := range table {
		if in[p.pid] {
			known[p.key()] = true
			out = append(out, p)
		}
	}
	return out
}

// signal sends sig to exactly the process that p describes.
func signal(p proc, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		if err == unix.ENOSYS {
			_ = syscall.Kill(p.pid, sig)
		}
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if now, ok := stat(p.pid); ok && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// processes reads the process table.
func processes() []proc {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1)
	out := make([]proc, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := stat(pid); ok {
			out = append(out, p)
		}
	}
	return out
}

// stat reads /proc/<pid>/stat. The name in it is the process's own choice and may hold anything: fields are counted from
// the last closing parenthesis.
func stat(pid int) (proc, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return proc{}, false
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return proc{}, false
	}
	p := proc{pid: pid, zombie: f[0][0] == 'Z' || f[0][0] == 'X', start: string(f[19])}
	p.ppid, _ = strconv.Atoi(string(f[1]))
	p.pgrp, _ = strconv.Atoi(string(f[2]))
	p.sid, _ = strconv.Atoi(string(f[3]))
	return p, true
}

// markOf reads the mark of a process; 0: none.
func markOf(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0
	}
	const name = "Max realtime timeout"
	i := bytes.Index(b, []byte(name))
	if i < 0 {
		return 0
	}
	f := bytes.Fields(b[i+len(name):])
	if len(f) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(string(f[0]), 10, 64)
	if err != nil || n < markBase {
		return 0
	}
	return n
}
