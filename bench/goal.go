package main

import (
	"fmt"
	"math"
)

// verdict is one goal and what the run says about it.
type verdict struct {
	Name    string `json:"name"`
	Wanted  string `json:"wanted"`
	Got     string `json:"got"`
	Verdict string `json:"verdict"` // met, missed or not measured
}

// judge holds the figures against the goals. They are set for a machine of two cores with nothing else to do.
func judge(r *report) []verdict {
	rate := func(arm string) float64 { return 100 / r.p50(arm) } // 100 MB in ms is 100/ms GB/s
	goals := []struct {
		name string
		got  float64
		most bool // the figure may be at most the limit; else at least
		at   float64
		unit string
	}{
		{"cold create → started, HTTP, p50", r.p50(createRaw), true, 45, "ms"},
		{"CPU per create until settled", r.value("CPU per create until settled, server and sandboxes"), true, 50, "ms"},
		{"delete → gone, p50", r.p50(deleteRaw), true, 30, "ms"},
		{"exec true, HTTP, p50", r.p50(execTrueRaw), true, 3, "ms"},
		{"Python print(1+1), SDK, p50", r.p50(codeSDK), true, 16, "ms"},
		{"upload 100 MB, HTTP, p50", rate(upLargeRaw), false, 0.5, "GB/s"},
		{"download 100 MB, HTTP, p50", rate(downLargeRaw), false, 1, "GB/s"},
		{"create + delete sustained, 4 workers", r.value(sustainedName(4)), false, 20, "/s"},
		// What other processes give back while the crowd starts makes the all-in figure too small, never the set size.
		{"memory per idle sandbox, 200, the larger figure", max(r.value(memoryAllIn(200)), r.value(memoryPSS(200))), true, 3, "MiB"},
		{"idle platform, PSS", r.value(platformPSS), true, 80, "MiB"},
	}
	out := make([]verdict, 0, len(goals))
	for _, g := range goals {
		sign := "≥"
		if g.most {
			sign = "≤"
		}
		v := verdict{Name: g.name, Wanted: fmt.Sprintf("%s %g %s", sign, g.at, g.unit), Got: "–", Verdict: "not measured"}
		if !math.IsNaN(g.got) {
			v.Got, v.Verdict = fmt.Sprintf("%.2f %s", g.got, g.unit), "missed"
			if g.most && g.got <= g.at || !g.most && g.got >= g.at {
				v.Verdict = "met"
			}
		}
		out = append(out, v)
	}
	return out
}
