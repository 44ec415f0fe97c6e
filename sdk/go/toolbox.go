package dugout

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/dugout-dev/dugout/api"
)

// toolbox returns the address of the sandbox's own API, without a slash at the end.
func (s *Sandbox) toolbox(ctx context.Context) (string, error) {
	base := s.ToolboxProxyURL
	if base == "" { // older servers
		var out api.ToolboxProxyURL
		u := s.client.apiURL + "/sandbox/" + url.PathEscape(s.ID) + "/toolbox-proxy-url"
		if err := s.client.call(ctx, request{method: "GET", url: u}, &out); err != nil {
			return "", err
		}
		base = out.URL
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("the server named an unusable toolbox URL: %q", clip(base))
	}
	if u.Scheme == "http" && strings.HasPrefix(s.client.apiURL, "https:") {
		return "", fmt.Errorf("the server names the unencrypted toolbox URL %s although its API is encrypted; the API key is not sent there. Set the server's public_url", clip(base))
	}
	return strings.TrimRight(base, "/") + "/" + url.PathEscape(s.ID), nil
}

// inside makes a call to the sandbox's own API.
func (s *Sandbox) inside(ctx context.Context, q request, out any) error {
	resp, err := s.open(ctx, q)
	if err != nil {
		return err
	}
	return s.client.decode(ctx, q, resp, out)
}

func (s *Sandbox) open(ctx context.Context, q request) (*http.Response, error) {
	base, err := s.toolbox(ctx)
	if err != nil {
		return nil, err
	}
	q.url = base + q.url
	return s.client.send(ctx, q)
}
