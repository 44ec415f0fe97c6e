//go:build linux

package pty_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// numbers are the lines of output that are one number.
func numbers(t *testing.T, text string) []int {
	t.Helper()
	var out []int
	for line := range strings.Lines(text) {
		line, whole := strings.CutSuffix(strings.TrimSuffix(line, "\n"), "\r")
		line = line[strings.LastIndexByte(line, '\r')+1:]
		if !whole || line == "" || strings.Trim(line, "0123456789") != "" {
			continue
		}
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// unbroken fails when numbers do not rise by one each.
func unbroken(t *testing.T, got []int, last int) {
	t.Helper()
	if len(got) == 0 || got[len(got)-1] != last {
		t.Errorf("%d numbers, the last is not %d", len(got), last)
		return
	}
	for i := 1; i < len(got); i++ {
		if got[i] != got[i-1]+1 {
			t.Errorf("%d follows on %d", got[i], got[i-1])
			return
		}
	}
}

// Whoever connects at whatever moment gets the replay and what follows without a gap and without a byte twice.
func TestReplayMeetsLive(t *testing.T) {
	d := start(t)
	const last = 45000 // more than the scrollback holds
	create(t, d, toolbox.PtyCreate{ID: "a"})
	first := connect(t, d, "/process/pty/a/connect")
	first.expect("$ ")
	first.send("stty -echo; for i in {1.." + strconv.Itoa(last) + "}; do echo $i; done; read x; exit\n")
	var clients []*client
	for i := range 12 {
		first.expect(fmt.Sprintf("\n%d\r", i*3600+1+rand.IntN(2000)))
		clients = append(clients, connect(t, d, "/process/pty/a/connect"))
	}
	for _, c := range append(clients, first) {
		c.expect(strconv.Itoa(last) + "\r\n")
	}
	after := connect(t, d, "/process/pty/a/connect?replay=false")
	first.send("\n")
	unbroken(t, numbers(t, first.text()), last)
	for _, c := range clients {
		c.closed()
		got := numbers(t, c.text())
		unbroken(t, got[1:], last) // the first line may have lost its beginning
		if c.frames[0] != "connected" {
			t.Errorf("frames %v", c.frames[:3])
		}
	}
	after.closed()
	if strings.Contains(after.text(), strconv.Itoa(last)) {
		t.Errorf("replayed although that was not wanted: %q", tail(after.text()))
	}
	if r := d.Do("GET", "/process/pty/a/connect?replay=maybe", nil); r.Status == 101 || r.Status == 200 {
		t.Errorf("%d", r.Status)
	}
}

// A program never waits for somebody to look.
func TestNobodyLooks(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	done := filepath.Join(d.Dir, "done")
	c.send("seq 1 1000000; touch " + done + "\n")
	c.leave()
	daemontest.Until(t, "the program", func() bool {
		_, err := os.Stat(done)
		return err == nil
	})
	c = connect(t, d, "/process/pty/a/connect")
	c.expect("\n1000000\r\n")
	unbroken(t, numbers(t, c.text())[1:], 1000000)
}

func TestClientsShareATerminal(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	var all []*client
	for range 8 {
		all = append(all, connect(t, d, "/process/pty/a/connect", exitControl))
	}
	all[0].expect("$ ")
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { c.send(fmt.Sprintf("echo by''%d\n", i)) })
	}
	wg.Wait()
	for _, c := range all {
		for i := range all {
			c.expect(fmt.Sprintf("by%d", i))
		}
	}
	all[3].send("exit 2\n")
	for _, c := range all {
		if e := c.closed(); e.Reason != `{"exitCode":2,"exitReason":"non-zero exit"}` || c.controls[len(c.controls)-1].Status != "exited" {
			t.Errorf("closed with %v after %+v", e, c.controls)
		}
		if c.text() != all[0].text() {
			t.Errorf("%q, another saw %q", c.text(), all[0].text())
		}
	}
}

// What takes its time is tried at once, in one daemon: several in one process would mix up whose children are whose.
func TestFlow(t *testing.T) {
	d := start(t)
	for name, f := range map[string]func(*testing.T, *daemontest.Daemon){"slow client": testSlowClientSlowsDown, "stuck client": testStuckClient,
		"stuck beside quick": testStuckBesideQuick, "input": testNobodyTakesTheInput} {
		t.Run(name, func(t *testing.T) { f(t, d) })
	}
}

