//go:build linux

package run_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// read takes pieces until there is none, and returns the bytes of the streams and of gaps.
func read(t *testing.T, r *run.Reader) (out, errOut []byte, gap int64, err error) {
	t.Helper()
	for {
		p, _, err := r.Next(7)
		switch {
		case err != nil || p == nil:
			return out, errOut, gap, err
		case p.Gap > 0:
			gap += p.Gap
		case p.Stream == run.Stderr:
			errOut = append(errOut, p.Data...)
		default:
			out = append(out, p.Data...)
		}
	}
}

func TestReaderFollows(t *testing.T) {
	for name, o := range map[string]*run.Output{"head": run.NewOutput(run.NewBudget(1<<20), 1<<20), "ring": run.NewRing(run.NewBudget(1<<20), 1<<20)} {
		t.Run(name, func(t *testing.T) {
			r := o.NewReader(0)
			defer r.Close()
			if p, more, err := r.Next(10); p != nil || more == nil || err != nil {
				t.Fatalf("%v %v", p, err)
			}
			go func() {
				for i := range 2000 {
					_, _ = o.Stream(run.Stream(1 + i%2)).Write([]byte{byte('a' + i%26)})
				}
				o.Seal()
			}()
			var all, allErr []byte
			for {
				p, more, err := r.Next(100)
				if err == io.EOF {
					break
				}
				if p == nil {
					select {
					case <-more:
					case <-time.After(20 * time.Second):
						t.Fatal("nothing comes")
					}
					continue
				}
				if p.Stream == run.Stderr {
					allErr = append(allErr, p.Data...)
				} else {
					all = append(all, p.Data...)
				}
			}
			if len(all) != 1000 || len(allErr) != 1000 || string(all[:14]) != "acegikmoqsuwya" || string(allErr[:14]) != "bdfhjlnprtvxzb" {
				t.Errorf("%d %d %.30q %.30q", len(all), len(allErr), all, allErr)
			}
			if out, _, _, err := read(t, o.NewReader(1995)); string(out)+"" == "" || err != io.EOF {
				t.Errorf("%q %v", out, err)
			}
		})
	}
}

// A program that changes its stream with every byte is bounded by memory, not by bytes.
func TestManySmallPiecesAreBounded(t *testing.T) {
	for name, make := range map[string]func(*run.Budget, int64) *run.Output{"head": run.NewOutput, "ring": run.NewRing} {
		budget := run.NewBudget(8 << 20)
		o := make(budget, 1<<20)
		for i := range 200000 {
			_, _ = o.Stream(run.Stream(1 + i%2)).Write([]byte("x"))
		}
		if held := budget.Held(); held > 2<<20+8<<10 {
			t.Errorf("%s: %d bytes held", name, held)
		}
		o.Seal()
		if n := o.Size(); n < 5000 || n > 20000 {
			t.Errorf("%s: %d bytes kept", name, n)
		}
		if s := o.String(); !strings.Contains(s, "truncated") {
			t.Errorf("%s: no mark: %.100q", name, s)
		}
		o.Release()
		if budget.Held() != 0 {
			t.Errorf("%s: %d bytes are never given back", name, budget.Held())
		}
	}
}

// A ring without memory keeps nothing, says so, and its program goes on.
func TestRingWithoutMemory(t *testing.T) {
	budget := run.NewBudget(100)
	o := run.NewRing(budget, 1<<20)
	r := o.NewReader(0)
	_, _ = o.Write(bytes.Repeat([]byte("x"), 5000))
	o.Seal()
	if out, _, gap, err := read(t, r); len(out) != 0 || gap != 5000 || err != io.EOF {
		t.Errorf("%d %d %v", len(out), gap, err)
	}
}

func TestRingWaitsForReaders(t *testing.T) {
	defer run.SetReaderStall(200 * time.Millisecond)()
	o := run.NewRing(run.NewBudget(64<<20), 1<<20)
	r := o.NewReader(0)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 100 {
			_, _ = o.Write(make([]byte, 100<<10))
		}
		o.Seal()
	}()
	total := 0
	for {
		p, more, err := r.Next(32 << 10)
		if err == io.EOF {
			break
		}
		if p == nil {
			<-more
			continue
		}
		if p.Gap > 0 {
			t.Fatalf("lost %d bytes at %d", p.Gap, p.Offset)
		}
		total += len(p.Data)
	}
	<-written
	if total != 100*100<<10 || r.Lost() {
		t.Errorf("%d bytes", total)
	}

	// One who stands still is left behind, and told how much he missed.
	o = run.NewRing(run.NewBudget(64<<20), 1<<20)
	r = o.NewReader(0)
	start := time.Now()
	for range 100 {
		_, _ = o.Write(make([]byte, 100<<10))
	}
	if took := time.Since(start); took < 150*time.Millisecond || took > 10*time.Second {
		t.Errorf("it waited for %v", took)
	}
	o.Seal()
	out, _, gap, _ := read(t, r)
	if !r.Lost() || gap+int64(len(out)) != 100*100<<10 || gap == 0 {
		t.Errorf("lost %v, gap %d, %d bytes", r.Lost(), gap, len(out))
	}
}

// One who left without a word is waited for, unless somebody else reads.
func TestRingWaitsForWhoeverLeft(t *testing.T) {
	defer run.SetReaderStall(2 * time.Second)()
	for _, others := range []bool{false, true} {
		o := run.NewRing(run.NewBudget(64<<20), 1<<20)
		o.NewReader(0).Leave()
		if others {
			left := o.NewReader(0)
			r := o.NewReader(0)
			left.Leave()
			go func() {
				for {
					p, more, err := r.Next(32 << 10)
					if err != nil {
						return
					}
					if p == nil {
						<-more
					}
				}
			}()
		}
		start := time.Now()
		for range 100 {
			_, _ = o.Write(make([]byte, 100<<10))
		}
		o.Seal()
		if took := time.Since(start); others && took > 1900*time.Millisecond || !others && took < 1500*time.Millisecond {
			t.Errorf("others read: %v, it waited %v", others, took)
		}
	}
}

func TestReadersAreCounted(t *testing.T) {
	o := run.NewOutput(run.NewBudget(1<<20), 1<<20)
	var all []*run.Reader
	for range run.MaxReaders {
		r := o.NewReader(0)
		if r == nil {
			t.Fatal("refused below the limit")
		}
		all = append(all, r)
	}
	if o.NewReader(0) != nil {
		t.Error("one too many")
	}
	all[0].Close()
	if o.NewReader(0) == nil {
		t.Error("no room although one left")
	}
}
