// Package obs is how an operator sees what happens: the log and the metrics.
package obs

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/dugout-dev/dugout/internal/rest"
)

// NewLogger returns the logger of a process. level is debug, info, warn or error; format is text or json. Lines of a
// request carry its id.
func NewLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(strings.ToUpper(level))) // config has checked it; the zero value is info
	opts := &slog.HandlerOptions{Level: l}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if format == "json" {
		h = slog.NewJSONHandler(w, opts)
	}
	return slog.New(withRequest{h})
}

// withRequest adds the id of the request that a line belongs to.
type withRequest struct{ slog.Handler }

func (h withRequest) Handle(ctx context.Context, r slog.Record) error {
	if rid := rest.RequestID(ctx); rid != "" {
		r.AddAttrs(slog.String("request_id", rid))
	}
	return h.Handler.Handle(ctx, r)
}

func (h withRequest) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withRequest{h.Handler.WithAttrs(attrs)}
}

func (h withRequest) WithGroup(name string) slog.Handler {
	return withRequest{h.Handler.WithGroup(name)}
}
