package config_test

import (
	"testing"

	"github.com/dugout-dev/dugout/internal/config"
)

func TestBytes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "7": 7, "7B": 7, "1KB": 1000, "1KiB": 1024, "40GiB": 40 << 30, "40 gib": 40 << 30, "2TiB": 2 << 40, " 5MB ": 5e6} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(in)); err != nil || int64(b) != want {
			t.Errorf("%q: %d, %v", in, b, err)
		}
		var again config.Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q is written %q and read back as %d", in, b, again)
		}
	}
	for _, in := range []string{"", "GiB", "-1", "1.5GiB", "9999999999TiB", "1XB", "0x10"} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was read as %d", in, b)
		}
	}
}

func FuzzBytes(f *testing.F) {
	f.Add("40GiB")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		var b, again config.Bytes
		if b.UnmarshalText([]byte(s)) != nil {
			return
		}
		if b < 0 {
			t.Errorf("%q became negative: %d", s, b)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q is written %q and read back as %d", s, b, again)
		}
	})
}
