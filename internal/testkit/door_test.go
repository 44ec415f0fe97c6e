//go:build linux

package testkit_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/testkit"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// text collects a log that many goroutines write.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.buf.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.buf.String()
}

func get(t *testing.T, url, authorization string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// Secrets pass through every part of the server and stand in no line of the log, at its most talkative level.
func TestSecretsAreNotLogged(t *testing.T) {
	var log text
	ctx := t.Context()
	s := testkit.StartWith(t, testkit.Options{Log: &log})
	box, err := s.Client.Create(ctx, dugout.CreateOptions{Env: map[string]string{"TOKEN": "canary-env"}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := box.Exec(ctx, "echo canary-command $TOKEN $MORE", dugout.ExecOptions{Env: map[string]string{"MORE": "canary-more"}})
	if err != nil || !strings.Contains(res.Output, "canary-env canary-more") {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := box.Files().Upload(ctx, "f", strings.NewReader("canary-file")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/sandbox/" + box.ID, "/toolbox/" + box.ID + "/files", "/toolbox/" + box.ID + "/files?DAYTONA_SANDBOX_AUTH_KEY=canary-token", "/metrics", "/canary-path"} {
		get(t, s.URL+path, "Bearer canary-key")
	}
	if err := box.Stop(ctx, true); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Exec(ctx, "echo canary-late", dugout.ExecOptions{}); err == nil {
		t.Error("a stopped sandbox ran a command")
	}
	if err := box.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	got := log.String()
	if !strings.Contains(got, "runner attached") {
		t.Fatalf("this is no log of the server: %q", got)
	}
	for line := range strings.Lines(got) {
		if strings.Contains(line, "canary") || strings.Contains(line, s.Key) {
			t.Errorf("logged: %s", line)
		}
	}
}

func TestMetricsAreForAdministrators(t *testing.T) {
	s := testkit.Start(t)
	for authorization, want := range map[string]int{"": 401, "Bearer nonsense": 401, "Bearer " + s.Key: 200} {
		if status, body := get(t, s.URL+"/metrics", authorization); status != want {
			t.Errorf("%q: %d %.200s", authorization, status, body)
		}
	}
	if status, body := get(t, s.URL+"/else", ""); status != 404 || !strings.Contains(body, "/api") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get(t, s.URL+"/api/health", ""); status != 200 {
		t.Errorf("health: %d", status)
	}
}

// A full runner is the caller's to handle: an error that says so, and nothing left behind.
func TestFullRunner(t *testing.T) {
	ctx := t.Context()
	s := testkit.StartWith(t, testkit.Options{Config: func(c *config.Config) { c.Runner.MaxSandboxes = 1 }})
	first, err := s.Client.Create(ctx, dugout.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Create(ctx, dugout.CreateOptions{}); err == nil || strings.Contains(err.Error(), "request id") {
		t.Errorf("a second sandbox: %v", err)
	}
	if list, err := s.Engine.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("%d sandboxes, %v", len(list), err)
	}
	if err := first.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "room for another", func() bool {
		_, err := s.Client.Create(ctx, dugout.CreateOptions{})
		return err == nil
	})
}

// A sandbox that ends by itself is seen as stopped without anybody asking its runner.
func TestEndIsNoticed(t *testing.T) {
	ctx := t.Context()
	s := testkit.Start(t)
	box, err := s.Client.Create(ctx, dugout.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.Exec(ctx, "true", dugout.ExecOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Engine.End(box.ID, "oom", 137); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "the state to follow", func() bool {
		if err := box.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		return box.State != "started"
	})
	if err := box.Start(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "commands to run again", func() bool {
		res, err := box.Exec(ctx, "true", dugout.ExecOptions{})
		return err == nil && res.ExitCode == 0
	})
}
