//go:build linux

package process

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of what is kept for clients that ask again.
const (
	keepResults = 64
	keepBytes   = 16 << 20
	keepFor     = 10 * time.Minute
	keepIDs     = 1024 // ids of ended executions whose result is gone: they are never run a second time
	maxLive     = 1000 // executions at one time, with or without an id
)

// kept remembers executions by their id.
type kept struct {
	mu    sync.Mutex // guards all below
	byID  map[string]*execution
	ended []*execution // oldest first; all in byID
	at    []time.Time  // when each of ended ended
	bytes int64
	gone  map[string]int // id → exit code
	order []string       // of gone, oldest first
	timer *time.Timer
}

// attach returns the execution that has the id of ex, held for the caller; nil: there is none.
func (k *kept) attach(ex *execution) (*execution, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.attachLocked(ex)
}

func (k *kept) attachLocked(ex *execution) (*execution, error) {
	if code, ok := k.gone[ex.id]; ok {
		return nil, goneError(ex.id, code)
	}
	other := k.byID[ex.id]
	if other == nil {
		return nil, nil
	}
	if other.sum != ex.sum {
		return nil, errs.New(errs.Conflict, "execution %s was started with another request; use a new id", ex.id)
	}
	other.hold()
	return other, nil
}

// claim registers ex under its id, or attaches to the one that has it. What is claimed must be launched: others wait for it.
func (k *kept) claim(ex *execution) (*execution, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if other, err := k.attachLocked(ex); err != nil || other != nil {
		return other, err
	}
	if k.byID == nil {
		k.byID, k.gone = map[string]*execution{}, map[string]int{}
	}
	k.byID[ex.id] = ex
	return nil, nil
}

func goneError(id string, code int) error {
	return errs.New(errs.Gone, "execution %s ended with exit code %d; its output is no longer kept", id, code).WithCode("GONE")
}

// find returns an execution, held for the caller.
func (k *kept) find(id string) (*execution, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ex := k.byID[id]; ex != nil {
		ex.hold()
		return ex, nil
	}
	if code, ok := k.gone[id]; ok {
		return nil, goneError(id, code)
	}
	return nil, errs.New(errs.NotFound, "no execution %q", clip(id)).WithCode("PROCESS_NOT_FOUND")
}

// finish keeps the result of ex, which has just ended, within the limits.
func (k *kept) finish(ex *execution) { k.put(ex, time.Now()) }

// put keeps the result of ex, which ended at a time not before that of those that are kept.
func (k *kept) put(ex *execution, at time.Time) {
	if ex.id == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ex.hold()
	k.byID[ex.id] = ex // so it was, unless it was taken over
	k.ended, k.at, k.bytes = append(k.ended, ex), append(k.at, at), k.bytes+ex.weight()
	for len(k.ended) > keepResults || k.bytes > keepBytes {
		k.evict()
	}
	k.arm()
}

func (ex *execution) weight() int64 {
	return ex.out.Size() + 512 + ex.chartCost
}

func (k *kept) evict() {
	ex := k.ended[0]
	k.ended[0] = nil
	k.ended, k.at, k.bytes = k.ended[1:], k.at[1:], k.bytes-ex.weight()
	delete(k.byID, ex.id)
	k.gone[ex.id] = ex.exit
	if k.order = append(k.order, ex.id); len(k.order) > keepIDs {
		delete(k.gone, k.order[0])
		k.order = k.order[1:]
	}
	ex.release()
}

// arm sets the one timer for the oldest result; nothing ticks when nothing is kept.
func (k *kept) arm() {
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if len(k.ended) > 0 {
		k.timer = time.AfterFunc(time.Until(k.at[0].Add(keepFor)), k.expire)
	}
}

func (k *kept) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.ended) > 0 && time.Since(k.at[0]) >= keepFor {
		k.evict()
	}
	k.arm()
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
	}
}

// sumOf identifies a request: the same id with another request is a mistake, not a repetition.
func sumOf(body any) [32]byte {
	b, err := json.Marshal(body) // maps are sorted
	if err != nil {
		panic(fmt.Sprintf("process: request body: %v", err))
	}
	return sha256.Sum256(b)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
