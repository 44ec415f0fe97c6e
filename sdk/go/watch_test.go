//go:build linux

package dugout_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	s := withDaemon(t, dir)
	root := filepath.Join(dir, "w")
	if err := os.MkdirAll(filepath.Join(root, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := s.Watch(ctx, "w", dugout.WatchOptions{Recursive: true, Exclude: []string{"*.tmp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.Path != root || w.Directories != 2 {
		t.Errorf("%+v", w)
	}
	for _, name := range []string{"sub/x.tmp", "sub/x"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := w.Next(ctx)
	if err != nil || m.Type != toolbox.WatchChanges || len(m.Changes) != 1 || m.Changes[0].Path != filepath.Join(root, "sub/x") || m.Changes[0].Type != toolbox.FileCreated {
		t.Errorf("%+v %v", m, err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Next(ctx)
	}
	if !errors.Is(err, dugout.ErrGone) {
		t.Error(err)
	}
	if _, err := s.Watch(ctx, "nowhere", dugout.WatchOptions{}); !errors.Is(err, dugout.ErrNotFound) {
		t.Error(err)
	}
}
