package proxy

// For fuzzing and tests.
var (
	Signature    = signature
	LegacyRoute  = legacyRoute
	LegacyRoutes = legacyRoutes
	SplitLegacy  = splitLegacy
)

// LegacyBody is the limit of a request body by an old path.
const LegacyBody = legacyBody
