package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// A sandbox that runs while the platform is upgraded keeps the daemon that it was started with. A runner therefore asks every
// daemon of another version to go over to its own: the daemon executes the new program in its own process, with all that it
// holds, so that nothing in the sandbox is lost (internal/daemon/replace.go). The program travels as an open descriptor: what is
// mounted in the sandbox stays as it is.

// Limits of upgrades.
const (
	upgradeTimeout = 15 * time.Second // of one
	upgradesAtOnce = 2                // in the background
	busyFirst      = 10 * time.Second // until a busy daemon is asked again; it doubles
	busyLast       = 5 * time.Minute
	maxAnswer      = 64 << 10 // bytes of a daemon's answer
)

// Upgrade makes the daemon of a running sandbox one of this runner's version. A daemon that is busy with requests that would be
// cut stays as it is, unless force is set. When anything goes wrong, it goes on as before.
func (h *Host) Upgrade(ctx context.Context, sid string, force bool) (out wire.Upgraded, err error) {
	defer h.measure("upgrade", time.Now(), &err)
	if h.cfg.Daemon == "" {
		return out, errs.New(errs.Unimplemented, "this runner has no daemon to upgrade to")
	}
	unlock := h.locks.lock(sid) // nobody stops the sandbox meanwhile: a signal that comes during the exec would be lost
	defer unlock()
	st, err := h.deps.Engine.Inspect(ctx, sid)
	if err != nil {
		return out, err
	}
	if st.State != engine.Running {
		return out, errs.New(errs.WrongState, "sandbox %s is not running", sid)
	}
	ctx, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	if out.Before, err = h.daemonVersion(ctx, sid); err != nil {
		return out, err
	}
	out.Version = out.Before
	if out.Before == h.cfg.Version {
		return out, nil
	}
	release := h.relay.Hold(sid)
	defer release()
	began := time.Now()
	answer, err := h.replaceDaemon(ctx, sid, force)
	if err != nil {
		return out, err
	}
	if answer.Busy {
		out.Busy = true
		return out, nil
	}
	if !answer.OK {
		return out, errs.New(errs.Unavailable, "the daemon of sandbox %s was not upgraded: %s", sid, clip(answer.Error))
	}
	out.Version, out.Replaced, out.BlackoutMS = clip(answer.Version), true, float64(time.Since(began).Microseconds())/1000
	return out, nil
}

// dial connects to a daemon for one exchange.
func (h *Host) dial(ctx context.Context, sid string) (net.Conn, error) {
	c, err := h.deps.Engine.Dial(ctx, sid)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	return c, nil
}

// unanswered wraps the error of an exchange with a daemon.
func unanswered(sid string, err error) error {
	return errs.Wrap(err, errs.Unavailable, "the daemon of sandbox %s does not answer", sid)
}

func (h *Host) daemonVersion(ctx context.Context, sid string) (string, error) {
	c, err := h.dial(ctx, sid)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /version HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n"); err != nil {
		return "", unanswered(sid, err)
	}
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), nil)
	if err != nil {
		return "", unanswered(sid, err)
	}
	defer func() { _ = res.Body.Close() }()
	var v toolbox.Version
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		return "", unanswered(sid, err)
	}
	return clip(v.Version), nil
}

// replaceDaemon hands the new program to the daemon and returns what it, or its successor, says.
func (h *Host) replaceDaemon(ctx context.Context, sid string, force bool) (out toolbox.DaemonReplaced, err error) {
	program, err := os.Open(h.cfg.Daemon)
	if err != nil {
		return out, errs.Wrap(err, errs.Internal, "the daemon's program cannot be read")
	}
	defer func() { _ = program.Close() }()
	conn, err := h.dial(ctx, sid)
	if err != nil {
		return out, err
	}
	defer func() { _ = conn.Close() }()
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return out, errs.New(errs.Unimplemented, "this engine's daemons cannot be upgraded")
	}
	_, err = fmt.Fprintf(c, "POST %s?force=%t HTTP/1.1\r\nHost: daemon\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", toolbox.ReplacePath, force, toolbox.ReplaceProtocol)
	if err != nil {
		return out, unanswered(sid, err)
	}
	rd := bufio.NewReader(io.LimitReader(c, maxAnswer))
	res, err := http.ReadResponse(rd, nil)
	if err != nil {
		return out, unanswered(sid, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		_ = res.Body.Close()
		return out, errs.New(errs.Unavailable, "the daemon of sandbox %s cannot be replaced: it answers %d", sid, res.StatusCode)
	}
	if _, _, err := c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(program.Fd())), nil); err != nil {
		return out, unanswered(sid, err)
	}
	line, err := rd.ReadBytes('\n')
	if err != nil {
		return out, unanswered(sid, err)
	}
	if err := json.Unmarshal(line, &out); err != nil {
		return out, unanswered(sid, err)
	}
	return out, nil
}

// upgradeAll upgrades the daemons that were running when this runner started, a few at a time. One that is busy is asked again
// later; one that fails stays what it is until its sandbox is started again.
func (h *Host) upgradeAll(ctx context.Context) {
	if h.cfg.Daemon == "" {
		return
	}
	h.mu.Lock()
	var ids []string
	for sid := range h.running {
		ids = append(ids, sid)
	}
	h.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, upgradesAtOnce)
	for _, sid := range ids {
		wg.Go(func() {
			for pause := busyFirst; ; pause = min(2*pause, busyLast) {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return
				}
				again := h.upgradeOne(ctx, sid)
				<-slots
				if !again {
					return
				}
				t := time.NewTimer(pause)
				select {
				case <-t.C:
				case <-ctx.Done():
					t.Stop()
					return
				}
			}
		})
	}
}

// upgradeOne reports whether to try again later.
func (h *Host) upgradeOne(ctx context.Context, sid string) bool {
	out, err := h.Upgrade(ctx, sid, false)
	switch {
	case errs.Is(err, errs.NotFound), errs.Is(err, errs.WrongState), ctx.Err() != nil:
	case err != nil:
		h.log.WarnContext(ctx, "daemon not upgraded", "sandbox", sid, "before", out.Before, "error", err)
	case out.Replaced:
		h.log.InfoContext(ctx, "daemon upgraded", "sandbox", sid, "before", out.Before, "now", out.Version, "blackout_ms", out.BlackoutMS)
	}
	return err == nil && out.Busy
}
