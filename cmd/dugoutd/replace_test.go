//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// newVersion is the daemon with another version than binary's.
var newVersion = sync.OnceValues(func() (string, error) {
	out := filepath.Join(filepath.Dir(binary), "dugoutd-new")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -X main.version=2.0.0-new", "-o", out, "github.com/dugout-dev/dugout/cmd/dugoutd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, b)
	}
	return out, err
})

// replace asks the daemon to go over to the program at path, as a runner does.
func (in *instance) replace(path, query string) (toolbox.DaemonReplaced, error) {
	in.T.Helper()
	var out toolbox.DaemonReplaced
	c, ok := in.Conn().(*net.UnixConn)
	if !ok {
		in.T.Fatal("no unix socket")
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(c, "POST %s%s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", toolbox.ReplacePath, query, toolbox.ReplaceProtocol)
	rd := bufio.NewReader(c)
	res, err := http.ReadResponse(rd, nil)
	if err != nil {
		return out, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(res.Body)
		return out, fmt.Errorf("%d %s", res.StatusCode, b)
	}
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer func() { _ = f.Close() }()
	if _, _, err := c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(f.Fd())), nil); err != nil {
		return out, err
	}
	line, err := rd.ReadBytes('\n')
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(line, &out)
}

func (in *instance) version() string {
	var v struct{ Version string }
	in.Do("GET", "/version", nil).JSON(in.T, &v)
	return v.Version
}

// Everything at once, across a replacement: answers that clients wait for, commands that write, a command with open standard
// input, one that nobody asked about yet, results that are kept, timeouts, background children, the environment, the directory.
func TestReplace(t *testing.T) {
	next, err := newVersion()
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []bool{true, false} {
		t.Run(map[bool]string{true: "user", false: "root"}[user], func(t *testing.T) {
			in := launch(t, asInit(t, user), nil, "--outside-only")
			testReplace(t, in, next)
		})
	}
}

func testReplace(t *testing.T, in *instance, next string) {
	in.run("export X=1; echo kept > state")
	in.Do("POST", "/env", toolbox.EnvUpdate{Set: map[string]string{"ADDED": "later"}})
	in.Do("POST", "/process/execute", toolbox.Execute{Command: "echo done before"}, toolbox.ExecutionIDHeader, "before")
	in.run("(while :; do echo x; sleep 0.01; done) & echo $! > background") // its output is dropped, but must not fail

	const writers = 50
	// Each writes numbered lines until it is told to stop; who waits for it gets all of them once, in order.
	const script = `i=0; while [ ! -e stop ]; do echo "line $i of this command"; i=$((i+1)); [ $((i % 20)) != 0 ] || sleep 0.2; done; echo "end $i"; exit 5`
	type result struct {
		status int
		body   []byte
		err    error
	}
	results := make(chan result, writers)
	for n := range writers {
		go func() {
			var b bytes.Buffer
			_ = json.NewEncoder(&b).Encode(toolbox.Execute{Command: script})
			req, _ := http.NewRequestWithContext(context.Background(), "POST", "http://d/process/execute", &b)
			if n%2 == 0 {
				req.Header.Set(toolbox.ExecutionIDHeader, fmt.Sprintf("writer-%d", n))
			}
			res, err := in.Client.Do(req)
			if err != nil {
				results <- result{err: err}
				return
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			results <- result{res.StatusCode, body, err}
		}()
	}
	timeout := make(chan daemontest.Reply, 1)
	go func() {
		timeout <- in.Do("POST", "/process/execute", map[string]any{"command": "echo started; sleep 60", "timeout": 3}, toolbox.ExecutionIDHeader, "late")
	}()
	stream := make(chan error, 1)
	go func() { // a client that will have to come back
		r, err := in.Client.Post("http://d/process/execute/stream", "application/json", strings.NewReader(`{"command":"cat > input; echo got it","openStdin":true,"split":true}`))
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		stream <- err
	}()
	daemontest.Until(t, "all run", func() bool {
		return in.Do("GET", "/process/execution/late", nil).Status == 200 && in.run("pgrep -c -f '[l]ine .i of this'").Result == fmt.Sprintf("%d\n", writers)
	})

	// Somebody asks all the time: how long does nobody answer?
	stop, gap := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		longest := time.Duration(0)
		for {
			select {
			case <-stop:
				gap <- longest
				return
			default:
			}
			start := time.Now()
			r, err := http.NewRequestWithContext(context.Background(), "GET", "http://d/version", nil)
			if err == nil {
				var res *http.Response
				if res, err = in.Client.Do(r); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			}
			if err == nil {
				longest = max(longest, time.Since(start))
			}
		}
	}()
	before, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.pid))
	if err != nil {
		t.Fatal(err)
	}
	var got toolbox.DaemonReplaced
	daemontest.Until(t, "nothing else under way", func() bool {
		got, err = in.replace(next, "")
		return err != nil || !got.Busy
	})
	if err != nil || !got.OK || got.Version != "2.0.0-new" {
		t.Fatalf("%+v %v", got, err)
	}
	close(stop)
	seen := <-gap
	t.Logf("50 executions with output flowing: nobody answered for %.1f ms, as the daemon saw it; longest request %.1f ms", got.BlackoutMS, float64(seen.Microseconds())/1000)
	if got.BlackoutMS > 3000 { // 200 on a machine that does nothing else; tests share theirs
		t.Errorf("a blackout of %.0f ms", got.BlackoutMS)
	}
	if v := in.version(); v != "2.0.0-new" {
		t.Errorf("version %s", v)
	}
	after, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.pid))
	for _, k := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "Uid", "Gid", "NSpid", "NoNewPrivs", "SigIgn"} {
		if b, a := status(string(before))[k], status(string(after))[k]; a != b {
			t.Errorf("%s was %s and is %s", k, b, a)
		}
	}

	in.run("sleep 0.5; touch stop")
	for range writers {
		r := <-results
		var e toolbox.Executed
		if r.err != nil || r.status != 200 || json.Unmarshal(r.body, &e) != nil || e.ExitCode != 5 {
			t.Errorf("%v %d %.200q", r.err, r.status, r.body)
			continue
		}
		var b strings.Builder
		n := strings.Count(e.Result, "\n") - 1
		for i := range n {
			fmt.Fprintf(&b, "line %d of this command\n", i)
		}
		fmt.Fprintf(&b, "end %d\n", n)
		if e.Result != b.String() || n < 20 {
			t.Errorf("%d bytes of output, want %d exactly", len(e.Result), b.Len())
		}
	}
	for n := 0; n < writers; n += 2 { // asked again: it is not run again
		r := in.Do("POST", "/process/execute", toolbox.Execute{Command: script}, toolbox.ExecutionIDHeader, fmt.Sprintf("writer-%d", n))
		if r.Status != 200 || !bytes.Contains(r.Body, []byte("line 19 of")) {
			t.Errorf("%d %.100q", r.Status, r.Body)
		}
	}
	if r := in.Do("POST", "/process/execute", toolbox.Execute{Command: "echo done before"}, toolbox.ExecutionIDHeader, "before"); !bytes.Contains(r.Body, []byte(`"done before\n"`)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := <-timeout; r.Status != 408 || !bytes.Contains(r.Body, []byte(`"result":"started\n"`)) {
		t.Errorf("timeout: %d %s", r.Status, r.Body)
	}
	<-stream
	for _, c := range [][2]string{
		{"echo $ADDED; cat state", "later\nkept\n"},
		{"kill -0 $(cat background) && echo alive", "alive\n"},
		{"ls /proc/self/fd", "0\n1\n2\n3\n"},
		{"env | grep -c DUGOUT", "0\n"},
		{"sleep 0.05; cat /proc/self/oom_score_adj", "500\n"},
		{"kill $(cat background); sleep 0.1; ps -eo s | grep -c Z", "0\n"},
	} {
		if got := in.run(c[0]); got.Result != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got.Result, c[1])
		}
	}
	// And again, by the one that took over; it goes back, too.
	daemontest.Until(t, "nothing else under way", func() bool {
		got, err = in.replace(binary, "")
		return err != nil || !got.Busy
	})
	if err != nil || !got.OK || in.version() != "0.0.0-dev" {
		t.Fatalf("%+v %v", got, err)
	}
	if got := in.run("echo $ADDED"); got.Result != "later\n" {
		t.Errorf("%+v", got)
	}
	in.Client.CloseIdleConnections()
	daemontest.Until(t, "no descriptor is left over", func() bool {
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", in.pid))
		return len(fds) < 12
	})
}

