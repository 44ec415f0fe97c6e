package dugout

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// dial opens a WebSocket of the sandbox's own API. The caller closes it. An answer that refuses is an [Error].
func (s *Sandbox) dial(ctx context.Context, path string, query url.Values, protocols ...string) (*websocket.Conn, error) {
	base, err := s.toolbox(ctx)
	if err != nil {
		return nil, err
	}
	target := "ws" + base[len("http"):] + path // http to ws, https to wss
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	c, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{ //nolint:bodyclose // it needs no closing
		HTTPClient:      s.client.http,
		Subprotocols:    protocols,
		CompressionMode: websocket.CompressionDisabled,
		HTTPHeader: http.Header{"Authorization": {"Bearer " + s.client.apiKey}, "User-Agent": {s.client.userAgent},
			"X-Daytona-Source": {"dugout-go"}},
	})
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case resp != nil && resp.StatusCode >= 300:
		return nil, readError(resp, maxErrorBody)
	case resp != nil:
		return nil, fmt.Errorf("GET %s: the answer is no WebSocket", path)
	}
	return nil, &connectionError{op: "cannot open a WebSocket", cause: err}
}
