//go:build linux

package process_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

func ptr[T any](v T) *T { return &v }

// event is one server-sent event.
type event struct {
	Name string
	ID   int64
	Data string
}

// bytes returns what a stdout or stderr event carries.
func (e event) bytes(t testing.TB) []byte {
	t.Helper()
	var out toolbox.StreamOutput
	if err := json.Unmarshal([]byte(e.Data), &out); err != nil {
		t.Fatalf("%v: %q", err, e.Data)
	}
	if e.ID != out.Offset+int64(len(out.Text)+len(out.Data)) || (out.Text == "") == (len(out.Data) == 0) {
		t.Errorf("event %d does not add up: %.200q", e.ID, e.Data)
	}
	return append([]byte(out.Text), out.Data...)
}

// events sends a request and calls each for every event until it returns false or the stream ends. It returns the error that
// ended the stream, io.EOF for its regular end.
func events(d *daemontest.Daemon, method, path string, body any, each func(event) bool, header ...string) error {
	d.T.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			d.T.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, in)
	if err != nil {
		d.T.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := d.Client.Do(req)
	if err != nil {
		d.T.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		b, _ := io.ReadAll(res.Body)
		d.T.Fatalf("%d %s", res.StatusCode, b)
	}
	rd := bufio.NewReaderSize(res.Body, 128<<10)
	ev := event{ID: -1}
	for {
		line, err := rd.ReadString('\n')
		if err != nil {
			return err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "" && ev.Name != "":
			if !each(ev) {
				return nil
			}
			ev = event{ID: -1}
		case strings.HasPrefix(line, "event: "):
			ev.Name = line[7:]
		case strings.HasPrefix(line, "data: "):
			ev.Data = line[6:]
		case strings.HasPrefix(line, "id: "):
			ev.ID, err = strconv.ParseInt(line[4:], 10, 64)
			if err != nil {
				d.T.Errorf("%v", err)
			}
		}
	}
}

func TestStream(t *testing.T) {
	d := daemontest.Start(t)
	var got []string
	out, errOut := "", ""
	err := events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: `printf 'a\303'; sleep 0.05; printf '\274\n'; sleep 0.05; echo err >&2; sleep 0.05; printf 'x\377'; exit 3`}, func(e event) bool {
		switch e.Name {
		case "stdout":
			out += string(e.bytes(t))
		case "stderr":
			errOut += string(e.bytes(t))
		case "exit":
			got = append(got, e.Data)
		}
		return true
	}, "X-Dugout-Execution-Id", "stream-1")
	if diff := cmp.Diff([]string{`{"exitCode":3,"offset":10}`}, got); diff != "" || err != io.EOF {
		t.Errorf("%v %s", err, diff)
	}
	if out != "aü\nx\xff" || errOut != "err\n" {
		t.Errorf("%q %q", out, errOut)
	}
	// The same again is the same execution, from where the client says it is.
	for last, want := range map[string]string{"0": "aü\nx\xff", "4": "x\xff", "9": "\xff", "10": "", "99": ""} {
		out = ""
		_ = events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: `printf 'a\303'; sleep 0.05; printf '\274\n'; sleep 0.05; echo err >&2; sleep 0.05; printf 'x\377'; exit 3`}, func(e event) bool {
			if e.Name == "stdout" {
				out += string(e.bytes(t))
			}
			return true
		}, "X-Dugout-Execution-Id", "stream-1", "Last-Event-ID", last)
		if out != want {
			t.Errorf("after %s: %q, want %q", last, out, want)
		}
	}
	r := d.Do("GET", "/process/execution/stream-1", nil)
	var ex toolbox.Execution
	r.JSON(t, &ex)
	if diff := cmp.Diff(toolbox.Execution{ID: "stream-1", ExitCode: ptr(3), Result: ptr("aü\nerr\nx\ufffd"), Stdout: ptr("aü\nx\ufffd"), Stderr: ptr("err\n")}, ex); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"-1", "x", "99999999999999999999"} {
		if r := d.Do("POST", "/process/execute/stream", toolbox.Execute{Command: "true"}, "Last-Event-ID", bad); r.Status != 400 || !strings.Contains(string(r.Body), "Last-Event-ID") {
			t.Errorf("%s: %d %s", bad, r.Status, r.Body)
		}
	}
}

