//go:build linux

package telemetry

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Span is one request to the daemon.
type Span struct {
	Name       string // method and pattern of the route: no ids, no paths
	Begin, End time.Time
	Status     int
	Parent     string // W3C traceparent of the request; "": none
}

type record struct {
	at    time.Time
	level slog.Level
	text  string
	attrs []attribute
}

// The JSON of OTLP, as far as it is sent (opentelemetry-proto, collector/{metrics,trace,logs}/v1).
type (
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"` // 64-bit integers are strings in protobuf's JSON
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scope struct {
		Name string `json:"name"`
	}
	point struct {
		Time  string  `json:"timeUnixNano"`
		Value float64 `json:"asDouble"`
	}
	gauge struct {
		Points []point `json:"dataPoints"`
	}
	metric struct {
		Name  string `json:"name"`
		Unit  string `json:"unit"`
		Gauge gauge  `json:"gauge"`
	}
	span struct {
		TraceID  string      `json:"traceId"`
		SpanID   string      `json:"spanId"`
		ParentID string      `json:"parentSpanId,omitempty"`
		Name     string      `json:"name"`
		Kind     int         `json:"kind"`
		Begin    string      `json:"startTimeUnixNano"`
		End      string      `json:"endTimeUnixNano"`
		Attrs    []attribute `json:"attributes"`
		Status   struct {
			Code int `json:"code,omitempty"`
		} `json:"status"`
	}
	logRecord struct {
		Time     string      `json:"timeUnixNano"`
		Severity int         `json:"severityNumber"`
		Level    string      `json:"severityText"`
		Body     value       `json:"body"`
		Attrs    []attribute `json:"attributes,omitempty"`
	}
	scoped struct {
		Scope   scope       `json:"scope"`
		Metrics []metric    `json:"metrics,omitempty"`
		Spans   []span      `json:"spans,omitempty"`
		Records []logRecord `json:"logRecords,omitempty"`
	}
	group struct {
		Resource resource `json:"resource"`
		Metrics  []scoped `json:"scopeMetrics,omitempty"`
		Spans    []scoped `json:"scopeSpans,omitempty"`
		Logs     []scoped `json:"scopeLogs,omitempty"`
	}
	export struct {
		Metrics []group `json:"resourceMetrics,omitempty"`
		Spans   []group `json:"resourceSpans,omitempty"`
		Logs    []group `json:"resourceLogs,omitempty"`
	}
)

const (
	kindServer  = 2
	statusError = 2
)

var origin = scope{Name: "dugoutd"}

func text(k, v string) attribute {
	v = clip(v)
	return attribute{Key: clip(k), Value: value{String: &v}}
}

func nano(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func (s *session) resource() resource {
	out := resource{Attributes: []attribute{}}
	for _, k := range slices.Sorted(maps.Keys(s.cfg.Resource)) {
		out.Attributes = append(out.Attributes, text(k, s.cfg.Resource[k]))
	}
	return out
}

func (s *session) metrics(list []Metric) export {
	now := nano(time.Now())
	out := make([]metric, len(list))
	for i, m := range list {
		out[i] = metric{Name: m.Name, Unit: m.Unit, Gauge: gauge{[]point{{now, m.Value}}}}
	}
	return export{Metrics: []group{{Resource: s.resource(), Metrics: []scoped{{Scope: origin, Metrics: out}}}}}
}

func (s *session) traces(list []Span) export {
	out := make([]span, len(list))
	for i, sp := range list {
		trace, parent := parseTraceparent(sp.Parent)
		if trace == "" {
			trace = randomHex(16)
		}
		status := strconv.Itoa(sp.Status)
		out[i] = span{TraceID: trace, SpanID: randomHex(8), ParentID: parent, Name: clip(sp.Name), Kind: kindServer, Begin: nano(sp.Begin), End: nano(sp.End),
			Attrs: []attribute{{Key: "http.response.status_code", Value: value{Int: &status}}}}
		if sp.Status >= http.StatusInternalServerError {
			out[i].Status.Code = statusError
		}
	}
	return export{Spans: []group{{Resource: s.resource(), Spans: []scoped{{Scope: origin, Spans: out}}}}}
}

func (s *session) records(list []record) export {
	out := make([]logRecord, len(list))
	for i, r := range list {
		out[i] = logRecord{Time: nano(r.at), Severity: severity(r.level), Level: r.level.String(), Body: value{String: &list[i].text}, Attrs: r.attrs}
	}
	return export{Logs: []group{{Resource: s.resource(), Logs: []scoped{{Scope: origin, Records: out}}}}}
}

// severity is the number of a level in the data model of logs: DEBUG 5, INFO 9, WARN 13, ERROR 17.
func severity(l slog.Level) int { return min(max(int(l)+9, 1), 24) }

// parseTraceparent reads the ids of a W3C traceparent header; "" when it is none.
func parseTraceparent(h string) (trace, parent string) {
	if len(h) != 55 || h[2] != '-' || h[35] != '-' || h[52] != '-' {
		return "", ""
	}
	trace, parent = h[3:35], h[36:52]
	for _, id := range []string{trace, parent} {
		b, err := hex.DecodeString(id)
		if err != nil || slices.Max(b) == 0 {
			return "", ""
		}
	}
	return trace, parent
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
