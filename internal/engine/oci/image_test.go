package oci_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/errs"
)

func accounts(text string) (lines [][]string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), ":"))
	}
	return lines
}

func TestLookupUser(t *testing.T) {
	passwd := accounts("root:x:0:0:root:/root:/bin/bash\nbad:x:-1:0::/:/bin/sh\nhuge:x:70000:1::/:\ndaytona:x:1000:1000::/home/daytona:/bin/zsh\nodd:x:7:7::relative:\n7:x:8:8::/eight:\n")
	groups := accounts("root:x:0:\nsudo:x:27:daytona,other\ndaytona:x:1000:daytona\nbad:x:99999999999:daytona\nstaff:x:50:x,daytona\n")
	for _, c := range []struct {
		user string
		want oci.SandboxUser
		bad  bool
	}{
		{user: "", want: oci.SandboxUser{Name: "root", Home: "/root", Shell: "/bin/bash"}},
		{user: "daytona", want: oci.SandboxUser{Name: "daytona", UID: 1000, GID: 1000, Groups: []uint32{27, 50}, Home: "/home/daytona", Shell: "/bin/zsh"}},
		{user: "1000", want: oci.SandboxUser{Name: "daytona", UID: 1000, GID: 1000, Groups: []uint32{27, 50}, Home: "/home/daytona", Shell: "/bin/zsh"}},
		{user: "daytona:staff", want: oci.SandboxUser{Name: "daytona", UID: 1000, GID: 50, Home: "/home/daytona", Shell: "/bin/zsh"}},
		{user: "1000:12", want: oci.SandboxUser{Name: "daytona", UID: 1000, GID: 12, Home: "/home/daytona", Shell: "/bin/zsh"}},
		{user: "4242", want: oci.SandboxUser{Name: "4242", UID: 4242, Home: "/"}},
		{user: "odd", want: oci.SandboxUser{Name: "odd", UID: 7, GID: 7, Home: "/"}},
		{user: "bad", bad: true}, {user: "huge", bad: true}, {user: "nobody", bad: true}, {user: "-1", bad: true}, {user: "65536", bad: true},
		{user: "4294967296", bad: true}, {user: "daytona:", bad: true}, {user: "daytona:bad", bad: true}, {user: "0x0", bad: true}, {user: "root\x00", bad: true},
	} {
		got, err := oci.LookupUser(passwd, groups, c.user)
		if c.bad {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%q: %+v %v, want Invalid", c.user, got, err)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%q: %v %s", c.user, err, d)
		}
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n", "root")
	f.Add("a:x:1:1::/:\n::::::\n", "b:x:2:a,a,a\n", "a:b")
	f.Add(strings.Repeat("x", 70000), "\x00", "0")
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := oci.ResolveUser(dir, user)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, n := range append([]uint32{u.UID, u.GID}, u.Groups...) {
			if n > 65535 {
				t.Errorf("id %d is outside the sandbox's range: %+v", n, u)
			}
		}
		if !strings.HasPrefix(u.Home, "/") {
			t.Errorf("home %q", u.Home)
		}
	})
}
