//go:build linux

package info_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/daemon/info"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  info.Reading
	}{
		"version 2": {map[string]string{"memory.current": "1000\n", "memory.max": "5000\n", "memory.stat": "anon 600\ninactive_file 300\n", "cpu.stat": "usage_usec 2000000\nuser_usec 1\n", "cpu.max": "150000 100000\n"},
			info.Reading{CPU: 2 * time.Second, MilliCPU: 1500, MemTotal: 5000, MemUsed: 700, MemCache: 300}},
		"version 2, no limits": {map[string]string{"memory.current": "100\n", "memory.max": "max\n", "memory.stat": "inactive_file 300\n", "cpu.stat": "usage_usec 1\n", "cpu.max": "max 100000\n"},
			info.Reading{CPU: time.Microsecond, MemCache: 300}},
		"version 1": {map[string]string{"memory/memory.usage_in_bytes": "1000", "memory/memory.limit_in_bytes": "5000", "memory/memory.stat": "total_inactive_file 100\n", "cpuacct/cpuacct.usage": "7", "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
			info.Reading{CPU: 7, MilliCPU: 500, MemTotal: 5000, MemUsed: 900, MemCache: 100}},
		"version 1, no limits": {map[string]string{"memory/memory.usage_in_bytes": "1000", "memory/memory.limit_in_bytes": "9223372036854771712", "cpu,cpuacct/cpuacct.usage": "7", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
			info.Reading{CPU: 7, MemUsed: 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, info.Read(tree(t, tt.files))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := info.Read(t.TempDir()); got.CPU == 0 || got.MemUsed == 0 {
		t.Errorf("without control groups: %+v", got)
	}
}

func TestReadProc(t *testing.T) {
	// A process may call itself anything.
	stat := func(name string, cpu int) string {
		return fmt.Sprintf("1 (%s) S 0 1 1 0 -1 4194560 1 1 1 1 %d 2 3 4 20 0 7 0 1 1000 200\n", name, cpu)
	}
	root := tree(t, map[string]string{"1/stat": stat("dugoutd", 100), "1/statm": "100 10 5 0 0 0 0\n", "22/stat": stat(") R 9 9 9 (", 1), "22/statm": "9 1 0 0 0 0 0", "33/stat": "torn", "self/stat": stat("x", 999), "44/statm": "x"})
	want := info.Reading{CPU: (101 + 18) * 10 * time.Millisecond, MemUsed: uint64(11 * os.Getpagesize())}
	if diff := cmp.Diff(want, info.ReadProc(root)); diff != "" {
		t.Error(diff)
	}
}