func TestStreamTimeout(t *testing.T) {
	d := daemontest.Start(t)
	var names []string
	_ = events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: "echo here; sleep 30", Timeout: ptr(uint32(1))}, func(e event) bool {
		names = append(names, e.Name)
		if e.Name == "exit" && e.Data != `{"exitCode":-1,"signal":"KILL","timedOut":true,"offset":5}` {
			t.Errorf("%s", e.Data)
		}
		return true
	})
	if diff := cmp.Diff([]string{"start", "stdout", "timeout", "exit"}, names); diff != "" {
		t.Error(diff)
	}
}

// A client that leaves and comes back gets every byte once, also when the command writes more than is kept: while somebody
// reads along, the command waits for him.
func TestStreamLosesNothing(t *testing.T) {
	d := daemontest.Start(t)
	size := daemontest.Volume(run.MaxRing+2<<20, 20<<20)
	command := fmt.Sprintf("head -c %d /dev/zero | openssl enc -aes-128-ctr -nosalt -K 00000000000000000000000000000000 -iv 00000000000000000000000000000000 2>/dev/null | tee f", size)
	sum, last, returns := sha256.New(), int64(0), 0
	for done := false; !done; returns++ {
		n := 0
		err := events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: command}, func(e event) bool {
			switch e.Name {
			case "gap":
				t.Fatalf("a gap: %s", e.Data)
			case "stdout":
				b := e.bytes(t)
				if e.ID != last+int64(len(b)) {
					t.Fatalf("event %d after %d has %d bytes", e.ID, last, len(b))
				}
				sum.Write(b)
				last = e.ID
			case "exit":
				done = true
			}
			n++
			return n < 60 || returns > 2
		}, "X-Dugout-Execution-Id", "big", "Last-Event-ID", strconv.FormatInt(last, 10))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(d.Dir + "/f")
	if err != nil || len(b) != size || last != int64(size) {
		t.Fatalf("%v: %d bytes written, %d read", err, len(b), last)
	}
	if want := sha256.Sum256(b); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("what was read is not what was written")
	}
}

// Nobody reads along: the command does not wait, and who comes too late is told what is missing.
func TestStreamGap(t *testing.T) {
	d := daemontest.Start(t)
	_ = events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: "sleep 0.2; head -c 12000000 /dev/zero | tr '\\0' x; echo end"}, func(e event) bool { return e.Name != "start" || false },
		"X-Dugout-Execution-Id", "gap")
	daemontest.Until(t, "the end", func() bool {
		return strings.Contains(string(d.Do("GET", "/process/execution/gap/output?offset=12000000", nil).Body), "end\n")
	})
	var gap toolbox.StreamGap
	total := int64(0)
	_ = events(d, "GET", "/process/execution/gap/output", nil, func(e event) bool {
		switch e.Name {
		case "gap":
			if err := json.Unmarshal([]byte(e.Data), &gap); err != nil {
				t.Error(err)
			}
		case "stdout":
			total += int64(len(e.bytes(t)))
		}
		return true
	})
	if gap.Offset != 0 || gap.Length+total != 12000004 || total < run.MaxRing/2 || total > run.MaxRing {
		t.Errorf("gap %+v, %d bytes", gap, total)
	}
	r := d.Do("GET", "/process/execution/gap/output", nil)
	if at := r.Header.Get("X-Dugout-Offset"); at != strconv.FormatInt(gap.Length, 10) || int64(len(r.Body)) != total {
		t.Errorf("offset %s, %d bytes", at, len(r.Body))
	}
	r = d.Do("GET", "/process/execution/gap", nil)
	if !bytes.Contains(r.Body[:200], []byte(`"result":"[output truncated: the first `)) {
		t.Errorf("%.300s", r.Body)
	}
}

