//go:build linux

package pty_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/pty"
)

func num(n int) *int { return &n }

func TestLife(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "one", LazyStart: true, Cols: num(100), Rows: num(30), Envs: map[string]string{"A": "b c"}})
	got, _ := info(t, d, "one")
	want := toolbox.PtyInfo{ID: "one", Cwd: d.Dir, Envs: map[string]string{"A": "b c"}, Cols: 100, Rows: 30, LazyStart: true, CreatedAt: got.CreatedAt}
	if diff := cmp.Diff(want, got); diff != "" || got.CreatedAt == "" {
		t.Error(diff, got.CreatedAt)
	}
	c := connect(t, d, "/process/pty/one/connect")
	c.expect("$ ")
	c.send("stty size; echo \"[$A|$TERM|$0]\"; tty\n")
	c.expect("30 100\r\n")
	c.expect("[b c|xterm-256color|-")
	c.expect("/dev/pts/")
	if got, _ := info(t, d, "one"); !got.Active {
		t.Error("not active")
	}
	var list toolbox.PtyList
	d.Do("GET", "/process/pty", nil).JSON(t, &list)
	if len(list.Sessions) != 1 || list.Sessions[0].ID != "one" {
		t.Errorf("%+v", list)
	}
	r := d.Do("POST", "/process/pty/one/resize", toolbox.PtyResize{Cols: 132, Rows: 43})
	var resized toolbox.PtyInfo
	r.JSON(t, &resized)
	if r.Status != 200 || resized.Cols != 132 || resized.Rows != 43 || !resized.Active {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	c.send("stty size\n")
	c.expect("43 132\r\n")
	c.send("exit 0\n")
	if e := c.closed(); e.Code != 1000 || e.Reason != `{"exitCode":0}` {
		t.Errorf("closed with %v", e)
	}
	if diff := cmp.Diff([]string{"connected"}, statuses(c)); diff != "" {
		t.Error(diff)
	}
	if _, status := info(t, d, "one"); status != 404 {
		t.Errorf("after the end: %d", status)
	}
	d.Do("GET", "/process/pty", nil).JSON(t, &list)
	if string(d.Do("GET", "/process/pty", nil).Body) != `{"sessions":[]}` {
		t.Errorf("%+v", list)
	}
}

func statuses(c *client) (out []string) {
	for _, m := range c.controls {
		out = append(out, m.Status)
	}
	return out
}

func TestExits(t *testing.T) {
	d := start(t)
	for _, tt := range []struct {
		input  string
		code   int
		reason string
	}{
		{"exit 0\n", 0, ""},
		{"exit 3\n", 3, "non-zero exit"},
		{"exit 130\n", 130, "Ctrl+C"},
		{"kill -9 $$\n", 137, "SIGKILL"},
		{"trap - TERM; exec sh -c 'kill -TERM $$; sleep 10'\n", 143, "SIGTERM"},
		{"kill -HUP $$\n", 129, "signal 1"},
		{"exit 255\n", 255, "signal 127"},
		{"\x04", 0, ""}, // end of input
	} {
		t.Run(strings.TrimSpace(tt.input), func(t *testing.T) {
			with := connect(t, d, "/process/pty/create-connect?id=x", exitControl)
			if with.c.Subprotocol() != exitControl {
				t.Errorf("subprotocol %q", with.c.Subprotocol())
			}
			without := connect(t, d, "/process/pty/x/connect")
			with.expect("$ ")
			without.expect("$ ")
			with.send(tt.input)
			reason, _ := json.Marshal(toolbox.PtyExit{ExitCode: tt.code, ExitReason: tt.reason})
			code := websocket.StatusInternalError
			if tt.code == 0 {
				code = websocket.StatusNormalClosure
			}
			for _, c := range []*client{with, without} {
				if e := c.closed(); e.Code != code || e.Reason != string(reason) || len(e.Reason) > 123 {
					t.Errorf("closed with %v, want %d %s", e, code, reason)
				}
			}
			want := []toolbox.PtyControl{{Type: "control", Status: "connected"}, {Type: "control", Status: "exited", ExitCode: &tt.code, ExitReason: tt.reason}}
			if diff := cmp.Diff(want, with.controls); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(want[:1], without.controls); diff != "" {
				t.Error(diff)
			}
			if last := with.frames[len(with.frames)-1]; with.frames[0] != "connected" || last != "exited" {
				t.Errorf("frames %v", with.frames)
			}
		})
	}
}

func envs(vars map[string]string) string {
	b, _ := json.Marshal(vars)
	return toolbox.PtyEnvs + base64.RawURLEncoding.EncodeToString(b)
}

