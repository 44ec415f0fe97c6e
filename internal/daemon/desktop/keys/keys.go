// Package keys knows the names of keys on the 0.x wire and the X keysyms that they and characters stand for. It is pure: where a
// keysym is on a keyboard is the X server's matter.
package keys

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of what a request may say.
const (
	MaxText      = 65536 // characters in one call to type
	MaxChord     = 200   // bytes of a chord
	maxModifiers = 4     // there are four different ones
)

// Keysyms that others need by name.
const (
	Shift    uint32 = 0xffe1
	Control  uint32 = 0xffe3
	CapsLock uint32 = 0xffe5
	Alt      uint32 = 0xffe9
	Super    uint32 = 0xffeb
	Return   uint32 = 0xff0d
)

// modifiers and their other names.
var modifiers = map[string]uint32{
	"ctrl": Control, "control": Control,
	"alt": Alt, "option": Alt,
	"shift": Shift,
	"cmd":   Super, "command": Super, "meta": Super, "super": Super, "win": Super, "windows": Super,
}

// named are the keys with a name, and their other names; f1 to f24 and num0 to num9 come on top.
var named = map[string]uint32{
	"enter": Return, "return": Return,
	"escape": 0xff1b, "esc": 0xff1b,
	"tab": 0xff09, "space": 0x20, "spacebar": 0x20,
	"backspace": 0xff08, "delete": 0xffff, "del": 0xffff, "insert": 0xff63, "ins": 0xff63,
	"home": 0xff50, "end": 0xff57,
	"pageup": 0xff55, "page_up": 0xff55, "pgup": 0xff55, "pagedown": 0xff56, "page_down": 0xff56, "pgdn": 0xff56, "pgdown": 0xff56,
	"left": 0xff51, "up": 0xff52, "right": 0xff53, "down": 0xff54,
	"arrow_left": 0xff51, "arrow_up": 0xff52, "arrow_right": 0xff53, "arrow_down": 0xff54,
	"arrowleft": 0xff51, "arrowup": 0xff52, "arrowright": 0xff53, "arrowdown": 0xff54,
	"left_arrow": 0xff51, "up_arrow": 0xff52, "right_arrow": 0xff53, "down_arrow": 0xff54,
	"capslock": CapsLock, "caps_lock": CapsLock, "numlock": 0xff7f, "num_lock": 0xff7f, "scrolllock": 0xff14, "scroll_lock": 0xff14,
	"printscreen": 0xff61, "print_screen": 0xff61, "print": 0xff61, "prtsc": 0xff61, "pause": 0xff13, "break": 0xff13, "menu": 0xff67,
	"num_plus": 0xffab, "num_minus": 0xffad, "num_slash": 0xffaf, "num_asterisk": 0xffaa, "num_decimal": 0xffae, "num_enter": 0xff8d,
	"num_equal": 0xffbd,
}

// unshifted is the punctuation that a US keyboard has without Shift.
const unshifted = "`-=[]\\;',./"

// shifted maps the characters that need Shift on a US keyboard to the key that has them.
var shifted = map[byte]byte{'~': '`', '!': '1', '@': '2', '#': '3', '$': '4', '%': '5', '^': '6', '&': '7', '*': '8', '(': '9', ')': '0',
	'_': '-', '+': '=', '{': '[', '}': ']', '|': '\\', ':': ';', '"': '\'', '<': ',', '>': '.', '?': '/'}

// Key returns the keysym of a key's name, which may be a modifier's. Names are not case-sensitive, and - is as good as _ in them.
// A letter names its key: A and a are the same, Shift is a modifier of its own. What is wrong is errs.Invalid, with advice.
func Key(name string) (uint32, error) {
	trimmed := strings.TrimSpace(name)
	if trimmed == "" {
		return 0, errs.New(errs.Invalid, "the key must not be empty: a name such as enter, f5 or num_plus, a letter, a digit or one of %s", unshifted)
	}
	if len(trimmed) == 1 {
		return single(trimmed[0])
	}
	norm := normal(trimmed)
	if sym, ok := modifiers[norm]; ok {
		return sym, nil
	}
	if sym, ok := named[norm]; ok {
		return sym, nil
	}
	if n, ok := number(norm, "f"); ok && n >= 1 && n <= 24 {
		return 0xffbe + uint32(n) - 1, nil
	}
	for _, prefix := range []string{"num", "num_"} {
		if n, ok := number(norm, prefix); ok && n <= 9 && len(norm) == len(prefix)+1 {
			return 0xffb0 + uint32(n), nil
		}
	}
	return 0, errs.New(errs.Invalid, "unknown key %q: allowed are names such as enter, escape, tab, page_up, left, f1 to f24, num0 to num9, num_plus, one letter or digit, or one of %s", clip(name), unshifted)
}