// sluggish is a client whose reading is up to the test.
func sluggish(t *testing.T, d *daemontest.Daemon, path string) *websocket.Conn {
	t.Helper()
	c, _, err := upgrade(t, d, path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The only client is slow: the program waits for it, and nothing is lost.
func testSlowClientSlowsDown(t *testing.T, d *daemontest.Daemon) {
	t.Parallel()
	const last = 300000
	create(t, d, toolbox.PtyCreate{ID: "SlowClientSlowsDown", LazyStart: true})
	c := sluggish(t, d, "/process/pty/SlowClientSlowsDown/connect")
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("stty -echo; seq 1 "+strconv.Itoa(last)+"; exit\n")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for n := 0; ; n++ {
		if n%200 == 0 {
			time.Sleep(20 * time.Millisecond) // this is what is slow
		}
		typ, data, err := c.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Error(err)
			}
			break
		}
		if typ == websocket.MessageBinary {
			if out.Write(data); len(data) > 32<<10 {
				t.Errorf("a frame of %d bytes", len(data))
			}
		}
	}
	unbroken(t, numbers(t, out.String()), last)
}

// A client that reads nothing holds nobody up for long, and is told when it reads again.
func testStuckClient(t *testing.T, d *daemontest.Daemon) {
	t.Parallel()
	create(t, d, toolbox.PtyCreate{ID: "StuckClient", LazyStart: true})
	stuck := sluggish(t, d, "/process/pty/StuckClient/connect")
	begin := time.Now()
	done := filepath.Join(d.Dir, "StuckClient")
	if err := stuck.Write(t.Context(), websocket.MessageBinary, []byte("seq 1 2000000; touch "+done+"\n")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 60*time.Second, func() bool {
		_, err := os.Stat(done)
		return err == nil
	})
	if took := time.Since(begin); took < 4*time.Second {
		t.Errorf("the program did not wait for its only client: %v", took)
	}
	for {
		_, _, err := stuck.Read(t.Context())
		if err == nil {
			continue
		}
		var ce websocket.CloseError
		if ce, _ = asClose(err); ce.Code != 1008 || ce.Reason != "slow consumer" {
			t.Errorf("closed with %v", err)
		}
		break
	}
	if _, status := info(t, d, "StuckClient"); status != 200 {
		t.Errorf("the terminal is gone: %d", status)
	}
}

func asClose(err error) (websocket.CloseError, bool) {
	ce := websocket.CloseError{Code: websocket.CloseStatus(err)}
	if i := strings.Index(err.Error(), `reason = "`); i >= 0 {
		ce.Reason = strings.TrimSuffix(err.Error()[i+len(`reason = "`):], `"`)
	}
	return ce, ce.Code != -1
}

