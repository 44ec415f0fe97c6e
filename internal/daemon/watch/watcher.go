//go:build linux

package watch

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
)

// Times and sizes of the telling.
const (
	window   = 50 * time.Millisecond // from the first change until it is told, together with those that follow
	breath   = 5 * time.Millisecond  // between two looks at the kernel's queue within a window
	perRead  = 64 << 10              // bytes of the kernel's events in one look
	perFrame = 1000                  // changes that are told at once, before the window ends
	maxHeld  = 50000                 // changes kept while the client is slow; more is an overflow
	maxBytes = 8 << 20               // of their paths
)

// patience is for a client that is slow to read. A variable for the tests.
var patience = 30 * time.Second

// watcher tells one connection what happens in one tree.
type watcher struct {
	ending chan struct{} // closed by end
	once   sync.Once

	// The rest belongs to serve.
	c       *ws.Conn
	t       *tree
	batch   batch
	moving  move   // cookie 0: none
	lost    bool   // changes were lost
	skipped string // a new directory that is not watched
	why     error  // why it is not
	gone    bool   // the root is
	since   time.Time
}

// move is the first half of a move, until the next event. The kernel tells both halves one after the other. When another
// process gets in between, they are told as a removal and a creation.
type move struct {
	cookie uint32
	path   string
	dir    bool
}

// end makes serve return.
func (w *watcher) end() { w.once.Do(func() { close(w.ending) }) }

// serve tells what happens until one of the two ends.
func (w *watcher) serve(c *ws.Conn, t *tree) {
	w.c, w.t = c, t
	stopped := make(chan struct{})
	var waker sync.WaitGroup
	waker.Go(func() {
		select {
		case <-c.Context().Done():
		case <-w.ending:
		case <-stopped:
		}
		t.interrupt()
	})
	c.Discard()
	ready := toolbox.WatchMessage{Type: toolbox.WatchReady, Path: t.root, Directories: len(t.dirs)}
	if t.file != "" {
		ready.Path = join(t.root, t.file)
	}
	w.tell(ready)
	code, reason := w.loop()
	close(stopped)
	waker.Wait()
	c.Close(code, reason)
}

func (w *watcher) tell(m toolbox.WatchMessage) bool {
	b, err := json.Marshal(m)
	return err == nil && w.c.Queue(ws.Text, b)
}

// loop returns how the connection is to be closed.
func (w *watcher) loop() (int, string) {
	buf := make([]byte, perRead)
	for {
		// Nothing is pending: wait for as long as it takes.
		n, err := w.t.read(buf, time.Time{})
		if err != nil {
			return w.left(err)
		}
		w.handle(buf[:n])
		until := time.Now().Add(window)
		for time.Now().Before(until) && w.batch.live < perFrame && !w.gone && !w.lost {
			if err := w.pause(breath); err != nil {
				return w.left(err)
			}
			n, err := w.t.read(buf, until)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return w.left(err)
			}
			w.handle(buf[:max(n, 0)])
		}
		if code, reason, err := w.flush(buf); err != nil {
			return w.left(err)
		} else if code != 0 {
			return code, reason
		}
	}
}

// left is how to close when reading ended with err.
func (w *watcher) left(err error) (int, string) {
	if errors.Is(err, os.ErrClosed) {
		return ws.GoingAway, "the daemon ends"
	}
	return ws.Internal, "watching failed"
}

// pause lets events gather. Each look at the queue costs about as much as a hundred events in it.
func (w *watcher) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.c.Context().Done():
	case <-w.ending:
	}
	return os.ErrClosed
}

