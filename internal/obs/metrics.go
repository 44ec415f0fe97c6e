package obs

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Metrics are the measurements of a process, in the Prometheus format. Label values come from fixed sets only: never an id,
// a path or a name from outside.
type Metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.HistogramVec
	operations *prometheus.HistogramVec
	toolbox    *prometheus.HistogramVec
}

// StateCounts counts sandboxes by the state they show; implemented by the store.
type StateCounts func(ctx context.Context) (map[string]int64, error)

// NewMetrics returns an empty set. counts may be nil.
func NewMetrics(version string, counts StateCounts) *Metrics {
	quick := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dugout_http_request_duration_seconds",
			Help: "Requests to the API by operation and status.", Buckets: quick}, []string{"operation", "status"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dugout_sandbox_operation_duration_seconds",
			Help: "Work on sandboxes on this runner by operation and outcome.", Buckets: quick}, []string{"operation", "outcome"}),
		toolbox: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dugout_toolbox_request_duration_seconds",
			Help: "Toolbox requests through the proxy by family and status; process/execute is the duration of commands.", Buckets: quick}, []string{"operation", "status"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dugout_build_info", Help: "Always 1."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.requests, m.operations, m.toolbox, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if counts != nil {
		m.registry.MustRegister(&stateCollector{counts: counts, desc: prometheus.NewDesc("dugout_sandboxes", "Sandboxes by state.", []string{"state"}, nil)})
	}
	return m
}

// Request notes an answered request of the control plane.
func (m *Metrics) Request(rt *rest.Route, status int, took time.Duration) {
	m.requests.WithLabelValues(rt.ID, strconv.Itoa(status)).Observe(took.Seconds())
}

// Operation notes work on a sandbox.
func (m *Metrics) Operation(name string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = errs.ClassOf(err).String()
	}
	m.operations.WithLabelValues(name, outcome).Observe(took.Seconds())
}

// Toolbox notes a request that the proxy carried.
func (m *Metrics) Toolbox(operation string, status int, took time.Duration) {
	m.toolbox.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

type stateCollector struct {
	counts StateCounts
	desc   *prometheus.Desc
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := c.counts(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.desc, err)
		return
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), state)
	}
}
