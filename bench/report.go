package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// report collects the figures. Its exported part is the raw result.
type report struct {
	Date     string             `json:"date"`
	Command  []string           `json:"command"`
	Quick    bool               `json:"quick,omitempty"`
	Snapshot string             `json:"snapshot"`
	Host     hostFacts          `json:"host"`
	LoadEnd  string             `json:"load_average_at_end"`
	SDK      string             `json:"python_sdk,omitempty"`
	Docker   string             `json:"docker_engine,omitempty"`
	Skipped  []string           `json:"skipped,omitempty"`
	Problems []string           `json:"problems,omitempty"`
	Arms     []*series          `json:"arms"`
	Values   []value            `json:"values"`
	Ratios   map[string]float64 `json:"ratios"`
	Goals    []verdict          `json:"goals"`

	mu sync.Mutex // guards Arms and Values while workers add
}

// series is one arm: every time it took, in ms, in the order taken.
type series struct {
	Name   string    `json:"name"`
	P50    float64   `json:"p50_ms"`
	P95    float64   `json:"p95_ms"`
	P99    float64   `json:"p99_ms"`
	Min    float64   `json:"min_ms"`
	Failed int       `json:"failed,omitempty"`
	MS     []float64 `json:"all_ms"`
}

type value struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

func newReport(o options) *report {
	return &report{Date: time.Now().UTC().Format(time.RFC3339), Command: os.Args, Quick: o.quick, Snapshot: o.snapshot, Host: readHost(), Ratios: map[string]float64{}}
}

func (r *report) arm(name string) *series {
	for _, a := range r.Arms {
		if a.Name == name {
			return a
		}
	}
	a := &series{Name: name}
	r.Arms = append(r.Arms, a)
	return a
}

func (r *report) add(name string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.arm(name)
	a.MS = append(a.MS, math.Round(ms(d)*1000)/1000)
}

func (r *report) failed(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arm(name).Failed++
}

func (r *report) put(name, unit string, v float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Values = append(r.Values, value{name, unit, math.Round(v*1000) / 1000})
}

// percentile is the smallest value that at least p of the sorted values do not exceed.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}

// finish works out percentiles, ratios and goals once all figures are in.
func (r *report) finish() {
	r.LoadEnd = loadAverage()
	r.Arms = slices.DeleteFunc(r.Arms, func(a *series) bool { return len(a.MS) == 0 && a.Failed == 0 })
	for _, a := range r.Arms {
		s := slices.Sorted(slices.Values(a.MS))
		if len(s) > 0 {
			a.P50, a.P95, a.P99, a.Min = percentile(s, .5), percentile(s, .95), percentile(s, .99), s[0]
		}
	}
	slices.SortFunc(r.Arms, func(a, b *series) int { return cmp.Compare(a.Name, b.Name) })
	for _, q := range [][2]string{
		{dockerCreate, createRaw}, {dockerFirst, createFirstRaw}, {dockerDelete, deleteRaw}, {dockerExec, execTrueRaw},
		{createSDK, createRaw}, {execTrueSDK, execTrueRaw}, {execTrueRaw, forkExec},
	} {
		over, under := r.p50(q[0]), r.p50(q[1])
		if over > 0 && under > 0 {
			r.Ratios[q[0]+" ÷ "+q[1]] = math.Round(over/under*100) / 100
		}
	}
	r.Goals = judge(r)
}

// p50 is NaN for an arm that has no figure.
func (r *report) p50(name string) float64 {
	for _, a := range r.Arms {
		if a.Name == name && len(a.MS) > 0 {
			return a.P50
		}
	}
	return math.NaN()
}

func (r *report) value(name string) float64 {
	for _, v := range r.Values {
		if v.Name == name {
			return v.Value
		}
	}
	return math.NaN()
}

// print writes Markdown tables.
func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "%s, %d cores, %.0f GiB, kernel %s, cgroup %s, load %s → %s; snapshot %s, SDK %s, Docker %s\n", r.Date, r.Host.Cores,
		float64(r.Host.Memory)/(1<<30), r.Host.Kernel, r.Host.Cgroup, r.Host.LoadAvg, r.LoadEnd, r.Snapshot, cmp.Or(r.SDK, "–"), cmp.Or(r.Docker, "–"))
	if r.Quick {
		fmt.Fprintln(w, "A quick run: it shows that everything runs and proves no figure.")
	}
	fmt.Fprintln(w, "\n| ms\t| p50\t| p95\t| p99\t| min\t| n\t| failed\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, a := range r.Arms {
		fmt.Fprintf(w, "| %s\t| %.2f\t| %.2f\t| %.2f\t| %.2f\t| %d\t| %d\t|\n", a.Name, a.P50, a.P95, a.P99, a.Min, len(a.MS), a.Failed)
	}
	fmt.Fprintln(w, "\n| figure\t| value\t| unit\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|")
	for _, v := range r.Values {
		fmt.Fprintf(w, "| %s\t| %.2f\t| %s\t|\n", v.Name, v.Value, v.Unit)
	}
	fmt.Fprintln(w, "\n| ratio of p50\t| ×\t|")
	fmt.Fprintln(w, "|---\t|---\t|")
	names := make([]string, 0, len(r.Ratios))
	for name := range r.Ratios {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "| %s\t| %.2f\t|\n", name, r.Ratios[name])
	}
	fmt.Fprintln(w, "\n| goal\t| wanted\t| got\t| \t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|")
	for _, g := range r.Goals {
		fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t|\n", g.Name, g.Wanted, g.Got, g.Verdict)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "\nSkipped: %s\n", s)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "\nFailed: %s\n", p)
	}
}

// write keeps the raw figures; a whole file or none.
func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := path + ".part.tmp"
	if err := os.WriteFile(part, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(part, path)
}
