package bus_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/bus"
	"github.com/dugout-dev/dugout/internal/bus/bustest"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

func TestLocal(t *testing.T) {
	bustest.Run(t, func(*testing.T) bus.Bus { return bus.NewLocal() })
}

func TestSandboxEventsCarryNoSecrets(t *testing.T) {
	b := bus.NewLocal()
	defer b.Close()
	ch, err := b.Subscribe(t.Context(), string(sandbox.StateUpdated))
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox.Sandbox{ID: "i", OrganizationID: "o", Version: 3, AuthToken: "canary", Env: map[string]string{"S": "canary"}}
	bus.SandboxEvents{Bus: b, Log: slog.New(slog.DiscardHandler)}.Publish(context.Background(), sandbox.Event{Type: sandbox.StateUpdated, Sandbox: s, Old: sandbox.Creating, New: sandbox.Started})
	m := <-ch
	want := `{"id":"i","organizationId":"o","version":3,"oldState":"creating","newState":"started"}`
	if d := cmp.Diff(want, string(m.Body)); d != "" || m.Key != "o" {
		t.Errorf("key %q: %s", m.Key, d)
	}
}