func single(c byte) (uint32, error) {
	switch {
	case 'A' <= c && c <= 'Z':
		return uint32(c) + 'a' - 'A', nil
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte(unshifted, c) >= 0:
		return uint32(c), nil
	}
	if key, ok := shifted[c]; ok {
		return 0, errs.New(errs.Invalid, "%q is no key: press %q with the modifier shift, or type it as text", c, key)
	}
	return 0, errs.New(errs.Invalid, "unknown key %q: text other than ASCII letters, digits and %s is typed, not pressed", c, unshifted)
}

func number(s, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok || digits == "" || len(digits) > 2 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

func normal(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// Modifiers returns the keysyms of modifiers, each once and in the order given.
func Modifiers(names []string) ([]uint32, error) {
	if len(names) > 4*maxModifiers {
		return nil, errs.New(errs.Invalid, "%d modifiers, at most %d are allowed", len(names), 4*maxModifiers)
	}
	var out []uint32
	for _, name := range names {
		sym, ok := modifiers[normal(strings.TrimSpace(name))]
		if !ok {
			return nil, errs.New(errs.Invalid, "unknown modifier %q: allowed are ctrl, alt, shift and cmd", clip(name))
		}
		if !contains(out, sym) {
			out = append(out, sym)
		}
	}
	return out, nil
}

// Chord reads a chord such as ctrl+shift+t: modifiers, then at most one other key. key is 0 when all are modifiers.
func Chord(chord string) (mods []uint32, key uint32, err error) {
	if len(chord) > MaxChord {
		return nil, 0, errs.New(errs.Invalid, "a chord of %d bytes, at most %d are allowed", len(chord), MaxChord)
	}
	if !utf8.ValidString(chord) {
		return nil, 0, errs.New(errs.Invalid, "the chord is not UTF-8")
	}
	if strings.TrimSpace(chord) == "" {
		return nil, 0, errs.New(errs.Invalid, "the chord must not be empty: keys joined by +, for example ctrl+c")
	}
	parts := strings.Split(chord, "+")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if part == "" {
			return nil, 0, errs.New(errs.Invalid, "the chord %q has nothing between two +: the key itself is written num_plus, or shift+=", clip(chord))
		}
		if strings.ContainsAny(part, " ,") && len(part) > 1 {
			return nil, 0, errs.New(errs.Invalid, "the chord %q is more than one: send one chord per call", clip(chord))
		}
		if sym, ok := modifiers[normal(part)]; ok {
			if !contains(mods, sym) {
				mods = append(mods, sym)
			}
			continue
		}
		if i != len(parts)-1 {
			if _, err := Key(part); err != nil {
				return nil, 0, err
			}
			return nil, 0, errs.New(errs.Invalid, "in the chord %q, %q is followed by another key: a chord is modifiers and then one key", clip(chord), clip(part))
		}
		if key, err = Key(part); err != nil {
			return nil, 0, err
		}
	}
	return mods, key, nil
}

// Text returns the keysyms that type a text: a line feed is Enter, with a carriage return before it too. Tabs and other control
// characters are errs.Invalid: they are keys, not text.
func Text(text string) ([]uint32, error) {
	if !utf8.ValidString(text) {
		return nil, errs.New(errs.Invalid, "the text is not UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > MaxText {
		return nil, errs.New(errs.Invalid, "the text has %d characters, at most %d are allowed in one call", n, MaxText)
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	out := make([]uint32, 0, len(text))
	at := 0
	for _, r := range text {
		switch {
		case r == '\n':
			out = append(out, Return)
		case r == '\t':
			return nil, errs.New(errs.Invalid, "character %d of the text is a tab: press the key tab instead", at)
		case unicode.IsControl(r):
			return nil, errs.New(errs.Invalid, "character %d of the text is the control character %U: press keys instead", at, r)
		default:
			out = append(out, Of(r))
		}
		at++
	}
	return out, nil
}

// Of returns the keysym of a character.
func Of(r rune) uint32 {
	if r >= 0x20 && r <= 0x7e || r >= 0xa0 && r <= 0xff {
		return uint32(r)
	}
	return 0x01000000 | uint32(r)
}

// Keypad reports whether sym is a key of the numeric pad.
func Keypad(sym uint32) bool { return sym >= 0xff80 && sym <= 0xffbd }

func contains(list []uint32, sym uint32) bool {
	for _, s := range list {
		if s == sym {
			return true
		}
	}
	return false
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
