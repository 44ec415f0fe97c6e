// Package accounts reads the passwd and group files of the sandbox. They belong to the sandbox and may be anything: they
// are opened without waiting, must be regular files, and are read up to a limit.
package accounts

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Paths and limits.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
	maxFile    = 4 << 20 // bytes
)

// User is a line of the passwd file.
type User struct {
	Name, Home, Shell string
	UID, GID          int
}

// UserByID returns the first user with this uid.
func UserByID(uid int) (User, bool) {
	return findUser(func(u User) bool { return u.UID == uid })
}

// UserByName returns the first user with this name.
func UserByName(name string) (User, bool) {
	return findUser(func(u User) bool { return u.Name == name })
}

func findUser(match func(User) bool) (found User, ok bool) {
	lines(passwdFile, func(f []string) bool {
		if len(f) < 7 {
			return true
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		u := User{Name: f[0], UID: uid, GID: gid, Home: f[5], Shell: f[6]}
		if err1 != nil || err2 != nil || !match(u) {
			return true
		}
		found, ok = u, true
		return false
	})
	return found, ok
}

// GroupID returns the gid of the first group with this name.
func GroupID(name string) (gid int, ok bool) {
	lines(groupFile, func(f []string) bool {
		if len(f) < 3 || f[0] != name {
			return true
		}
		n, err := strconv.Atoi(f[2])
		gid, ok = n, err == nil
		return !ok
	})
	return gid, ok
}

// maxGroups bounds the groups of one user, as the kernel does for a process (NGROUPS_MAX).
const maxGroups = 65536

// GroupsOf returns the gids of the groups that list the user as a member; his own group is not among them unless it does.
func GroupsOf(name string) (gids []int) {
	lines(groupFile, func(f []string) bool {
		if len(f) < 4 || len(gids) >= maxGroups {
			return true
		}
		for m := range strings.SplitSeq(f[3], ",") {
			if n, err := strconv.Atoi(f[2]); m == name && err == nil && n >= 0 {
				gids = append(gids, n)
			}
		}
		return true
	})
	return gids
}

// lines calls fn with the fields of each line until it returns false.
func lines(path string, fn func(fields []string) bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return
	}
	sc := bufio.NewScanner(io.LimitReader(f, maxFile))
	for sc.Scan() {
		if line := sc.Text(); line != "" && line[0] != '#' && !fn(strings.Split(line, ":")) {
			return
		}
	}
}
