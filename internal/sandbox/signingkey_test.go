package sandbox_test

import (
	"slices"
	"testing"

	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

func TestRotationIsTold(t *testing.T) {
	w, events := newWorld(t, storetest.SQLite(t), org.Limits{}), &recorder{}
	p := w.start(func(d sandbox.Deps) sandbox.Deps { d.Events = events; return d })
	s, err := p.Create(t.Context(), w.orgID, sandbox.Request{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.SigningKey(t.Context(), w.orgID, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.RotateSigningKey(t.Context(), w.orgID, s.ID)
	if err != nil || first == second {
		t.Fatal(first == second, err)
	}
	if seen, err := p.ResolveSigningKey(t.Context(), s.ID); seen != second || err != nil {
		t.Errorf("the data path sees another: %v", err)
	}
	if names := events.names(s.ID); !slices.Contains(names, "sandbox.signing-key.rotated started>started") {
		t.Errorf("events %v", names)
	}
}
