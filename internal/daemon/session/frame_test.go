//go:build linux

package session_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/daemon/session"
)

func TestFraming(t *testing.T) {
	const o, e, flush = 0, 1, 2
	type op struct {
		s    int
		data string
	}
	long := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		ops  []op
		want string
	}{
		"lines":               {[]op{{o, "a\nb\n"}, {e, "c\n"}}, "\x01\x01\x01a\n\x01\x01\x01b\n\x02\x02\x02c\n"},
		"torn writes":         {[]op{{o, "a"}, {e, "c"}, {o, "b\n"}, {e, "d\n"}}, "\x01\x01\x01ab\n\x02\x02\x02cd\n"},
		"no end":              {[]op{{e, "c"}, {o, "a"}}, "\x01\x01\x01a\n\x02\x02\x02c\n"},
		"quiet":               {[]op{{o, "name? "}, {flush, ""}, {o, "bob\n"}}, "\x01\x01\x01name? bob\n"},
		"quiet, no end":       {[]op{{o, "name? "}, {flush, ""}}, "\x01\x01\x01name? \n"},
		"other between":       {[]op{{o, "name? "}, {flush, ""}, {e, "c\n"}, {o, "bob\n"}}, "\x01\x01\x01name? \x02\x02\x02c\n\x01\x01\x01bob\n"},
		"other, never ends":   {[]op{{o, "name? "}, {flush, ""}, {e, "c\n"}}, "\x01\x01\x01name? \x02\x02\x02c\n\x01\x01\x01\n"},
		"both quiet":          {[]op{{o, "a"}, {e, "c"}, {flush, ""}, {e, "d"}}, "\x01\x01\x01a\x02\x02\x02cd\n\x01\x01\x01\n"},
		"empty lines":         {[]op{{o, "\n\n"}, {e, "\n"}}, "\x01\x01\x01\n\x01\x01\x01\n\x02\x02\x02\n"},
		"NUL and CR":          {[]op{{o, "a\x00\r\n"}}, "\x01\x01\x01a\x00\r\n"},
		"a long line":         {[]op{{o, long}, {o, long + "y"}, {o, "z\n"}}, "\x01\x01\x01" + long + long + "yz\n"},
		"a long line, others": {[]op{{o, long + "1"}, {e, "c\n"}, {o, "2\n"}}, "\x01\x01\x01" + long + "1\x02\x02\x02c\n\x01\x01\x012\n"},
		"nothing":             {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var f session.Framer
			var log []byte
			for _, op := range c.ops {
				if op.s == flush {
					log = append(log, f.Flush()...)
				} else {
					log = append(log, f.Add(op.s, []byte(op.data))...)
				}
			}
			log = append(log, f.Finish()...)
			if diff := cmp.Diff(c.want, string(log)); diff != "" {
				t.Error(diff)
			}
			if more := f.Finish(); len(more) > 0 {
				t.Errorf("ended twice: %q", more)
			}
		})
	}
}

// Whatever is written in whatever pieces: each stream comes out as it went in, with an end to its last line.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("\x00\x03a\nb\x10\x02c\n\x20\x00\x00\x01d"))
	f.Add([]byte("\x00\x01a\x20\x10\x01b\x20\x00\x02c\n"))
	f.Add([]byte("\x00\x02\x01\x01\x10\x03\x02\x02\x02"))
	f.Fuzz(func(t *testing.T, script []byte) {
		var fr session.Framer
		var log []byte
		var want [2][]byte
		for len(script) >= 2 {
			kind, n := script[0]>>4, min(int(script[1]), len(script)-2)
			data := bytes.Map(func(r rune) rune { // what looks like a mark cannot be told from one on this wire
				if r == 1 || r == 2 {
					return 'x'
				}
				return r
			}, bytes.ToValidUTF8(script[2:2+n], []byte("?")))
			script = script[2+n:]
			switch kind % 3 {
			case 2:
				log = append(log, fr.Flush()...)
			default:
				s := int(kind % 3)
				want[s] = append(want[s], data...)
				log = append(log, fr.Add(s, data)...)
			}
		}
		log = append(log, fr.Finish()...)
		for i := range want {
			if n := len(want[i]); n > 0 && want[i][n-1] != '\n' {
				want[i] = append(want[i], '\n')
			}
		}
		both, out, errs := session.Split(log)
		if !bytes.Equal(out, want[0]) || !bytes.Equal(errs, want[1]) || len(both) != len(out)+len(errs) {
			t.Fatalf("%q became %q and %q, want %q and %q", log, out, errs, want[0], want[1])
		}
	})
}

