// Package runnerclient speaks to runners over HTTP: the wire of api/runner, by TCP or by unix socket.
package runnerclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api"
	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/errs"
)

// maxAnswer bounds what is read from a runner, in bytes: a list of ten thousand sandboxes is about 4 MB.
const maxAnswer = 64 << 20

// Dial connects to a runner by its address: `unix:///path` or `http://host:port`.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		return d.DialContext(ctx, "unix", path)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, errs.New(errs.Invalid, "runner address must be unix:///path or http://host:port, got %q", address)
	}
	return d.DialContext(ctx, "tcp", u.Host)
}

// Client speaks to one runner.
type Client struct {
	address, key string
	http         *http.Client
}

// New returns a client for the runner at address.
func New(address, key string) *Client {
	return &Client{address: address, key: key, http: &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, address) },
		MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Info tells what the runner is and has.
func (c *Client) Info(ctx context.Context) (out wire.Info, err error) {
	return out, c.do(ctx, "GET", "/info", nil, &out)
}

// List returns every sandbox on the runner.
func (c *Client) List(ctx context.Context) (out []wire.Sandbox, err error) {
	return out, c.do(ctx, "GET", "/sandboxes", nil, &out)
}

// Get returns one sandbox; NotFound when the runner has none of that id.
func (c *Client) Get(ctx context.Context, id string) (out wire.Sandbox, err error) {
	return out, c.do(ctx, "GET", "/sandboxes/"+url.PathEscape(id), nil, &out)
}

// Put creates and starts a sandbox.
func (c *Client) Put(ctx context.Context, id string, spec wire.Spec) (out wire.Sandbox, err error) {
	return out, c.do(ctx, "PUT", "/sandboxes/"+url.PathEscape(id), spec, &out)
}

// Start starts a stopped sandbox.
func (c *Client) Start(ctx context.Context, id string) (out wire.Sandbox, err error) {
	return out, c.do(ctx, "POST", "/sandboxes/"+url.PathEscape(id)+"/start", nil, &out)
}

// Stop stops a sandbox and returns when nothing of it runs.
func (c *Client) Stop(ctx context.Context, id string, force bool) (out wire.Sandbox, err error) {
	return out, c.do(ctx, "POST", "/sandboxes/"+url.PathEscape(id)+"/stop", wire.Stop{Force: force}, &out)
}

// Delete removes a sandbox; one that is unknown there is a success.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", "/sandboxes/"+url.PathEscape(id), nil, nil)
}

// Events waits for events from number since on.
func (c *Client) Events(ctx context.Context, since int64) (out wire.Events, err error) {
	return out, c.do(ctx, "GET", fmt.Sprintf("/events?since=%d", since), nil, &out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://runner"+wire.Prefix+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errs.Wrap(err, errs.Timeout, "the runner did not answer in time")
		}
		return errs.Wrap(err, errs.Unavailable, "the runner does not answer")
	}
	defer res.Body.Close()
	limited := io.LimitReader(res.Body, maxAnswer)
	if res.StatusCode >= 300 {
		return failure(res.StatusCode, limited)
	}
	if out == nil {
		_, _ = io.Copy(io.Discard, limited)
		return nil
	}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		return errs.Wrap(err, errs.Unavailable, "the runner's answer broke off")
	}
	return nil
}

// classes is the inverse of the runner's status table.
var classes = map[int]errs.Class{400: errs.Invalid, 401: errs.Unauthenticated, 403: errs.Denied, 404: errs.NotFound, 409: errs.Conflict,
	410: errs.Gone, 412: errs.WrongState, 413: errs.TooLarge, 422: errs.Unimplemented, 429: errs.Busy, 503: errs.Unavailable,
	504: errs.Timeout, 507: errs.Exhausted}

func failure(status int, body io.Reader) error {
	var e api.Error
	if err := json.NewDecoder(body).Decode(&e); err != nil || e.Message == "" {
		return errs.New(errs.Unavailable, "the runner answered %d", status)
	}
	class, ok := classes[status]
	if !ok {
		class = errs.Internal
	}
	if class == errs.Unauthenticated { // our key, not the caller's
		return errs.New(errs.Unavailable, "the runner refused the platform's key")
	}
	return errs.New(class, "%s", e.Message).WithCode(e.Code)
}
