package oci

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Dial connects to the daemon of a running sandbox.
//
// The socket's directory belongs to the sandbox, which may put anything there. The name is therefore opened without
// following links, must be a socket, and the connection is made to what was opened, not to what the name means by then.
func (e *Engine) Dial(ctx context.Context, id string) (net.Conn, error) {
	b := e.lookup(id, false)
	if b == nil {
		return nil, notFound(id)
	}
	_, _, r := b.get()
	if r == nil {
		return nil, notRunning(id)
	}
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		conn, err := dialSocket(ctx, e.run("s", id, "sock"))
		if err == nil {
			return conn, nil
		}
		if pidfdGone(r) {
			return nil, notRunning(id)
		}
		// A full backlog: the daemon is busy, not dead.
		if !errors.Is(err, unix.EAGAIN) {
			return nil, errs.Wrap(err, errs.Unavailable, "the daemon of sandbox %s does not answer", id)
		}
		select {
		case <-ctx.Done():
			return nil, timeoutError(ctx, "the daemon did not take the connection in time")
		case <-r.ended:
			return nil, notRunning(id)
		case <-time.After(wait):
		}
	}
}

var errNotSocket = errors.New("what lies at the daemon's address is not a socket")

func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	dirfd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dirfd)
	fd, err := unix.Openat(dirfd, socketName, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errNotSocket
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
}