// A log means the same however it is cut into pieces, and nothing but marks is left out.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x01\x01\x01a\n\x02\x02\x02b\n"), byte(1))
	f.Add([]byte("\x01\x01\x02\x02\x02\x01"), byte(2))
	f.Add([]byte("\x01\x01\x01\x01\x01\x01\x01"), byte(3))
	f.Fuzz(func(t *testing.T, log []byte, n byte) {
		var pieces [][]byte
		for rest := log; len(rest) > 0; {
			k := min(int(n%7)+1, len(rest))
			pieces = append(pieces, rest[:k])
			rest = rest[k:]
		}
		both, out, errs := session.Split(log)
		both2, out2, errs2 := session.Split(pieces...)
		if !bytes.Equal(both, both2) || !bytes.Equal(out, out2) || !bytes.Equal(errs, errs2) {
			t.Fatalf("%q: %q %q %q in one piece, %q %q %q in %d", log, both, out, errs, both2, out2, errs2, len(pieces))
		}
		var plain []byte // the same, the slow way
		for i := 0; i < len(log); {
			if i+3 <= len(log) && (string(log[i:i+3]) == "\x01\x01\x01" || string(log[i:i+3]) == "\x02\x02\x02") {
				i += 3
				continue
			}
			// bytes that begin like a mark and go on differently
			plain = append(plain, log[i])
			i++
		}
		if !bytes.Equal(plain, both) {
			t.Fatalf("%q: %q, want %q", log, both, plain)
		}
	})
}

// Only a whole report of the very command counts.
func FuzzReport(f *testing.F) {
	f.Add([]byte("1 0\n"), []byte("2 255\n"), uint64(2))
	f.Add([]byte("junk\n\n2"), []byte(" 7\n2 8\n"), uint64(2))
	f.Add([]byte("2 256\n2 -1\n2  1\n 2 1\n2 1 \n2 1x\n"), []byte("2 00000000000000000000000000001\n"), uint64(2))
	f.Fuzz(func(t *testing.T, a, b []byte, seq uint64) {
		exit, found := session.Report([][]byte{a, b}, seq)
		if found != (exit >= 0 && exit <= 255 && reported(append(append([]byte(nil), a...), b...), seq, exit)) {
			t.Errorf("%q %q: %d %v", a, b, exit, found)
		}
	})
}

func reported(all []byte, seq uint64, exit int) bool {
	for line := range bytes.Lines(all) {
		if line[len(line)-1] != '\n' || len(line) > 32 {
			continue
		}
		num, code, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		if ok && number(num) == seq && num != "" && (num == "0" || num[0] != '0') && len(num) <= 20 && code != "" && number(code) == uint64(exit) && len(strings.TrimLeft(code, "0")) <= 3 {
			return true
		}
	}
	return false
}

func number(s string) (n uint64) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 1 << 63
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// A text is one word to the shell, whatever it is, and the statement around it stays one line's worth of syntax.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"echo it's", "'", "''", "\\'", "'\\''", "a\nb", "$(x) `y` \"z\" !!", "cat <<E\nx", "\xff\xfe", "\x01\x02\x7f", "-n", "", "é'\r\n'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.IndexByte(text, 0) >= 0 || len(text) > 60<<10 {
			return
		}
		whole := string(session.Statement("/bin/sh", 5, text, "/i'n", "/o", "/e", 0))
		want := "command eval " + session.Quote(" "+text) + ` <'/i'\''n' >'/o' 2>'/e' 7>&-;command printf '%s\n' "5 $?" >&7||exit 254` + "\n"
		if whole != want {
			t.Fatalf("%q, want %q", whole, want)
		}
		for _, sh := range shells(t) {
			argv := append(append([]string(nil), sh...), "-c", "printf %s "+session.Quote(text)+"; printf '|%s' end")
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
			if err != nil || string(out) != text+"|end" {
				t.Fatalf("%s: %q became %q, %v", sh, text, out, err)
			}
		}
	})
}

// shells lists what this host has of the shells that sessions use.
func shells(t testing.TB) (out [][]string) {
	for _, s := range [][]string{{"bash"}, {"dash"}, {"zsh"}, {"busybox", "sh"}} {
		if p, err := exec.LookPath(s[0]); err == nil {
			out = append(out, append([]string{p}, s[1:]...))
		}
	}
	if len(out) == 0 {
		t.Fatal("this host has no shell")
	}
	return out
}

func TestDirNames(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A", ".", "..", "a.b", ".a", "a/b", "a%2Fb", "a b", "ü", strings.Repeat("/", 128), strings.Repeat("/", 127) + "a", strings.Repeat("x", 128)} {
		dir := session.DirName(name)
		if old, ok := seen[dir]; ok || len(dir) > 255 || strings.ContainsAny(dir, "/\x00") || dir[0] == '.' {
			t.Errorf("%q becomes %q, as %q does", name, dir, old)
		}
		seen[dir] = name
	}
}
