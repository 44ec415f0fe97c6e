//go:build linux

package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/session"
)

// dial opens the log of a command as a WebSocket.
func (s sess) dial(ctx context.Context, id, query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	opts := &websocket.DialOptions{HTTPClient: s.Client, HTTPHeader: header.Clone(), Subprotocols: header.Values("Sec-WebSocket-Protocol")}
	opts.HTTPHeader.Del("Sec-WebSocket-Protocol")
	c, resp, err := websocket.Dial(ctx, "ws://daemon"+s.path("/command/"+id+"/logs"+query), opts)
	if err == nil {
		c.SetReadLimit(-1)
	}
	return c, resp, err
}

// drain reads a WebSocket to its end and returns the close code.
func drain(t testing.TB, c *websocket.Conn, w io.Writer) websocket.StatusCode {
	t.Helper()
	for {
		typ, b, err := c.Read(context.Background())
		if err != nil {
			return websocket.CloseStatus(err)
		}
		if typ != websocket.MessageBinary {
			t.Errorf("message type %v", typ)
		}
		_, _ = w.Write(b)
	}
}

func TestFollow(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("echo a; read x; echo b >&2; read x; printf c")
	type follower struct {
		name, want string
		got        lockedBuffer
	}
	const raw, plain = "\x01\x01\x01a\n\x01\x01\x01x\n\x02\x02\x02b\n\x01\x01\x01y\n\x01\x01\x01c\n", "a\nx\nb\ny\nc\n"
	followers := []*follower{{name: "newest", want: raw}, {name: "oldest", want: plain}, {name: "protocol", want: raw}, {name: "http", want: plain}, {name: "http, newest", want: plain}, {name: "http, marks", want: raw},
		{name: "offset", want: raw[4:]}, {name: "http, offset", want: plain[1:]}}
	daemontest.Until(t, "the first line", func() bool { return s.logs(id).Stdout == "a\n" })
	var wg sync.WaitGroup
	for _, f := range followers {
		query, header := "?follow=true", http.Header{}
		switch f.name {
		case "newest", "http, newest":
			header.Set("X-Daytona-SDK-Version", "0.205.0")
		case "protocol":
			header.Set("Sec-WebSocket-Protocol", "X-Daytona-SDK-Version~0.205.0")
		case "http, marks":
			query += "&marks=true"
		case "offset":
			query += "&offset=4"
			header.Set("X-Daytona-SDK-Version", "0.205.0")
		case "http, offset":
			query += "&offset=1"
		}
		if strings.HasPrefix(f.name, "http") {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://daemon"+s.path("/command/"+id+"/logs"+query), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header
			resp, err := s.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/octet-stream" || resp.StatusCode != 200 {
				t.Errorf("%s: %d %s", f.name, resp.StatusCode, ct)
			}
			wg.Go(func() {
				defer resp.Body.Close()
				if _, err := io.Copy(&f.got, resp.Body); err != nil {
					t.Errorf("%s: %v", f.name, err)
				}
			})
			continue
		}
		c, resp, err := s.dial(t.Context(), id, query, header)
		if err != nil {
			t.Fatal(err)
		}
		if p := header.Get("Sec-WebSocket-Protocol"); resp.Header.Get("Sec-WebSocket-Protocol") != p {
			t.Errorf("%s: protocol %q", f.name, resp.Header.Get("Sec-WebSocket-Protocol"))
		}
		wg.Go(func() {
			if code := drain(t, c, &f.got); code != websocket.StatusNormalClosure {
				t.Errorf("%s: close code %d", f.name, code)
			}
		})
	}
	s.input(id, "x", 204)
	for _, f := range followers {
		daemontest.Until(t, f.name+" to see a line while the command runs", func() bool { return strings.HasSuffix(f.got.String(), "b\n") })
	}
	s.input(id, "y", 204)
	wg.Wait()
	for _, f := range followers {
		if got := f.got.String(); got != f.want {
			t.Errorf("%s: %q, want %q", f.name, got, f.want)
		}
	}
	// Without follow, and when it has ended: what is there, and the end.
	for query, want := range map[string]string{"": raw, "?offset=5": raw[5:], "?follow=true": raw, "?follow=true&offset=" + strconv.Itoa(len(raw)): ""} {
		c, _, err := s.dial(t.Context(), id, query, http.Header{"X-Daytona-Sdk-Version": {"0.205.0"}})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if code := drain(t, c, &got); code != websocket.StatusNormalClosure || got.String() != want {
			t.Errorf("%s: %d %q, want %q", query, code, &got, want)
		}
	}
	for query, want := range map[string]int{"?offset=" + strconv.Itoa(len(raw)+1): 400, "?offset=x": 400} {
		if _, resp, err := s.dial(t.Context(), id, query, http.Header{"X-Daytona-Sdk-Version": {"0.205.0"}}); err == nil || resp.StatusCode != want {
			t.Errorf("%s: %v", query, err)
		}
	}
	var l toolbox.SessionLogs
	s.Do("GET", s.path("/command/"+id+"/logs?offset=10"), nil, newest...).JSON(t, &l)
	if l.Output != raw[10:] {
		t.Errorf("%+v", l)
	}
	if r := s.Do("GET", s.path("/command/"+id+"/logs?offset=3"), nil); string(r.Body) != plain[3:] {
		t.Errorf("%q", r.Body)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fewer divides how much the big tests do.
var fewer = 1

// much is how many bytes the big tests move: 64 MB, or 1 GB in the long tests.
func much() int64 { return int64(daemontest.Volume(64<<20/fewer, 1<<30)) }

// writer is a program that writes numbered lines of random length to both streams, size bytes in all.
const writer = `import sys, random, os
size, n = int(sys.argv[1]), 0
r = random.Random(7)
filler = "".join(chr(33 + i % 90) for i in range(300))
while n < size:
    part = [[], []]
    for i in range(2000):
        s = r.randrange(2)
        line = "%d %s\n" % (i, filler[:r.randrange(300)])
        part[s].append(line); n += len(line)
    for s in (0, 1):
        b = "".join(part[s]).encode()
        while b:
            k = r.randrange(1, 70000)
            k = os.write(1 + s, b[:k]); b = b[k:]
        with open(sys.argv[2 + s], "ab") as f: f.write("".join(part[s]).encode())
`

// Nothing is lost, doubled or torn: readers at full speed, slow ones, and ones that lose their connection all the time get
// the same bytes as the program wrote.
func TestMuchOutput(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	program := filepath.Join(s.Dir, "w.py")
	if err := os.WriteFile(program, []byte(writer), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Client.Timeout = 0
	id := s.launch(fmt.Sprintf("python3 %s %d o e", program, much()))
	cuts := 50 / fewer
	if much() == 1<<30 {
		cuts = 500
	}
	sums := make([]string, 4)
	var wg sync.WaitGroup
	split := func() (w *splitWriter) { return &splitWriter{out: sha256.New(), errs: sha256.New()} }
	wg.Go(func() { // at full speed, WebSocket
		c, _, err := s.dial(t.Context(), id, "?follow=true", http.Header{"X-Daytona-Sdk-Version": {"0.205.0"}})
		if err != nil {
			t.Error(err)
			return
		}
		w := split()
		if code := drain(t, c, w); code != websocket.StatusNormalClosure {
			t.Errorf("close code %d", code)
		}
		sums[0] = w.sum()
	})
	wg.Go(func() { // comes back all the time, HTTP with marks
		w := split()
		s.reconnect(t, id, "&marks=true", w, cuts)
		sums[1] = w.sum()
	})
	wg.Go(func() { // the same without marks
		h := sha256.New()
		s.reconnect(t, id, "", h, cuts)
		sums[2] = string(h.Sum(nil))
	})
	wg.Wait()
	if exit := s.ended(id); exit != 0 {
		t.Fatalf("exit %d: %.300s", exit, s.logs(id).Stderr)
	}
	h := sha256.New() // the whole log without marks
	s.reconnect(t, id, "", h, 0)
	sums[3] = string(h.Sum(nil))
	want := split()
	want.out, want.errs = fileSum(t, filepath.Join(s.Dir, "o")), fileSum(t, filepath.Join(s.Dir, "e"))
	if sums[0] != want.sum() || sums[1] != want.sum() {
		t.Error("a stream came out otherwise than it was written")
	}
	if sums[2] != sums[3] {
		t.Error("a client that came back by offset has not what the log has")
	}
}

// Messages end with whole lines or inside them, never with a mark or a part of one.
func TestMessagesDoNotEndWithAMark(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch(`seq 100000; head -c 100000 /dev/zero | tr '\0' '\001'; echo; echo end`)
	if exit := s.ended(id); exit != 0 {
		t.Fatal(exit)
	}
	c, _, err := s.dial(t.Context(), id, "", http.Header{"X-Daytona-Sdk-Version": {"0.128.1"}})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	torn, messages := 0, 0
	for {
		_, b, err := c.Read(t.Context())
		if err != nil {
			break
		}
		if messages++; len(all) < 800_000 && (b[len(b)-1] == 1 || b[len(b)-1] == 2) {
			torn++
		}
		all = append(all, b...)
	}
	if torn > 0 || messages < 20 {
		t.Errorf("%d of %d messages end with a mark or a part of one", torn, messages)
	}
	if want := s.logs(id).Output; string(all) != want {
		t.Errorf("%d bytes that are not the log's %d", len(all), len(want))
	}
}

// reconnect follows a log over n connections, each of which is cut in the middle, and one more to the end.
func (s sess) reconnect(t testing.TB, id, query string, w io.Writer, n int) {
	t.Helper()
	size := much()
	var at int64
	for i := range n + 1 {
		req, err := http.NewRequestWithContext(context.Background(), "GET", "http://daemon"+s.path("/command/"+id+"/logs?follow=true&offset="+strconv.FormatInt(at, 10)+query), nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := s.Client.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("offset %d: %v %v", at, resp, err)
			return
		}
		var body io.Reader = resp.Body
		if i < n {
			body = io.LimitReader(body, rand.Int64N(2*(size-size/8)/int64(n)))
		}
		got, err := io.Copy(w, body)
		at += got
		_ = resp.Body.Close()
		if i == n && err != nil {
			t.Errorf("the last connection: %v", err)
		}
	}
}

// splitWriter hashes the streams of a log.
type splitWriter struct {
	out, errs interface {
		io.Writer
		Sum([]byte) []byte
	}
	cur int
}

func (w *splitWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 { // the program writes neither 01 nor 02
		i := bytes.IndexAny(p, "\x01\x02")
		if i < 0 {
			i = len(p)
		}
		if i > 0 && w.cur == 2 {
			_, _ = w.errs.Write(p[:i])
		} else if i > 0 {
			_, _ = w.out.Write(p[:i])
		}
		if i < len(p) {
			w.cur = int(p[i])
			i++
		}
		p = p[i:]
	}
	return n, nil
}

func (w *splitWriter) sum() string {
	return string(w.out.Sum(nil)) + string(w.errs.Sum(nil))
}

func fileSum(t testing.TB, path string) interface {
	io.Writer
	Sum([]byte) []byte
} {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestThousandReconnects(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
	for _, marks := range []bool{false, true} {
		var got bytes.Buffer
		for conns := 0; ; conns++ {
			query := "?follow=true&offset=" + strconv.Itoa(got.Len())
			header := http.Header{}
			if marks {
				header.Set("X-Daytona-SDK-Version", "0.205.0")
			}
			c, _, err := s.dial(t.Context(), id, query, header)
			if err != nil {
				t.Fatal(err)
			}
			if conns == 500/fewer { // a thousand with and without marks
				if code := drain(t, c, &got); code != websocket.StatusNormalClosure {
					t.Errorf("close code %d", code)
				}
				break
			}
			_, b, err := c.Read(t.Context())
			if err == nil {
				got.Write(b[:min(len(b), rand.IntN(700))]) // the rest is lost on the way
			}
			_ = c.CloseNow()
		}
		var want bytes.Buffer
		for i := range 20000 {
			if marks {
				want.WriteString(toolbox.StdoutMark)
			}
			fmt.Fprintln(&want, "line", i)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("marks %v: %d bytes, want %d", marks, got.Len(), want.Len())
		}
	}
}

// A follower that takes nothing costs little memory, and the command does not wait for it.
func TestFollowerThatDoesNotRead(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch(fmt.Sprintf("read x; head -c %d /dev/zero | tr '\\0' x | fold -w 99; echo", daemontest.Volume(16_000_000, 50_000_000)))
	var conns []net.Conn
	for i := range 20 {
		c := s.Conn()
		upgrade := ""
		if i%2 == 0 {
			upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: d\r\n%s\r\n", s.path("/command/"+id+"/logs?follow=true"), upgrade); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 101" && string(b) != "HTTP/1.1 200" {
			t.Fatalf("%q %v", b, err)
		}
		conns = append(conns, c)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.input(id, "go", 204)
	if exit := s.ended(id); exit != 0 {
		t.Fatalf("exit %d", exit)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("20 followers cost %d bytes", grown)
	}
	begin := time.Now()
	if r := s.Do("DELETE", s.path(""), nil); r.Status != 204 || time.Since(begin) > 3*time.Second {
		t.Errorf("deleting took %v: %d", time.Since(begin), r.Status)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

func TestDeleteWhileFollowed(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("echo a; exec sleep 1000")
	c, _, err := s.dial(t.Context(), id, "?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(t.Context()); err != nil || string(b) != "a\n" {
		t.Fatalf("%q %v", b, err)
	}
	other := open(t, s.Daemon, "other")
	sync := make(chan daemontest.Reply, 1)
	go func() {
		sync <- other.Do("POST", other.path("/exec"), toolbox.SessionExecute{Command: "sleep 1000"}, newest...)
	}()
	daemontest.Until(t, "the command to run", func() bool {
		var got toolbox.Session
		other.Do("GET", other.path(""), nil).JSON(t, &got)
		return len(got.Commands) == 1
	})
	for _, x := range []sess{s, other} {
		if r := x.Do("DELETE", x.path(""), nil); r.Status != 204 {
			t.Errorf("%d", r.Status)
		}
	}
	if code := drain(t, c, io.Discard); code != websocket.StatusNormalClosure {
		t.Errorf("close code %d", code)
	}
	if r := <-sync; r.Status != 400 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// Who is killed in the middle: the command says so, and the log has what it wrote until then.
func TestKillInTheMiddle(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("sh -c 'while :; do echo line; done & echo $! >pid; wait $!'; exit 9")
	pid := filepath.Join(s.Dir, "pid")
	daemontest.Until(t, "some output", func() bool { return len(s.logs(id).Stdout) > 10_000 })
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	p, err := os.FindProcess(n)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	if exit := s.ended(id); exit != 9 {
		t.Errorf("exit %d", exit)
	}
	for i, line := range strings.Split(strings.TrimSuffix(s.logs(id).Stdout, "\n"), "\n") {
		if line != "line" && i > 0 && !strings.HasPrefix("line", line) {
			t.Fatalf("line %d: %q", i, line)
		}
	}
}

func TestLogLimit(t *testing.T) {
	const limit = 100_000
	d := daemontest.Start(t)
	if r := d.Do("POST", "/env", toolbox.EnvUpdate{Set: map[string]string{session.LogMaxEnv: strconv.Itoa(limit)}}); r.Status/100 != 2 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	s := open(t, d, "s")
	for name, c := range map[string]struct {
		command string
		cut     bool
	}{
		"at the limit": {fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; echo", limit-4), false},
		"one more":     {fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; echo", limit-3), true},
		"much more":    {"yes | head -c 1000000", true},
	} {
		_, _, exit := s.run(c.command + "; exit_=$?; (exit $exit_)")
		var got toolbox.Session
		s.Do("GET", s.path(""), nil).JSON(t, &got)
		l := s.logs(got.Commands[len(got.Commands)-1].ID)
		const mark = "[log truncated: at its limit of 100000 bytes; what follows was dropped]\n"
		if exit != 0 || strings.HasSuffix(l.Output, toolbox.StderrMark+mark) != c.cut || strings.Contains(l.Stderr, mark) != c.cut {
			t.Errorf("%s: %d, %d bytes, …%q", name, exit, len(l.Output), l.Output[len(l.Output)-100:])
		}
		if n := len(strings.TrimSuffix(strings.TrimSuffix(l.Output, toolbox.StderrMark+mark), "\n")); n > limit || n < limit-1 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	if stdout, _, _ := s.run("echo goes on"); stdout != "goes on\n" {
		t.Errorf("%q", stdout)
	}
}

// The log is a file of the sandbox, which may do what it likes with it.
func TestLogIsTamperedWith(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	file := func(id string) string { return filepath.Join(s.Dir, ".daytona/sessions/s", id, "output.log") }
	for name, c := range map[string]struct {
		do   func(string) error
		want int
	}{
		"removed":   {os.Remove, 404},
		"truncated": {func(p string) error { return os.Truncate(p, 0) }, 404},
		"a link":    {func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) }, 403},
		"a folder":  {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, 400},
	} {
		id := s.launch("echo line")
		s.ended(id)
		if err := c.do(file(id)); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{"", "?follow=true&offset=4"} {
			if r := s.Do("GET", s.path("/command/"+id+"/logs"+query), nil); r.Status != c.want && !(query != "" && name == "truncated") {
				t.Errorf("%s%s: %d %s", name, query, r.Status, r.Body)
			}
		}
	}
	if _, _, exit := s.run("rm -rf ~/.daytona; echo gone"); exit != 0 {
		t.Error("the command whose log is gone does not end")
	}
	if stdout, _, _ := s.run("echo next"); stdout != "next\n" {
		t.Errorf("%q", stdout)
	}
}

func TestParallel(t *testing.T) {
	d := daemontest.Start(t)
	var wg sync.WaitGroup
	for i := range 200 / fewer {
		wg.Go(func() {
			id := fmt.Sprint("p", i)
			if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: id}); r.Status != 201 {
				t.Errorf("%d %s", r.Status, r.Body)
				return
			}
			s := sess{d, id}
			for j := range 3 {
				if stdout, _, _ := s.run(fmt.Sprintf("n=$((n+1)); echo %d $n", i)); stdout != fmt.Sprintf("%d %d\n", i, j+1) {
					t.Errorf("%q", stdout)
				}
			}
		})
	}
	wg.Wait()
	for i := 200 / fewer; i < session.MaxSessions; i++ {
		open(t, d, fmt.Sprint("p", i))
	}
	if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: "more"}); r.Status != 429 || !strings.Contains(string(r.Body), strconv.Itoa(session.MaxSessions)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := d.Do("DELETE", "/process/session/p7", nil); r.Status != 204 {
		t.Errorf("%d", r.Status)
	}
	open(t, d, "more")
}

func TestQueueLimit(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	first := s.launch("read x")
	daemontest.Until(t, "the first to run", func() bool {
		return s.Do("POST", s.path("/command/"+first+"/input"), toolbox.SessionInput{Data: "\\"}).Status == 204
	})
	for range session.MaxQueued {
		s.launch("echo $?")
	}
	if r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: "true", RunAsync: true}); r.Status != 429 || !strings.Contains(string(r.Body), strconv.Itoa(session.MaxQueued)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	s.input(first, "y", 204)
	last := s.launchWhenPossible("echo last")
	if s.ended(last) != 0 {
		t.Error("the last did not run")
	}
	id := s.launch("read x; exit 2")
	after := s.launch("echo never")
	s.input(id, "x", 204)
	if s.ended(id) != 2 || s.ended(after) != -1 || !strings.Contains(s.logs(after).Stderr, "not run") {
		t.Errorf("%+v", s.logs(after))
	}
}

func (s sess) launchWhenPossible(command string) (id string) {
	daemontest.Until(s.T, "room in the queue", func() bool {
		r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: command, RunAsync: true}, newest...)
		var out toolbox.SessionExecuted
		r.JSON(s.T, &out)
		id = out.CmdID
		return r.Status == 202
	})
	return id
}

// The oldest ended commands are forgotten, with their logs, except those whose children may still write.
func TestForgetting(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	writes := s.launch("sleep 1000 & pid=$!")
	first := s.launch("true")
	for range session.MaxCommands {
		s.run(":")
	}
	if r := s.Do("GET", s.path("/command/"+first), nil); r.Status != 404 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	var entries []os.DirEntry
	var err error
	daemontest.Until(t, "the logs to go", func() bool { // the answer does not wait for that
		entries, err = os.ReadDir(filepath.Join(s.Dir, ".daytona/sessions/s"))
		return err != nil || len(entries) <= session.MaxCommands
	})
	var got toolbox.Session
	s.Do("GET", s.path(""), nil).JSON(t, &got)
	if err != nil || len(entries) != session.MaxCommands || len(got.Commands) != session.MaxCommands {
		t.Errorf("%d logs, %d commands: %v", len(entries), len(got.Commands), err)
	}
	if s.command(writes).ExitCode == nil {
		t.Error("it has not ended")
	}
	s.run("kill $pid")
	daemontest.Until(t, "the end of its child", func() bool {
		s.run(":")
		return s.Do("GET", s.path("/command/"+writes), nil).Status == 404
	})
	long := s.launch("# " + strings.Repeat("x", 100_000))
	if c := s.command(long); len(c.Command) != 4<<10 {
		t.Errorf("%d bytes of a command are remembered", len(c.Command))
	}
}

// Deleting, the end of a command, its output and its input come at the same moment, again and again.
func TestDeleteInTheMiddle(t *testing.T) {
	d := daemontest.Start(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 15 / min(fewer, 3) {
				s := sess{d, fmt.Sprintf("m%d-%d", i, j)}
				if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: s.id}); r.Status != 201 {
					t.Errorf("%d %s", r.Status, r.Body)
				}
				id := s.launch([]string{"sleep 1000 & sleep 1001", "yes", "cat", "echo a; read x", "yes >&2 & yes"}[j%5])
				typed := make(chan struct{})
				go func() {
					defer close(typed)
					s.Do("POST", s.path("/command/"+id+"/input"), toolbox.SessionInput{Data: strings.Repeat("x", 200_000)})
				}()
				time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond)))) // not waiting for anything: another moment each time
				if r := s.Do("DELETE", s.path(""), nil); r.Status != 204 {
					t.Errorf("%d %s", r.Status, r.Body)
				}
				<-typed
			}
		})
	}
	wg.Wait()
}

