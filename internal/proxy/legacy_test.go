package proxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/proxy"
)

func (r *rig) old(path string) string {
	return r.url + proxy.LegacyPrefix + r.box.ID + "/toolbox" + path
}

func TestOldPaths(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Location", "/files/x")
		_, _ = io.WriteString(w, req.Method+" "+req.RequestURI)
	})
	n := 0
	for pattern, methods := range proxy.LegacyRoutes {
		for method := range strings.FieldsSeq(methods) {
			n++
			path := strings.ReplaceAll(pattern, "*", "a%2Fb-1")
			res, body := do(t, method, r.old(path)+"?q=%2F", nil, key, mine)
			want := method + " " + r.up + strings.ReplaceAll(path, "workspace-symbols", "workspacesymbols") + "?q=%2F"
			if res.StatusCode != 200 || string(body) != want {
				t.Errorf("%s %s arrived as %d %s", method, path, res.StatusCode, body)
			}
			if l := res.Header.Get("Location"); l != proxy.LegacyPrefix+r.box.ID+"/toolbox/files/x" {
				t.Errorf("redirected to %s", l)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d operations", n)
	}
	for _, bad := range []string{"PUT /files", "POST /process/code-run", "GET /port", "POST /files/upload-v2", "GET /version", "POST /init", "GET /process/interpreter/context",
		"GET /process/session/", "GET /process/session/../pty", "GET /process/session/a/command/b/", "GET /process/pty/a/connect", "GET /process/session/.",
		"GET /lsp/workspacesymbols", "GET /computeruse/recordings", "GET /computeruse/process//status", "GET /%66iles", "GET /"} {
		method, path, _ := strings.Cut(bad, " ")
		if res, body := do(t, method, r.old(path), nil, key, mine); res.StatusCode != 404 {
			t.Errorf("%s: %d %s", bad, res.StatusCode, body)
		}
	}
}

func TestOldPathsAskForAKey(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the runner") })
	for _, tc := range []struct {
		url    string
		header []string
		want   int
	}{
		{r.old("/files"), nil, 401},
		{r.old("/files"), []string{key, "Bearer runner-key"}, 401},
		{r.old("/files"), []string{"X-Daytona-Preview-Token", "token-1"}, 401}, // they never took one
		{r.old("/files?DAYTONA_SANDBOX_AUTH_KEY=token-1"), nil, 401},
		{r.old("/files/download?" + signedQuery("GET", "/x", "0")), nil, 401},
		{r.old("/files"), []string{key, "Bearer other-key"}, 404},
		{r.url + proxy.LegacyPrefix + id.New() + "/toolbox/files", []string{key, mine}, 404},
		{r.url + proxy.LegacyPrefix + r.box.ID + "/files", []string{key, mine}, 404},
		{r.url + proxy.LegacyPrefix + r.box.ID + "/x/toolbox/files", []string{key, mine}, 404},
		{r.url + proxy.LegacyPrefix, []string{key, mine}, 404},
	} {
		if res, body := do(t, "GET", tc.url, nil, tc.header...); res.StatusCode != tc.want || source(body) != "DAYTONA_PROXY" {
			t.Errorf("%s %v: %d %s", tc.url, tc.header, res.StatusCode, body)
		}
	}
}

func TestOldPathsHaveLimits(t *testing.T) {
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		if n > proxy.LegacyBody && !strings.Contains(req.URL.Path, "upload") {
			t.Errorf("%d bytes went on", n)
		}
	})
	big := func() io.Reader { return io.LimitReader(zeros{}, proxy.LegacyBody+1) }
	if res, body := do(t, "POST", r.old("/process/execute"), big(), key, mine); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := do(t, "POST", r.old("/process/execute"), io.LimitReader(zeros{}, proxy.LegacyBody), key, mine); res.StatusCode != 200 {
		t.Errorf("at the limit: %d %s", res.StatusCode, body)
	}
	if res, body := do(t, "POST", r.old("/files/upload"), big(), key, mine); res.StatusCode != 200 {
		t.Errorf("an upload: %d %s", res.StatusCode, body)
	}
}

func TestOldStreamsMayNotFallSilent(t *testing.T) {
	const idle = time.Second
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, req.Body)
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done() // says nothing more
	}, func(d *proxy.Deps) { d.LegacyIdle = idle })
	var wg sync.WaitGroup
	wg.Go(func() {
		// A slow one that moves is let through: it takes longer than it may be silent.
		pulse := time.NewTicker(idle / 20)
		defer pulse.Stop()
		slow := iotest.OneByteReader(io.LimitReader(reader(func(p []byte) (int, error) { <-pulse.C; return len(p), nil }), 30))
		if res, body := do(t, "POST", r.old("/files/upload"), slow, key, mine); res.StatusCode != 200 {
			t.Errorf("a slow upload: %d %s", res.StatusCode, body)
		}
	})
	defer wg.Wait()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.old("/files/download?path=x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(key, mine)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a silent download was ended as if it were whole")
	}
}

// A client that takes nothing for too long is cut off too.
func TestOldStreamsMustBeRead(t *testing.T) {
	const idle = 300 * time.Millisecond
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 1<<30))
	}, func(d *proxy.Deps) { d.LegacyIdle = idle })
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET "+strings.TrimPrefix(r.old("/files/download?path=x"), r.url)+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+mine+"\r\n\r\n")
	for deadline := time.Now().Add(20 * idle); ; time.Sleep(idle / 10) {
		if r.served.Load() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it still waits for the client")
		}
	}
}

type reader func([]byte) (int, error)

func (f reader) Read(p []byte) (int, error) { return f(p) }

func FuzzOldPath(f *testing.F) {
	f.Add("/api/toolbox/id/toolbox/files/download")
	f.Add("/api/toolbox/id/toolbox/process/session/../../x")
	f.Add("/api/toolbox//toolbox//toolbox/files")
	f.Fuzz(func(t *testing.T, path string) {
		id, rest, ok := proxy.SplitLegacy(path)
		if !ok {
			return
		}
		if id == "" || strings.Contains(id, "/") || proxy.LegacyPrefix+id+"/toolbox"+rest != path {
			t.Errorf("%q was split into %q and %q", path, id, rest)
		}
		route := proxy.LegacyRoute(rest)
		if route == "" {
			return
		}
		for part := range strings.SplitSeq(rest, "/") {
			if part == ".." || part == "." {
				t.Errorf("%q counts as %s", rest, route)
			}
		}
	})
}
