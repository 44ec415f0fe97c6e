package keys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/keys"
	"github.com/dugout-dev/dugout/internal/errs"
)

func TestKey(t *testing.T) {
	for name, want := range map[string]uint32{
		"a": 'a', "A": 'a', "0": '0', "-": '-', "/": '/', "'": '\'',
		"enter": 0xff0d, "Return": 0xff0d, "ESC": 0xff1b, "Escape": 0xff1b, "tab": 0xff09, "del": 0xffff, "backspace": 0xff08,
		"page_up": 0xff55, "Page-Up": 0xff55, "pageup": 0xff55, "left": 0xff51, "space": ' ', " enter ": 0xff0d,
		"f1": 0xffbe, "F12": 0xffc9, "f24": 0xffd5, "num0": 0xffb0, "num_9": 0xffb9, "num_plus": 0xffab, "num-enter": 0xff8d,
		"ctrl": keys.Control, "Control": keys.Control, "option": keys.Alt, "meta": keys.Super, "WIN": keys.Super, "shift": keys.Shift,
	} {
		if got, err := keys.Key(name); err != nil || got != want {
			t.Errorf("%q: %#x, %v, want %#x", name, got, err, want)
		}
	}
	for name, advice := range map[string]string{
		"": "empty", " ": "empty", "@": `'2' with the modifier shift`, "?": `'/' with the modifier shift`, "+": `'='`, "ü": "unknown", "f0": "unknown", "f25": "unknown",
		"f01": "unknown", "num10": "unknown", "num_": "unknown", "enterr": "unknown", "\t": "empty", "\x01": "unknown", strings.Repeat("x", 5000): "…",
	} {
		_, err := keys.Key(name)
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), advice) || len(err.Error()) > 400 {
			t.Errorf("%.20q: %v, want it to mention %q", name, err, advice)
		}
	}
}

func TestModifiers(t *testing.T) {
	got, err := keys.Modifiers([]string{"shift", "Ctrl", "control", "option", "win"})
	if diff := cmp.Diff([]uint32{keys.Shift, keys.Control, keys.Alt, keys.Super}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range [][]string{{"a"}, {""}, {"ctrl+shift"}, make([]string, 17)} {
		if _, err := keys.Modifiers(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestChord(t *testing.T) {
	type chord struct {
		mods []uint32
		key  uint32
	}
	for text, want := range map[string]chord{
		"ctrl+c": {[]uint32{keys.Control}, 'c'}, "Ctrl + C": {[]uint32{keys.Control}, 'c'}, "shift": {[]uint32{keys.Shift}, 0},
		"ctrl+shift+t": {[]uint32{keys.Control, keys.Shift}, 't'}, "enter": {nil, 0xff0d}, "cmd+num_plus": {[]uint32{keys.Super}, 0xffab},
		"ctrl+shift": {[]uint32{keys.Control, keys.Shift}, 0}, "alt+F4": {[]uint32{keys.Alt}, 0xffc1}, "shift+=": {[]uint32{keys.Shift}, '='},
		"ctrl+,": {[]uint32{keys.Control}, ','},
	} {
		mods, key, err := keys.Chord(text)
		if diff := cmp.Diff(want, chord{mods, key}, cmp.AllowUnexported(chord{})); diff != "" || err != nil {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, bad := range []string{"", " ", "+", "ctrl+", "+c", "ctrl++", "a+b", "c+ctrl", "ctrl+c ctrl+v", "ctrl+c,ctrl+v", "ctrl+@", "\xff", strings.Repeat("ctrl+", 50) + "c"} {
		if _, _, err := keys.Chord(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func TestText(t *testing.T) {
	got, err := keys.Text("aé\r\n€\n😀~")
	if diff := cmp.Diff([]uint32{'a', 0xe9, 0xff0d, 0x010020ac, 0xff0d, 0x0101f600, '~'}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{"a\tb", "\r", "\x00", "\x7f", "\u0085", "\xff", strings.Repeat("x", keys.MaxText+1)} {
		if _, err := keys.Text(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if got, err := keys.Text(strings.Repeat("ü", keys.MaxText)); err != nil || len(got) != keys.MaxText {
		t.Errorf("a text of the largest size: %d, %v", len(got), err)
	}
}

// Whatever a chord is: an error that says so, or modifiers once each and at most one key.
func FuzzChord(f *testing.F) {
	for _, s := range []string{"ctrl+shift+t", "Ctrl + C", "ctrl++", "a+b", "num_plus", "F24", "page-up", "@", "ctrl+é", "\xff+a", "shift+="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mods, key, err := keys.Chord(s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if len(mods) > 4 || len(mods) == 0 && key == 0 {
			t.Fatalf("%q: %x %x", s, mods, key)
		}
		seen := map[uint32]bool{}
		for _, m := range mods {
			if seen[m] {
				t.Fatalf("%q: a modifier twice", s)
			}
			seen[m] = true
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("a\r\nb€")
	f.Add("\t")
	f.Add("\xf0\x9f\x98")
	f.Fuzz(func(t *testing.T, s string) {
		syms, err := keys.Text(s)
		if err != nil {
			return
		}
		for _, sym := range syms {
			if sym != keys.Return && (sym < 0x20 || sym == 0x7f || sym > 0xff && sym < 0x01000100 || sym > 0x0110ffff) {
				t.Fatalf("%q: keysym %#x", s, sym)
			}
		}
	})
}
