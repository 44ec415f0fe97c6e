// Package sandbox is the heart of the control plane: what a sandbox is, which states it may be in, who may move it from one
// to the next, and the reconciler that finishes what a crash left half-done. It knows no SQL, no HTTP and no wire types.
//
// A sandbox has an asked state (desired) and a seen state. Its row carries a version; the state columns are written by one
// compare-and-set statement only, called from here only.
package sandbox

import "time"

// State is the stored, seen state. The wire shows a state derived from it and from Desired; see [Sandbox.Shown].
type State string

// The states of the 0.x wire. Those that this build never stores are listed so that filters accept them.
const (
	Creating         State = "creating"
	Restoring        State = "restoring"
	Destroyed        State = "destroyed"
	Destroying       State = "destroying"
	Started          State = "started"
	Stopped          State = "stopped"
	Starting         State = "starting"
	Stopping         State = "stopping"
	Error            State = "error"
	BuildFailed      State = "build_failed"
	PendingBuild     State = "pending_build"
	BuildingSnapshot State = "building_snapshot"
	Unknown          State = "unknown"
	PullingSnapshot  State = "pulling_snapshot"
	Archived         State = "archived"
	Archiving        State = "archiving"
	Resizing         State = "resizing"
	Snapshotting     State = "snapshotting"
	Forking          State = "forking"
	Pausing          State = "pausing"
	Paused           State = "paused"
	Resuming         State = "resuming"
)

// Desired is the state that somebody asked for.
type Desired string

// The desired states.
const (
	WantStarted   Desired = "started"
	WantStopped   Desired = "stopped"
	WantArchived  Desired = "archived"
	WantDestroyed Desired = "destroyed"
)

// Network is what a sandbox may reach.
type Network struct {
	BlockAll bool
	Allow    []string // IPv4 CIDRs; empty: no list
	Domains  []string // domain names, "*." prefix allowed; empty: no list
}

// Sandbox is one isolated computer, as the control plane knows it.
type Sandbox struct {
	ID             string // UUID
	OrganizationID string
	Name           string // unique in its organization among those not destroyed
	Region         string // region id
	Class          string
	Snapshot       string // name of the snapshot it was made from
	Image          string // what runners call that snapshot
	User           string // user inside
	Env            map[string]string
	Labels         map[string]string
	Public         bool
	Network        Network
	CPU            int64 // cores
	GPU            int64
	MemoryGiB      int64
	DiskGiB        int64

	State       State
	Desired     Desired
	ErrorReason string // why it is in error
	StopReason  string // why it last stopped without being asked: oom, exited, host, idle, …
	Recoverable bool
	Version     int64 // of the row; every write raises it, except that of LastActivityAt alone

	AutoStopMinutes    int64 // 0: off
	AutoArchiveMinutes int64
	AutoDeleteMinutes  int64 // <0: off; 0: destroyed when it stops (ephemeral)

	RunnerID      string // "" when on none
	DaemonVersion string
	AuthToken     string // opens its previews; a secret, new at every start

	CreatedAt      time.Time
	UpdatedAt      time.Time
	LastActivityAt time.Time
	StateSince     time.Time // when State last changed
}

// Ephemeral sandboxes are destroyed when they stop.
func (s *Sandbox) Ephemeral() bool { return s.AutoDeleteMinutes == 0 }

// Pending reports a change that is still running: asked and seen state differ.
func (s *Sandbox) Pending() bool {
	return s.State != Error && s.State != BuildFailed && s.Desired != WantArchived && string(s.State) != string(s.Desired)
}

// Shown is the state that the wire shows (compat: wire state derivation).
func (s *Sandbox) Shown() State {
	switch {
	case s.State == Started && s.Desired == WantStopped:
		return Stopping
	case s.State == Started && s.Desired == WantDestroyed, s.State == Stopped && s.Desired == WantDestroyed:
		return Destroying
	case s.State == Stopped && s.Desired == WantStarted:
		return Starting
	case s.State == Stopped && s.Desired == WantArchived:
		return Archiving
	case s.State == Unknown && s.Desired == WantStarted:
		return Creating
	}
	return s.State
}

// Request asks for a new sandbox. Pointers are nil where the caller said nothing.
type Request struct {
	Name, Snapshot, User, Region string // "" : default
	Env, Labels                  map[string]string
	Public                       bool
	Network                      Network
	CPU, GPU, MemoryGiB, DiskGiB int64 // 0: what the snapshot says; anything else is Invalid with a snapshot
	AutoStopMinutes              *int64
	AutoArchiveMinutes           *int64
	AutoDeleteMinutes            *int64
	IdempotencyKey               string // "": none
}

// Filter selects and orders sandboxes of one organization. Zero fields select all.
type Filter struct {
	IDPrefix, NamePrefix                                               string            // case-insensitive
	Labels                                                             map[string]string // all of them must match
	States                                                             []State           // stored states
	Snapshots, Regions                                                 []string
	Classes                                                            []string
	MinCPU, MaxCPU, MinMemoryGiB, MaxMemoryGiB, MinDiskGiB, MaxDiskGiB int64
	Public, Recoverable                                                *bool
	CreatedAfter, CreatedBefore, ActiveAfter, ActiveBefore             time.Time
	IncludeErroredDeleted                                              bool
	Sort                                                               string // name, cpu, memoryGib, diskGib, lastActivityAt (default), createdAt
	Ascending                                                          bool
	Cursor                                                             string // opaque, from an earlier page
	Limit                                                              int    // 1..200; 0: 100
}

// Page is one page of a list.
type Page struct {
	Items []Sandbox
	Next  string // "" at the end
}

// NumberedPage is one page of the deprecated, numbered list.
type NumberedPage struct {
	Items []Sandbox
	Total int
}
