//go:build linux

package run_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// A program that changes streams all the time has less text in its ring than a ring keeps behind a reader otherwise. It must
// not wait for a reader who has all there is.
func TestRingDoesNotWaitForWhoHasAll(t *testing.T) {
	const limit, lines = 64 << 10, 4000
	o := run.NewRing(run.NewBudget(1<<30), limit)
	r := o.NewReader(0)
	defer r.Close()
	read := make(chan string)
	go func() {
		var b strings.Builder
		defer func() { read <- b.String() }()
		for {
			p, more, err := r.Next(1 << 20)
			switch {
			case err == io.EOF:
				return
			case p == nil:
				<-more
			case p.Gap > 0:
				_, _ = fmt.Fprintf(&b, "[gap of %d]", p.Gap)
			default:
				b.Write(p.Data)
			}
		}
	}()
	began := time.Now()
	var want strings.Builder
	for i := range lines {
		s := run.Stdout
		if i%2 > 0 {
			s = run.Stderr
		}
		_, _ = fmt.Fprintf(io.MultiWriter(o.Stream(s), &want), "%d\n", i)
	}
	o.Seal()
	if got := <-read; got != want.String() {
		t.Errorf("read %d bytes of %d: %.80q", len(got), want.Len(), got)
	}
	if took := time.Since(began); took > 5*time.Second || r.Lost() {
		t.Errorf("it took %v, lost %v", took, r.Lost())
	}
}
