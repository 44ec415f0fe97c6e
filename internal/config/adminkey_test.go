package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/internal/config"
)

func TestAdminKeyIsMadeOnce(t *testing.T) {
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "made", "too")
	keys := make([]config.Secret, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := config.EnsureAdminKey(c)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || !strings.HasPrefix(k.Reveal(), "dtn_") || len(k.Reveal()) != 68 {
			t.Fatalf("keys differ or are no keys: %q and %q", keys[0].Reveal(), k.Reveal())
		}
	}
	st, err := os.Stat(filepath.Join(c.DataDir, config.AdminKeyFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.DataDir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAdminKeyFile(t *testing.T) {
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          string // part of the error; empty: none
	}{
		{"good", "0123456789abcdef\n", 0o600, ""},
		{"readable by others", "0123456789abcdef\n", 0o644, "chmod 600"},
		{"empty", "", 0o600, "16 to 512 characters, this one has 0"},
		{"two lines", "0123456789abcdef\nmore", 0o600, "without spaces"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.Default()
			cfg.DataDir = t.TempDir()
			path := filepath.Join(cfg.DataDir, config.AdminKeyFile)
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			key, err := config.EnsureAdminKey(cfg)
			if c.want == "" {
				if err != nil || key.Reveal() != "0123456789abcdef" {
					t.Errorf("%q, %v", key.Reveal(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "0123456789") {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func TestConfiguredKeyWins(t *testing.T) {
	c := config.Default()
	c.DataDir, c.Server.AdminAPIKey = t.TempDir(), "configured-key-configured"
	key, err := config.EnsureAdminKey(c)
	if err != nil || key != c.Server.AdminAPIKey {
		t.Errorf("%v, %v", key, err)
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, config.AdminKeyFile)); err == nil {
		t.Error("a key file was made although a key is configured")
	}
}