// Whatever is wrong with a replacement, nothing has happened.
func TestReplaceRefused(t *testing.T) {
	in := launch(t, asInit(t, true), nil)
	done := make(chan daemontest.Reply, 1)
	go func() {
		done <- in.Do("POST", "/process/execute", toolbox.Execute{Command: "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done"})
	}()
	text := filepath.Join(in.Dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(in.Dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{text: "exec format error", plain: "no program", in.Dir: "no program", "/bin/true": "does not take over", "/bin/sh": "does not take over"} {
		got, err := in.replace(path, "")
		if err != nil || got.OK || !strings.Contains(got.Error, want) {
			t.Errorf("%s: %+v %v", path, got, err)
		}
	}
	// A request under way: not now. Its end: now.
	pr, pw := io.Pipe()
	uploaded := make(chan daemontest.Reply, 1)
	go func() { uploaded <- in.Do("POST", "/files/upload-v2?path=up", pr) }()
	_, _ = pw.Write([]byte("first "))
	if got, err := in.replace(binary, ""); err != nil || !got.Busy {
		t.Errorf("%+v %v", got, err)
	}
	_, _ = pw.Write([]byte("second"))
	_ = pw.Close()
	if r := <-uploaded; r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if got := in.run("cat up"); got.Result != "first second" {
		t.Errorf("%+v", got)
	}
	if r := <-done; r.Status != 200 || !bytes.Contains(r.Body, []byte(`"1\n2\n3\n4\n5\n6\n7\n8\n"`)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	// From inside nobody can, nor without a descriptor.
	if _, err := exec.LookPath("curl"); err == nil {
		got := in.run("curl -s -m 5 -X POST -H 'Connection: Upgrade' -H 'Upgrade: " + toolbox.ReplaceProtocol + "' --unix-socket " + in.Dir + "/d.sock http://d" + toolbox.ReplacePath)
		if !strings.Contains(got.Result, "only the host") {
			t.Errorf("%+v", got)
		}
	}
	c := in.Conn()
	_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", toolbox.ReplacePath, toolbox.ReplaceProtocol)
	rd := bufio.NewReader(c)
	if line, err := rd.ReadString('\n'); err != nil || !strings.Contains(line, "101") {
		t.Errorf("%q %v", line, err)
	}
	_, _ = c.Write([]byte("x"))
	b, _ := io.ReadAll(rd)
	if !bytes.Contains(b, []byte("0 descriptors")) {
		t.Errorf("%s", b)
	}
	if r := in.Do("POST", toolbox.ReplacePath, nil); r.Status != 400 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	alone := launch(t, nil, nil)
	if r := alone.Do("POST", toolbox.ReplacePath, nil); r.Status != 403 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}
