package toolbox

// ReplacePath is where a runner asks a sandbox's daemon to be replaced by another version of itself; for the host only, and no
// part of the toolbox API. ReplaceProtocol is what the connection is upgraded to.
const (
	ReplacePath     = "/daemon/replace"
	ReplaceProtocol = "dugout-replace"
)

// DaemonReplaced is the line of JSON that ends a replacement.
type DaemonReplaced struct {
	OK         bool    `json:"ok"`
	Version    string  `json:"version"` // that runs now
	BlackoutMS float64 `json:"blackoutMs,omitempty"`
	Error      string  `json:"error,omitempty"`
	Busy       bool    `json:"busy,omitempty"` // requests were under way: try again later
}
