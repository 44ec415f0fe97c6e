package code

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Marker begins a line of a program's output that is an artifact and no text. It is part of the 0.x wire: older clients
// wrap programs themselves and look for it.
const Marker = "dtn_artifact_k39fd2:"

// Limits of what a program can show. What is over them is dropped and counted.
const (
	maxLine      = 16 << 20 // bytes of one artifact
	maxCharts    = 200
	maxChartData = 64 << 20 // bytes of all artifacts of a run, as [Cost] counts them
	maxNesting   = 16       // levels of a JSON value
)

// What the parts of a JSON value take, about, once a chart was made of them.
const (
	objectCost = 512
	arrayCost  = 48
	valueCost  = 16
)

// Cost estimates the memory that a chart in b takes, in bytes. The text may be much smaller: an element of two bytes has room
// for everything that an element can have.
func Cost(b []byte) int64 {
	n := int64(len(b))
	for _, c := range b { // those in a text count too; it is an estimate
		switch c {
		case '{':
			n += objectCost
		case '[':
			n += arrayCost
		case ',':
			n += valueCost
		}
	}
	return n
}

// Charts collects the charts of a run. It is safe for concurrent use.
type Charts struct {
	mu      sync.Mutex // guards all below
	list    []toolbox.Chart
	cost    int64
	dropped int
}

// Add takes one artifact as a program wrote it. The program may be hostile: what is malformed is dropped.
func (c *Charts) Add(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cost := Cost(line)
	if len(c.list) >= maxCharts || c.cost+cost > maxChartData {
		c.dropped++
		return
	}
	chart, ok := parse(line)
	if !ok {
		c.dropped++
		return
	}
	c.cost += cost
	c.list = append(c.list, chart)
}

func (c *Charts) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped++
}

// Cost returns about how much memory the charts take that were added, also of those that were taken.
func (c *Charts) Cost() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cost
}

// Take returns the charts and how many artifacts were dropped, and empties the collection.
func (c *Charts) Take() ([]toolbox.Chart, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, dropped := c.list, c.dropped
	c.list, c.dropped = nil, 0
	return list, dropped
}

func parse(line []byte) (toolbox.Chart, bool) {
	if !Shallow(line) {
		return toolbox.Chart{}, false
	}
	var a struct {
		Type  string         `json:"type"`
		Value *toolbox.Chart `json:"value"`
	}
	if json.Unmarshal(line, &a) != nil || a.Type != "chart" || a.Value == nil {
		return toolbox.Chart{}, false
	}
	Tidy(a.Value)
	return *a.Value, true
}

// Tidy makes a chart that a program emitted one of a known type, with elements.
func Tidy(chart *toolbox.Chart) {
	if !known(chart.Type) {
		chart.Type = toolbox.ChartUnknown
	}
	if chart.Elements == nil {
		chart.Elements = []toolbox.ChartElement{}
	}
}

func known(t string) bool {
	switch t {
	case toolbox.ChartLine, toolbox.ChartScatter, toolbox.ChartBar, toolbox.ChartPie, toolbox.ChartBox, toolbox.ChartComposite, toolbox.ChartUnknown:
		return true
	}
	return false
}

// Shallow reports whether a JSON text nests at most maxNesting levels: elements decode themselves, which is quadratic in
// the depth. Text that is no JSON may pass; the decoder finds that out.
func Shallow(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// Filter takes the artifact lines out of a program's output and hands the rest on unchanged.
type Filter struct {
	mu     sync.Mutex // guards all below: a background child may still write when the run is over
	w      io.Writer
	lines  Lines
	state  int // bytes of Marker matched at the begin of the line; negative: in a plain line; full: in an artifact
	closed bool
}

const inText = -1

// NewFilter returns a filter that writes text to w and artifacts to charts.
func NewFilter(w io.Writer, charts *Charts) *Filter {
	return &Filter{w: w, lines: Lines{charts: charts}}
}

// Write never fails.
func (f *Filter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return len(p), nil
	}
	for b := p; len(b) > 0; {
		switch f.state {
		case inText:
			// Hand on as many whole lines as surely hold no marker.
			end := len(b)
			if i := bytes.Index(b, []byte("\n"+Marker[:1])); i >= 0 {
				end = i + 1
			}
			_, _ = f.w.Write(b[:end])
			if b[end-1] == '\n' {
				f.state = 0
			}
			b = b[end:]
		case len(Marker):
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				i = len(b) - 1
			}
			if f.lines.write(b[:i+1]); b[i] == '\n' {
				f.state = 0
			}
			b = b[i+1:]
		default:
			if b[0] == Marker[f.state] {
				f.state++
				b = b[1:]
				continue
			}
			_, _ = f.w.Write([]byte(Marker[:f.state]))
			f.state = inText
		}
	}
	return len(p), nil
}

// Close hands on what was held back. Later writes are dropped.
func (f *Filter) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.state {
	case inText:
	case len(Marker):
		f.lines.end()
	default:
		_, _ = f.w.Write([]byte(Marker[:f.state]))
	}
	f.closed = true
}

// Lines reads artifacts without marker, one in a line.
type Lines struct {
	mu     sync.Mutex // guards all below
	charts *Charts
	buf    []byte
	over   bool // the line is too long: skip it
	closed bool
}

// NewLines returns a reader of artifacts that adds them to charts.
func NewLines(charts *Charts) *Lines { return &Lines{charts: charts} }

// Write never fails.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.write(p)
	}
	return len(p), nil
}

// Close takes an unfinished last line as a line. Later writes are dropped.
func (l *Lines) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && (len(l.buf) > 0 || l.over) {
		l.end()
	}
	l.closed = true
}

func (l *Lines) write(p []byte) {
	for len(p) > 0 {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		if len(l.buf)+len(line) > maxLine {
			l.over, l.buf = true, nil
		}
		if !l.over {
			l.buf = append(l.buf, line...)
		}
		if found {
			l.end()
		}
		p = rest
	}
}

func (l *Lines) end() {
	switch {
	case l.over:
		l.charts.drop()
	default:
		l.charts.Add(l.buf)
	}
	l.buf, l.over = nil, false
}
