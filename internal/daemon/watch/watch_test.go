//go:build linux

package watch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/watch"
)

// client reads what a watch tells.
type client struct {
	t    testing.TB
	c    *websocket.Conn
	dir  string
	told []string // in signs: +created ~modified -removed old>new, directories with a slash at the end
}

func dial(t testing.TB, d *daemontest.Daemon, query string) (*client, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, res, err := websocket.Dial(ctx, "ws://daemon/files/watch?"+query, &websocket.DialOptions{HTTPClient: &http.Client{Transport: d.Client.Transport}})
	if err != nil {
		return nil, res, err
	}
	c.SetReadLimit(16 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	return &client{t: t, c: c, dir: d.Dir}, res, nil
}

// start watches and waits until that is ready.
func start(t testing.TB, d *daemontest.Daemon, query string) (*client, toolbox.WatchMessage) {
	t.Helper()
	c, res, err := dial(t, d, query)
	if err != nil {
		var said []byte
		if res != nil {
			said, _ = io.ReadAll(res.Body)
		}
		t.Fatalf("%v: %s", err, said)
	}
	m := c.read()
	if m.Type != toolbox.WatchReady {
		t.Fatalf("first message %+v", m)
	}
	return c, m
}

func (c *client) read() toolbox.WatchMessage {
	c.t.Helper()
	m, err := c.next()
	if err != nil {
		c.t.Fatal(err, c.told)
	}
	return m
}

func (c *client) next() (toolbox.WatchMessage, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var m toolbox.WatchMessage
	typ, b, err := c.c.Read(ctx)
	if err != nil {
		return m, err
	}
	if typ != websocket.MessageText {
		c.t.Fatalf("message of type %v", typ)
	}
	return m, json.Unmarshal(b, &m)
}

// until reads until what is told last is the change at the path called end, and returns all before it.
func (c *client) until(end string) []string {
	c.t.Helper()
	for {
		m := c.read()
		if m.Type != toolbox.WatchChanges {
			c.t.Fatalf("message %+v", m)
		}
		for _, ch := range m.Changes {
			if ch.Time.IsZero() || time.Since(ch.Time) > time.Minute {
				c.t.Errorf("time %v", ch.Time)
			}
			slash := ""
			if ch.IsDir {
				slash = "/"
			}
			rel := func(p string) string { return strings.TrimPrefix(p, c.dir+"/") + slash }
			if rel(ch.Path) == end {
				out := c.told
				c.told = nil
				return out
			}
			switch ch.Type {
			case toolbox.FileRenamed:
				c.told = append(c.told, rel(ch.OldPath)+">"+rel(ch.Path))
			default:
				c.told = append(c.told, map[string]string{"created": "+", "modified": "~", "removed": "-"}[ch.Type]+rel(ch.Path))
			}
		}
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }

// TestChanges: each step is told as listed. A step ends with a file "end" in the watched directory.
func TestChanges(t *testing.T) {
	d := daemontest.Start(t)
	at := func(p string) string { return filepath.Join(d.Dir, p) }
	must(t, os.MkdirAll(at("w/sub/deep"), 0o700), write(at("w/old")), write(at("w/sub/old")), os.MkdirAll(at("outside"), 0o700), write(at("outside/x")),
		os.Symlink("../outside", at("w/link")))
	c, ready := start(t, d, "path=w&recursive=true&exclude=*.tmp&exclude=/skip")
	if ready.Path != at("w") || ready.Directories != 3 {
		t.Errorf("%+v", ready)
	}
	for i, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"create", func() error { return write(at("w/a")) }, []string{"+w/a"}},
		{"modify", func() error { return os.WriteFile(at("w/old"), []byte("new"), 0o600) }, []string{"~w/old"}},
		{"touch", func() error { f, err := os.OpenFile(at("w/a"), os.O_WRONLY, 0); _ = f.Close(); return err }, []string{"~w/a"}},
		{"chmod is not told", func() error { return os.Chmod(at("w/a"), 0o644) }, nil},
		{"reading is not told", func() error { _, err := os.ReadFile(at("w/a")); return err }, nil},
		{"rename", func() error { return os.Rename(at("w/a"), at("w/sub/b")) }, []string{"w/a>w/sub/b"}},
		{"remove", func() error { return os.Remove(at("w/sub/b")) }, []string{"-w/sub/b"}},
		{"deep", func() error { return write(at("w/sub/deep/é 日")) }, []string{"+w/sub/deep/é 日"}},
		{"new directory", func() error { return os.Mkdir(at("w/n"), 0o700) }, []string{"+w/n/"}},
		{"in the new directory", func() error { return write(at("w/n/x")) }, []string{"+w/n/x"}},
		{"rename a directory", func() error { return os.Rename(at("w/n"), at("w/m")) }, []string{"w/n/>w/m/"}},
		{"in the renamed one", func() error { return write(at("w/m/y")) }, []string{"+w/m/y"}},
		{"excluded name", func() error { return write(at("w/m/x.tmp")) }, nil},
		{"from the excluded name", func() error { return os.Rename(at("w/m/x.tmp"), at("w/m/z")) }, []string{"+w/m/z"}},
		{"to an excluded name", func() error { return os.Rename(at("w/m/z"), at("w/m/z.tmp")) }, []string{"-w/m/z"}},
		{"excluded directory", func() error { return os.MkdirAll(at("w/skip/x/y"), 0o700) }, nil},
		{"in the excluded directory", func() error { return write(at("w/skip/x/y/z")) }, nil},
		{"moved outside", func() error { return os.Rename(at("w/m"), at("outside/m")) }, []string{"-w/m/"}},
		{"outside", func() error { return write(at("outside/m/q")) }, nil},
		{"moved inside", func() error { return os.Rename(at("outside/m"), at("w/k")) }, []string{"+w/k/", "+w/k/q", "+w/k/x", "+w/k/y"}},
		{"in the moved one", func() error { return write(at("w/k/r")) }, []string{"+w/k/r"}},
		{"through a link is not told", func() error { return write(at("w/link/x")) }, nil},
		{"editor's save", func() error { return joined(write(at("w/.s")), os.Rename(at("w/.s"), at("w/old"))) }, []string{"+w/old"}},
		{"link", func() error { return os.Symlink("old", at("w/l")) }, []string{"+w/l"}},
		{"remove all", func() error { return os.RemoveAll(at("w/sub")) }, []string{"-w/sub/deep/é 日", "-w/sub/deep/", "-w/sub/old", "-w/sub/"}},
	} {
		end := fmt.Sprintf("w/end%d", i)
		must(t, step.do(), write(at(end)))
		got := c.until(end)
		want := slices.Clone(step.want)
		if len(want) > 1 { // the order of names is that of the disk
			slices.Sort(got)
			slices.Sort(want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		c.drain(at(end))
	}
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// drain removes the file that ended a step and reads until that is told.
func (c *client) drain(path string) {
	c.t.Helper()
	must(c.t, os.Remove(path))
	for {
		m := c.read()
		if i := slices.IndexFunc(m.Changes, func(ch toolbox.FileChange) bool { return ch.Path == path && ch.Type == toolbox.FileRemoved }); i >= 0 {
			return
		}
	}
}

func TestNotRecursive(t *testing.T) {
	d := daemontest.Start(t)
	at := func(p string) string { return filepath.Join(d.Dir, p) }
	must(t, os.MkdirAll(at("w/sub"), 0o700))
	c, ready := start(t, d, "path=w")
	if ready.Directories != 1 {
		t.Errorf("%+v", ready)
	}
	must(t, write(at("w/sub/x")), os.MkdirAll(at("w/new/x"), 0o700), write(at("w/end")))
	if diff := cmp.Diff([]string{"+w/new/"}, c.until("w/end")); diff != "" {
		t.Error(diff)
	}
}

func TestOneFile(t *testing.T) {
	d := daemontest.Start(t)
	at := func(p string) string { return filepath.Join(d.Dir, p) }
	must(t, write(at("f")), write(at("g")))
	c, ready := start(t, d, "path="+url.QueryEscape(at("f"))+"&recursive=true")
	if ready.Path != at("f") {
		t.Errorf("%+v", ready)
	}
	must(t, write(at("g")), write(at("f.new")))
	for i, do := range []func() error{func() error { return write(at("f")) }, func() error { return os.Rename(at("f.new"), at("f")) }, func() error { return os.Remove(at("f")) }} {
		must(t, do())
		m := c.read()
		want := []string{toolbox.FileModified, toolbox.FileCreated, toolbox.FileRemoved}[i]
		if len(m.Changes) != 1 || m.Changes[0].Type != want || m.Changes[0].Path != at("f") {
			t.Fatalf("%d: %+v", i, m)
		}
	}
}

func TestRootGoes(t *testing.T) {
	for name, do := range map[string]func(string) error{"removed": os.RemoveAll, "moved": func(p string) error { return os.Rename(p, p+"2") }} {
		d := daemontest.Start(t)
		root := filepath.Join(d.Dir, "w")
		must(t, os.Mkdir(root, 0o700))
		c, _ := start(t, d, "path=w&recursive=true")
		must(t, do(root))
		if m := c.read(); len(m.Changes) != 1 || m.Changes[0].Type != toolbox.FileRemoved || m.Changes[0].Path != root {
			t.Errorf("%s: %+v", name, m)
		}
		if _, err := c.next(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMirror does many things at once in a tree and follows what is told in a copy of it: the two must agree in the end.
func TestMirror(t *testing.T) {
	d := daemontest.Start(t)
	root := filepath.Join(d.Dir, "w")
	must(t, os.MkdirAll(filepath.Join(root, "a/b"), 0o700))
	c, _ := start(t, d, "path=w&recursive=true")
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "a/b", "a/c", "b/a", "b/c", "a/b/c", "a/b/a", "c/a/b"}
	for range 3000 {
		x, y := filepath.Join(root, names[rng.IntN(len(names))]), filepath.Join(root, names[rng.IntN(len(names))])
		switch rng.IntN(8) {
		case 0, 1:
			_ = os.MkdirAll(x, 0o700)
		case 2, 3, 4:
			_ = write(x)
		case 5:
			_ = os.Remove(x)
		case 6:
			_ = os.Rename(x, y)
		case 7:
			_ = os.RemoveAll(x)
		}
		if rng.IntN(100) == 0 {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond) // so that windows end at all sorts of moments
		}
	}
	end := filepath.Join(root, "end")
	must(t, write(end))
	mirror := map[string]bool{"a": true, "a/b": true}
	under := func(p string, do func(rest string)) {
		for k := range mirror {
			if k == p || strings.HasPrefix(k, p+"/") {
				do(k[len(p):])
			}
		}
	}
	for done := false; !done; {
		m := c.read()
		if m.Type != toolbox.WatchChanges {
			t.Fatalf("%+v", m)
		}
		for _, ch := range m.Changes {
			rel := func(p string) string { return strings.TrimPrefix(p, root+"/") }
			p := rel(ch.Path)
			switch ch.Type {
			case toolbox.FileCreated, toolbox.FileModified:
				mirror[p] = true
				done = done || p == "end"
			case toolbox.FileRemoved:
				under(p, func(rest string) { delete(mirror, p+rest) })
			case toolbox.FileRenamed:
				from := rel(ch.OldPath)
				under(p, func(rest string) { delete(mirror, p+rest) })
				var moved []string
				under(from, func(rest string) { moved = append(moved, rest) })
				for _, rest := range moved {
					delete(mirror, from+rest)
				}
				for _, rest := range append(moved, "") {
					mirror[p+rest] = true
				}
			}
		}
	}
	real := map[string]bool{}
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if p != root {
			real[strings.TrimPrefix(p, root+"/")] = true
		}
		return err
	}))
	if diff := cmp.Diff(real, mirror); diff != "" {
		t.Error(diff)
	}
}

// TestNewTrees: directories that are filled while they are new lose nothing, and nothing comes twice.
func TestNewTrees(t *testing.T) {
	d := daemontest.Start(t)
	root := filepath.Join(d.Dir, "w")
	must(t, os.Mkdir(root, 0o700))
	c, _ := start(t, d, "path=w&recursive=true")
	want := map[string]int{}
	for i := range 40 {
		dir := root
		for j := range 5 {
			dir = filepath.Join(dir, fmt.Sprintf("d%d_%d", i, j))
			must(t, os.Mkdir(dir, 0o700))
			want[dir]++
			for k := range 5 {
				f := filepath.Join(dir, fmt.Sprint("f", k))
				must(t, write(f))
				want[f]++
			}
		}
	}
	must(t, write(filepath.Join(root, "end")))
	got := map[string]int{}
	for done := false; !done; {
		m := c.read()
		for _, ch := range m.Changes {
			switch {
			case ch.Path == filepath.Join(root, "end"):
				done = true
			case ch.Type == toolbox.FileCreated:
				got[ch.Path]++
			case ch.Type != toolbox.FileModified:
				t.Errorf("%+v", ch)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefuses(t *testing.T) {
	d := daemontest.Start(t)
	must(t, os.Mkdir(filepath.Join(d.Dir, "w"), 0o700))
	for query, want := range map[string]int{
		"":                                  400,
		"path=":                             400,
		"path=missing":                      404,
		"path=%00":                          400,
		"path=" + strings.Repeat("x", 4097): 400,
		"path=w&exclude=[":                  400,
		"path=w&exclude=" + strings.Repeat("x", 257): 400,
	} {
		if _, res, err := dial(t, d, query); err == nil || res == nil || res.StatusCode != want {
			t.Errorf("%.30s: %v %v", query, res, err)
		}
	}
	if r := d.Do("GET", "/files/watch?path=w", nil); r.Status != 400 || !strings.Contains(string(r.Body), "WebSocket") {
		t.Errorf("without upgrade: %d %s", r.Status, r.Body)
	}
}

func TestLimitOfConnections(t *testing.T) {
	d := daemontest.Start(t)
	must(t, os.Mkdir(filepath.Join(d.Dir, "w"), 0o700))
	var open []*client
	for range 32 {
		c, _ := start(t, d, "path=w")
		open = append(open, c)
	}
	if _, res, err := dial(t, d, "path=w"); err == nil || res == nil || res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%v %v", res, err)
	}
	_ = open[0].c.CloseNow()
	daemontest.Until(t, "room for another", func() bool {
		c, _, err := dial(t, d, "path=w")
		if err == nil {
			_ = c.c.CloseNow()
		}
		return err == nil
	})
}

func TestLimitOfDirectories(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 16384 directories")
	}
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_watches"); err != nil || len(strings.TrimSpace(string(b))) < 6 {
		t.Skip("this kernel watches less")
	}
	dir, err := os.MkdirTemp("/dev/shm", "watch-") // where directories cost least
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := daemontest.StartWith(t, daemon.Config{Workdir: dir})
	root := filepath.Join(dir, "w")
	for i := range 128 {
		dir := filepath.Join(root, fmt.Sprint(i))
		must(t, os.MkdirAll(dir, 0o700))
		for j := range 127 {
			must(t, os.Mkdir(filepath.Join(dir, fmt.Sprint(j)), 0o700))
		}
	} // 16384 with the ones between, and one more is the root
	if _, res, err := dial(t, d, "path=w&recursive=true"); err == nil || res == nil || res.StatusCode != http.StatusInsufficientStorage {
		t.Fatalf("%v %v", res, err)
	}
	c, ready := start(t, d, "path=w&recursive=true&exclude=/0/0")
	if ready.Directories != 16384 {
		t.Errorf("%+v", ready)
	}
	must(t, os.Mkdir(filepath.Join(root, "more"), 0o700))
	for incomplete := false; !incomplete; {
		m := c.read()
		incomplete = m.Type == toolbox.WatchIncomplete && m.Path == filepath.Join(root, "more") && m.Message != ""
	}
	// What was refused holds nothing: a second one of the same size fits.
	start(t, d, "path=w&recursive=true&exclude=/0/0&exclude=more")
	if _, res, err := dial(t, d, "path=w/1&recursive=true"); err == nil || res.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("over the limit of all: %v %v", res, err)
	}
}

// TestOverflow: more than can be kept for a client that does not read is lost, and it is told so. Others are served all the while.
func TestOverflow(t *testing.T) {
	d := daemontest.Start(t)
	root := filepath.Join(d.Dir, "w")
	must(t, os.Mkdir(root, 0o700))
	c, _ := start(t, d, "path=w&recursive=true")
	other, _ := start(t, d, "path=.")
	// 200 bytes of name and 100 of all else for each: over all buffers together after some ten thousands.
	long := filepath.Join(root, strings.Repeat("n", 200))
	files := 0
	for ; files < 45000; files++ {
		f, err := os.OpenFile(fmt.Sprint(long, files), os.O_CREATE, 0o600)
		must(t, err, f.Close())
		if files%9000 == 0 {
			must(t, write(filepath.Join(d.Dir, "sign")))
			if m := other.read(); len(m.Changes) == 0 {
				t.Errorf("%+v", m)
			}
		}
	}
	must(t, write(filepath.Join(root, "end")))
	told, lost := 0, false
	for done := false; !done && !lost; {
		m := c.read()
		lost = m.Type == toolbox.WatchOverflow
		for _, ch := range m.Changes {
			told++
			done = done || filepath.Base(ch.Path) == "end"
		}
	}
	if !lost && told < files {
		t.Errorf("%d files, %d told, and no overflow", files, told)
	}
	t.Logf("%d of %d told, overflow %v", told, files, lost)
}

// TestSlowClient: one that does not read is closed with 1008.
func TestSlowClient(t *testing.T) {
	defer watch.SetPatience(200 * time.Millisecond)() // the daemon ends before, as it was started later
	t.Run("", func(t *testing.T) {
		d := daemontest.Start(t)
		must(t, os.Mkdir(filepath.Join(d.Dir, "w"), 0o700))
		c, _ := start(t, d, "path=w")
		other, _ := start(t, d, "path=w")
		// 450 bytes each, so that half of what may wait for a client is passed. The other client shows that the daemon has
		// seen them, and nothing was lost before it came to that.
		long := filepath.Join(d.Dir, "w", strings.Repeat("n", 240))
		for i := range 24 {
			for j := range 500 {
				must(t, write(fmt.Sprint(long, i, "_", j)))
			}
			end := fmt.Sprint("w/end", i)
			must(t, write(filepath.Join(d.Dir, end)))
			_ = other.until(end)
		}
		time.Sleep(time.Second) // more than the patience, and nobody reads
		for {
			if _, err := c.next(); err != nil {
				if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
					t.Error(err)
				}
				return
			}
		}
	})
}
