package httpapi

import (
	"context"

	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/rest"
)

// signingRoutes hand out what clients sign file URLs with. The answer is the bare key, as the 0.x clients read it.
func (a *API) signingRoutes() []rest.Route {
	tag := rest.Tag("sandbox")
	return []rest.Route{
		rest.Typed("GET", "/sandbox/{sandboxId}/signing-key", "getSandboxSigningKey", a.signingKey, member, tag, rest.Summary("The secret that signs the file URLs of a sandbox"),
			rest.Description("Made when first asked for. It stays the same over stops and starts.")),
		rest.Typed("POST", "/sandbox/{sandboxId}/signing-key/rotate", "rotateSigningKey", a.rotateSigningKey, needs(org.WriteSandboxes), tag,
			rest.Summary("Replace the secret that signs file URLs; those that were signed before end")),
		// On the 0.x wire for the proxy's own credential. The proxy of this build asks inside the process, so it is left to administrators.
		rest.Typed("GET", "/preview/{sandboxId}/signing-key", "getSigningKey", a.signingKey, rest.Meta(Access{Admin: true}), rest.Tag("preview"),
			rest.Summary("The secret that signs the file URLs of a sandbox, for administrators")),
	}
}

func (a *API) signingKey(ctx context.Context, in *byIDIn) (string, error) {
	return a.deps.Sandboxes.SigningKey(ctx, orgOf(ctx), in.ID)
}

func (a *API) rotateSigningKey(ctx context.Context, in *byIDIn) (string, error) {
	return a.deps.Sandboxes.RotateSigningKey(ctx, orgOf(ctx), in.ID)
}
