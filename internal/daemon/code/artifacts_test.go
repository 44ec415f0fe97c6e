package code_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/code"
)

func filter(text string, piece int) (string, []toolbox.Chart, int) {
	var out bytes.Buffer
	charts := &code.Charts{}
	f := code.NewFilter(&out, charts)
	for len(text) > 0 {
		n := min(piece, len(text))
		_, _ = f.Write([]byte(text[:n]))
		text = text[n:]
	}
	f.Close()
	list, dropped := charts.Take()
	return out.String(), list, dropped
}

func TestFilter(t *testing.T) {
	const m = code.Marker
	chart := func(value string) string { return m + `{"type":"chart","value":` + value + "}\n" }
	deep := strings.Repeat(`{"type":"composite_chart","title":"","elements":[`, 20) + strings.Repeat(`]}`, 20)
	str := func(s string) *string { return &s }
	for name, tt := range map[string]struct {
		in, text string
		charts   []toolbox.Chart
		dropped  int
	}{
		"no artifact":     {"a\ndtn_\ndtn_artifact_k39fd2\nb " + m + "{}\n", "a\ndtn_\ndtn_artifact_k39fd2\nb " + m + "{}\n", nil, 0},
		"between lines":   {"a\n" + chart(`{"type":"line","title":"T"}`) + "b", "a\nb", []toolbox.Chart{{Type: "line", Title: "T", Elements: []toolbox.ChartElement{}}}, 0},
		"at the end":      {strings.TrimSuffix(chart(`{"type":"pie","title":""}`), "\n"), "", []toolbox.Chart{{Type: "pie", Elements: []toolbox.ChartElement{}}}, 0},
		"number as value": {chart(`{"type":"bar","title":"","elements":[{"label":"a","value":3.50},{"value":"x"},{"value":null}]}`), "", []toolbox.Chart{{Type: "bar", Elements: []toolbox.ChartElement{{Label: "a", Value: str("3.50")}, {Value: str("x")}, {}}}}, 0},
		"nested": {chart(`{"type":"composite_chart","title":"","elements":[{"type":"bar","title":"B","elements":[{"value":1}]}]}`), "",
			[]toolbox.Chart{{Type: "composite_chart", Elements: []toolbox.ChartElement{{Type: "bar", Title: "B", Elements: []toolbox.ChartElement{{Value: str("1")}}}}}}, 0},
		"unknown type":   {chart(`{"type":"hologram","title":""}`), "", []toolbox.Chart{{Type: "unknown", Elements: []toolbox.ChartElement{}}}, 0},
		"unknown keys":   {chart(`{"type":"line","title":"","z_label":1}`), "", []toolbox.Chart{{Type: "line", Elements: []toolbox.ChartElement{}}}, 0},
		"no JSON":        {"a\n" + m + "nonsense\n", "a\n", nil, 1},
		"no chart":       {m + `{"type":"table","value":{}}` + "\n", "", nil, 1},
		"no value":       {m + `{"type":"chart"}` + "\n", "", nil, 1},
		"wrong kind":     {chart(`{"type":"line","title":5}`), "", nil, 1},
		"text in points": {chart(`{"type":"line","title":"","elements":[{"points":[["a",1]]}]}`), "", nil, 1},
		"value object":   {chart(`{"type":"bar","title":"","elements":[{"value":{}}]}`), "", nil, 1},
		"too deep":       {chart(deep) + "b", "b", nil, 1},
		"too long":       {m + strings.Repeat("x", 17<<20) + "\nb", "b", nil, 1},
	} {
		for _, piece := range []int{1, 2, 7, 1 << 30} {
			if piece < 100 && len(tt.in) > 1<<20 {
				continue
			}
			text, charts, dropped := filter(tt.in, piece)
			if diff := cmp.Diff(tt.charts, charts); diff != "" || text != tt.text || dropped != tt.dropped {
				t.Errorf("%s, pieces of %d: text %.60q dropped %d %s", name, piece, text, dropped, diff)
			}
		}
	}
}

func TestChartsAreBounded(t *testing.T) {
	line := code.Marker + `{"type":"chart","value":{"type":"line","title":""}}` + "\n"
	_, charts, dropped := filter(strings.Repeat(line, 1000), 1<<30)
	if len(charts) != 200 || dropped != 800 {
		t.Errorf("%d charts, %d dropped", len(charts), dropped)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "plain\n", code.Marker, code.Marker + "\n", "\n" + code.Marker[:5] + code.Marker + "{}\n", "x" + code.Marker, code.Marker + `{"type":"chart","value":{"type":"bar","elements":[{"value":1e400}]}}` + "\nz",
		code.Marker + `{"type":"chart","value":{"type":"pie","title":"\ud800","elements":[{"angle":-0.0}]}}`, "dtn\ndtn_artifact_k39fd2\n"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		if piece < 1 || piece > 1<<20 {
			piece = 1
		}
		text, charts, _ := filter(string(data), piece)
		var want strings.Builder // the plain meaning: lines that begin with the marker go
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, code.Marker) {
				want.WriteString(line)
			}
		}
		if text != want.String() {
			t.Errorf("text %q, want %q", text, want.String())
		}
		if _, err := json.Marshal(charts); err != nil {
			t.Errorf("charts cannot be sent: %v", err)
		}
	})
}

func TestImportsMatplotlib(t *testing.T) {
	for src, want := range map[string]bool{
		"import matplotlib.pyplot as plt":             true,
		"x=1\n  from matplotlib import pyplot":        true,
		"__import__('matplotlib.pyplot')":             true,
		"importlib.import_module(\"matplotlib\")":     true,
		"import sys; sys.modules['matplotlib']":       true,
		"import numpy, matplotlib":                    true,
		"from pylab import *":                         true,
		"# import matplotlib":                         false,
		"print('hello')":                              false,
		"print('matplotlib')":                         false,
		"import mymatplotlibx":                        false,
		"x = 1 # then import matplotlib some time":    false,
		"important = 'not'\nmatplotlib_version = '3'": false,
	} {
		if got := code.ImportsMatplotlib(src); got != want {
			t.Errorf("%q: %v", src, got)
		}
	}
}
