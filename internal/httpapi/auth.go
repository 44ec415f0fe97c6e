package httpapi

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Access says who may call a route. It is the Meta of every route here; a route without one is refused for everybody.
type Access struct {
	Public     bool   // no credential needed
	Health     bool   // the health key, where one is configured
	Permission string // that the caller's key must hold; "": membership is enough
	Admin      bool   // administrators of the installation only
}

var (
	public = rest.Meta(Access{Public: true})
	member = rest.Meta(Access{})
)

// needs is the Meta of routes that ask for a permission.
func needs(permission string) rest.Option { return rest.Meta(Access{Permission: permission}) }

// call is what handlers may know of the request beside their input.
type call struct {
	actor   *org.Actor // nil on public routes
	request *http.Request
}

type callKey struct{}

// actorOf returns who a request acts for. Only handlers of routes that are not public may call it.
func actorOf(ctx context.Context) *org.Actor { return ctx.Value(callKey{}).(call).actor }

// orgOf returns the organization a request acts in. The organization header of the wire is not looked at: it is for other
// credentials than API keys, which belong to one organization for good.
func orgOf(ctx context.Context) string { return actorOf(ctx).OrganizationID }

// guard lets through who may call the route, and puts the actor into the context.
func (a *API) guard(rt rest.Route, next http.Handler) http.Handler {
	access, declared := rt.Meta.(Access)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		actor, err := a.admit(r, access, declared)
		if err != nil {
			if errs.Is(err, errs.Unauthenticated) {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			a.edge.Fail(w, r, err)
			if a.deps.After != nil {
				a.deps.After(&rt, a.edge.StatusOf(err), time.Since(start))
			}
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, call{actor, r})))
	})
}

func (a *API) admit(r *http.Request, access Access, declared bool) (*org.Actor, error) {
	token := bearer(r)
	switch {
	case !declared:
		return nil, errs.New(errs.Denied, "access denied")
	case access.Public, access.Health && a.cfg.HealthKey == "":
		return nil, nil
	case access.Health:
		// hashed, so that the comparison takes the same time whatever the length
		if subtle.ConstantTimeCompare([]byte(id.HashKey(token)), []byte(id.HashKey(a.cfg.HealthKey))) != 1 {
			return nil, unauthenticated()
		}
		return nil, nil
	}
	if token == "" {
		return nil, unauthenticated()
	}
	actor, err := a.deps.Directory.Authenticate(r.Context(), token)
	switch {
	case errs.Is(err, errs.Unauthenticated):
		return nil, unauthenticated() // one message, whatever was wrong with it
	case err != nil:
		return nil, err
	case access.Admin && !actor.Admin:
		return nil, errs.New(errs.Denied, "access denied: for administrators of the installation only")
	case access.Permission != "" && !actor.May(access.Permission):
		return nil, errs.New(errs.Denied, "access denied: the API key lacks the permission %s", access.Permission)
	}
	return actor, nil
}

func unauthenticated() error {
	return errs.New(errs.Unauthenticated, "invalid or missing credential: send a valid API key as \"Authorization: Bearer <key>\"")
}

// bearer returns the credential of a request, or "" when there is none or more than one.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}
