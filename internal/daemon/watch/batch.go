//go:build linux

package watch

import (
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// batch is what changed and is not told yet, in order. Something more about a path is taken together with what stands
// there already only when nothing between the two has to do with the path, so that following the list from what was there
// always leads to what is there.
type batch struct {
	list  []toolbox.FileChange // Type "" is one that came to nothing
	last  map[string]int       // index in list of the last change that has to do with a path, old or new
	live  int
	bytes int // of paths in list

	// over are paths that something was moved to and that are told as created: there may have been another file before, which
	// the kernel does not say.
	over map[string]bool

	// found are paths told as created because a new directory had them; the kernel may tell them once more, a moment later.
	found, before map[string]bool
}

// at returns the last change if it is one of the file at path, and not its moving away.
func (b *batch) at(path string) *toolbox.FileChange {
	if i, ok := b.last[path]; ok && b.list[i].Type != "" && b.list[i].Path == path {
		return &b.list[i]
	}
	return nil
}

func (b *batch) add(c toolbox.FileChange) {
	if b.last == nil {
		b.last = map[string]int{}
	}
	b.last[c.Path] = len(b.list)
	if c.OldPath != "" {
		b.last[c.OldPath] = len(b.list)
	}
	b.list = append(b.list, c)
	b.live++
	b.bytes += len(c.Path) + len(c.OldPath) + 100
	if c.IsDir && c.Type != toolbox.FileCreated { // what is known of paths below it is of another time
		b.last = nil
	}
}

func (b *batch) drop(c *toolbox.FileChange) {
	delete(b.last, c.Path)
	c.Type = ""
	b.live--
}

func (b *batch) created(path string, dir bool, now time.Time) {
	if b.found[path] || b.before[path] {
		delete(b.found, path)
		delete(b.before, path)
		return
	}
	b.appeared(path, dir, now)
}

func (b *batch) appeared(path string, dir bool, now time.Time) {
	c := b.at(path)
	switch {
	case c != nil && !dir && !c.IsDir && c.Type == toolbox.FileRemoved: // replaced
		c.Type, c.Time = toolbox.FileModified, now
		if b.over[path] { // or there was none
			c.Type = toolbox.FileCreated
		}
	case c != nil && !dir && !c.IsDir && (c.Type == toolbox.FileCreated || c.Type == toolbox.FileModified):
		c.Time = now
	case c != nil && dir && c.IsDir && c.Type == toolbox.FileCreated:
		c.Time = now
	default:
		b.add(toolbox.FileChange{Type: toolbox.FileCreated, Path: path, IsDir: dir, Time: now})
	}
}

// discovered is created, for what was found in a new directory.
func (b *batch) discovered(path string, dir bool, now time.Time) {
	if b.at(path) != nil {
		return
	}
	b.appeared(path, dir, now)
	if b.found == nil {
		b.found = map[string]bool{}
	}
	b.found[path] = true
}

func (b *batch) modified(path string, now time.Time) {
	if c := b.at(path); c != nil && (c.Type == toolbox.FileCreated || c.Type == toolbox.FileModified) {
		c.Time = now
		return
	}
	b.add(toolbox.FileChange{Type: toolbox.FileModified, Path: path, Time: now})
}

func (b *batch) removed(path string, dir bool, now time.Time) {
	delete(b.found, path)
	delete(b.before, path)
	if c := b.at(path); c != nil {
		switch c.Type {
		case toolbox.FileCreated:
			b.drop(c)
			if dir || b.over[path] { // it was moved away with what was in it; or another is gone, too
				b.add(toolbox.FileChange{Type: toolbox.FileRemoved, Path: path, IsDir: dir, Time: now})
			}
			return
		case toolbox.FileModified:
			b.drop(c)
		}
	}
	b.add(toolbox.FileChange{Type: toolbox.FileRemoved, Path: path, IsDir: dir, Time: now})
}

func (b *batch) renamed(from, to string, dir bool, now time.Time) {
	// A file that was made and then moved to its place, as editors do: nobody has to know of its first name.
	if c := b.at(from); c != nil && c.Type == toolbox.FileCreated && !dir && !c.IsDir && !b.over[from] {
		b.drop(c)
		b.appeared(to, false, now)
		if b.over == nil {
			b.over = map[string]bool{}
		}
		b.over[to] = true
		return
	}
	b.add(toolbox.FileChange{Type: toolbox.FileRenamed, Path: to, OldPath: from, IsDir: dir, Time: now})
}

// take returns what is to be told and begins anew.
func (b *batch) take() []toolbox.FileChange {
	out := make([]toolbox.FileChange, 0, b.live)
	for _, c := range b.list {
		if c.Type != "" {
			out = append(out, c)
		}
	}
	b.list, b.last, b.over, b.live, b.bytes = nil, nil, nil, 0, 0
	b.found, b.before = nil, b.found
	return out
}

// forget drops everything.
func (b *batch) forget() { *b = batch{} }
