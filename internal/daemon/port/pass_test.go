//go:build linux

package port_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// serve answers HTTP at address and returns its port.
func serve(t testing.TB, address string, h http.HandlerFunc) int {
	t.Helper()
	l, p := listen(t, "tcp", address)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return p
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s host=%s asked=%s auth=%s body=%s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-Host"), r.Header.Get("Authorization"), b)
}

func TestPass(t *testing.T) {
	d := daemontest.Start(t)
	p := serve(t, "127.0.0.1:0", echo)
	for path, want := range map[string]string{
		"/":              "/",
		"":               "/",
		"/a/b?c=d&e":     "/a/b?c=d&e",
		"/a%2Fb%20c":     "/a%2Fb%20c",
		"/a//b/":         "/a//b/",
		"/a%2F%2Fb":      "/a%2F%2Fb",
		"/../etc/passwd": "/../etc/passwd",
		"/%2e%2e/x":      "/%2e%2e/x",
		"/%e6%97%a5?%zz": "/%e6%97%a5?%zz",
		"/proxy/1/x":     "/proxy/1/x",
	} {
		// Through a bare connection: Go's client would clean some of these.
		c := d.Conn()
		_, _ = fmt.Fprintf(c, "PATCH /proxy/%d%s HTTP/1.1\r\nHost: box.example\r\nAuthorization: Basic eDp5\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", p, path)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(path, err)
		}
		b, _ := io.ReadAll(res.Body)
		if want := fmt.Sprintf("PATCH %s host=localhost:%d asked=box.example auth=Basic eDp5 body=hi", want, p); res.StatusCode != 200 || string(b) != want {
			t.Errorf("%s: %d %q, want %q", path, res.StatusCode, b, want)
		}
	}
	if r := d.Do("PROPFIND", fmt.Sprintf("/proxy/%d/x", p), nil, "X-Forwarded-Host", "outer.example"); r.Status != 200 || !strings.Contains(string(r.Body), "PROPFIND /x host=localhost") || !strings.Contains(string(r.Body), "asked=outer.example") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestPassReachesWhereverItListens(t *testing.T) {
	d := daemontest.Start(t)
	for _, address := range []string{"[::1]:0", "127.0.0.2:0", "0.0.0.0:0", "[::]:0", own(t)} {
		p := serve(t, address, echo)
		if r := d.Do("GET", fmt.Sprintf("/proxy/%d/x", p), nil); r.Status != 200 {
			t.Errorf("%s: %d %s", address, r.Status, r.Body)
		}
	}
}

// own is an address of this host that is not a loopback one, or one that is.
func own(t testing.TB) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String() + ":0"
		}
	}
	return "127.0.0.3:0"
}

func TestPassRefuses(t *testing.T) {
	d := daemontest.Start(t)
	l, p := listen(t, "tcp", "127.0.0.1:0")
	_ = l.Close()
	r := d.Do("GET", fmt.Sprintf("/proxy/%d/x", p), nil)
	var e api.Error
	r.JSON(t, &e)
	if r.Status != 502 || e.StatusCode != 502 || e.Source != api.SourceDaemon || e.Reason != e.Message || !strings.Contains(e.Message, fmt.Sprint(p)) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for _, bad := range []string{"0", "65536", "-1", "a", "", "1e3", "%30x", "99999999999999999999"} {
		if r := d.Do("GET", "/proxy/"+bad+"/x", nil); r.Status != 400 {
			t.Errorf("%q: %d %s", bad, r.Status, r.Body)
		}
	}
	// Something that does not speak HTTP.
	l, p = listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
			_ = c.Close()
		}
	}()
	if r := d.Do("GET", fmt.Sprintf("/proxy/%d/x", p), nil); r.Status != 502 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestPassStreams(t *testing.T) {
	d := daemontest.Start(t)
	next := make(chan struct{})
	p := serve(t, "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	res, err := d.Client.Get(fmt.Sprintf("http://daemon/proxy/%d/events", p))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for range 3 { // each arrives before the next is written
		if line, err := lines.ReadString('\n'); err != nil || line != "data: x\n" {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = lines.ReadString('\n')
		next <- struct{}{}
	}
}

func TestPassWebSocket(t *testing.T) {
	d := daemontest.Start(t)
	p := serve(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mine"}})
		if err != nil {
			return
		}
		for {
			typ, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			_ = c.Write(r.Context(), typ, append([]byte("got "), b...))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://daemon/proxy/%d/socket?a=b", p), &websocket.DialOptions{HTTPClient: d.Client, Subprotocols: []string{"mine"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if c.Subprotocol() != "mine" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	for i := range 100 {
		want := fmt.Sprint("got ", i)
		if err := c.Write(ctx, websocket.MessageText, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != want {
			t.Fatalf("%q %v", b, err)
		}
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
}
