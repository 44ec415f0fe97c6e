//go:build linux

// Package telemetry sends what the daemon sees to an OpenTelemetry collector: metrics of the sandbox, a span for each
// request, and the daemon's log. The protocol is OTLP over HTTP with JSON bodies (opentelemetry-proto 1.x), which every
// collector takes beside protobuf; written here, because the official exporters would double the daemon's size and memory.
//
// Nothing runs until [Exporter.Start]: a daemon without telemetry has no timer, no goroutine and no queue. What cannot be
// sent is dropped and counted, never kept without bound.
package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits and periods.
const (
	MetricsEvery = 60 * time.Second // between two readings
	FlushAfter   = 5 * time.Second  // how long a span or a log record waits for others
	MaxQueued    = 512              // spans, and records of the log, that wait; more are dropped
	maxText      = 1 << 10          // of one text, in bytes
	sendTimeout  = 10 * time.Second
)

// TokenHeader carries the sandbox's token to the collector, as on the 0.x wire.
const TokenHeader = "Sandbox-Auth-Token" //nolint:gosec // a name

// Config says where to send to, and as whom.
type Config struct {
	Endpoint string // http(s)://host[:port][/path]; /v1/metrics, /v1/traces and /v1/logs are added
	Token    string
	Resource map[string]string // attributes of everything; service.name among them
}

// Metric is one figure at one moment.
type Metric struct {
	Name, Unit string
	Value      float64
}

// Exporter sends telemetry once it is started. The zero value with Metrics set is ready; its methods are safe for
// concurrent use.
type Exporter struct {
	Metrics func() []Metric // a reading; called every [MetricsEvery]
	Every   time.Duration   // 0: MetricsEvery
	Flush   time.Duration   // 0: FlushAfter

	mu      sync.Mutex // guards all below
	run     *session
	dropped int64
}

// session is the time between Start and Stop.
type session struct {
	cfg    Config
	http   *http.Client
	spans  chan Span
	logs   chan record
	cancel context.CancelFunc
	done   chan struct{}
}

// Start begins to send, or goes on with another configuration. It fails for an endpoint that is no http or https URL.
//
//nolint:contextcheck // it outlives the request
func (e *Exporter) Start(cfg Config) error {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errs.New(errs.Invalid, "the telemetry endpoint must be an http or https URL, got %q", clip(cfg.Endpoint))
	}
	cfg.Endpoint = strings.TrimSuffix(cfg.Endpoint, "/")
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{cfg: cfg, http: &http.Client{Timeout: sendTimeout, CheckRedirect: noRedirect}, spans: make(chan Span, MaxQueued), logs: make(chan record, MaxQueued), cancel: cancel, done: make(chan struct{})}
	go e.loop(ctx, s)
	e.swap(s)
	return nil
}

// noRedirect keeps the token from following a redirect to somebody else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Stop sends what waits, at most for a moment, and ends.
func (e *Exporter) Stop() { e.swap(nil) }

// swap makes next the session in force, nil: none, and ends the one before.
func (e *Exporter) swap(next *session) {
	e.mu.Lock()
	s := e.run
	e.run = next
	e.mu.Unlock()
	if s != nil {
		s.cancel()
		<-s.done
	}
}

// Running returns the configuration in force and true while telemetry is sent.
func (e *Exporter) Running() (Config, bool) {
	if s := e.now(); s != nil {
		return s.cfg, true
	}
	return Config{}, false
}

// Dropped counts spans and records that were lost because the collector was too slow, did not answer or refused them.
func (e *Exporter) Dropped() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dropped
}

func (e *Exporter) drop(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped += int64(n)
}

func (e *Exporter) now() *session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run
}

func (e *Exporter) loop(ctx context.Context, s *session) {
	defer close(s.done)
	defer s.http.CloseIdleConnections()
	every := e.Every
	if every <= 0 {
		every = MetricsEvery
	}
	after := e.Flush
	if after <= 0 {
		after = FlushAfter
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	flush := time.NewTimer(after)
	flush.Stop()
	defer flush.Stop()
	var spans []Span
	var logs []record
	send := func(ctx context.Context) {
		if len(spans) > 0 {
			e.post(ctx, s, "traces", len(spans), s.traces(spans))
		}
		if len(logs) > 0 {
			e.post(ctx, s, "logs", len(logs), s.records(logs))
		}
		spans, logs = nil, nil
	}
	arm := func() {
		switch n := len(spans) + len(logs); {
		case n == 1:
			flush.Reset(after)
		case n >= MaxQueued:
			send(ctx)
		}
	}
	e.post(ctx, s, "metrics", 0, s.metrics(e.Metrics()))
	for {
		select {
		case sp := <-s.spans:
			spans = append(spans, sp)
			arm()
		case r := <-s.logs:
			logs = append(logs, r)
			arm()
		case <-flush.C:
			send(ctx)
		case <-tick.C:
			e.post(ctx, s, "metrics", 0, s.metrics(e.Metrics()))
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			send(last) // each body within its bound
			for len(s.spans) > 0 {
				spans = append(spans, <-s.spans)
			}
			for len(s.logs) > 0 {
				logs = append(logs, <-s.logs)
			}
			send(last)
			cancel()
			return
		}
	}
}

// post sends one body; n is what is lost when that fails. A failure is not logged: the log is sent here too.
func (e *Exporter) post(ctx context.Context, s *session, signal string, n int, body any) {
	err := func() error {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Endpoint+"/v1/"+signal, bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		if s.cfg.Token != "" {
			req.Header.Set(TokenHeader, s.cfg.Token)
		}
		resp, err := s.http.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}()
	if err != nil {
		e.drop(n)
	}
}

// Span queues a span. It never waits.
func (e *Exporter) Span(sp Span) {
	s := e.now()
	if s == nil {
		return
	}
	select {
	case s.spans <- sp:
	default:
		e.drop(1)
	}
}

// LogHandler returns a handler that passes records to next and, while telemetry is sent, to the collector.
func (e *Exporter) LogHandler(next slog.Handler) slog.Handler { return &logHandler{e: e, next: next} }

type logHandler struct {
	e     *Exporter
	next  slog.Handler
	attrs []attribute
	group string
}

func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if s := h.e.now(); s != nil {
		rec := record{at: r.Time, level: r.Level, text: clip(r.Message), attrs: slices.Clone(h.attrs)}
		r.Attrs(func(a slog.Attr) bool {
			rec.attrs = append(rec.attrs, text(h.group+a.Key, a.Value.String()))
			return true
		})
		select {
		case s.logs <- rec:
		default:
			h.e.drop(1)
		}
	}
	return h.next.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next, c.attrs = h.next.WithAttrs(attrs), slices.Clone(h.attrs)
	for _, a := range attrs {
		c.attrs = append(c.attrs, text(h.group+a.Key, a.Value.String()))
	}
	return &c
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.group = h.next.WithGroup(name), h.group+name+"."
	return &c
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
