//go:build linux

package run_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// collect puts data into an output in pieces of the given size.
func collect(t testing.TB, data []byte, piece int, limit int64) *run.Output {
	o := run.NewOutput(run.NewBudget(1<<30), limit)
	for len(data) > 0 {
		n := min(piece, len(data))
		if _, err := o.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	o.Seal()
	return o
}

func decoded(t testing.TB, o *run.Output) string {
	var b bytes.Buffer
	if err := o.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var s string
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatalf("%v: %.200q", err, b.Bytes())
	}
	return s
}

func FuzzOutputJSON(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"\\\n\t\x00\x1f\x7f", "grüße 日本 🙂", "\xff\xfe", "\xe2\x82", "\xf0\x9f\x99", "\xed\xa0\x80", "\u2028<&>", strings.Repeat("🙂", 2000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, _ := json.Marshal(string(data)) // replaces what is no UTF-8
		var text string
		_ = json.Unmarshal(want, &text)
		for _, piece := range []int{1, 3, 4095, 1 << 20} {
			if got := decoded(t, collect(t, data, piece, 1<<20)); got != text {
				t.Fatalf("in pieces of %d: %q, want %q", piece, got, text)
			}
		}
	})
}

func TestOutputAcrossChunks(t *testing.T) {
	// Characters of every length cross the boundaries of the chunks in which an output is kept.
	for shift := range 4 {
		data := []byte(strings.Repeat("x", shift) + strings.Repeat("aé日🙂", 300000))
		if got := decoded(t, collect(t, data, 1<<20, 1<<30)); got != string(data) {
			t.Errorf("shift %d: the text changed", shift)
		}
	}
}

func TestOutputLimits(t *testing.T) {
	o := collect(t, bytes.Repeat([]byte("x"), 10000), 333, 5000)
	if got := o.String(); !strings.HasPrefix(got, strings.Repeat("x", 5000)+"\n[output truncated") || o.Size() != 5000 {
		t.Errorf("kept %d: %.60q", o.Size(), got[4990:])
	}
	budget := run.NewBudget(10 << 10)
	a, b := run.NewOutput(budget, 1<<20), run.NewOutput(budget, 1<<20)
	_, _ = a.Write(make([]byte, 4096))
	_, _ = b.Write(make([]byte, 100000))
	a.Seal()
	b.Seal()
	if b.Size() >= 100000 || budget.Held() > 10<<10 {
		t.Errorf("kept %d bytes over a budget of %d", b.Size(), budget.Held())
	}
	if !strings.Contains(b.String(), "truncated") {
		t.Error("no mark where the budget cut the output")
	}
	a.Release()
	b.Release()
	b.Release()
	if budget.Held() != 0 {
		t.Errorf("%d bytes are still held", budget.Held())
	}
}

func TestOutputReadFrom(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100000)
	o := run.NewOutput(run.NewBudget(1<<30), 1<<20)
	n, err := o.ReadFrom(iotest.HalfReader(bytes.NewReader(data)))
	o.Seal()
	if err != nil || n != int64(len(data)) || o.String() != string(data) {
		t.Errorf("n %d err %v", n, err)
	}
	if got := o.Tail(5); got != "56789" {
		t.Errorf("tail %q", got)
	}
	if got := collect(t, []byte("aé🙂"), 10, 100).Tail(5); got != "🙂" {
		t.Errorf("tail %q", got)
	}
	if got := collect(t, []byte("ab"), 10, 100).Tail(5); got != "ab" {
		t.Errorf("tail %q", got)
	}
}
