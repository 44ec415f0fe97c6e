package dugout

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Ports returns the TCP ports on which something in the sandbox listens, in ascending order.
func (s *Sandbox) Ports(ctx context.Context) ([]int, error) {
	var out toolbox.PortList
	err := s.inside(ctx, request{method: "GET", url: "/port"}, &out)
	return out.Ports, err
}

// PortInUse reports whether something in the sandbox listens on a port from 3000 to 9999.
func (s *Sandbox) PortInUse(ctx context.Context, port int) (bool, error) {
	var out toolbox.PortInUse
	err := s.inside(ctx, request{method: "GET", url: "/port/" + strconv.Itoa(port) + "/in-use"}, &out)
	return out.IsInUse, err
}

// PortClient returns an HTTP client for the program that listens on a port in the sandbox. The host of its requests does
// not matter, as in http://localhost:3000/path. They carry the API key to the server, which takes it away before the
// program sees the request; an Authorization header of the caller's own does not arrive. Where nothing listens, the
// answer has the status 502.
func (s *Sandbox) PortClient(port int) *http.Client {
	return &http.Client{Transport: &portTransport{s, "/proxy/" + strconv.Itoa(port)}}
}

type portTransport struct {
	sandbox *Sandbox
	prefix  string
}

// RoundTrip sends the request to the sandbox's server instead of its host.
func (t *portTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	base, err := t.sandbox.toolbox(r.Context())
	if err != nil {
		return nil, err
	}
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u, err := url.Parse(base + t.prefix + path)
	if err != nil {
		return nil, fmt.Errorf("the URL of the port: %w", err)
	}
	u.RawQuery = r.URL.RawQuery
	c := t.sandbox.client
	on := r.Clone(r.Context())
	on.URL, on.Host = u, ""
	on.Header.Set("Authorization", "Bearer "+c.apiKey)
	via := c.http.Transport
	if via == nil {
		via = http.DefaultTransport
	}
	resp, err := via.RoundTrip(on)
	if err != nil {
		return nil, err
	}
	// A redirect within the program is one within what the caller sees.
	if b, err := url.Parse(base); err == nil {
		if rest, ok := strings.CutPrefix(resp.Header.Get("Location"), b.EscapedPath()+t.prefix); ok && strings.HasPrefix(rest, "/") {
			resp.Header.Set("Location", rest)
		}
	}
	return resp, nil
}
