package oci_test

import (
	"slices"
	"testing"

	"github.com/dugout-dev/dugout/internal/engine/oci"
)

func TestVersionAtLeast(t *testing.T) {
	for _, c := range []struct {
		version string
		want    bool
	}{
		{"1.5.2", true}, {"1.5.3", true}, {"1.10.0", true}, {"2.0.0", true}, {"1.5.2+dev", true}, {"v1.6.0", true},
		{"1.5.1", false}, {"1.4.9", false}, {"1.1.5+ds1", false}, {"1.5.2-rc.1", false}, {"1.6.0-rc.1", true}, {"0.9.9", false}, {"", false}, {"one", false}, {"1.5", false},
	} {
		if got := oci.VersionAtLeast(c.version, "1.5.2"); got != c.want {
			t.Errorf("%q at least 1.5.2: %v", c.version, got)
		}
	}
	if v := oci.ParseRuncVersion("runc version 1.5.2\ncommit: x\n"); v != "1.5.2" {
		t.Errorf("version %q", v)
	}
	if v := oci.ParseRuncVersion("podman 3\n"); oci.VersionAtLeast(v, "0.0.1") {
		t.Errorf("version %q", v)
	}
	for _, c := range []struct {
		release string
		want    bool
	}{{"6.18.44-fc", true}, {"5.19.0", true}, {"5.19-rc1", true}, {"5.15.0-91-generic", false}, {"6.1", true}, {"4.18.0-553.el8", false}, {"", false}} {
		if got := oci.KernelAtLeast(c.release, "5.19.0"); got != c.want {
			t.Errorf("kernel %q at least 5.19: %v", c.release, got)
		}
	}
}

func TestParseCgroups(t *testing.T) {
	const v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	const hybrid = `20 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw
21 20 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
22 20 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
23 20 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
24 20 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
25 20 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	for _, c := range []struct {
		name, mountinfo, version string
		file                     string
		mounts                   int
		bad                      bool
	}{
		{name: "v2", mountinfo: v2, version: "v2", file: "/sys/fs/cgroup/p/id/memory.max", mounts: 1},
		{name: "hybrid", mountinfo: hybrid, version: "v1", file: "/sys/fs/cgroup/memory/p/id/memory.max", mounts: 5},
		{name: "none", mountinfo: "garbage\n\n - \n1 2 3 - cgroup\n", bad: true},
		{name: "v1 without pids", mountinfo: "22 20 0:22 / /c/memory rw - cgroup cgroup rw,memory,cpu\n", bad: true},
	} {
		got, err := oci.ParseCgroups([]byte(c.mountinfo), "/p")
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !c.bad && (got.String() != c.version || oci.CgroupFile(got, "memory", "id", "memory.max") != c.file || oci.CgroupMounts(got) != c.mounts) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestIDPool(t *testing.T) {
	const first, count, size = 1 << 20, 50, 65536
	p := oci.NewIDPool(first, count)
	p.Adopt(first + 3*size)
	p.Adopt(12345) // of an older configuration
	var taken []uint32
	for range count - 1 {
		n, err := p.Take()
		if err != nil || n < first || n >= first+count*size || (n-first)%size != 0 || n == first+3*size || slices.Contains(taken, n) {
			t.Fatalf("took %d %v after %v", n, err, taken)
		}
		taken = append(taken, n)
	}
	if slices.IsSorted(taken) {
		t.Error("ranges are given out in order")
	}
	if n, err := p.Take(); err == nil {
		t.Errorf("took %d from an empty pool", n)
	}
	p.Give(taken[7])
	p.Give(taken[7]) // twice by mistake must not give it to two
	p.Give(99)
	if n, err := p.Take(); err != nil || n != taken[7] {
		t.Errorf("took %d %v, want %d", n, err, taken[7])
	}
	if n, err := p.Take(); err == nil {
		t.Errorf("took %d, which is taken", n)
	}
}
