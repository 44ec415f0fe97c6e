package dugout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// maxWatchMessage is the largest message of a watch, in bytes: 1000 changes with the longest paths.
const maxWatchMessage = 16 << 20

// WatchOptions say what of a path is watched. The zero value: what is directly in it.
type WatchOptions struct {
	Recursive bool     // everything below, also in directories that are made later
	Exclude   []string // patterns with *, ? and [a-z]: a name anywhere, or with a slash a path below, where ** is any number of directories
}

// Watcher tells what happens to files, see [Sandbox.Watch]. One goroutine may call Next, any may call Close.
type Watcher struct {
	Path        string // what is watched, absolute
	Directories int    // how many directories that is

	c *websocket.Conn
}

// Watch watches a file or a directory of the sandbox. What happens after it returned is told by [Watcher.Next]. It works with Dugout
// only. The caller must call Close.
func (s *Sandbox) Watch(ctx context.Context, path string, opts WatchOptions) (*Watcher, error) {
	q := url.Values{"path": {path}}
	if opts.Recursive {
		q.Set("recursive", "true")
	}
	if len(opts.Exclude) > 0 {
		q["exclude"] = opts.Exclude
	}
	c, err := s.dial(ctx, "/files/watch", q)
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(maxWatchMessage)
	w := &Watcher{c: c}
	m, err := w.Next(ctx)
	if err == nil && m.Type != toolbox.WatchReady {
		err = fmt.Errorf("watch: the first message is %q", clip(m.Type))
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	w.Path, w.Directories = m.Path, m.Directories
	return w, nil
}

// Next waits for the next message: changes, or that some were lost or cannot be told. What was watched being gone is an
// [ErrGone], a watcher that read too slowly an [ErrBusy]. After an error, and after ctx ended during a call, the watcher is of no use.
func (w *Watcher) Next(ctx context.Context) (toolbox.WatchMessage, error) {
	var m toolbox.WatchMessage
	_, b, err := w.c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(b, &m)
		return m, err
	}
	var ce websocket.CloseError
	switch {
	case ctx.Err() != nil:
		return m, ctx.Err()
	case errors.As(err, &ce) && ce.Code == websocket.StatusGoingAway:
		return m, fmt.Errorf("%w: %s", ErrGone, clip(ce.Reason))
	case errors.As(err, &ce) && ce.Code == websocket.StatusPolicyViolation:
		return m, fmt.Errorf("%w: %s", ErrBusy, clip(ce.Reason))
	}
	return m, &connectionError{op: "the watch ended", cause: err}
}

// Close ends the watch.
func (w *Watcher) Close() { _ = w.c.CloseNow() }
