package httpapi

import (
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// route hands a request to its handler. Unlike the mux alone it never redirects and answers what it does not know in the
// API's own form.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if clean(r.URL.EscapedPath()) {
		h, pattern := a.mux.Handler(r)
		if pattern != "" {
			a.mux.ServeHTTP(w, r) // again, so that the path values are set
			return
		}
		if allow := probe(h, r); allow != "" {
			a.wrongMethod(w, r, allow)
			return
		}
	}
	a.edge.Fail(w, r, errs.New(errs.NotFound, "no operation %s %s", r.Method, clip(r.URL.Path)))
}

// clean reports a path that the mux would not redirect away from.
func clean(p string) bool { return strings.HasPrefix(p, "/") && p == path.Clean(p) }

// probe asks the mux's own refusal which methods the path knows; "" for none.
func probe(h http.Handler, r *http.Request) string {
	p := refusal{header: http.Header{}}
	h.ServeHTTP(&p, r)
	return p.header.Get("Allow")
}

// refusal is a response that only keeps its header.
type refusal struct{ header http.Header }

func (p *refusal) Header() http.Header         { return p.header }
func (p *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (p *refusal) WriteHeader(int)             {}

func (a *API) wrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	a.edge.Write(w, http.StatusMethodNotAllowed, api.Error{Path: r.URL.RequestURI(), Timestamp: api.At(time.Now()).String(),
		StatusCode: http.StatusMethodNotAllowed, Reason: http.StatusText(http.StatusMethodNotAllowed), Source: api.SourceAPI,
		Message: "no operation " + clip(r.Method) + " " + clip(r.URL.Path) + "; allowed: " + allow,
		Code:    "METHOD_NOT_ALLOWED", Method: r.Method, RequestID: rest.RequestID(r.Context())})
}

// clip keeps a value from outside short enough to be repeated in an error.
func clip(s string) string {
	const most = 200
	if s = strings.ToValidUTF8(s, "�"); len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// cors lets pages of any origin call the API. No credential is ever taken from a cookie, so there is nothing that a foreign
// page could use.
func (a *API) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		from := r.Header.Get("Origin")
		if from != "" {
			h.Set("Access-Control-Allow-Origin", from)
			h.Set("Access-Control-Expose-Headers", VersionHeader+", "+rest.RequestIDHeader)
		}
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS")
		h.Add("Vary", "Access-Control-Request-Headers")
		if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
			h.Set("Access-Control-Allow-Headers", want)
		}
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}
