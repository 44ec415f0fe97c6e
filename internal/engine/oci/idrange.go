package oci

import (
	"math/rand/v2"
	"sync"

	"github.com/dugout-dev/dugout/internal/errs"
)

// idRangeSize is how many user and group ids one sandbox has: all that fit in sixteen bits, so that "nobody" exists inside.
const idRangeSize = 65536

// idPool hands out ranges of host ids. A range is named by its first host id. What is taken is known from the records of
// the sandboxes, so the pool itself is never written to disk.
type idPool struct {
	first uint32
	mu    sync.Mutex // guards the rest
	taken []bool
	free  []int // indexes given back, oldest first: their user namespaces are made already
	fresh []int // indexes never used by this process, in random order
}

func newIDPool(first uint32, count int) *idPool {
	return &idPool{first: first, taken: make([]bool, count), fresh: rand.Perm(count)}
}

// adopt marks a range that a record names. A range outside the pool (the configuration changed) stays valid and is not
// the pool's to give.
func (p *idPool) adopt(first uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.index(first); ok {
		p.taken[i] = true
	}
}

// take returns the first host id of a free range.
func (p *idPool) take() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range []*[]int{&p.free, &p.fresh} {
		for len(*list) > 0 {
			i := (*list)[0]
			*list = (*list)[1:]
			if !p.taken[i] {
				p.taken[i] = true
				return p.first + uint32(i)*idRangeSize, nil
			}
		}
	}
	return 0, errs.New(errs.Exhausted, "all %d user id ranges are in use", len(p.taken))
}

// give returns a range.
func (p *idPool) give(first uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.index(first); ok && p.taken[i] {
		p.taken[i] = false
		p.free = append(p.free, i)
	}
}

func (p *idPool) index(first uint32) (int, bool) {
	if first < p.first || (first-p.first)%idRangeSize != 0 {
		return 0, false
	}
	i := int((first - p.first) / idRangeSize)
	return i, i < len(p.taken)
}

// next returns the ranges that take would give out next, at most n.
func (p *idPool) next(n int) []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var firsts []uint32
	for _, list := range [][]int{p.free, p.fresh} {
		for _, i := range list {
			if len(firsts) == n {
				return firsts
			}
			if !p.taken[i] {
				firsts = append(firsts, p.first+uint32(i)*idRangeSize)
			}
		}
	}
	return firsts
}
