package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// otelVar names the collector that a sandbox's daemon sends to, once it was told to by POST /init.
const otelVar = "DAYTONA_OTEL_ENDPOINT"

// initTimeout bounds the wait for a daemon, which may be hostile.
const initTimeout = 5 * time.Second

// initDaemon tells the daemon of a sandbox to begin.
func (h *Host) initDaemon(ctx context.Context, sid string) error {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	body, err := json.Marshal(toolbox.Init{})
	if err != nil {
		return err
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.deps.Engine.Dial(ctx, sid) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/init", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return errs.New(errs.Unavailable, "the daemon answered %d: %s", resp.StatusCode, clip(string(text)))
	}
	return nil
}
