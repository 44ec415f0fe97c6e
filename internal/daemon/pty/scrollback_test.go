//go:build linux

package pty_test

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/pty"
	"github.com/dugout-dev/dugout/internal/errs"
)

// fill pushes out all but the last n bytes of what was written before.
func fill(b *pty.Back, n int) { b.Write(bytes.Repeat([]byte("."), pty.Scrollback-n)) }

func TestScrollbackKeepsTheLast(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b pty.Back
	var all []byte
	for len(all) < 3*pty.Scrollback {
		p := make([]byte, rnd.IntN(40<<10))
		for i := range p {
			p[i] = 'a' + byte(rnd.IntN(26))
		}
		b.Write(p)
		all = append(all, p...)
		want := all[max(0, len(all)-pty.Scrollback):]
		if !bytes.Equal(b.Held(), want) || !bytes.Equal(b.Replay(), want) {
			t.Fatalf("after %d bytes", len(all))
		}
	}
	b.Write(append(all, "the end"...))
	if held := b.Held(); len(held) != pty.Scrollback || !bytes.HasSuffix(held, []byte("the end")) {
		t.Errorf("%d bytes are held", len(held))
	}
	if b.Room() != pty.Scrollback {
		t.Errorf("%d bytes are taken", b.Room())
	}
	var small pty.Back
	small.Write([]byte("x"))
	if small.Room() > 4096 {
		t.Errorf("one byte takes %d", small.Room())
	}
}

// Where the oldest bytes were pushed out, the replay begins at a place that is none within something.
func TestReplayBegins(t *testing.T) {
	for name, tt := range map[string]struct{ first, kept, want string }{
		"text":                          {"abc", "def", "def"},
		"within a character":            {"\xe2\x82", "\xacdef", "def"},
		"within another character":      {"\xf0", "\x9f\x98\x80def", "def"},
		"a character that was none":     {"\xe2", "def", "def"},
		"within a CSI sequence":         {"\x1b[38;5;1", "96mred", "red"},
		"behind ESC":                    {"\x1b", "[1mbold", "bold"},
		"within a title":                {"\x1b]0;a ti", "tle\atext", "text"},
		"within a title ended by ST":    {"\x1b]0;a ti", "tle\x1b\\text", "text"},
		"ST in the middle":              {"\x1b]0;a title\x1b", "\\text", "text"},
		"within a DCS":                  {"\x1bP1;2|17/ab", "17/ab\x1b\\text", "text"},
		"a charset":                     {"\x1b(", "Btext", "text"},
		"cancelled":                     {"\x1b[38;", "\x18text", "text"},
		"a string that never ends":      {"\x1bPxyz", "one\ntwo", "two."},
		"an unfinished end":             {"", "abc\x1b[3", "abc\x1b[3"},
		"modes are restored":            {"\x1b[?1049h\x1b[?25l\x1b[?1;2004h\x1b=", "text", "\x1b[?1h\x1b[?25l\x1b[?1049h\x1b[?2004h\x1b=text"},
		"modes that were taken back":    {"\x1b[?1049h\x1b[?25l\x1b[?1049l\x1b[?25h", "text", "text"},
		"a reset":                       {"\x1b[?1049h\x1bc", "text", "text"},
		"a mode within the gap":         {"\x1b[?10", "49htext", "\x1b[?1049htext"},
		"unknown modes are not guessed": {"\x1b[?9999h\x1b[4h", "text", "text"},
	} {
		var b pty.Back
		b.Write([]byte(tt.first))
		b.Write([]byte(tt.kept))
		fill(&b, len(tt.kept))
		want := tt.want
		if tt.first == "" {
			continue
		}
		got := string(b.Replay())
		if head := got[:min(len(got), len(want))]; head != want {
			t.Errorf("%s: begins with %q, want %q", name, got[:min(len(got), 40)], want)
		}
	}
}

