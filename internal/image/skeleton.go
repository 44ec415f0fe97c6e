package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// skeleton makes what every root filesystem has, whatever the packages brought: mount points, and the files that an engine
// covers with its own, as ordinary files.
func (b *builder) skeleton(context.Context) error {
	for _, dir := range []string{"dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr/bin", "var/tmp"} {
		if err := b.makeDir(dir, 0o755); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]fs.FileMode{"root": 0o700, "tmp": 0o777 | fs.ModeSticky, "var/tmp": 0o777 | fs.ModeSticky} {
		if err := b.root.Chmod(dir, mode); err != nil {
			return err
		}
	}
	files := map[string]string{
		"etc/resolv.conf": "",
		"etc/hostname":    "localhost\n",
		"etc/hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"etc/machine-id":  "",
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		"etc/shells": "/bin/sh\n",
	} {
		if _, err := b.root.Lstat(name); errors.Is(err, os.ErrNotExist) {
			files[name] = text
		}
	}
	for name, text := range files {
		if err := b.writeFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// linkBusybox makes a link to busybox for each of its commands that the image does not have.
func (b *builder) linkBusybox(ctx context.Context) error {
	target := "/" + b.recipe.Busybox
	st, err := b.root.Lstat(b.recipe.Busybox)
	if err != nil || !st.Mode().IsRegular() {
		return errs.Wrap(err, errs.Invalid, "recipe %q: busybox is %q, which is no file of its packages", b.recipe.Name, b.recipe.Busybox)
	}
	var commands []string
	err = b.onHost(ctx, func(text string) { commands = append(commands, text) }, path.Join(b.rootfs, b.recipe.Busybox), "--list-full")
	if err != nil {
		return err
	}
	for _, name := range commands {
		if !fs.ValidPath(name) || strings.ContainsAny(name, " \\") {
			return errs.New(errs.Invalid, "busybox names a command %q, which is no path", name)
		}
		if _, err := b.root.Lstat(name); err == nil {
			continue
		}
		if err := b.makeDir(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := b.root.Symlink(target, name); err != nil {
			return err
		}
	}
	return nil
}

// addAccounts appends the recipe's users to the image's account files and makes their homes.
func (b *builder) addAccounts(context.Context) error {
	for _, a := range b.recipe.Accounts {
		if err := b.addAccount(a); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addAccount(a Account) error {
	passwd, err := b.root.ReadFile("etc/passwd")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.SplitN(line, ":", 4)
		if f[0] == a.Name || (len(f) > 2 && f[2] == fmt.Sprint(a.UID)) {
			return errs.New(errs.Invalid, "recipe %q: the account %s with uid %d clashes with %q, which a package made", b.recipe.Name, a.Name, a.UID, f[0])
		}
	}
	for name, line := range map[string]string{
		"etc/passwd": fmt.Sprintf("%s:x:%d:%d::%s:%s\n", a.Name, a.UID, a.UID, a.Home, a.Shell),
		"etc/group":  fmt.Sprintf("%s:x:%d:\n", a.Name, a.UID),
		// "*" is no password that anyone could type; "!" would also lock the account for pam.
		"etc/shadow":  fmt.Sprintf("%s:*:%d:0:99999:7:::\n", a.Name, time.Now().Unix()/86400),
		"etc/gshadow": fmt.Sprintf("%s:*::\n", a.Name),
	} {
		if err := b.appendFile(name, line); err != nil {
			return err
		}
	}
	home := strings.TrimPrefix(a.Home, "/")
	if err := b.makeDir(home, 0o755); err != nil {
		return err
	}
	if err := b.copySkel(home); err != nil {
		return err
	}
	err = fs.WalkDir(b.root.FS(), home, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, b.root.Lchown(p, a.UID, a.UID))
	})
	if err != nil || !a.Sudo {
		return err
	}
	return b.writeFile("etc/sudoers.d/"+a.Name, a.Name+" ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
}

// copySkel copies the plain files of /etc/skel, as useradd would.
func (b *builder) copySkel(home string) error {
	list, err := fs.ReadDir(b.root.FS(), "etc/skel")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		data, err := b.root.ReadFile("etc/skel/" + e.Name())
		if err != nil {
			return err
		}
		if err := b.writeFile(path.Join(home, e.Name()), string(data), 0o644); err != nil {
			return err
		}
	}
	return err
}

// writeFile replaces whatever has that name, a link too, by an ordinary file of root. The mode is exact, whatever our umask.
func (b *builder) writeFile(name, text string, mode fs.FileMode) error {
	if err := b.root.RemoveAll(name); err != nil {
		return err
	}
	if err := b.root.WriteFile(name, []byte(text), mode); err != nil {
		return err
	}
	return b.root.Chmod(name, mode)
}

// appendFile adds text to a file that exists; an image without that file does not get it.
func (b *builder) appendFile(name, text string) error {
	f, err := b.root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// makeDir makes a directory and those above it that are missing, each with that exact mode.
func (b *builder) makeDir(name string, mode fs.FileMode) error {
	var missing []string
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if _, err := b.root.Stat(dir); err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		if err := b.root.Mkdir(dir, mode.Perm()); err != nil {
			return err
		}
		if err := b.root.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return nil
}
