//go:build linux

package watch

import (
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Excluded reports whether one of the patterns is for rel.
func Excluded(patterns []string, rel string) (bool, error) {
	p, err := parsePatterns(patterns)
	return err == nil && excluded(p, rel), err
}

// Parse counts the events in b.
func Parse(b []byte) (n int) {
	parse(b, func(event) { n++ })
	return n
}

// Batch collects changes.
type Batch struct{ b batch }

func (b *Batch) Created(p string)           { b.b.created(p, false, time.Time{}) }
func (b *Batch) CreatedDir(p string)        { b.b.created(p, true, time.Time{}) }
func (b *Batch) Discovered(p string)        { b.b.discovered(p, false, time.Time{}) }
func (b *Batch) Modified(p string)          { b.b.modified(p, time.Time{}) }
func (b *Batch) Removed(p string)           { b.b.removed(p, false, time.Time{}) }
func (b *Batch) Renamed(from, to string)    { b.b.renamed(from, to, false, time.Time{}) }
func (b *Batch) RenamedDir(from, to string) { b.b.renamed(from, to, true, time.Time{}) }
func (b *Batch) Take() []toolbox.FileChange { return b.b.take() }
func (b *Batch) RemovedDir(p string)        { b.b.removed(p, true, time.Time{}) }

// SetPatience changes how long a slow client is put up with, until the returned function is called.
func SetPatience(d time.Duration) func() {
	old := patience
	patience = d
	return func() { patience = old }
}