// Questions to the terminal are not asked again: the answers would be input.
func TestReplayAsksNothing(t *testing.T) {
	for _, q := range []string{"\x1b[c", "\x1b[0c", "\x1b[>c", "\x1b[=c", "\x1b[6n", "\x1b[?6n", "\x1b[5n", "\x1bZ", "\x05", "\x1b]10;?\a", "\x1b]11;?\x1b\\", "\x1b]4;1;?\a",
		"\x1bP$qm\x1b\\", "\x1bP+q544e\x1b\\", "\x1b[?2026$p", "\x1b[18t", "\x1b[14t", "\x1b[>0q", "\x1b[?u", "\x1b[x", "\x1b[?4m", "\x1b_Ga=q,i=1;AAAA\x1b\\", "\x1b]52;c;?\a"} {
		var b pty.Back
		b.Write([]byte("before" + q + "after"))
		if got := string(b.Replay()); got != "beforeafter" {
			t.Errorf("%q: replayed as %q", q, got)
		}
		if got := string(b.Held()); got != "before"+q+"after" {
			t.Errorf("%q: held as %q", q, got)
		}
	}
	for _, q := range []string{"\x1b[1;31m", "\x1b[?25h", "\x1b[H\x1b[2J", "\x1b]0;title\a", "\x1b]8;;http://a?b=c\x1b\\", "\x1b[?12;112c", "\x1b[>4;1m", "\x1b[22;0;0t", "\x1b(0", "\x1b=",
		"\x1b[2 q", "\x1b[u", "ü€😀", "\xff\xfe", "\x1b[>4n", "\x1b[!p", "a\x1b\x1b[1mb", "\x1bPq#0;2;0;0;0~\x1b\\"} {
		var b pty.Back
		b.Write([]byte("before" + q + "after"))
		if got := string(b.Replay()); got != "before"+q+"after" {
			t.Errorf("%q: replayed as %q", q, got)
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\x1b]0;t\a\xe2\x82\xac"), uint(3))
	f.Add([]byte("\x1b[?1049h\x1bP$qm\x1b\\\x1b["), uint(0))
	f.Add([]byte("\x1b]\x1b\x1b\x18\x1a\xf0\x9f"), uint(70000))
	f.Fuzz(func(t *testing.T, p []byte, cut uint) {
		var b, whole pty.Back
		k := int(cut % uint(len(p)+1))
		b.Write(p[:k])
		b.Write(p[k:])
		whole.Write(p)
		if !bytes.Equal(b.Held(), p) || !bytes.Equal(b.Replay(), whole.Replay()) {
			t.Fatal("depends on how it was cut")
		}
		if len(b.Replay()) > len(p) {
			t.Fatalf("%d bytes became %d", len(p), len(b.Replay()))
		}
		// Pushed out at any place: bounded, and text begins with a whole character.
		fill(&b, len(p)-k)
		r := b.Replay()
		if len(r) > pty.Scrollback+128 {
			t.Fatalf("%d bytes", len(r))
		}
		if utf8.Valid(p) && !utf8.Valid(r) {
			t.Fatalf("%q at %d: replay begins with %q", p, k, r[:min(len(r), 20)])
		}
	})
}

func FuzzEnvs(f *testing.F) {
	f.Add(toolbox.PtyEnvs+"eyJBIjoiYiJ9", "x")
	f.Add("x", toolbox.PtyEnvs+"====")
	f.Add(toolbox.PtyEnvs, toolbox.PtyEnvs+"bnVsbA")
	f.Fuzz(func(t *testing.T, a, b string) {
		envs, err := pty.OfferedEnvs([]string{a, b})
		if err != nil && (!errs.Is(err, errs.Invalid) || len(err.Error()) > 300) {
			t.Errorf("%v", err)
		}
		if err == nil && len(envs) > 0 && !strings.HasPrefix(a, toolbox.PtyEnvs) && !strings.HasPrefix(b, toolbox.PtyEnvs) {
			t.Errorf("%v of nothing", envs)
		}
		text, ok := strings.CutPrefix(a, toolbox.PtyEnvs)
		if _, derr := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); ok && derr != nil && err == nil {
			t.Errorf("%q was taken", a)
		}
	})
}

func FuzzID(f *testing.F) {
	for _, id := range []string{"a", "", "..", "a/b", "ü\x7f", "\u0085", strings.Repeat("x", 129), "create-connect", "a b?#%"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		err := pty.CheckID(id)
		if err == nil && (id == "" || len(id) > pty.MaxID || strings.ContainsAny(id, "/\x00\r\n") || !utf8.ValidString(id)) {
			t.Errorf("%q was taken", id)
		}
		if err != nil && (!errs.Is(err, errs.Invalid) || !utf8.ValidString(err.Error())) {
			t.Errorf("%q: %v", id, err)
		}
	})
}
