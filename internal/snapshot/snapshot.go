// Package snapshot is about frozen environments that sandboxes are made from.
package snapshot

import "time"

// State of a snapshot on the 0.x wire.
type State string

// The states.
const (
	Building    State = "building"
	Pending     State = "pending"
	Pulling     State = "pulling"
	Active      State = "active"
	Inactive    State = "inactive"
	Error       State = "error"
	BuildFailed State = "build_failed"
	Removing    State = "removing"
)

// Snapshot is a named environment with the resources that sandboxes made from it get.
type Snapshot struct {
	ID             string // UUID
	OrganizationID string // "" for general ones
	General        bool   // visible to every organization
	Name           string
	Image          string // what runners call it; several snapshots may share one
	State          State
	ErrorReason    string
	SizeGB         float64 // 0: not known yet
	Entrypoint     []string
	CPU, GPU       int64
	MemoryGiB      int64
	DiskGiB        int64
	Class          string
	User           string // default user of its image
	CreatedAt      time.Time
	UpdatedAt      time.Time
	LastUsedAt     time.Time // zero: never
}
