//go:build linux

package cli

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

func (c *repo) status(ctx context.Context) (*op.Result, error) {
	if c.bare {
		return nil, op.Bare(c.dir)
	}
	p := &StatusParser{}
	a, err := c.run(ctx, command{args: []string{"status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all"}, out: p})
	switch {
	case err != nil:
		return nil, err
	case a.code != 0:
		return nil, c.fault(a)
	}
	st, err := p.Result()
	switch {
	case err != nil:
		return nil, err
	case p.initial:
		return nil, op.NoCommits(c.dir)
	}
	return &op.Result{Status: st}, nil
}

// maxRecord limits one record of a status: a path and some numbers, twice a path in a rename.
const maxRecord = 16 << 10

// StatusParser reads what `git status --porcelain=v2 -z --branch` writes, in any pieces. The names in it are the choice of
// whoever made the files.
type StatusParser struct {
	st      toolbox.GitStatus
	rest    []byte // of a record that is not complete
	renamed *toolbox.GitFileStatus
	initial bool
	bad     error
}

// Write implements io.Writer. It never fails: what is wrong is told by Result.
func (p *StatusParser) Write(b []byte) (int, error) {
	n := len(b)
	for p.bad == nil {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			break
		}
		record := b[:i]
		if len(p.rest) > 0 {
			record = append(p.rest, record...)
			p.rest = p.rest[:0]
		}
		p.record(string(record))
		b = b[i+1:]
	}
	if p.bad == nil {
		p.rest = append(p.rest, b...)
		if len(p.rest) > maxRecord {
			p.bad = malformed("a record is too long")
		}
	}
	return n, nil
}

// Result returns the status once everything was written.
func (p *StatusParser) Result() (*toolbox.GitStatus, error) {
	switch {
	case p.bad != nil:
		return nil, p.bad
	case len(p.rest) > 0, p.renamed != nil:
		return nil, malformed("it ends in the middle of a record")
	}
	if p.st.FileStatus == nil {
		p.st.FileStatus = []toolbox.GitFileStatus{}
	}
	slices.SortFunc(p.st.FileStatus, func(a, b toolbox.GitFileStatus) int { return strings.Compare(a.Name, b.Name) })
	detached, upstream := p.st.Detached != nil, ""
	if p.st.Upstream != nil {
		upstream = *p.st.Upstream
	}
	p.st.Detached, p.st.Upstream = &detached, &upstream
	return &p.st, nil
}

func malformed(what string) error {
	return errs.New(errs.Internal, "git status wrote what cannot be read: %s", what).WithCode(op.CodeInternal)
}

func (p *StatusParser) record(r string) {
	if p.renamed != nil { // the second half: the former path
		p.renamed.Extra = valid(r)
		p.add(*p.renamed)
		p.renamed = nil
		return
	}
	kind, rest, _ := strings.Cut(r, " ")
	switch kind {
	case "#":
		p.header(rest)
	case "1": // XY sub mH mI mW hH hI path
		p.changed(rest, 7)
	case "2": // XY sub mH mI mW hH hI Xscore path, then the former path
		p.changed(rest, 8)
	case "u": // XY sub m1 m2 m3 mW h1 h2 h3 path
		p.unmerged(rest)
	case "?":
		p.add(toolbox.GitFileStatus{Name: valid(rest), Staging: toolbox.GitUntracked, Worktree: toolbox.GitUntracked})
	case "!": // ignored: not asked for
	default:
		p.bad = malformed("an unknown kind of record")
	}
}

func (p *StatusParser) header(r string) {
	key, value, _ := strings.Cut(r, " ")
	switch key {
	case "branch.oid":
		p.initial = value == "(initial)"
	case "branch.head":
		p.st.CurrentBranch = valid(value)
		if value == "(detached)" {
			p.st.CurrentBranch, p.st.Detached = "HEAD", new(bool)
		}
	case "branch.upstream":
		v := valid(value)
		p.st.Upstream = &v
	case "branch.ab": // only when the upstream branch exists
		ahead, behind, _ := strings.Cut(value, " ")
		a, err1 := strconv.Atoi(strings.TrimPrefix(ahead, "+"))
		b, err2 := strconv.Atoi(strings.TrimPrefix(behind, "-"))
		if err1 != nil || err2 != nil || a < 0 || b < 0 {
			p.bad = malformed("numbers of commits")
			return
		}
		p.st.BranchPublished, p.st.Ahead, p.st.Behind = true, a, b
	}
}

// codes are the letters of the porcelain formats.
var codes = map[byte]string{'.': toolbox.GitUnmodified, 'M': toolbox.GitModified, 'T': toolbox.GitModified, 'A': toolbox.GitAdded, 'D': toolbox.GitDeleted,
	'R': toolbox.GitRenamed, 'C': toolbox.GitCopied, 'U': toolbox.GitUnmerged}

func (p *StatusParser) changed(r string, fields int) {
	f := strings.SplitN(r, " ", fields+1)
	if len(f) != fields+1 || len(f[0]) != 2 || len(f[1]) != 4 || codes[f[0][0]] == "" || codes[f[0][1]] == "" {
		p.bad = malformed("a changed file")
		return
	}
	s := toolbox.GitFileStatus{Name: valid(f[fields]), Staging: codes[f[0][0]], Worktree: codes[f[0][1]], Extra: submodule(f[1])}
	if fields == 8 {
		p.renamed = &s
		return
	}
	p.add(s)
}

// sides tell how an unmerged file came to be.
var sides = map[string]string{"DD": "both deleted", "AU": "added by us", "UD": "deleted by them", "UA": "added by them", "DU": "deleted by us",
	"AA": "both added", "UU": "both modified"}

func (p *StatusParser) unmerged(r string) {
	f := strings.SplitN(r, " ", 10)
	if len(f) != 10 || sides[f[0]] == "" {
		p.bad = malformed("an unmerged file")
		return
	}
	p.add(toolbox.GitFileStatus{Name: valid(f[9]), Staging: toolbox.GitUnmerged, Worktree: toolbox.GitUnmerged, Extra: sides[f[0]]})
}

// submodule says what changed in one: S, then letters or dots for its commit, its files and its untracked files.
func submodule(s string) string {
	if s[0] != 'S' {
		return ""
	}
	var what []string
	for i, text := range []string{"new commits", "modified content", "untracked content"} {
		if s[i+1] != '.' {
			what = append(what, text)
		}
	}
	return strings.Join(what, ", ")
}

func (p *StatusParser) add(s toolbox.GitFileStatus) {
	if len(p.st.FileStatus) >= op.MaxFileStatus {
		p.bad = op.TooManyFiles()
		return
	}
	p.st.FileStatus = append(p.st.FileStatus, s)
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
