// Package rest is the HTTP edge that the control plane, the runner and the daemon share: typed routes, strict decoding
// with errors that name the field, one error body, body limits, request ids and the OpenAPI description of it all
// (package rest/openapi, kept apart so that the daemon does not link it).
//
// A surface is a list of [Route] values. Making one does no work: its input type is examined on first use, because the
// daemon starts once per sandbox and answers only a few routes in its life.
package rest

import (
	"context"
	"net/http"
	"reflect"
)

// Route is one operation of a surface: how to serve it and how to describe it.
type Route struct {
	Method, Path string // Path is relative to the surface and written as for http.ServeMux
	ID           string // operationId
	Summary      string
	Description  string
	Tag          string
	Status       int   // of success
	MaxBody      int64 // bytes; 0: the edge's limit; negative: no limit (the handler streams)
	Deprecated   bool
	ContentType  string // of the success body, when it is not JSON
	BodyType     string // of the request body, when it is not JSON
	Meta         any    // for the surface: its permission, its kind of caller

	In, Out reflect.Type // nil: none
	serve   func(e *Edge, w http.ResponseWriter, r *http.Request) error
	plan    *binder
}

// None is the output of an operation with an empty body.
type None struct{}

// Option adjusts a route while it is declared.
type Option func(*Route)

// Status sets the status of success; the default is 200.
func Status(code int) Option { return func(r *Route) { r.Status = code } }

// MaxBody sets the limit of the request body in bytes; negative means none.
func MaxBody(n int64) Option { return func(r *Route) { r.MaxBody = n } }

// Tag names the group of the operation in the API description.
func Tag(t string) Option { return func(r *Route) { r.Tag = t } }

// Summary is the one-line description of the operation.
func Summary(s string) Option { return func(r *Route) { r.Summary = s } }

// Description is the longer text of the operation.
func Description(s string) Option { return func(r *Route) { r.Description = s } }

// Deprecated marks an operation that is kept for old clients only.
func Deprecated() Option { return func(r *Route) { r.Deprecated = true } }

// Meta attaches what the surface itself needs to know of the route.
func Meta(v any) Option { return func(r *Route) { r.Meta = v } }

// Accepts describes a request body that is not JSON (raw routes).
func Accepts(contentType string) Option { return func(r *Route) { r.BodyType = contentType } }

// Answers describes the JSON that a raw route sends on success.
func Answers[Out any]() Option { return func(r *Route) { r.Out = reflect.TypeFor[Out]() } }

// Returns describes a success body that is not JSON.
func Returns(contentType string) Option { return func(r *Route) { r.ContentType = contentType } }

// Typed declares an operation whose input and output are values. In is a struct whose fields are tagged `path:"…"`,
// `query:"…"` or `header:"…"`; a field named Body is the JSON body. Out is sent as JSON; [None] sends an empty body and a
// string is sent bare as text/plain, as the 0.x clients want it.
func Typed[In, Out any](method, path, id string, fn func(context.Context, *In) (Out, error), opts ...Option) Route {
	rt := declare[In](method, path, id, opts)
	rt.Out = reflect.TypeFor[Out]()
	plan, status := rt.plan, rt.Status
	rt.serve = func(e *Edge, w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := plan.bind(r, &in); err != nil {
			return err
		}
		out, err := fn(r.Context(), &in)
		if err != nil {
			return err
		}
		return e.write(w, status, any(out))
	}
	return rt
}

// Stream declares an operation that writes its answer itself: uploads, downloads, WebSockets. In is bound as for [Typed],
// except that a body is never read. An error returned before the first byte is answered like any other; after it the
// connection is cut, so that the client sees the truncation.
func Stream[In any](method, path, id string, fn func(w http.ResponseWriter, r *http.Request, in *In) error, opts ...Option) Route {
	rt := declare[In](method, path, id, opts)
	plan := rt.plan
	rt.serve = func(_ *Edge, w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := plan.bind(r, &in); err != nil {
			return err
		}
		return fn(w, r, &in)
	}
	return rt
}

func declare[In any](method, path, id string, opts []Option) Route {
	rt := Route{Method: method, Path: path, ID: id, Status: http.StatusOK, In: reflect.TypeFor[In](), plan: &binder{typ: reflect.TypeFor[In]()}}
	for _, o := range opts {
		o(&rt)
	}
	return rt
}
