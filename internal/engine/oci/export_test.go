package oci

import (
	"context"
	"log/slog"
)

// What the external tests need of the inside.
var (
	VersionAtLeast   = versionAtLeast
	ParseRuncVersion = parseRuncVersion
	MakeSeccomp      = makeSeccomp
	Except           = except
	LookupUser       = lookupUser
	ResolveUser      = resolveUser
	ParseCgroups     = parseCgroups
)

type SandboxUser = sandboxUser

// OpenCrashing opens an engine that calls crash at every failpoint.
func OpenCrashing(ctx context.Context, cfg Config, log *slog.Logger, crash func(string)) (*Engine, error) {
	return open(ctx, cfg, log, crash)
}
