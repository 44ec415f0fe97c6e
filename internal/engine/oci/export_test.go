package oci

import (
	"context"
	"log/slog"
)

// What the external tests need of the inside.
var (
	VersionAtLeast   = versionAtLeast
	KernelAtLeast    = kernelAtLeast
	ParseRuncVersion = parseRuncVersion
	MakeSeccomp      = makeSeccomp
	Except           = except
	LookupUser       = lookupUser
	ResolveUser      = resolveUser
	ParseCgroups     = parseCgroups
)

type SandboxUser = sandboxUser

func CgroupFile(c cgroups, controller, id, name string) string { return c.file(controller, id, name) }
func CgroupMounts(c cgroups) int                               { return len(c.mounts) }

// IDPool is the pool of host ids.
type IDPool struct{ p *idPool }

func NewIDPool(first uint32, count int) IDPool { return IDPool{newIDPool(first, count)} }
func (p IDPool) Adopt(first uint32)            { p.p.adopt(first) }
func (p IDPool) Take() (uint32, error)         { return p.p.take() }
func (p IDPool) Give(first uint32)             { p.p.give(first) }

// OpenCrashing opens an engine that calls crash at every failpoint.
func OpenCrashing(ctx context.Context, cfg Config, log *slog.Logger, crash func(string)) (*Engine, error) {
	return open(ctx, cfg, log, crash)
}
