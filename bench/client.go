package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dugout-dev/dugout/api"
)

// client speaks plain HTTP to the server under test: what a thin SDK costs at least.
type client struct {
	base, key string
	http      *http.Client
}

func newClient(base, key string) *client {
	return &client{base: base, key: key, http: &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10},
	}}
}

// do sends one request and returns the whole answer; an answer that is not 2xx is an error with its text.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, contentType string) ([]byte, error) {
	resp, err := c.send(ctx, method, path, body, contentType)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (c *client) send(ctx context.Context, method, path string, body io.Reader, contentType string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		resp.Body.Close()
		return nil, &statusError{status: resp.StatusCode, text: fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, text)}
	}
	return resp, nil
}

type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func (c *client) json(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	text, err := c.do(ctx, method, path, body, "application/json")
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// create makes a sandbox and fails unless the answer already says started: what follows the call needs no poll.
func (c *client) create(ctx context.Context, snapshot string) (string, error) {
	var s api.Sandbox
	in := map[string]any{"snapshot": snapshot, "labels": map[string]string{"bench": "1"}}
	if err := c.json(ctx, http.MethodPost, "/api/sandbox", in, &s); err != nil {
		return "", err
	}
	for s.State != "started" {
		if s.State == "error" || ctx.Err() != nil {
			return s.ID, fmt.Errorf("sandbox %s is %s", s.ID, s.State)
		}
		if err := c.json(ctx, http.MethodGet, "/api/sandbox/"+s.ID, nil, &s); err != nil {
			return s.ID, err
		}
	}
	return s.ID, nil
}

// remove deletes a sandbox and waits until the server no longer has it.
func (c *client) remove(ctx context.Context, id string) error {
	if err := c.json(ctx, http.MethodDelete, "/api/sandbox/"+id, nil, nil); err != nil {
		return err
	}
	// The wait grows, so that many workers that wait do not load the server with their questions.
	for wait := 2 * time.Millisecond; ; wait = min(wait*2, 50*time.Millisecond) {
		var s api.Sandbox
		err := c.json(ctx, http.MethodGet, "/api/sandbox/"+id, nil, &s)
		if e, ok := err.(*statusError); ok && e.status == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if s.State == "destroyed" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// exec runs a command and demands its output.
func (c *client) exec(ctx context.Context, id, command, want string) error {
	var out struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
	}
	if err := c.json(ctx, http.MethodPost, "/toolbox/"+id+"/process/execute", map[string]any{"command": command}, &out); err != nil {
		return err
	}
	if out.ExitCode != 0 || out.Result != want {
		return fmt.Errorf("%q gave exit code %d and %q", command, out.ExitCode, out.Result)
	}
	return nil
}

func (c *client) code(ctx context.Context, id, source, want string) error {
	var out struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
	}
	in := map[string]any{"code": source, "language": "python"}
	if err := c.json(ctx, http.MethodPost, "/toolbox/"+id+"/process/code-run", in, &out); err != nil {
		return err
	}
	if out.ExitCode != 0 || out.Result != want {
		return fmt.Errorf("%q gave exit code %d and %q", source, out.ExitCode, out.Result)
	}
	return nil
}

func (c *client) upload(ctx context.Context, id, path string, data []byte) error {
	_, err := c.do(ctx, http.MethodPost, "/toolbox/"+id+"/files/upload-v2?path="+url.QueryEscape(path), bytes.NewReader(data), "application/octet-stream")
	return err
}

// download reads a file to the end and demands its size; the bytes go nowhere, as to a client that streams them.
func (c *client) download(ctx context.Context, id, path string, size int) error {
	resp, err := c.send(ctx, http.MethodGet, "/toolbox/"+id+"/files/download?path="+url.QueryEscape(path), nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 1<<20))
	if err == nil && n != int64(size) {
		err = fmt.Errorf("downloaded %d bytes of %d", n, size)
	}
	return err
}
