// Package placement decides which runner a sandbox goes to, and keeps the list of runners. The decision itself is a pure
// function; it knows no SQL and no HTTP.
package placement

import "time"

// State of a runner.
type State string

// The states, named as on the 0.x wire.
const (
	Initializing State = "initializing" // registered, not heard of yet
	Ready        State = "ready"
	Unresponsive State = "unresponsive" // did not answer lately
)

// Runner is a host that runs sandboxes, as the control plane knows it.
type Runner struct {
	ID      string
	Region  string // region id
	Name    string
	Address string // unix:///path or http://host:port

	State         State
	Problem       string // why it is not ready
	Unschedulable bool   // takes no new sandboxes
	Draining      bool   // is being emptied
	LastSeenAt    time.Time
	CreatedAt     time.Time
	UpdatedAt     time.Time

	// As the runner reports them.
	Version                 string
	Classes                 []string
	Images                  []string // refs
	CPU, MemoryGiB, DiskGiB int64    // of the host
	MaxSandboxes            int64    // 0: it says for itself when it is full

	// What the sandboxes that it carries were promised. Promises may add up to more than the host has.
	UsedSandboxes, UsedCPU, UsedMemoryGiB, UsedDiskGiB int64
}
