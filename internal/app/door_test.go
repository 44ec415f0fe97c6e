package app_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/testkit"
)

// TestDoors knocks at everything that the listener shows, with and without a key, and looks at who may open the files that
// hold secrets.
func TestDoors(t *testing.T) {
	s := testkit.Start(t)
	for _, c := range []struct {
		path, key string
		status    int
	}{
		{"/metrics", "", http.StatusUnauthorized},
		{"/metrics", "dtn_wrong0123456789abcdef", http.StatusUnauthorized},
		{"/metrics", s.Key, http.StatusOK},
		{"/api/sandbox", "", http.StatusUnauthorized},
		{"/api/sandbox", "dtn_wrong0123456789abcdef", http.StatusUnauthorized},
		{"/api/sandbox", s.Key, http.StatusOK},
		{"/toolbox/00000000-0000-4000-8000-000000000000/version", "", http.StatusUnauthorized},
		{"/toolbox/00000000-0000-4000-8000-000000000000/version", "dtn_wrong0123456789abcdef", http.StatusUnauthorized},
		{"/toolbox/00000000-0000-4000-8000-000000000000/version", s.Key, http.StatusNotFound},
		{"/api/toolbox/00000000-0000-4000-8000-000000000000/toolbox/files", "", http.StatusUnauthorized},
		{"/api/toolbox/00000000-0000-4000-8000-000000000000/toolbox/files", s.Key, http.StatusNotFound},
		{"/toolbox/00000000-0000-4000-8000-000000000000/files/download?path=x&expires=0&signature=v1_x", "", http.StatusUnauthorized},
		{"/api/health", "", http.StatusOK},
		{"/api/health/ready", "", http.StatusOK},
		{"/api/config", "", http.StatusOK},
		// What belongs to the runner's socket is not behind the listener.
		{"/v1/info", s.Key, http.StatusNotFound},
		{"/v1/sandboxes", s.Key, http.StatusNotFound},
		{"/", s.Key, http.StatusNotFound},
		{"/debug/pprof/", s.Key, http.StatusNotFound},
		{"/apiary", s.Key, http.StatusNotFound},
	} {
		t.Run(fmt.Sprintf("%s with a key of %d", c.path, len(c.key)), func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.key != "" {
				req.Header.Set("Authorization", "Bearer "+c.key)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.status {
				t.Errorf("status %d, want %d: %.200s", res.StatusCode, c.status, body)
			}
			if strings.Contains(string(body), s.Key) {
				t.Error("the answer holds the key")
			}
		})
	}

	closed, asked := 0, false
	err := filepath.WalkDir(s.Dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		secret := name == "admin.key" || name == "runner.key" || strings.HasPrefix(name, "dugout.db") || name == "runner.sock"
		if !secret {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		closed++
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s may be opened by others: %v", name, mode)
		}
		if info.Mode()&os.ModeSocket != 0 {
			askRunner(t, path)
			asked = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if closed < 3 || !asked {
		t.Errorf("%d files with secrets found in %s, the runner's socket among them: %v", closed, s.Dir, asked)
	}
}

// askRunner asks the runner without its key.
func askRunner(t *testing.T, socket string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/info HTTP/1.0\r\nHost: runner\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 401 ") {
		t.Errorf("without a key the runner answers %.100q %v", answer, err)
	}
}
