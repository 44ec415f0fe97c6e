package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/proxy"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/route"
)

// plane is a control plane with one sandbox of the organization "mine".
type plane struct {
	box     route.Sandbox
	mu      sync.Mutex
	touched int
	asked   int
}

func (p *plane) Sandbox(_ context.Context, id string) (route.Sandbox, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if id != p.box.ID {
		return route.Sandbox{}, errs.New(errs.NotFound, "sandbox %s not found", id)
	}
	return p.box, nil
}

func (p *plane) Organization(_ context.Context, credential string) (string, error) {
	if o, ok := map[string]string{"mine-key": "mine", "other-key": "other"}[credential]; ok {
		return o, nil
	}
	return "", errs.New(errs.Unauthenticated, "invalid or missing credential")
}

func (p *plane) SigningKey(_ context.Context, id string) (string, error) {
	if id != p.box.ID {
		return "", nil
	}
	return "dgs_secret", nil
}

func (p *plane) Touch(context.Context, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched++
}

func (p *plane) counts() (asked, touched int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.touched
}

type noted struct {
	mu    sync.Mutex
	lines []string
}

func (n *noted) Toolbox(operation string, status int, _ time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf("%s %d", operation, status))
}

type rig struct {
	*plane
	url     string
	metrics *noted
	served  atomic.Int32 // requests that are over
	base    string       // of the sandbox's toolbox, behind the proxy
	up      string       // what the runner sees in front of a toolbox path
}

func newRig(t testing.TB, h http.HandlerFunc, change ...func(*proxy.Deps)) *rig {
	t.Helper()
	host := httptest.NewServer(h)
	t.Cleanup(host.Close)
	r := &rig{plane: &plane{}, metrics: &noted{}}
	r.box = route.Sandbox{ID: id.New(), OrganizationID: "mine", Running: true, State: "started", Token: "token-1", RunnerKey: "runner-key",
		RunnerAddress: host.Listener.Addr().String()}
	deps := proxy.Deps{Routes: route.New(r.plane), Metrics: r.metrics, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}}
	for _, f := range change {
		f(&deps)
	}
	p := proxy.New(deps)
	front := httptest.NewServer(rest.WithRequestID(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer r.served.Add(1)
		if strings.HasPrefix(req.URL.Path, proxy.LegacyPrefix) {
			p.Legacy().ServeHTTP(w, req)
			return
		}
		p.Handler().ServeHTTP(w, req)
	})))
	t.Cleanup(front.Close)
	r.url, r.base, r.up = front.URL, front.URL+proxy.Prefix+r.box.ID, wire.Prefix+"/sandboxes/"+r.box.ID+"/toolbox"
	return r
}

func do(t testing.TB, method, url string, body io.Reader, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

const key, mine = "Authorization", "Bearer mine-key"

func TestPathsGoOnAsTheyCame(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, req.RequestURI) })
	other := id.New()
	for _, path := range []string{"/files", "/", "/files/a%2Fb", "/files?path=%2Fx%20y&z", "/a//b", "/a/../b", "/%2e%2e/x", "/../../" + other + "/toolbox/files",
		"/..%2f..%2f" + other, "/é", "/a;b=c?d;e", "/%00"} {
		res, body := do(t, "GET", r.base+path, nil, key, mine)
		want := r.up + strings.ReplaceAll(path, "é", "%C3%A9")
		if res.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("%q arrived as %d %q, want %q", path, res.StatusCode, body, want)
		}
	}
}

func TestPathsThatNameNoSandbox(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the runner") })
	for _, path := range []string{"/toolbox/", "/toolbox//files", "/toolbox/" + r.box.ID, "/other", "/toolbox/%2e%2e/files", "/toolbox/" + id.New() + "/files"} {
		if res, body := do(t, "GET", r.url+path, nil, key, mine); res.StatusCode != http.StatusNotFound || source(body) != api.SourceProxy {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

func source(body []byte) string {
	var e api.Error
	_ = json.Unmarshal(body, &e)
	return fmt.Sprint(e.Source)
}

func TestWhoGetsIn(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, req.URL.RawQuery) })
	for _, tc := range []struct {
		name, query string
		header      []string
		want        int
		arrives     string
	}{
		{name: "key", header: []string{key, mine}, want: 200},
		{name: "key, other case", header: []string{key, "bearer mine-key"}, want: 200},
		{name: "token in a header", header: []string{"X-Daytona-Preview-Token", "token-1"}, want: 200},
		{name: "token in the query", query: "?a=1&DAYTONA_SANDBOX_AUTH_KEY=token-1&b=%2F", want: 200, arrives: "a=1&b=%2F"},
		{name: "token twice", query: "?DAYTONA_SANDBOX_AUTH_KEY=token-1&DAYTONA_SANDBOX_AUTH_KEY=x", want: 200},
		{name: "wrong token", header: []string{"X-Daytona-Preview-Token", "token-2"}, want: 401},
		{name: "wrong token in the query", query: "?DAYTONA_SANDBOX_AUTH_KEY=", want: 401},
		{name: "nothing", want: 401},
		{name: "runner's key", header: []string{key, "Bearer runner-key"}, want: 401},
		{name: "no bearer", header: []string{key, "Basic mine-key"}, want: 401},
		{name: "another organization", header: []string{key, "Bearer other-key"}, want: 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, body := do(t, "GET", r.base+"/files"+tc.query, nil, tc.header...)
			if res.StatusCode != tc.want {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			if tc.want == 200 && string(body) != tc.arrives {
				t.Errorf("the query arrived as %q", body)
			}
			if tc.want != 200 && source(body) != api.SourceProxy {
				t.Errorf("whose error: %s", body)
			}
		})
	}
	if _, body := do(t, "GET", r.base+"/x", nil, "X-Daytona-Preview-Token", "secret-canary"); bytes.Contains(body, []byte("canary")) {
		t.Errorf("the answer repeats the secret: %s", body)
	}
}

