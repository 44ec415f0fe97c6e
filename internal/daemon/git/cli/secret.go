//go:build linux

package cli

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// secret is a user and a password for one origin.
//
// They wait in a pipe that git inherits as descriptor 3. Git asks for credentials by running a helper, and only for the origin
// that the helper is registered for: a redirect elsewhere gets nothing. The helper is a line of shell made of builtins, so the
// password is never an argument. Nothing else of such a command runs: hooks, automatic maintenance and the user's own helpers
// are off, because whatever runs inherits the pipe. Steps that run hooks, as a checkout or a merge, are commands of their own
// without it.
type secret struct {
	auth   *op.Auth
	origin string // scheme://host[:port]
}

// newSecret returns nil where there is nothing to give: no credentials, or a remote that does not take them.
func newSecret(auth *op.Auth, origin string) *secret {
	if auth == nil || origin == "" {
		return nil
	}
	return &secret{auth: auth, origin: origin}
}

// helper answers one question with the lines up to the next empty one. It says nothing to store and erase.
const helper = `!f() { test "$1" = get || exit 0; while IFS= read -r l <&3 && test -n "$l"; do printf '%s\n' "$l"; done; }; f`

// copies is how often one command may ask: once for each connection.
const copies = 4

func (s *secret) settings() []string {
	out := []string{}
	for _, kv := range []string{
		"credential.helper=", // forget all others
		"credential." + s.origin + ".helper=" + helper,
		"core.askPass=",
		"core.hooksPath=/dev/null",
		"core.fsmonitor=false",
		"core.alternateRefsCommand=:",
		"gc.auto=0",
		"maintenance.auto=false",
		"fetch.recurseSubmodules=false",
		"submodule.recurse=false",
		"push.recurseSubmodules=no",
		"push.gpgSign=false",
	} {
		out = append(out, "-c", kv)
	}
	return out
}

// pipe returns a pipe that holds the credentials. The caller closes it.
func (s *secret) pipe() (*os.File, error) {
	text := []byte("username=" + s.auth.Username + "\npassword=" + s.auth.Password + "\n\n")
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	defer func() { _ = unix.Close(p[1]) }()
	r := os.NewFile(uintptr(p[0]), "credentials")
	room, err := unix.FcntlInt(uintptr(p[1]), unix.F_GETPIPE_SZ, 0)
	if err != nil || room/len(text) == 0 { // writing more would wait for a reader
		_ = r.Close()
		return nil, errs.New(errs.Exhausted, "no room for a pipe of %d bytes", len(text))
	}
	for range min(copies, room/len(text)) {
		if _, err := unix.Write(p[1], text); err != nil {
			_ = r.Close()
			return nil, os.NewSyscallError("write", err)
		}
	}
	return r, nil
}