func TestCreateConnect(t *testing.T) {
	d := start(t)
	if err := os.Mkdir(filepath.Join(d.Dir, "sub dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	q := url.Values{"id": {"mine ü"}, "cols": {"90"}, "rows": {"20"}, "cwd": {"sub dir"}}
	c := connect(t, d, "/process/pty/create-connect?"+q.Encode(), envs(map[string]string{"SECRET": "a~b/c+d=ü"}), exitControl)
	c.expect("$ ")
	c.send("stty size; pwd; echo $SECRET\n")
	c.expect("20 90\r\n" + filepath.Join(d.Dir, "sub dir") + "\r\na~b/c+d=ü\r\n")
	got, status := info(t, d, url.PathEscape("mine ü"))
	if status != 200 || got.LazyStart || !got.Active || got.Cols != 90 {
		t.Errorf("%d %+v", status, got)
	}
	_, res, err := upgrade(t, d, "/process/pty/create-connect?"+q.Encode(), exitControl)
	if err == nil || res.StatusCode != 409 {
		t.Fatalf("a second one: %v %v", res, err)
	}
	c.leave()
	if _, status := info(t, d, url.PathEscape("mine ü")); status != 200 {
		t.Errorf("it must outlive its client: %d", status)
	}
}

func TestAnswersBeforeTheUpgrade(t *testing.T) {
	d := start(t)
	long := strings.Repeat("x", pty.MaxID+1)
	ws := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	with := func(protocol string) []string {
		return append(ws[:len(ws):len(ws)], "Sec-WebSocket-Protocol", protocol)
	}
	for _, tt := range []struct {
		path   string
		header []string
		status int
		say    string
	}{
		{"create-connect", ws, 400, "id is required"},
		{"create-connect?id=", ws, 400, "id must not be empty"},
		{"create-connect?id=" + long, ws, 400, "128"},
		{"create-connect?id=a%2Fb", ws, 400, "slash"},
		{"create-connect?id=a%00b", ws, 400, "control"},
		{"create-connect?id=%ff", ws, 400, "text"},
		{"create-connect?id=create-connect", ws, 400, "another meaning"},
		{"create-connect?id=a&cols=1001", ws, 400, "cols must be an integer from 0 to 1000"},
		{"create-connect?id=a&rows=-1", ws, 400, "rows"},
		{"create-connect?id=a&rows=many", ws, 400, "rows"},
		{"create-connect?id=a&cwd=/no/such", ws, 400, "/no/such"},
		{"create-connect?id=a", nil, 400, "WebSocket"},
		{"create-connect?id=a", with(toolbox.PtyEnvs + "!!"), 400, "base64url"},
		{"create-connect?id=a", with(toolbox.PtyEnvs + "W10"), 400, "JSON object"},
		{"create-connect?id=a", with(toolbox.PtyEnvs + base64.RawURLEncoding.EncodeToString([]byte(`{"a":1}`))), 400, "JSON object"},
		{"create-connect?id=a", with(envs(map[string]string{"a=b": "c"})), 400, "variable name"},
		{"create-connect?id=a", with(envs(map[string]string{"a": "\x00"})), 400, "NUL"},
		{"none/connect", ws, 404, "no terminal"},
	} {
		r := d.Do("GET", "/process/pty/"+tt.path, nil, tt.header...)
		var e api.Error
		r.JSON(t, &e)
		if r.Status != tt.status || !strings.Contains(e.Message, tt.say) || e.Reason != e.Message || e.Source != api.SourceDaemon || e.Code == "" {
			t.Errorf("%s %v: %d %s", tt.path, tt.header, r.Status, r.Body)
		}
	}
	if r := d.Do("GET", "/process/pty", nil); string(r.Body) != `{"sessions":[]}` {
		t.Errorf("left behind: %s", r.Body)
	}
}

func TestRefuses(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a", LazyStart: true})
	for _, tt := range []struct {
		method, path, body string
		status             int
		say                string
	}{
		{"POST", "", `{}`, 400, "id must not be empty"},
		{"POST", "", `{"id":"a"}`, 409, "exists"},
		{"POST", "", `{"id":"b","cols":1001}`, 400, "cols must be from 0 to 1000, got 1001"},
		{"POST", "", `{"id":"b","rows":1001}`, 400, "rows"},
		{"POST", "", `{"id":"b","rows":-1}`, 400, "rows"},
		{"POST", "", `{"id":"b","rows":99999999999999999999}`, 400, "rows"},
		{"POST", "", `{"id":".."}`, 400, "meaning"},
		{"POST", "", `{"id":"b","cwd":"a\u0000"}`, 400, "cwd"},
		{"POST", "", `{"id":"b","cwd":"nowhere"}`, 400, "nowhere"},
		{"POST", "", `{"id":"b","cwd":"/etc/passwd"}`, 400, "directory"},
		{"POST", "", `{"id":"b","envs":{"":""}}`, 400, "variable name"},
		{"POST", "", `{"id":"b","envs":{"A":"` + strings.Repeat("x", 200<<10) + `"}}`, 413, "environment"},
		{"POST", "", `{"id":5}`, 400, "id must be a string"},
		{"GET", "/none", ``, 404, "no terminal"},
		{"DELETE", "/none", ``, 404, "no terminal"},
		{"POST", "/a/resize", `{"cols":0,"rows":5}`, 400, "cols must be from 1 to 1000, got 0"},
		{"POST", "/a/resize", `{"cols":5,"rows":1001}`, 400, "rows"},
		{"POST", "/a/resize", `{}`, 400, "cols"},
		{"POST", "/none/resize", `{"cols":5,"rows":5}`, 410, "no terminal"},
	} {
		r := d.Do(tt.method, "/process/pty"+tt.path, tt.body)
		var e api.Error
		r.JSON(t, &e)
		if r.Status != tt.status || !strings.Contains(e.Message, tt.say) || e.Reason != e.Message {
			t.Errorf("%s %s %.80s: %d %s", tt.method, tt.path, tt.body, r.Status, r.Body)
		}
	}
	for _, n := range []int{0, 1, 1000} {
		create(t, d, toolbox.PtyCreate{ID: fmt.Sprint(n), Cols: num(n), Rows: num(n), LazyStart: true})
	}
	if got, _ := info(t, d, "0"); got.Cols != 80 || got.Rows != 24 {
		t.Errorf("%+v", got)
	}
}

// A size set before the start counts, and a directory that is gone by then is told over the WebSocket.
func TestLazyStart(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a", LazyStart: true})
	if r := d.Do("POST", "/process/pty/a/resize", toolbox.PtyResize{Cols: 50, Rows: 10}); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	c.send("stty size\n")
	c.expect("10 50\r\n")

	dir := filepath.Join(d.Dir, "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	create(t, d, toolbox.PtyCreate{ID: "b", LazyStart: true, Cwd: dir})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	c = connect(t, d, "/process/pty/b/connect", exitControl)
	if e := c.closed(); e.Code != 1011 {
		t.Errorf("closed with %v", e)
	}
	if len(c.controls) != 1 || c.controls[0].Status != "error" || !strings.Contains(c.controls[0].Error, "gone") {
		t.Errorf("%+v", c.controls)
	}
	if r := d.Do("DELETE", "/process/pty/b", nil); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// Deleting kills all that came out of the shell, also what left its session.
func TestDelete(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect", exitControl)
	c.expect("$ ")
	pids := filepath.Join(d.Dir, "pids")
	c.send("(sleep 3601 & echo $! >>" + pids + "; setsid sh -c 'echo $$ >>" + pids + "; exec sleep 3602' & wait) &\n")
	var alive []string
	daemontest.Until(t, "two children", func() bool {
		b, _ := os.ReadFile(pids)
		alive = strings.Fields(string(b))
		return len(alive) == 2
	})
	c.send("trap '' TERM HUP INT; sleep 3603\n")
	c.expect("sleep 3603")
	r := d.Do("DELETE", "/process/pty/a", nil)
	if r.Status != 200 || !strings.Contains(string(r.Body), `"message"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if _, status := info(t, d, "a"); status != 404 {
		t.Errorf("still there: %d", status)
	}
	for _, pid := range alive {
		if b, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(b), ") Z ") {
			t.Errorf("alive: %s", b)
		}
	}
	if e := c.closed(); e.Code != 1011 || e.Reason != `{"exitCode":137,"exitReason":"SIGKILL"}` {
		t.Errorf("closed with %v", e)
	}
	create(t, d, toolbox.PtyCreate{ID: "a", LazyStart: true}) // the name is free
	if r := d.Do("DELETE", "/process/pty/a", nil); r.Status != 200 {
		t.Errorf("not started: %d %s", r.Status, r.Body)
	}
}

// A background process that holds the terminal does not keep it alive.
func TestEndsWithItsShell(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	c.send("(trap '' HUP; exec sleep 5) & disown; exit 4\n")
	if e := c.closed(); e.Reason != `{"exitCode":4,"exitReason":"non-zero exit"}` {
		t.Errorf("closed with %v", e)
	}
}

func TestLimits(t *testing.T) {
	d := start(t)
	for i := range pty.MaxTerminals {
		create(t, d, toolbox.PtyCreate{ID: fmt.Sprint(i), LazyStart: true})
	}
	if r := d.Do("POST", "/process/pty", toolbox.PtyCreate{ID: "more"}); r.Status != 507 || !strings.Contains(string(r.Body), "100") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := d.Do("DELETE", "/process/pty/5", nil); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	create(t, d, toolbox.PtyCreate{ID: "more", LazyStart: true})

	var all []*client
	for range pty.MaxClients {
		all = append(all, connect(t, d, "/process/pty/0/connect"))
	}
	_, res, err := upgrade(t, d, "/process/pty/0/connect")
	if err == nil || res.StatusCode != 429 {
		t.Errorf("one client too many: %v %v", res, err)
	}
	all[0].leave()
	daemontest.Until(t, "the place of a client that left", func() bool {
		c, _, err := upgrade(t, d, "/process/pty/0/connect")
		if err == nil {
			_ = c.CloseNow()
		}
		return err == nil
	})
}
