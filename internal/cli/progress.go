package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// progress is one line on a terminal that says how far a copy is; elsewhere it is nothing.
type progress struct {
	mu    sync.Mutex // guards all
	env   *env       // nil: nothing is shown
	name  string
	total int64 // of the files begun so far; -1: not known
	done  int64
	began time.Time
	shown time.Time
	drawn bool
}

// begin adds a file of length bytes, -1: not known, and shows its name.
func (p *progress) begin(e *env, name string, length int64) {
	if !isTerminal(e.err) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.env == nil {
		p.env, p.began = e, time.Now()
	}
	p.name = name
	if length < 0 || p.total < 0 {
		p.total = -1
	} else {
		p.total += length
	}
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
	if p.env == nil || time.Since(p.shown) < 100*time.Millisecond || time.Since(p.began) < 300*time.Millisecond {
		return
	}
	p.shown, p.drawn = time.Now(), true
	name := cleanLine(p.name)
	if r := []rune(name); len(r) > 32 {
		name = "…" + string(r[len(r)-31:])
	}
	amount := size(p.done)
	if p.total > 0 {
		part := min(1, float64(p.done)/float64(p.total))
		amount = fmt.Sprintf("[%-20s] %3.0f%% of %s", strings.Repeat("=", int(part*20)), part*100, size(p.total))
	}
	rate := size(int64(float64(p.done) / time.Since(p.began).Seconds()))
	fmt.Fprintf(p.env.err, "\r\x1b[K%-32s %s %s/s", name, amount, rate)
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.env.err, "\r\x1b[K")
	}
	p.env = nil
}
