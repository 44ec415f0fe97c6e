package rest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// DefaultMaxBody is the limit of a JSON request body in bytes, where a route sets none.
const DefaultMaxBody = 1 << 20

// Edge is how one surface answers: which part it is, how its errors look, how much it reads.
type Edge struct {
	Source        string // api.SourceAPI, …: goes into every error
	Log           *slog.Logger
	MaxBody       int64                            // bytes; 0: DefaultMaxBody
	Statuses      map[errs.Class]int               // overrides of the common mapping
	EchoMessage   bool                             // the error key repeats the message (toolbox) instead of the reason phrase
	WithQuery     bool                             // path in errors includes the query (control plane)
	BeforeHandler func(*http.Request)              // may be nil
	AfterHandler  func(*Route, int, time.Duration) // metrics; may be nil
}

// statuses maps classes to HTTP; the control plane's table in compat is the common one.
var statuses = map[errs.Class]int{
	errs.Internal: 500, errs.Invalid: 400, errs.Unauthenticated: 401, errs.Denied: 403, errs.NotFound: 404, errs.Conflict: 409,
	errs.WrongState: 400, errs.TooLarge: 413, errs.Exhausted: 400, errs.Unimplemented: 422, errs.Unavailable: 503,
	errs.Timeout: 408, errs.Gone: 410, errs.Busy: 429, errs.Unreachable: 502,
}

// codes are the stable codes of errors that carry none of their own.
var codes = map[int]string{400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED",
	408: "REQUEST_TIMEOUT", 409: "CONFLICT", 410: "GONE", 413: "PAYLOAD_TOO_LARGE", 422: "UNPROCESSABLE_ENTITY", 429: "TOO_MANY_REQUESTS",
	500: "INTERNAL_SERVER_ERROR", 502: "BAD_GATEWAY", 503: "SERVICE_UNAVAILABLE", 504: "GATEWAY_TIMEOUT"}

// StatusOf is the HTTP status of err on this edge.
func (e *Edge) StatusOf(err error) int {
	class := errs.ClassOf(err)
	if s, ok := e.Statuses[class]; ok {
		return s
	}
	return statuses[class]
}

// Fail answers err. Unclassified errors become a fixed sentence with the request id; their text goes to the log only.
func (e *Edge) Fail(w http.ResponseWriter, r *http.Request, err error) {
	body := e.Body(r, err)
	if body.StatusCode >= 500 && e.Log != nil {
		e.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "status", body.StatusCode, "error", err)
	}
	_ = e.write(w, body.StatusCode, body)
}

// Body is what Fail answers: for handlers that tell more than an error.
func (e *Edge) Body(r *http.Request, err error) api.Error {
	if known := tooLarge(err); known != nil {
		err = known
	}
	status := e.StatusOf(err)
	body := api.Error{Path: r.URL.Path, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), StatusCode: status,
		Source: e.Source, Method: r.Method, RequestID: RequestID(r.Context()), Code: codes[status]}
	if e.WithQuery {
		body.Path = r.URL.RequestURI()
	}
	if ce, ok := errs.As(err); ok {
		body.Message = ce.Message
		if ce.Code != "" {
			body.Code = ce.Code
		}
	}
	if body.Message == "" || errs.ClassOf(err) == errs.Internal && !hasCode(err) {
		body.Message = "internal error; the request id finds it in the logs"
	}
	body.Reason = http.StatusText(status)
	if e.EchoMessage {
		body.Reason = body.Message
	}
	return body
}

func hasCode(err error) bool {
	ce, ok := errs.As(err)
	return ok && ce.Code != ""
}

func (e *Edge) write(w http.ResponseWriter, status int, v any) error {
	switch v := v.(type) {
	case None:
		w.WriteHeader(status)
		return nil
	case string: // the 0.x clients read bare strings unquoted
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(v)) //nolint:gosec // text/plain
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that left is no error of ours
	return nil
}

// Write sends v as a JSON answer: for raw handlers.
func (e *Edge) Write(w http.ResponseWriter, status int, v any) { _ = e.write(w, status, v) }

// tracker remembers whether the answer has begun.
type tracker struct {
	http.ResponseWriter
	status int
}

func (t *tracker) WriteHeader(code int) {
	if t.status == 0 && code >= 200 || code == http.StatusSwitchingProtocols {
		t.status = code
	}
	t.ResponseWriter.WriteHeader(code)
}

func (t *tracker) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.status = http.StatusOK
	}
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Flush passes through, for handlers that look for http.Flusher.
func (t *tracker) Flush() { _ = http.NewResponseController(t.ResponseWriter).Flush() }

// Handler serves rt on this edge.
func (e *Edge) Handler(rt Route) http.Handler {
	limit := rt.MaxBody
	if limit == 0 {
		limit = e.MaxBody
	}
	if limit == 0 {
		limit = DefaultMaxBody
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		if limit > 0 {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		if e.BeforeHandler != nil {
			e.BeforeHandler(r)
		}
		t := &tracker{ResponseWriter: w}
		if err := rt.serve(e, t, r); err != nil {
			if t.status != 0 { // too late for an error answer: let the client see the cut
				panic(http.ErrAbortHandler)
			}
			e.Fail(t, r, err)
		}
		if e.AfterHandler != nil {
			e.AfterHandler(&rt, t.status, time.Since(start))
		}
	})
}

// Mount registers routes on mux below prefix. wrap, when not nil, puts the surface's own middleware around each handler.
func (e *Edge) Mount(mux *http.ServeMux, prefix string, routes []Route, wrap func(Route, http.Handler) http.Handler) {
	for _, rt := range routes {
		h := e.Handler(rt)
		if wrap != nil {
			h = wrap(rt, h)
		}
		mux.Handle(rt.Method+" "+prefix+rt.Path, h)
	}
}

type requestIDKey struct{}

// RequestIDHeader carries the request id between the parts and back to the caller.
const RequestIDHeader = "X-Request-Id"

// WithRequestID is the middleware that gives every request an id: the caller's, when it is short and plain, else a new one.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rid := r.Header.Get(RequestIDHeader)
		if !plainID(rid) {
			rid = id.Token(16)
		}
		w.Header().Set(RequestIDHeader, rid)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, rid)))
	})
}

func plainID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	s, _ := ctx.Value(requestIDKey{}).(string)
	return s
}

// Recover is the middleware that turns a panic into a 500 and a log line instead of a cut connection.
func (e *Edge) Recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &tracker{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler || t.status != 0 {
				panic(http.ErrAbortHandler)
			}
			e.Fail(t, r, errs.New(errs.Internal, "panic: %v", p))
		}()
		next.ServeHTTP(t, r)
	})
}