func waitFor(t *testing.T, limit time.Duration, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

// Whoever keeps up is not held up by a client that does not.
func testStuckBesideQuick(t *testing.T, d *daemontest.Daemon) {
	t.Parallel()
	create(t, d, toolbox.PtyCreate{ID: "StuckBesideQuick"})
	quick := connect(t, d, "/process/pty/StuckBesideQuick/connect")
	quick.expect("$ ")
	stuck := sluggish(t, d, "/process/pty/StuckBesideQuick/connect")
	begin := time.Now()
	quick.send("stty -echo; seq -f %0100.0f 1 80000; exit\n")
	if e := quick.closed(); e.Code != 1000 {
		t.Errorf("closed with %v", e)
	}
	if took := time.Since(begin); took > 4500*time.Millisecond && !raceEnabled {
		t.Errorf("took %v", took)
	}
	unbroken(t, numbers(t, quick.text()), 80000)
	for {
		if _, _, err := stuck.Read(t.Context()); err != nil {
			if websocket.CloseStatus(err) != 1008 {
				t.Error(err)
			}
			return
		}
	}
}

// A program that reads nothing: input waits in bounded memory, pings are answered, then the client is closed with 1011.
func testNobodyTakesTheInput(t *testing.T, d *daemontest.Daemon) {
	t.Parallel()
	create(t, d, toolbox.PtyCreate{ID: "NobodyTakesTheInput"})
	c := connect(t, d, "/process/pty/NobodyTakesTheInput/connect")
	c.expect("$ ")
	c.send("stty raw -echo; echo re''ady; exec sleep 3604\n")
	c.expect("ready")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c.send(strings.Repeat("x", 200<<10)) // more than the kernel takes
	if err := c.c.Ping(ctx); err != nil {
		t.Fatalf("ping: %v", err)
	}
	go func() {
		for c.c.Write(t.Context(), websocket.MessageBinary, bytes.Repeat([]byte("y"), 200<<10)) == nil {
		}
	}()
	if e := c.closed(); e.Code != 1011 || e.Reason != "the program takes no input" {
		t.Errorf("closed with %v", e)
	}
	if r := d.Do("DELETE", "/process/pty/NobodyTakesTheInput", nil); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// Much input, as when a file is pasted, arrives whole.
func TestMuchInput(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	file := filepath.Join(d.Dir, "copy")
	c.send("stty -echo; echo re''ady; cat > " + file + "\n")
	c.expect("ready")
	want := strings.Repeat(strings.Repeat("z", 99)+"\n", 20000)
	for text := want; text != ""; {
		n := min(len(text), 200<<10)
		c.send(text[:n])
		text = text[n:]
	}
	c.send("\x04")
	c.send("exit\n")
	if e := c.closed(); e.Code != 1000 {
		t.Errorf("closed with %v", e)
	}
	if b, _ := os.ReadFile(file); string(b) != want {
		t.Errorf("%d bytes arrived of %d", len(b), len(want))
	}
}

func TestTooLargeAMessage(t *testing.T) {
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a"})
	c := connect(t, d, "/process/pty/a/connect")
	c.expect("$ ")
	_ = c.c.Write(t.Context(), websocket.MessageBinary, make([]byte, 256<<10+1))
	if e := c.closed(); e.Code != 1009 {
		t.Errorf("closed with %v", e)
	}
	if _, status := info(t, d, "a"); status != 200 {
		t.Errorf("the terminal is gone: %d", status)
	}
}

// Fifty terminals at work at once.
func TestFifty(t *testing.T) {
	d := start(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			id := strconv.Itoa(i)
			if r := d.Do("POST", "/process/pty", toolbox.PtyCreate{ID: id}); r.Status != 201 {
				t.Errorf("%d %s", r.Status, r.Body)
				return
			}
			c, _, err := websocket.Dial(t.Context(), "ws://daemon/process/pty/"+id+"/connect", &websocket.DialOptions{HTTPClient: &http.Client{Transport: d.Client.Transport}})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.CloseNow() }()
			c.SetReadLimit(-1)
			if err := c.Write(t.Context(), websocket.MessageText, []byte("stty -echo; seq 1 5000; exit\n")); err != nil {
				t.Error(err)
			}
			var out bytes.Buffer
			for {
				_, data, err := c.Read(t.Context())
				if err != nil {
					if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
						t.Error(err)
					}
					break
				}
				out.Write(data)
			}
			unbroken(t, numbers(t, out.String()), 5000)
		})
	}
	wg.Wait()
	if r := d.Do("GET", "/process/pty", nil); string(r.Body) != `{"sessions":[]}` {
		t.Errorf("left: %s", r.Body)
	}
}

// BenchmarkEcho is a key's way: from the client through the kernel's line editor and back.
func BenchmarkEcho(b *testing.B) {
	d := start(b)
	create(b, d, toolbox.PtyCreate{ID: "a"})
	c, _, err := upgrade(b, d, "/process/pty/a/connect")
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	read := func() string {
		_, data, err := c.Read(ctx)
		if err != nil {
			b.Fatal(err)
		}
		return string(data)
	}
	if err := c.Write(ctx, websocket.MessageBinary, []byte("echo re''ady; exec cat\n")); err != nil {
		b.Fatal(err)
	}
	for seen := ""; !strings.Contains(seen, "ready\r\n"); {
		seen += read()
	}
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		key := "x"
		if i%1000 == 999 {
			key = "\x15" // erase the line, which is of limited length
		}
		begin := time.Now()
		if err := c.Write(ctx, websocket.MessageBinary, []byte(key)); err != nil {
			b.Fatal(err)
		}
		read()
		if key == "x" {
			took = append(took, time.Since(begin))
		} else { // the rest of it
			time.Sleep(5 * time.Millisecond)
			if err := c.Write(ctx, websocket.MessageBinary, []byte("\x12")); err != nil {
				b.Fatal(err)
			}
			for !strings.Contains(read(), "^R") {
			}
		}
	}
	slices.Sort(took)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(took[min(len(took)-1, len(took)*p/100)].Microseconds()), fmt.Sprintf("p%d-µs", p))
	}
}