func TestRedirectsOfPorts(t *testing.T) {
	location := ""
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", location) })
	base := "/toolbox/" + r.box.ID
	for _, tc := range []struct{ path, location, want string }{
		{"/proxy/3000/a/b", "/login?x", base + "/proxy/3000/login?x"},
		{"/proxy/3000", "/", base + "/proxy/3000/"},
		{"/proxy/3000/a", "b", "b"},
		{"/proxy/3000/a", "https://example.org/", "https://example.org/"},
		{"/proxy/3000/a", "//example.org/", "//example.org/"},
		{"/files", "/proxy/3000/", base + "/proxy/3000/"},
	} {
		location = tc.location
		if res, _ := do(t, "GET", r.base+tc.path, nil, key, mine); res.Header.Get("Location") != tc.want {
			t.Errorf("%s to %s: %q, want %q", tc.path, tc.location, res.Header.Get("Location"), tc.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	got := make(chan http.Header, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		got <- req.Header.Clone()
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Access-Control-Allow-Origin", "https://evil.example")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Location", "/files/x")
		w.Header().Set("X-Kept", "yes")
	})
	res, _ := do(t, "GET", r.base+"/files", nil, key, mine, "X-Daytona-Preview-Token", "token-1", "X-Daytona-Authorization", "x",
		"X-Daytona-Skip-Last-Activity-Update", "true", "X-Request-Id", "my-id", "Connection", "X-Hop", "X-Hop", "1", "Accept", "x/y")
	h := <-got
	if h.Get("Authorization") != "Bearer runner-key" {
		t.Errorf("authorization %q", h.Get("Authorization"))
	}
	for _, name := range []string{"X-Daytona-Preview-Token", "X-Daytona-Authorization", "X-Daytona-Skip-Last-Activity-Update", "X-Hop"} {
		if h.Get(name) != "" {
			t.Errorf("%s went on", name)
		}
	}
	if h.Get("Accept") != "x/y" || h.Get(rest.RequestIDHeader) != res.Header.Get(rest.RequestIDHeader) || h.Get(rest.RequestIDHeader) == "" {
		t.Errorf("arrived: %v", h)
	}
	for name, want := range map[string]string{"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "X-Kept": "yes",
		"Location": "/toolbox/" + r.box.ID + "/files/x"} {
		if v := res.Header.Get(name); v != want {
			t.Errorf("answer: %s %q, want %q", name, v, want)
		}
	}
	if n := len(res.Header.Values(rest.RequestIDHeader)); n != 1 {
		t.Errorf("%d request ids", n)
	}
	if _, touched := r.counts(); touched != 0 {
		t.Error("a request that asked not to count as activity did")
	}
}

func TestCORS(t *testing.T) {
	reached := 0
	r := newRig(t, func(http.ResponseWriter, *http.Request) { reached++ })
	res, _ := do(t, "OPTIONS", r.base+"/files", nil, "Origin", "https://a.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "https://a.example" ||
		res.Header.Get("Access-Control-Allow-Headers") != "authorization" || res.Header.Get("Access-Control-Allow-Credentials") != "" || reached != 0 {
		t.Errorf("preflight: %d %v, runner reached %d times", res.StatusCode, res.Header, reached)
	}
	if res, _ = do(t, "GET", r.base+"/files", nil, "Origin", "https://a.example"); res.StatusCode != 401 || res.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("a refusal that a page can read: %d %v", res.StatusCode, res.Header)
	}
}

func TestAnswersOfTheDaemonStay(t *testing.T) {
	const body = `{"statusCode":404,"message":"no such file","source":"DAYTONA_DAEMON"}`
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = io.WriteString(w, body) })
	if res, got := do(t, "GET", r.base+"/files/info", nil, key, mine); res.StatusCode != 404 || string(got) != body {
		t.Errorf("%d %s", res.StatusCode, got)
	}
}

