package bus

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/dugout-dev/dugout/internal/sandbox"
)

// SandboxEvent is the body of a message about a sandbox. It names the sandbox and its states; whoever needs more reads it.
type SandboxEvent struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organizationId"`
	Version        int64  `json:"version"`
	Old            string `json:"oldState,omitempty"`
	New            string `json:"newState"`
}

// SandboxEvents publishes the events of sandboxes; it is the domain's [sandbox.Events].
type SandboxEvents struct {
	Bus Bus
	Log *slog.Logger
}

// Publish sends e under the topic of its type, keyed by organization.
func (p SandboxEvents) Publish(ctx context.Context, e sandbox.Event) {
	body, err := json.Marshal(SandboxEvent{ID: e.Sandbox.ID, OrganizationID: e.Sandbox.OrganizationID, Version: e.Sandbox.Version, Old: string(e.Old), New: string(e.New)})
	if err == nil {
		err = p.Bus.Publish(ctx, Message{Topic: string(e.Type), Key: e.Sandbox.OrganizationID, Body: body})
	}
	if err != nil {
		p.Log.WarnContext(ctx, "event not published", "type", string(e.Type), "sandbox", e.Sandbox.ID, "error", err)
	}
}

// Decode reads the body of a message about a sandbox.
func (e *SandboxEvent) Decode(body []byte) error { return json.Unmarshal(body, e) }