func TestOutputFollow(t *testing.T) {
	d := daemontest.Start(t)
	done := make(chan toolbox.Executed, 1)
	go func() {
		got, _ := execute(d, toolbox.Execute{Command: "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 4"}, "X-Dugout-Execution-Id", "plain")
		done <- got
	}()
	daemontest.Until(t, "it runs", func() bool { return d.Do("GET", "/process/execution/plain", nil).Status == 200 })
	for _, tt := range []struct{ query, want string }{{"?follow=true", "1\n2\n3\n"}, {"?follow=true&offset=2", "2\n3\n"}, {"", "1\n2\n3\n"}, {"?offset=5", "\n"}, {"?offset=600", ""}} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://daemon/process/execution/plain/output"+tt.query, nil)
		res, err := d.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != tt.want || err != nil || res.Trailer.Get("X-Dugout-Exit-Code") != "4" {
			t.Errorf("%s: %q %v %v", tt.query, b, err, res.Trailer)
		}
	}
	if got := <-done; got.ExitCode != 4 {
		t.Errorf("%+v", got)
	}
	for path, status := range map[string]int{"/process/execution/none/output": 404, "/process/execution/plain/output?offset=-1": 400, "/process/execution/plain/output?offset=x": 400} {
		if r := d.Do("GET", path, nil); r.Status != status {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

func dial(t *testing.T, d *daemontest.Daemon, path string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://daemon"+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: d.Client.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// collect reads a connection to its end.
func collect(t *testing.T, c *websocket.Conn) (out, errOut string, messages []string, code websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var texts [2]strings.Builder
	for {
		typ, b, err := c.Read(ctx)
		switch {
		case err != nil:
			return texts[0].String(), texts[1].String(), messages, websocket.CloseStatus(err)
		case typ == websocket.MessageText:
			messages = append(messages, string(b))
		case b[0] == 1:
			texts[0].Write(b[1:])
		case b[0] == 2:
			texts[1].Write(b[1:])
		}
	}
}

func TestConnect(t *testing.T) {
	d := daemontest.Start(t)
	go func() {
		_ = events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: "trap 'echo got int' INT; while read x; do echo \"<$x>\"; done; echo eof >&2; exit 7", OpenStdin: true}, func(event) bool { return true }, "X-Dugout-Execution-Id", "live")
	}()
	daemontest.Until(t, "it runs", func() bool { return d.Do("GET", "/process/execution/live", nil).Status == 200 })
	c := dial(t, d, "/process/execution/live/connect")
	for i, m := range []struct {
		typ  websocket.MessageType
		data string
		want string
	}{
		{websocket.MessageBinary, "one\n", "<one>\n"}, {websocket.MessageBinary, "two\n", "<two>\n"},
		{websocket.MessageText, `{"type":"signal","signal":"INT"}`, "got int\n"}, {websocket.MessageText, `{"type":"eof"}`, "eof\n"},
	} {
		if err := c.Write(t.Context(), m.typ, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			break
		}
		daemontest.Until(t, m.want, func() bool {
			return strings.Contains(string(d.Do("GET", "/process/execution/live/output", nil).Body), m.want)
		})
	}
	out, errOut, messages, code := collect(t, c)
	if out != "<one>\n<two>\ngot int\n" || errOut != "eof\n" || code != 1000 {
		t.Errorf("%q %q %v", out, errOut, code)
	}
	if diff := cmp.Diff([]string{`{"type":"start","id":"live"}`, `{"type":"exit","offset":24,"exitCode":7}`}, messages); diff != "" {
		t.Error(diff)
	}
	// Afterwards, and from the middle.
	out, errOut, _, code = collect(t, dial(t, d, "/process/execution/live/connect?offset=12"))
	if out != "got int\n" || errOut != "eof\n" || code != 1000 {
		t.Errorf("%q %q %v", out, errOut, code)
	}
	c = dial(t, d, "/process/execution/live/connect?offset=24")
	_ = c.Write(t.Context(), websocket.MessageText, []byte(`nonsense`))
	if _, _, _, code = collect(t, c); code != 1000 && code != 1008 {
		t.Errorf("%v", code)
	}
	if r := d.Do("GET", "/process/execution/live/connect", nil); r.Status != 400 {
		t.Errorf("without upgrade: %d %s", r.Status, r.Body)
	}
}

// Large input in both directions at once is not lost, and memory stays bounded by the pipes.
func TestConnectEcho(t *testing.T) {
	d := daemontest.Start(t)
	go func() {
		_ = events(d, "POST", "/process/execute/stream", toolbox.Execute{Command: "cat", OpenStdin: true}, func(event) bool { return false }, "X-Dugout-Execution-Id", "echo")
	}()
	daemontest.Until(t, "it runs", func() bool { return d.Do("GET", "/process/execution/echo", nil).Status == 200 })
	c := dial(t, d, "/process/execution/echo/connect")
	want, pieces := sha256.New(), daemontest.Volume(12, 40)
	go func() {
		b := make([]byte, 256<<10)
		for i := range pieces {
			for j := range b {
				b[j] = byte(i + j*7)
			}
			want.Write(b)
			if c.Write(context.Background(), websocket.MessageBinary, b) != nil {
				return
			}
		}
		_ = c.Write(context.Background(), websocket.MessageText, []byte(`{"type":"eof"}`))
	}()
	out, _, messages, code := collect(t, c)
	got := sha256.Sum256([]byte(out))
	if len(out) != pieces*256<<10 || !bytes.Equal(got[:], want.Sum(nil)) || code != 1000 || !strings.Contains(messages[len(messages)-1], `"exitCode":0`) {
		t.Errorf("%d bytes, %v, %v", len(out), code, messages)
	}
}

func TestConnectRefuses(t *testing.T) {
	d := daemontest.Start(t)
	go func() { execute(d, toolbox.Execute{Command: "sleep 30"}, "X-Dugout-Execution-Id", "shut") }()
	daemontest.Until(t, "it runs", func() bool { return d.Do("GET", "/process/execution/shut", nil).Status == 200 })
	for _, m := range []struct {
		typ  websocket.MessageType
		data string
	}{{websocket.MessageBinary, "input"}, {websocket.MessageText, "{"}, {websocket.MessageText, `{"type":"resize"}`}, {websocket.MessageText, `{"type":"signal","signal":"NONE"}`}} {
		c := dial(t, d, "/process/execution/shut/connect")
		if err := c.Write(t.Context(), m.typ, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
		if _, _, _, code := collect(t, c); code != 1008 {
			t.Errorf("%q: %v", m.data, code)
		}
	}
	for signal, status := range map[string]int{"": 400, "NONE": 400, "9": 400, strings.Repeat("A", 100): 400, "sigkill": 200} {
		if r := d.Do("POST", "/process/execution/shut/signal", toolbox.Signal{Signal: signal}); r.Status != status {
			t.Errorf("%q: %d %s", signal, r.Status, r.Body)
		}
	}
	daemontest.Until(t, "it ended", func() bool {
		return strings.Contains(string(d.Do("GET", "/process/execution/shut", nil).Body), `"signal":"KILL"`)
	})
	if r := d.Do("POST", "/process/execution/shut/signal", toolbox.Signal{Signal: "TERM"}); r.Status != 410 || !strings.Contains(string(r.Body), "COMMAND_ALREADY_COMPLETED") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := d.Do("POST", "/process/execution/none/signal", toolbox.Signal{Signal: "TERM"}); r.Status != 404 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestSplitAndStdin(t *testing.T) {
	d := daemontest.Start(t)
	long := "#" + strings.Repeat("y", 200<<10) + "\n"
	for name, tt := range map[string]struct {
		in     toolbox.Execute
		header []string
		want   toolbox.Executed
	}{
		"split":              {toolbox.Execute{Command: "echo a; sleep 0.05; echo b >&2; sleep 0.05; echo c; exit 2", Split: true}, nil, toolbox.Executed{ExitCode: 2, Result: "a\nb\nc\n", Stdout: ptr("a\nc\n"), Stderr: ptr("b\n")}},
		"split, empty":       {toolbox.Execute{Command: "true", Split: true}, nil, toolbox.Executed{Stdout: ptr(""), Stderr: ptr("")}},
		"not split":          {toolbox.Execute{Command: "echo a; echo b >&2"}, nil, toolbox.Executed{Result: "a\nb\n"}},
		"split, old client":  {toolbox.Execute{Command: "echo a", Split: true}, []string{"X-Daytona-Source", "sdk-go", "X-Daytona-SDK-Version", "0.187.0"}, toolbox.Executed{Result: "a\n"}},
		"stdin":              {toolbox.Execute{Command: "read x; echo \"$x\"; cat", Stdin: "é 1\nrest"}, nil, toolbox.Executed{Result: "é 1\nrest"}},
		"stdin of bytes":     {toolbox.Execute{Command: "od -An -tx1", StdinData: []byte{0, 255, 10}}, nil, toolbox.Executed{Result: " 00 ff 0a\n"}},
		"stdin and long":     {toolbox.Execute{Command: long + "cat; readlink /proc/$$/fd/3 || echo shut", Stdin: "in\n"}, nil, toolbox.Executed{Result: "in\nshut\n"}},
		"could not start":    {toolbox.Execute{Command: "true", Split: true, Cwd: ptr("/no/such")}, nil, toolbox.Executed{ExitCode: -1, Result: "chdir /no/such: no such file or directory\n", Stdout: ptr(""), Stderr: ptr("chdir /no/such: no such file or directory\n")}},
		"a large stdin":      {toolbox.Execute{Command: "wc -c", Stdin: strings.Repeat("x", 5<<20)}, nil, toolbox.Executed{Result: "5242880\n"}},
		"the daemon's user":  {toolbox.Execute{Command: "id -u", User: strconv.Itoa(os.Getuid())}, nil, toolbox.Executed{Result: strconv.Itoa(os.Getuid()) + "\n"}},
		"the end is no line": {toolbox.Execute{Command: "printf x >&2", Split: true}, nil, toolbox.Executed{Result: "x", Stdout: ptr(""), Stderr: ptr("x")}},
	} {
		got, status := execute(d, tt.in, tt.header...)
		if diff := cmp.Diff(tt.want, got); status != 200 || diff != "" {
			t.Errorf("%s: %d %s", name, status, diff)
		}
	}
	for body, word := range map[string]string{
		`{"command":"x","stdin":"a","stdinData":"` + base64.StdEncoding.EncodeToString([]byte("b")) + `"}`: "exclude",
		`{"command":"x","openStdin":true,"stdin":"a"}`:                                                     "exclude",
		`{"command":"x","openStdin":true}`:                                                                 "X-Dugout-Execution-Id",
		`{"command":"x","stdinData":"%%"}`:                                                                 "JSON",
		`{"command":"x","user":"no-such-user"}`:                                                            "no-such-user",
		`{"command":"x","user":"a:b"}`:                                                                     "user",
		`{"command":"x","user":"99999999999"}`:                                                             "user",
	} {
		if r := d.Do("POST", "/process/execute", body); r.Status != 400 || !strings.Contains(string(r.Body), word) {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
}

// The old client gets no field that it does not know, byte for byte.
func TestOldGoClientsGetNoNewFields(t *testing.T) {
	d := daemontest.Start(t)
	r := d.Do("POST", "/process/execute", toolbox.Execute{Command: "echo a", Split: true}, "X-Daytona-Source", "sdk-go", "X-Daytona-SDK-Version", "v0.150.0")
	if string(r.Body) != `{"exitCode":0,"result":"a\n"}` {
		t.Errorf("%s", r.Body)
	}
}

func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing the user needs root")
	}
	d := daemontest.Start(t)
	if err := os.Chmod(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	got, status := execute(d, toolbox.Execute{Command: "id -un; id -gn; echo $HOME $USER $LOGNAME; kill -0 $PPID 2>/dev/null || echo apart", User: "nobody", Cwd: ptr("/")})
	if status != 200 || got.Result != "nobody\nnogroup\n/nonexistent nobody nobody\napart\n" {
		t.Errorf("%d %+v", status, got)
	}
	got, _ = execute(d, toolbox.Execute{Command: "echo $HOME", User: "65534", Cwd: ptr("/"), Envs: map[string]string{"HOME": "/x"}})
	if got.Result != "/x\n" {
		t.Errorf("%+v", got)
	}
	r := d.Do("POST", "/process/execute", toolbox.Execute{Command: "sleep 30 & sleep 30", User: "nobody", Cwd: ptr("/"), Timeout: ptr(uint32(1))})
	if r.Status != 408 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}
