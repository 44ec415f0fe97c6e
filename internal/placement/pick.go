package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Need is what a sandbox asks of its runner.
type Need struct {
	Region, Class, Image    string
	CPU, MemoryGiB, DiskGiB int64
	Exclude                 []string // runner ids that said no already
}

// closeEnough is how far below the best score a runner may be and still be drawn, so that many creates at once spread out.
const closeEnough = 0.1

// Pick chooses a runner. roll(n) returns a number in [0, n). When no runner fits, the error says why, runner by runner in
// sum: Unavailable when one could fit later by itself (it does not answer, or has no such image yet), Exhausted otherwise.
func Pick(runners []Runner, need Need, roll func(n int) int) (Runner, error) {
	var fit []Runner
	reasons := map[reason]int{}
	for _, r := range runners {
		if why := refuse(&r, &need); why != accepted {
			reasons[why]++
			continue
		}
		fit = append(fit, r)
	}
	if len(fit) == 0 {
		return Runner{}, none(need, reasons)
	}
	slices.SortFunc(fit, func(a, b Runner) int {
		return cmp.Or(-cmp.Compare(score(&a), score(&b)), cmp.Compare(a.ID, b.ID))
	})
	n, best := 1, score(&fit[0])
	for n < len(fit) && best-score(&fit[n]) <= closeEnough {
		n++
	}
	return fit[roll(n)], nil
}

// reason why a runner cannot take a sandbox.
type reason int

const (
	accepted reason = iota
	elsewhere
	silent
	drained
	excluded
	classless
	imageless
	small
	full
)

// sentences follow a number of runners; later reasons are nearer to a success and are told first.
var sentences = map[reason]string{
	elsewhere: "in another region", silent: "not answering", drained: "not taking new sandboxes", excluded: "without capacity now",
	classless: "without that sandbox class", imageless: "without the image", small: "too small for it", full: "full",
}

func refuse(r *Runner, need *Need) reason {
	switch {
	case r.Region != need.Region:
		return elsewhere
	case r.State != Ready:
		return silent
	case r.Unschedulable || r.Draining:
		return drained
	case slices.Contains(need.Exclude, r.ID):
		return excluded
	case !slices.Contains(r.Classes, need.Class):
		return classless
	case !slices.Contains(r.Images, need.Image):
		return imageless
	case r.CPU > 0 && need.CPU > r.CPU*overcommit, r.MemoryGiB > 0 && need.MemoryGiB > r.MemoryGiB*overcommit, r.DiskGiB > 0 && need.DiskGiB > r.DiskGiB*overcommit:
		return small
	case r.MaxSandboxes > 0 && r.UsedSandboxes >= r.MaxSandboxes:
		return full
	}
	return accepted
}

// overcommit is how many times its own size one single sandbox may be promised: limits are upper bounds, not reservations,
// and a laptop must be able to run the larger snapshots.
const overcommit = 4

// score is higher for a runner with more to give, at most 1. What is promised counts, weighted: memory hurts first.
func score(r *Runner) float64 {
	load := func(used, has int64) float64 {
		if has <= 0 {
			return 0
		}
		return float64(used) / float64(has)
	}
	return 1 - (0.5*load(r.UsedMemoryGiB, r.MemoryGiB) + 0.25*load(r.UsedCPU, r.CPU) + 0.15*load(r.UsedDiskGiB, r.DiskGiB) + 0.1*load(r.UsedSandboxes, r.MaxSandboxes))
}

func none(need Need, reasons map[reason]int) error {
	here := 0
	var parts []string
	for why := full; why > elsewhere; why-- {
		if n := reasons[why]; n > 0 {
			here += n
			parts = append(parts, fmt.Sprintf("%d %s", n, sentences[why]))
		}
	}
	const code = "NO_RUNNER_AVAILABLE"
	if here == 0 {
		return errs.New(errs.Unavailable, "no runner available: region %s has none", need.Region).WithCode(code)
	}
	class := errs.Exhausted
	if reasons[silent] > 0 || reasons[imageless] > 0 && reasons[full]+reasons[excluded]+reasons[small] == 0 {
		class = errs.Unavailable
	}
	return errs.New(class, "no runner available for a %s sandbox of image %s with %d CPU, %d GiB memory, %d GiB disk: of %d in region %s, %s",
		need.Class, need.Image, need.CPU, need.MemoryGiB, need.DiskGiB, here, need.Region, strings.Join(parts, ", ")).WithCode(code)
}
