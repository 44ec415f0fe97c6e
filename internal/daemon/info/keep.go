//go:build linux

package info

import (
	"context"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

// Freeze implements [handover.Keeper].
func (h *Handler) Freeze() {}

// Thaw implements [handover.Keeper].
func (h *Handler) Thaw() {}

// Save implements [handover.Keeper].
func (h *Handler) Save(out *handover.Out) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return out.Put("info", h.token)
}

// Restore implements [handover.Keeper]: the daemon is initialized again, if it was.
func (h *Handler) Restore(in *handover.In) error {
	var token string
	if ok, err := in.Get("info", &token); err != nil || !ok || token == "" {
		return err
	}
	_, err := h.init(context.Background(), &initIn{Body: toolbox.Init{Token: token}})
	return err
}

var _ handover.Keeper = (*Handler)(nil)
