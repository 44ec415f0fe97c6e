//go:build linux

package gogit

import (
	"container/heap"
	"context"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

// queue holds commits, the newest first.
type queue []*object.Commit

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].Committer.When.After(q[j].Committer.When) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*object.Commit)) }
func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}

// ancestors visits a commit and all before it, the newest first, until visit returns false. Where a shallow clone ends, so does
// the walk.
func (p *repo) ancestors(from plumbing.Hash, visit func(*object.Commit) bool) error {
	seen := map[plumbing.Hash]bool{from: true}
	q := &queue{}
	c, err := p.CommitObject(from)
	if err != nil {
		return err
	}
	heap.Push(q, c)
	for q.Len() > 0 {
		c := heap.Pop(q).(*object.Commit)
		if !visit(c) {
			return nil
		}
		for _, h := range c.ParentHashes {
			if seen[h] {
				continue
			}
			seen[h] = true
			if parent, err := p.CommitObject(h); err == nil {
				heap.Push(q, parent)
			}
		}
	}
	return nil
}

// reaches reports whether to is from or one of its ancestors.
func (p *repo) reaches(from, to plumbing.Hash) (bool, error) {
	found := false
	err := p.ancestors(from, func(c *object.Commit) bool {
		found = c.Hash == to
		return !found
	})
	return found, err
}

// distance counts the commits that only one of the two has.
func (p *repo) distance(a, b plumbing.Hash) (ahead, behind int, err error) {
	if a == b {
		return 0, 0, nil
	}
	mine := map[plumbing.Hash]bool{}
	if err := p.ancestors(a, func(c *object.Commit) bool { mine[c.Hash] = true; return true }); err != nil {
		return 0, 0, err
	}
	both := 0
	err = p.ancestors(b, func(c *object.Commit) bool {
		if mine[c.Hash] {
			both++
		} else {
			behind++
		}
		return true
	})
	return len(mine) - both, behind, err
}

func (p *repo) history(ctx context.Context, r *op.Request, commit func(*toolbox.GitCommitInfo) error) (*op.Result, error) {
	head, err := p.head()
	if err != nil {
		return nil, err
	}
	if head.IsZero() {
		return nil, op.NoCommits(p.dir)
	}
	n := 0
	var failed error
	err = p.ancestors(head, func(c *object.Commit) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		failed = commit(&toolbox.GitCommitInfo{Hash: c.Hash.String(), Author: valid(c.Author.Name), Email: valid(c.Author.Email), Message: valid(c.Message),
			Timestamp: c.Author.When.Format(time.RFC3339)})
		n++
		return failed == nil && n != r.Limit
	})
	if failed != nil {
		return nil, failed
	}
	return &op.Result{}, err
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