// flush tells what is pending. While the client is slow it waits and goes on collecting. A code that is not 0 ends it all.
func (w *watcher) flush(buf []byte) (int, string, error) {
	for {
		for range 64 { // halves of moves come close together, and so does what new directories had in them
			n, err := w.t.poll(buf)
			if err != nil {
				return 0, "", err
			}
			if n == 0 {
				break
			}
			w.handle(buf[:n])
		}
		if !w.c.Lagging() {
			break
		}
		now := time.Now()
		if w.since.IsZero() {
			w.since = now
		}
		if now.Sub(w.since) > patience {
			w.c.TooSlow()
			return ws.Policy, "slow consumer", nil
		}
		if err := w.pause(window); err != nil {
			return 0, "", err
		}
	}
	w.since = time.Time{}
	w.settle(time.Now().UTC())
	ok := true
	if w.lost {
		w.lost = false
		w.batch.forget()
		if err := w.t.again(); err != nil && !errors.Is(err, errFull) {
			w.gone = true
		} else if err != nil {
			w.skipped, w.why = w.t.root, err
		}
		ok = w.tell(toolbox.WatchMessage{Type: toolbox.WatchOverflow, Message: "more happened than could be kept; some changes were lost, look at the files again"})
	}
	for changes := w.batch.take(); ok && len(changes) > 0; {
		n := min(len(changes), perFrame)
		ok = w.tell(toolbox.WatchMessage{Type: toolbox.WatchChanges, Changes: changes[:n]})
		changes = changes[n:]
	}
	if w.skipped != "" {
		ok = ok && w.tell(toolbox.WatchMessage{Type: toolbox.WatchIncomplete, Path: w.skipped, Message: "this new directory, and perhaps others, are not watched: " + limit(w.why)})
		w.skipped, w.why = "", nil
	}
	switch {
	case w.gone:
		return ws.GoingAway, "what was watched is gone", nil
	case !ok:
		return ws.Policy, "slow consumer", nil
	}
	return 0, "", nil
}

func limit(err error) string {
	if errors.Is(err, errFull) {
		return "the limit of directories is reached"
	}
	return "the kernel watches no more for this user"
}

// settle ends the wait for the second half of a move: what was moved is outside now.
func (w *watcher) settle(now time.Time) {
	m := w.moving
	if m.cookie == 0 {
		return
	}
	w.moving = move{}
	w.batch.removed(m.path, m.dir, now)
	if m.dir {
		w.t.left(m.path)
	}
}

func (w *watcher) handle(b []byte) {
	now := time.Now().UTC()
	parse(b, func(e event) { w.event(e, now) })
	if w.batch.live > maxHeld || w.batch.bytes > maxBytes {
		w.lost = true
		w.batch.forget()
	}
}

// event takes in one event.
func (w *watcher) event(e event, now time.Time) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		w.lost = true
		return
	}
	second := w.moving.cookie != 0 && w.moving.cookie == e.cookie && e.mask&unix.IN_MOVED_TO != 0
	if !second {
		w.settle(now)
	}
	dir, ok := w.t.dirs[e.wd]
	if !ok {
		return
	}
	if dir == w.t.root && e.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT|unix.IN_IGNORED) != 0 {
		if !w.gone {
			w.batch.removed(w.watched(), w.t.file == "", now)
		}
		w.gone = true
		return
	}
	if e.mask&unix.IN_IGNORED != 0 {
		w.t.forget(e.wd)
		return
	}
	if e.name == "" {
		return
	}
	path, isDir := join(dir, e.name), e.mask&unix.IN_ISDIR != 0
	if w.t.out(path) {
		w.settle(now)
		return
	}
	switch {
	case e.mask&unix.IN_CREATE != 0:
		w.batch.created(path, isDir, now)
		w.enter(path, isDir, now)
	case e.mask&unix.IN_MOVED_TO != 0:
		if !second {
			w.batch.created(path, isDir, now)
			w.enter(path, isDir, now)
			return
		}
		m := w.moving
		w.moving = move{}
		w.batch.renamed(m.path, path, isDir, now)
		if isDir && w.t.recursive {
			w.t.moved(m.path, path)
			// Excludes by path may mean something else here, and the directory may not have been watched before.
			if _, ok := w.t.wds[path]; !ok {
				w.enter(path, isDir, now)
			}
		}
	case e.mask&unix.IN_MOVED_FROM != 0:
		w.moving = move{e.cookie, path, isDir}
	case e.mask&unix.IN_DELETE != 0:
		w.batch.removed(path, isDir, now)
	case e.mask&(unix.IN_MODIFY|unix.IN_CLOSE_WRITE) != 0 && !isDir:
		w.batch.modified(path, now)
	}
}

func (w *watcher) watched() string {
	if w.t.file != "" {
		return join(w.t.root, w.t.file)
	}
	return w.t.root
}

// enter watches a directory that is new here, and tells what it has already.
func (w *watcher) enter(path string, isDir bool, now time.Time) {
	if !isDir || !w.t.recursive {
		return
	}
	if err := w.t.add(path, func(path string, dir bool) { w.batch.discovered(path, dir, now) }); err != nil {
		w.skipped, w.why = path, err
	}
}
