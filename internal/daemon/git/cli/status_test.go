//go:build linux

package cli_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/cli"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

func parse(text string, piece int) (*toolbox.GitStatus, error) {
	p := &cli.StatusParser{}
	for len(text) > 0 {
		n := min(piece, len(text))
		_, _ = p.Write([]byte(text[:n]))
		text = text[n:]
	}
	return p.Result()
}

const h = "0123456789012345678901234567890123456789"

func TestStatusRecords(t *testing.T) {
	text := strings.Join([]string{"# branch.oid " + h, "# branch.head topic", "# branch.upstream origin/topic", "# branch.ab +2 -3", "# stash 4",
		"1 .T N... 100644 100644 120000 " + h + " " + h + " type", "2 RM N... 100644 100644 100644 " + h + " " + h + " R100 new name", "old name",
		"1 .M SCMU 160000 160000 160000 " + h + " " + h + " sub", "u DU N... 100644 000000 100644 100644 " + h + " " + h + " " + h + " gone", "1 .A N... 000000 000000 100644 " + h + " " + h + " intent",
		"? with\nline", "? \xff", ""}, "\x00")
	for _, piece := range []int{1, 7, 1 << 20} {
		st, err := parse(text, piece)
		if err != nil {
			t.Fatal(err)
		}
		no, up := false, "origin/topic"
		want := &toolbox.GitStatus{CurrentBranch: "topic", BranchPublished: true, Ahead: 2, Behind: 3, Detached: &no, Upstream: &up, FileStatus: []toolbox.GitFileStatus{
			{Name: "gone", Staging: toolbox.GitUnmerged, Worktree: toolbox.GitUnmerged, Extra: "deleted by us"},
			{Name: "intent", Staging: toolbox.GitUnmodified, Worktree: toolbox.GitAdded},
			{Name: "new name", Staging: toolbox.GitRenamed, Worktree: toolbox.GitModified, Extra: "old name"},
			{Name: "sub", Staging: toolbox.GitUnmodified, Worktree: toolbox.GitModified, Extra: "new commits, modified content, untracked content"},
			{Name: "type", Staging: toolbox.GitUnmodified, Worktree: toolbox.GitModified},
			{Name: "with\nline", Staging: toolbox.GitUntracked, Worktree: toolbox.GitUntracked},
			{Name: "\uFFFD", Staging: toolbox.GitUntracked, Worktree: toolbox.GitUntracked},
		}}
		if diff := cmp.Diff(want, st); diff != "" {
			t.Errorf("in pieces of %d: %s", piece, diff)
		}
	}
}

func TestStatusLimits(t *testing.T) {
	record := "? f\x00"
	if st, err := parse(strings.Repeat(record, op.MaxFileStatus), 1<<20); err != nil || len(st.FileStatus) != op.MaxFileStatus {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := parse(strings.Repeat(record, op.MaxFileStatus+1), 1<<20); !errs.Is(err, errs.TooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := parse("? "+strings.Repeat("x", 100<<10), 1000); err == nil {
		t.Error("a record without an end was kept")
	}
}

func FuzzStatus(f *testing.F) {
	for _, s := range []string{"", "# branch.head (detached)\x00", "1 M. N... 1 1 1 " + h + " " + h + " a\x00", "2 R. N... 1 1 1 h h R1 a\x00b\x00", "2 R. N... 1 1 1 h h R1 a\x00", "u UU N... 1 1 1 1 h h h a\x00", "? a\x00! b\x00", "# branch.ab +x -1\x00", "1 X", "1 .M SCM 1 1 1 h h a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole, err := parse(s, 1<<20)
		torn, terr := parse(s, 3)
		if (err == nil) != (terr == nil) {
			t.Fatalf("whole: %v, torn: %v", err, terr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(whole, torn); diff != "" {
			t.Fatal(diff)
		}
		for _, f := range whole.FileStatus {
			if f.Staging == "" || f.Worktree == "" {
				t.Fatalf("%+v", f)
			}
		}
	})
}
