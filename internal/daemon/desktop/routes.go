//go:build linux

// Package desktop serves the graphical desktop: its processes, screen, mouse, keyboard, windows, accessibility tree and recordings.
package desktop

import (
	"log/slog"

	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // what relative paths start from
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route { return nil }

// Close ends what was started.
func (h *Handler) Close() {}
