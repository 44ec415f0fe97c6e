//go:build linux

package process

import (
	"context"
	"maps"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/accounts"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

// identity is who a command runs as. The zero one is the daemon's user.
type identity struct {
	user accounts.User
	cred *syscall.Credential // the daemon is root: it changes over by itself
	sudo string              // else: path of sudo
}

// sudoWait bounds how long sudo may think about whether it is allowed.
const sudoWait = 10 * time.Second

// identity finds the user that a request names, and whether the daemon can run something as him.
func (h *Handler) identity(ctx context.Context, name string) (identity, error) {
	if name == "" {
		return identity{}, nil
	}
	u, ok := accounts.User{}, false
	if len(name) <= 256 && !strings.ContainsAny(name, ":\n\x00") {
		if u, ok = accounts.UserByName(name); !ok {
			if uid, err := strconv.ParseUint(name, 10, 31); err == nil {
				u, ok = accounts.UserByID(int(uid))
			}
		}
	}
	if !ok || u.UID < 0 || u.GID < 0 || u.UID >= math.MaxUint32 || u.GID >= math.MaxUint32 {
		return identity{}, errs.New(errs.Invalid, "user must be a name or uid of the sandbox's passwd file, got %q", clip(name))
	}
	if u.UID == os.Geteuid() {
		return identity{}, nil
	}
	if os.Geteuid() == 0 {
		cred := &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
		for _, g := range accounts.GroupsOf(u.Name) {
			if g < math.MaxUint32 {
				cred.Groups = append(cred.Groups, uint32(g))
			}
		}
		return identity{user: u, cred: cred}, nil
	}
	sudo := shell.LookPath("sudo", h.Env.Get("PATH"))
	if sudo == "" {
		return identity{}, errs.New(errs.Denied, "commands run as the sandbox's user, uid %d; the image has no sudo by which to run one as %s", os.Geteuid(), clip(u.Name))
	}
	who := identity{user: u, sudo: sudo}
	out := run.NewOutput(h.Runner.Budget, 4<<10)
	defer out.Release()
	path, argv := who.wrap("/bin/true", []string{"true"})
	r, err := h.Runner.Start(run.Spec{Path: path, Argv: argv, Env: h.Env.List(nil), Dir: "/", Out: out, Timeout: sudoWait})
	if err != nil {
		return identity{}, errs.Wrap(err, errs.Denied, "sudo cannot be run: %v", err)
	}
	select {
	case <-r.Done():
	case <-ctx.Done():
		r.Kill()
		return identity{}, ctx.Err()
	}
	out.Seal()
	if r.ExitCode() != 0 {
		return identity{}, errs.New(errs.Denied, "sudo does not let uid %d run commands as %s: %s", os.Geteuid(), clip(u.Name), clip(strings.TrimSpace(out.String())))
	}
	return who, nil
}

// wrap returns what to run for a program to run as this user.
func (who identity) wrap(path string, argv []string) (string, []string) {
	if who.sudo == "" {
		return path, argv
	}
	return who.sudo, append([]string{"sudo", "-n", "-E", "-H", "-u", "#" + strconv.Itoa(who.user.UID), "--", path}, argv[1:]...)
}

// environ returns extra with what tells the user who he is. Sudo sets that by itself.
func (who identity) environ(extra map[string]string) map[string]string {
	if who.cred == nil {
		return extra
	}
	out := map[string]string{"USER": who.user.Name, "LOGNAME": who.user.Name, "HOME": who.user.Home}
	maps.Copy(out, extra)
	return out
}
