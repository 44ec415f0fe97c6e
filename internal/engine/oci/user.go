package oci

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dugout-dev/dugout/internal/errs"
)

// sandboxUser is who the daemon runs as, in ids of the inside. It is resolved once, at Create, from the image: what the
// sandbox later does to its own passwd file changes nothing for the engine.
type sandboxUser struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
	Home   string
	Shell  string
}

const maxAccountFile = 1 << 20

// resolveUser looks a user up in the image's passwd and group files: "name", "uid", "name:group" or "uid:gid", as an image
// configuration writes them; empty means root. The files are opened beneath the image, whatever links lie there.
func resolveUser(rootfs, user string) (sandboxUser, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return sandboxUser{}, errs.Wrap(err, errs.NotFound, "the image directory %s is not there", rootfs)
	}
	defer root.Close()
	passwd, err := accountLines(root, "etc/passwd", 7)
	if err != nil {
		return sandboxUser{}, err
	}
	groups, err := accountLines(root, "etc/group", 4)
	if err != nil {
		return sandboxUser{}, err
	}
	return lookupUser(passwd, groups, user)
}

func lookupUser(passwd, groups [][]string, user string) (sandboxUser, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	var u sandboxUser
	found := false
	uid, numeric := parseID(name)
	for _, f := range passwd {
		lineUID, ok1 := parseID(f[2])
		lineGID, ok2 := parseID(f[3])
		if ok1 && ok2 && (f[0] == name || numeric && lineUID == uid) {
			u = sandboxUser{Name: f[0], UID: lineUID, GID: lineGID, Home: f[5], Shell: f[6]}
			found = true
			break
		}
	}
	if !found {
		if !numeric {
			return u, errs.New(errs.Invalid, "user is %q, it is neither in the image's passwd file nor a number below 65536", clip(user))
		}
		u = sandboxUser{Name: name, UID: uid, GID: 0}
		if uid == 0 {
			u.Name, u.Home = "root", "/root"
		}
	}
	if hasGroup {
		gid, ok := parseID(group)
		for _, f := range groups {
			if lineGID, valid := parseID(f[2]); valid && f[0] == group {
				gid, ok = lineGID, true
				break
			}
		}
		if !ok {
			return u, errs.New(errs.Invalid, "user is %q, its group is neither in the image's group file nor a number below 65536", clip(user))
		}
		u.GID = gid
	} else if found {
		for _, f := range groups {
			gid, ok := parseID(f[2])
			if ok && gid != u.GID && slices.Contains(strings.Split(f[3], ","), u.Name) && len(u.Groups) < 64 {
				u.Groups = append(u.Groups, gid)
			}
		}
	}
	if !strings.HasPrefix(u.Home, "/") || len(u.Home) > 1024 {
		u.Home = "/"
	}
	return u, nil
}

// parseID takes ids that exist inside a sandbox.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= math.MaxUint16
}

// accountLines returns the lines of a colon-separated file that have at least n fields; none when there is no such file.
func accountLines(root *os.Root, path string, n int) ([][]string, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hang the host
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.Wrap(err, errs.Invalid, "the image's %s cannot be read", path)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxAccountFile {
		return nil, errs.New(errs.Invalid, "the image's %s is not an ordinary file of at most %d bytes", path, maxAccountFile)
	}
	var lines [][]string
	scanner := bufio.NewScanner(io.LimitReader(f, maxAccountFile))
	for scanner.Scan() {
		if fields := strings.Split(scanner.Text(), ":"); len(fields) >= n {
			lines = append(lines, fields)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, errs.Wrap(err, errs.Invalid, "the image's %s cannot be read", path)
	}
	return lines, nil
}
