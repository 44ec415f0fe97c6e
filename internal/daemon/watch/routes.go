//go:build linux

// Package watch serves changes of files as they happen, by WebSocket.
package watch

import (
	"log/slog"

	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Workdir string // what relative paths start from
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route { return nil }

// Close ends what was started.
func (h *Handler) Close() {}