// The route is asked for again when the runner says that it did not reach the sandbox, and only then.
func TestForgetsWhatFailed(t *testing.T) {
	failed := false
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		if failed {
			w.Header().Set(wire.FailedHeader, "1")
		}
		w.WriteHeader(400)
	})
	do(t, "GET", r.base+"/x", nil, key, mine)
	do(t, "GET", r.base+"/x", nil, key, mine)
	if asked, _ := r.counts(); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	failed = true
	if res, _ := do(t, "GET", r.base+"/x", nil, key, mine); res.Header.Get(wire.FailedHeader) != "" {
		t.Error("the mark between runner and proxy reaches the client")
	}
	do(t, "GET", r.base+"/x", nil, key, mine)
	if asked, _ := r.counts(); asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

func TestRunnerAway(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	res, body := do(t, "POST", r.base+"/process/execute", strings.NewReader("x"), key, mine)
	if res.StatusCode != http.StatusServiceUnavailable || source(body) != api.SourceProxy {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// The body goes through while it is still being made, and the answer comes back before the body's end.
func TestStreamsBothWays(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		sc := bufio.NewScanner(req.Body)
		for sc.Scan() {
			_, _ = fmt.Fprintf(w, "got %s\n", sc.Text())
			_ = rc.Flush()
		}
	})
	pr, pw := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", r.base+"/files/upload", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(key, mine)
	go func() { _, _ = io.WriteString(pw, "line 0\n") }()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer := bufio.NewReader(res.Body)
	for i := range 5 {
		if line, err := answer.ReadString('\n'); err != nil || line != fmt.Sprintf("got line %d\n", i) {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
		if i < 4 {
			if _, err := fmt.Fprintf(pw, "line %d\n", i+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = pw.Close()
	if rest, err := io.ReadAll(answer); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestLargeBody(t *testing.T) {
	const size = 64 << 20
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil || n != size {
			t.Errorf("arrived: %d bytes, %v", n, err)
		}
		_, _ = io.CopyN(w, zeros{}, size)
	})
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.base+"/files/upload", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(key, mine)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
		t.Errorf("came back: %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An answer that breaks off must not look whole.
func TestCutAnswerIsNoticed(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.base+"/files/download", nil)
	req.Header.Set(key, mine)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("read %q and no error", b)
	}
}

// A client that leaves ends the request on the runner.
func TestClientLeaves(t *testing.T) {
	in, gone := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		close(in)
		<-req.Context().Done()
		close(gone)
	})
	ctx, leave := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", r.base+"/process/execute", nil)
	req.Header.Set(key, mine)
	go func() { <-in; leave() }()
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("got an answer")
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the runner still works on it")
	}
}

func TestUpgrade(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "websocket" {
			t.Errorf("arrived: %v", req.Header)
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := buf.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET /toolbox/%s/process/pty/1/connect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mine-key\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", r.box.ID)
	answer := bufio.NewReader(conn)
	res, err := http.ReadResponse(answer, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := answer.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = conn.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r.metrics.mu.Lock()
		lines := strings.Join(r.metrics.lines, ",")
		r.metrics.mu.Unlock()
		if lines == "process/pty 101" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("metrics: %q", lines)
		}
	}
}

// Names in metrics come from a fixed set, whatever the path.
func TestMetricsNames(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{"/process/execute", "/process/session/my-secret", "/process/my-secret", "/files/my-secret", "/my-secret", "/files/download?path=my-secret"} {
		do(t, "GET", r.base+path, nil, key, mine)
	}
	want := "process/execute 200,process/session 200,process 200,files 200,other 200,files/download 200"
	testDeadline := time.Now().Add(10 * time.Second)
	for {
		r.metrics.mu.Lock()
		got := strings.Join(r.metrics.lines, ",")
		r.metrics.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(testDeadline) {
			t.Fatalf("got %s\nwant %s", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// Whatever the path and query are: nothing reaches the runner outside of the one sandbox's toolbox, and no panic.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"files", "/../x", "%2e%2e/%2f", "a?DAYTONA_SANDBOX_AUTH_KEY=%zz", "?&&=", "%", "//", "\\..\\", "#", ";"} {
		f.Add(s)
	}
	var bad string
	r := newRig(f, func(w http.ResponseWriter, req *http.Request) {
		if prefix := wire.Prefix + "/sandboxes/"; !strings.HasPrefix(req.RequestURI, prefix) || !strings.HasPrefix(req.RequestURI[len(prefix)+36:], "/toolbox/") {
			bad = req.RequestURI
		}
	})
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Skip(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprintf(conn, "GET /toolbox/%s/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mine-key\r\nConnection: close\r\n\r\n", r.box.ID, path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		_ = res.Body.Close()
		if res.StatusCode >= 500 || bad != "" {
			t.Errorf("%q: %d, reached %q", path, res.StatusCode, bad)
		}
	})
}