// An answer from the middle of a line tells whose it is.
func TestOffsetWithinALine(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("printf half >&2; read x; echo rest >&2; echo out")
	daemontest.Until(t, "the begin of the line", func() bool { return s.logs(id).Stderr == "half" })
	have := s.logs(id)
	s.input(id, "x", 204)
	s.ended(id)
	var more toolbox.SessionLogs
	s.Do("GET", s.path(fmt.Sprintf("/command/%s/logs?offset=%d", id, len(have.Output)-2)), nil, newest...).JSON(t, &more)
	if all := s.logs(id); have.Output[:len(have.Output)-2]+more.Output != all.Output || more.Stderr != "lfrest\n" || more.Stdout != "x\nout\n" {
		t.Errorf("%+q, then %+q", have, more)
	}
}

// What is remembered of long commands, and what waits of them, is bounded in bytes.
func TestLongCommands(t *testing.T) {
	d := daemontest.Start(t)
	s := open(t, d, "s")
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	long := ": " + strings.Repeat("x", 100_000)
	s.run(long)
	before := heap()
	for range 20 {
		s.run(long)
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes are kept of 2 MB of commands", grown)
	}

	s.launch("sleep 1000")
	longest := ": " + strings.Repeat("x", session.MaxCommandText-2)
	for range session.MaxWaiting / len(longest) {
		s.launchWhenPossible(longest)
	}
	if r := open(t, d, "other").Do("POST", "/process/session/other/exec", toolbox.SessionExecute{Command: "true"}); r.Status != 429 || !strings.Contains(string(r.Body), strconv.Itoa(session.MaxWaiting)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := d.Do("DELETE", "/process/session/s", nil); r.Status != 204 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	sess{d, "other"}.run("true")
}

// A reader with marks that comes to the end leaves the places of readers without marks as they are.
func TestReadersWithMarksMoveNoOther(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch("yes 0123456789abcdef | head -c 3000000")
	if exit := s.ended(id); exit != 0 {
		t.Fatal(exit)
	}
	for _, query := range []string{"&marks=true", ""} {
		r := s.Do("GET", s.path("/command/"+id+"/logs?follow=true"+query), nil)
		if r.Status != 200 || len(r.Body) < 3_000_000 || query == "" && len(r.Body) > 3_000_001 {
			t.Errorf("%q: %d, %d bytes", query, r.Status, len(r.Body))
		}
	}
}
