package placement_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/placement"
)

func ready(id string, change func(*placement.Runner)) placement.Runner {
	r := placement.Runner{ID: id, Region: "us", State: placement.Ready, Classes: []string{"container"}, Images: []string{"base"}, CPU: 8, MemoryGiB: 16, DiskGiB: 100}
	if change != nil {
		change(&r)
	}
	return r
}

var need = placement.Need{Region: "us", Class: "container", Image: "base", CPU: 1, MemoryGiB: 1, DiskGiB: 3}

func TestPickRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*placement.Runner)
		class  errs.Class
		says   string
	}{
		{"region", func(r *placement.Runner) { r.Region = "eu" }, errs.Unavailable, "region us has none"},
		{"silent", func(r *placement.Runner) { r.State = placement.Unresponsive }, errs.Unavailable, "1 not answering"},
		{"new", func(r *placement.Runner) { r.State = placement.Initializing }, errs.Unavailable, "1 not answering"},
		{"unschedulable", func(r *placement.Runner) { r.Unschedulable = true }, errs.Exhausted, "1 not taking new sandboxes"},
		{"draining", func(r *placement.Runner) { r.Draining = true }, errs.Exhausted, "1 not taking new sandboxes"},
		{"class", func(r *placement.Runner) { r.Classes = nil }, errs.Exhausted, "1 without that sandbox class"},
		{"image", func(r *placement.Runner) { r.Images = nil }, errs.Unavailable, "1 without the image"},
		{"small", func(r *placement.Runner) { r.DiskGiB = 0; r.MemoryGiB = 1; r.CPU = 0 }, errs.Class(0), ""}, // unknown sizes do not refuse
		{"full", func(r *placement.Runner) { r.MaxSandboxes, r.UsedSandboxes = 5, 5 }, errs.Exhausted, "1 full"},
		{"asked before", func(r *placement.Runner) { r.ID = "no" }, errs.Exhausted, "1 without capacity now"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := need
			n.Exclude = []string{"no"}
			_, err := placement.Pick([]placement.Runner{ready("a", tc.change)}, n, func(int) int { return 0 })
			if tc.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if errs.ClassOf(err) != tc.class || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %v that says %q", err, tc.class, tc.says)
			}
		})
	}
	huge := need
	huge.MemoryGiB = 65
	if _, err := placement.Pick([]placement.Runner{ready("a", nil)}, huge, func(int) int { return 0 }); !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "1 too small") {
		t.Errorf("too small: %v", err)
	}
}

func TestPickPrefersTheEmptier(t *testing.T) {
	busy := ready("a", func(r *placement.Runner) { r.UsedMemoryGiB, r.UsedCPU = 16, 8 })
	for range 10 {
		got, err := placement.Pick([]placement.Runner{busy, ready("b", nil)}, need, func(n int) int { return n - 1 })
		if err != nil || got.ID != "b" {
			t.Fatalf("%s %v", got.ID, err)
		}
	}
}

// TestPickIsSound: what is picked fits, and nothing is refused while something fits; the order of the list does not matter.
func TestPickIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []placement.Runner
		fits := map[string]bool{}
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			ok := rapid.Bool().Draw(t, "fits")
			r := ready(string(rune('a'+i)), func(r *placement.Runner) { r.UsedCPU = rapid.Int64Range(0, 32).Draw(t, "used") })
			if !ok {
				switch rapid.IntRange(0, 2).Draw(t, "why") {
				case 0:
					r.State = placement.Unresponsive
				case 1:
					r.MaxSandboxes, r.UsedSandboxes = 1, 1
				case 2:
					r.Images = nil
				}
			}
			fits[r.ID] = ok
			list = append(list, r)
		}
		roll := rapid.IntRange(0, 1000).Draw(t, "roll")
		die := func(n int) int { return roll % n }
		got, err := placement.Pick(list, need, die)
		any := false
		for _, ok := range fits {
			any = any || ok
		}
		if any != (err == nil) || err == nil && !fits[got.ID] {
			t.Fatalf("picked %q, %v", got.ID, err)
		}
		if err == nil {
			shuffled := rapid.Permutation(list).Draw(t, "order")
			if again, err := placement.Pick(shuffled, need, die); err != nil || again.ID != got.ID {
				t.Fatalf("another order gives %q instead of %q", again.ID, got.ID)
			}
		}
	})
}
