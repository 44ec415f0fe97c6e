//go:build linux

package process

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Names of signals come from outside: what is taken is a signal that the kernel has, by the name that it has.
func FuzzSignal(f *testing.F) {
	for _, s := range []string{"INT", "SIGTERM", "kill", "", "SIG", "9", "SIGSIGTERM", "TERM\x00", "WINCH"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		sig, err := parseSignal(name)
		if err != nil {
			return
		}
		if sig < 1 || sig > 31 || strings.TrimPrefix(strings.ToUpper(name), "SIG") == "" {
			t.Errorf("%q is signal %d", name, sig)
		}
		if again, err := parseSignal(signalName(sig)); err != nil || again != sig {
			t.Errorf("%q: %d is called %s, which is %d %v", name, sig, signalName(sig), again, err)
		}
	})
}

// Text messages of a connection come from outside: none does anything but what it says.
func FuzzControl(f *testing.F) {
	for _, s := range []string{`{"type":"eof"}`, `{"type":"signal","signal":"INT"}`, `{"type":"resize"}`, `[]`, `{`, `null`, `{"type":1}`, `{"type":"signal"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ex := &execution{id: "x", done: make(chan struct{}), out: run.NewOutput(run.NewBudget(1<<20), 1<<20)}
		if err := ex.input.open(); err != nil {
			t.Skip(err)
		}
		defer ex.input.close()
		err := ex.control(data)
		var m toolbox.ConnectMessage
		valid := json.Unmarshal(data, &m) == nil
		if open := ex.input.f != nil; open == (valid && m.Type == "eof") {
			t.Errorf("%q: input open %v", data, open)
		}
		if err == nil && !(valid && m.Type == "eof") {
			t.Errorf("%q was obeyed", data)
		}
		if err != nil && (len(err.Error()) > 300 || err.Error() == "") {
			t.Errorf("%q: %q", data, err)
		}
	})
}

// Whatever a program writes, however it is cut, the events are well-formed and carry each byte once, in order.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("plain\nlines\n\n"), []byte{3, 1})
	f.Add([]byte("grü\xc3 日本\x00\xff🙂"), []byte{1, 1, 1, 1, 2})
	f.Add([]byte("event: exit\ndata: {}\n\nid: 9\r\n"), []byte{255})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		b := httptest.NewRecorder()
		e := &eventWriter{w: b, rc: http.NewResponseController(b)}
		at, rest := int64(0), text
		for i := 0; len(rest) > 0; i++ {
			n, s := len(rest), run.Stdout
			if i < len(cuts) {
				n = min(n, int(cuts[i]&0x7f)+1)
				if cuts[i]&0x80 != 0 {
					s = run.Stderr
				}
			}
			e.piece(&run.Piece{Stream: s, Offset: at, Data: rest[:n]})
			at, rest = at+int64(n), rest[n:]
		}
		e.rest()
		if e.err != nil {
			t.Fatal(e.err)
		}
		var got []byte
		for ev := range strings.SplitSeq(strings.TrimSuffix(b.Body.String(), "\n\n"), "\n\n") {
			if ev == "" {
				continue
			}
			lines := strings.Split(ev, "\n")
			if len(lines) != 3 || !strings.HasPrefix(lines[0], "event: std") || !strings.HasPrefix(lines[1], "id: ") || !strings.HasPrefix(lines[2], "data: ") {
				t.Fatalf("%q", ev)
			}
			var out toolbox.StreamOutput
			if err := json.Unmarshal([]byte(lines[2][6:]), &out); err != nil || out.Offset != int64(len(got)) || !utf8.ValidString(out.Text) {
				t.Fatalf("%v %q after %d", err, ev, len(got))
			}
			got = append(append(got, out.Text...), out.Data...)
			if lines[1] != "id: "+strconv.Itoa(len(got)) {
				t.Fatalf("%q, want %d", lines[1], len(got))
			}
		}
		if !bytes.Equal(got, text) {
			t.Errorf("%q, want %q", got, text)
		}
	})
}

func TestExecuteLimit(t *testing.T) {
	h := &Handler{Runner: &run.Runner{Budget: run.NewBudget(1 << 20)}}
	for range maxLive {
		if !h.live.add(&execution{}) {
			t.Fatal("refused below the limit")
		}
	}
	_, err := h.begin("", nil, nil, func(*execution) { t.Error("it was run") })
	if errs.ClassOf(err) != errs.Busy || !strings.Contains(err.Error(), "1000") {
		t.Errorf("%v", err)
	}
}
