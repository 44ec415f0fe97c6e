// Package org is about who may do what: organizations, their members, API keys and the actor that a credential stands for.
package org

import "time"

// Organization owns sandboxes, snapshots and keys.
type Organization struct {
	ID            string // UUID
	Name          string
	CreatedBy     string // user id
	Personal      bool
	DefaultRegion string // region id; "" : none yet
	Suspended     bool
	CreatedAt     time.Time
	UpdatedAt     time.Time

	SuspensionReason string // shown to its members while it is suspended

	MaxCPUPerSandbox, MaxMemoryGiBPerSandbox, MaxDiskGiBPerSandbox int64 // 0: no limit

	// What all its sandboxes together may use; 0: no limit. Processors and memory are used by sandboxes that run or are
	// about to, disk and places by all that exist.
	MaxSandboxes, TotalCPU, TotalMemoryGiB, TotalDiskGiB int64
}

// Role of a member in an organization.
type Role string

// The roles.
const (
	Owner  Role = "owner"
	Member Role = "member"
)

// User is a person or the bootstrap administrator.
type User struct {
	ID, Name, Email string
	Admin           bool // of the whole installation
	CreatedAt       time.Time
}

// Key is an API key as it is kept: its hash, never its value.
type Key struct {
	OrganizationID, UserID, Name string // together they name the key
	Hash                         string // SHA-256, hexadecimal
	Prefix, Suffix               string // first and last three characters of the value
	Permissions                  []string
	ExpiresAt                    time.Time // zero: never
	LastUsedAt                   time.Time // zero: never
	CreatedAt                    time.Time
}

// Region is a place where runners are.
type Region struct {
	ID, Name             string
	Type                 string // shared, dedicated, custom
	OrganizationID       string // of custom regions
	CreatedAt, UpdatedAt time.Time
}

// Permissions of the 0.x wire.
const (
	WriteSandboxes  = "write:sandboxes"
	DeleteSandboxes = "delete:sandboxes"
	WriteSnapshots  = "write:snapshots"
	DeleteSnapshots = "delete:snapshots"
)

// AllPermissions is every permission that a key can hold.
var AllPermissions = []string{"write:registries", "delete:registries", WriteSnapshots, DeleteSnapshots, WriteSandboxes, DeleteSandboxes,
	"read:volumes", "write:volumes", "delete:volumes", "write:regions", "delete:regions", "read:runners", "write:runners", "delete:runners",
	"read:audit_logs", "manage:api_keys", "manage:secrets", "read:limits", "manage:sso", "read:billing", "manage:billing"}

// Actor is who a request acts for, and in which organization.
type Actor struct {
	UserID         string
	OrganizationID string
	Key            Key
	Role           Role
	Admin          bool
}

// May reports whether the actor holds a permission.
func (a *Actor) May(permission string) bool {
	for _, p := range a.Key.Permissions {
		if p == permission {
			return true
		}
	}
	return false
}
