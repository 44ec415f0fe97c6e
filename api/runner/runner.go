// Package runner is the wire contract between the control plane and a runner. Only the platform's own parts speak it: it is
// versioned by its path prefix and carries no promise to clients. Standard library only.
package runner

import "time"

// Prefix of all routes. The routes are
//
//	GET    /v1/info                         Info
//	GET    /v1/sandboxes                    []Sandbox: every sandbox on this runner
//	GET    /v1/sandboxes/{id}               Sandbox
//	PUT    /v1/sandboxes/{id}               Spec → Sandbox: create and start, idempotent
//	POST   /v1/sandboxes/{id}/start         → Sandbox
//	POST   /v1/sandboxes/{id}/stop          Stop → Sandbox
//	POST   /v1/sandboxes/{id}/upgrade?force=  → Upgraded: replace the daemon by this runner's version, if it is another
//	DELETE /v1/sandboxes/{id}               204, also for an unknown id
//	GET    /v1/events?since=N               Events: long poll, at most EventWait
//	GET    /v1/images                       []Image
//	ANY    /v1/sandboxes/{id}/toolbox/{path...}   the daemon of the sandbox
//
// with `Authorization: Bearer <runner key>` on each.
const Prefix = "/v1"

// FailedHeader marks an answer of the data path that is the runner's own, because the daemon of the sandbox did not answer.
const FailedHeader = "X-Dugout-Runner-Failed"

// EventWait is how long GET /v1/events waits for something to happen.
const EventWait = 25 * time.Second

// Spec asks for a sandbox. A repeated PUT with the same body is the same request.
type Spec struct {
	Class        string            `json:"class"`
	Image        string            `json:"image"` // ref
	Name         string            `json:"name"`
	User         string            `json:"user,omitempty"` // empty: the image's
	Env          map[string]string `json:"env,omitempty"`
	CPU          int64             `json:"cpu"`    // cores
	MemoryGiB    int64             `json:"memory"` // GiB
	DiskGiB      int64             `json:"disk"`   // GiB
	NetworkBlock bool              `json:"networkBlockAll"`
	NetworkAllow []string          `json:"networkAllowList,omitempty"` // CIDRs; empty and not blocked: the outside world
	Organization string            `json:"organizationId"`
	Region       string            `json:"regionId"`
	Snapshot     string            `json:"snapshot"` // its name, for the environment inside
	Labels       map[string]string `json:"labels,omitempty"`
}

// States of a sandbox on its runner.
const (
	Running = "running"
	Stopped = "stopped"
)

// Sandbox is what a runner sees.
type Sandbox struct {
	ID            string    `json:"id"`
	State         string    `json:"state"`
	Reason        string    `json:"reason,omitempty"` // why it is stopped: stopped, oom, exited, host
	ExitCode      int       `json:"exitCode,omitempty"`
	StartedAt     time.Time `json:"startedAt,omitzero"`
	StoppedAt     time.Time `json:"stoppedAt,omitzero"`
	DaemonVersion string    `json:"daemonVersion,omitempty"`
	User          string    `json:"user,omitempty"` // the user it really runs as
	DiskLimited   bool      `json:"diskLimited"`
}

// Stop asks a sandbox to stop.
type Stop struct {
	Force bool `json:"force"` // kill at once
}

// Upgraded tells what came of an upgrade of a sandbox's daemon. Its processes go on in any case.
type Upgraded struct {
	Before     string  `json:"before"` // version
	Version    string  `json:"version"`
	Replaced   bool    `json:"replaced"`             // false: it was this version already, or see Busy
	Busy       bool    `json:"busy,omitempty"`       // requests are under way that would be cut: try again, or force
	BlackoutMS float64 `json:"blackoutMs,omitempty"` // how long requests waited
}

// Event says that a sandbox changed without having been asked.
type Event struct {
	Seq     int64   `json:"seq"`
	Sandbox Sandbox `json:"sandbox"`
}

// Events is a batch of them. Reset means that the runner restarted or forgot: list all again, then go on from Next.
type Events struct {
	Next   int64   `json:"next"`
	Reset  bool    `json:"reset,omitempty"`
	Events []Event `json:"events"`
}

// Image is an image that a runner has.
type Image struct {
	Ref       string    `json:"ref"`
	Digest    string    `json:"digest"`
	SizeBytes int64     `json:"sizeBytes"`
	Created   time.Time `json:"created"`
}

// Info is what a runner is and has.
type Info struct {
	Version     string            `json:"version"`
	Engine      string            `json:"engine"`
	EngineVer   string            `json:"engineVersion"`
	Classes     []string          `json:"classes"`
	CPU         int64             `json:"cpu"` // cores
	MemoryBytes int64             `json:"memoryBytes"`
	DiskBytes   int64             `json:"diskBytes"`
	Running     int               `json:"running"`
	Sandboxes   int               `json:"sandboxes"`
	Images      []Image           `json:"images"`
	Problems    []string          `json:"problems,omitempty"`
	Details     map[string]string `json:"details,omitempty"`
}
