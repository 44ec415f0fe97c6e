//go:build linux

package desktop

import (
	"github.com/dugout-dev/dugout/internal/daemon/desktop/parts"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/record"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

var _ handover.Keeper = (*Handler)(nil)

// family names the state of this package.
const family = "desktop"

// saved is what is handed over. Connections are not: they are made anew when they are needed. The logs are files that the processes
// write themselves.
type saved struct {
	Parts      []parts.Saved  `json:"parts,omitempty"`
	Recordings []record.Saved `json:"recordings,omitempty"`
	Keys       []byte         `json:"keys,omitempty"` // that were given characters
}

// Freeze implements [handover.Keeper].
func (h *Handler) Freeze() {
	h.open()
	h.set.Freeze()
	h.recorder.Freeze()
}

// Save implements [handover.Keeper].
func (h *Handler) Save(out *handover.Out) error {
	return out.Put(family, saved{h.set.Save(), h.recorder.Save(), h.screen.Given()})
}

// Thaw implements [handover.Keeper].
func (h *Handler) Thaw() {
	h.recorder.Thaw()
	h.set.Thaw()
}

// Restore implements [handover.Keeper].
func (h *Handler) Restore(in *handover.In) error {
	var s saved
	ok, err := in.Get(family, &s)
	if err != nil || !ok || len(s.Parts)+len(s.Recordings)+len(s.Keys) == 0 {
		return err
	}
	h.open()
	h.recorder.Restore(s.Recordings)
	h.screen.Regive(s.Keys)
	return h.set.Restore(s.Parts)
}
