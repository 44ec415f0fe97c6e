package sandbox

import (
	"context"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

// ErrKeyTaken is what [Rows.Insert] returns when a sandbox with the same idempotency key exists in the organization.
var ErrKeyTaken = errs.New(errs.Conflict, "a sandbox with this Idempotency-Key exists already").WithCode("IDEMPOTENCY_KEY_TAKEN")

// ErrRunnerFull is what [Rows.Insert] returns when the runner carries its limit already, or has left.
var ErrRunnerFull = errs.New(errs.Exhausted, "no capacity: the runner is full").WithCode("RUNNER_FULL")

// Key is the caller's name for a create: the same key and the same request mean the same sandbox. Value is "" for none.
type Key struct {
	Value string
	Hash  string // of the request
}

// Quota bounds what the sandboxes of an organization use together. Zero fields are without a limit.
type Quota struct {
	Sandboxes, CPU, MemoryGiB, DiskGiB int64
}

// Settings is what may be changed without changing the state. Nil fields stay as they are.
type Settings struct {
	Labels                                                 map[string]string
	Public                                                 *bool
	AutoStopMinutes, AutoArchiveMinutes, AutoDeleteMinutes *int64
}

// Rows keeps sandboxes. Every method that acts for a caller takes the organization: another one's row is NotFound.
type Rows interface {
	// Insert checks the quota and adds the sandbox in one transaction. Errors: Exhausted (quota),
	// Conflict (name taken), [ErrKeyTaken], [ErrRunnerFull].
	Insert(ctx context.Context, s Sandbox, key Key, q Quota) error
	// Find returns the sandbox whose id, else whose name it is. Destroyed ones are found by id.
	Find(ctx context.Context, orgID, idOrName string) (Sandbox, error)
	// ByKey returns the sandbox that was made with an idempotency key, and the hash of that request.
	ByKey(ctx context.Context, orgID, key string) (Sandbox, string, error)
	// Configure changes settings of a sandbox that nobody asked to destroy.
	Configure(ctx context.Context, orgID, id string, s Settings, now time.Time) (Sandbox, error)
	// Save writes the state columns of s where the row still has the version of s, and raises it. It reports false when
	// somebody else was first. It is the only writer of these columns. A quota that is not zero must still hold with s
	// counted, else Exhausted.
	Save(ctx context.Context, s Sandbox, q Quota) (bool, error)
	// Remove deletes a destroyed row whose version is still that of s.
	Remove(ctx context.Context, s Sandbox) (bool, error)
	// SigningKey returns what the file URLs of a sandbox are signed with; "" when it has none yet.
	SigningKey(ctx context.Context, id string) (string, error)
	// MakeSigningKey gives a sandbox that has none the key fresh, and returns the key that it has then.
	MakeSigningKey(ctx context.Context, id, fresh string, now time.Time) (string, error)
	// ReplaceSigningKey gives a sandbox the key fresh, whatever it had before.
	ReplaceSigningKey(ctx context.Context, id, fresh string, now time.Time) error
}

// Lists finds many sandboxes of one organization. Destroyed ones are never in it.
type Lists interface {
	// Select returns at most limit sandboxes behind after, in the order of the filter. A zero after means from the start.
	Select(ctx context.Context, orgID string, f Filter, after Mark, limit int) ([]Sandbox, error)
	// Count returns the limit sandboxes behind the first offset ones, and how many the filter selects.
	Count(ctx context.Context, orgID string, f Filter, offset, limit int) ([]Sandbox, int, error)
}

// Mark is a place in an ordered list: the sort value of the last row and its id. ID is "" for none.
type Mark struct {
	Text   string // of text columns
	Number int64  // of the others; times in unix milliseconds
	ID     string
}

// Sweeps is what the platform itself looks for, in all organizations. Only the reconciler and the data path use it.
type Sweeps interface {
	ByID(ctx context.Context, id string) (Sandbox, error)
	// InTransition returns sandboxes whose asked and seen state differ, by id, behind after.
	InTransition(ctx context.Context, after string, limit int) ([]Sandbox, error)
	// OnRunner returns the sandboxes that a runner should have, by id, behind after.
	OnRunner(ctx context.Context, runnerID, after string, limit int) ([]Sandbox, error)
	// Idle returns running sandboxes that have been idle for their auto-stop interval, counted from quietFrom at the earliest.
	Idle(ctx context.Context, now, quietFrom time.Time, limit int) ([]Sandbox, error)
	// DeleteDue returns stopped sandboxes whose auto-delete interval is over, counted likewise.
	DeleteDue(ctx context.Context, now, quietFrom time.Time, limit int) ([]Sandbox, error)
	// Purge deletes at most limit rows that were destroyed before a time.
	Purge(ctx context.Context, before time.Time, limit int) (int64, error)
	// Touch moves the last activity of sandboxes forward, never back.
	Touch(ctx context.Context, at map[string]time.Time) error
}

// Store is all of it.
type Store interface {
	Rows
	Lists
	Sweeps
}

// Seen is a sandbox as its runner sees it.
type Seen struct {
	ID            string
	Running       bool
	Reason        string // why it is not running: stopped, oom, exited, host
	User          string // the user it really runs as
	DaemonVersion string
}

// News says which sandboxes changed without having been asked. It is a hint: what is true is asked for.
type News struct {
	Next  int64    // what to ask from next time
	Reset bool     // some were missed: look at all
	IDs   []string // what changed
}

// Runner is one runner. Every verb is idempotent and blocks until done. An error of class Unavailable, Timeout or Busy says
// nothing about what happened; every other says that it did not.
type Runner interface {
	// Put creates and starts a sandbox.
	Put(ctx context.Context, s Sandbox) (Seen, error)
	// Start, Stop and Get fail with NotFound where the runner has none of that id.
	Start(ctx context.Context, id string) (Seen, error)
	Stop(ctx context.Context, id string, force bool) (Seen, error)
	Get(ctx context.Context, id string) (Seen, error)
	// Delete succeeds for an unknown id.
	Delete(ctx context.Context, id string) error
	// List returns every sandbox on the runner.
	List(ctx context.Context) ([]Seen, error)
	// Changes waits, not for ever, for news behind since.
	Changes(ctx context.Context, since int64) (News, error)
}

// Runners finds the client of a runner; NotFound for one that is not, or no longer, part of the installation.
type Runners interface {
	Runner(ctx context.Context, id string) (Runner, error)
}

// Fleet lists runners.
type Fleet interface {
	// Runners returns those of a region, or all for "".
	Runners(ctx context.Context, region string) ([]placement.Runner, error)
	// Recount sets what a runner carries to what the rows say.
	Recount(ctx context.Context, runnerID string) error
}

// Organizations tells what an organization may do and where.
type Organizations interface {
	Organization(ctx context.Context, orgID string) (org.Organization, error)
	// Region finds a region that the organization may use, by name or id; "" is its default.
	Region(ctx context.Context, orgID, nameOrID string) (org.Region, error)
}

// Snapshots finds what a sandbox is made from. Its errors are those of the create.
type Snapshots interface {
	Resolve(ctx context.Context, orgID, nameOrID string) (snapshot.Snapshot, error)
}

// EventType names an event.
type EventType string

// The events.
const (
	Created      EventType = "sandbox.created"
	StateUpdated EventType = "sandbox.state.updated"
	KeyRotated   EventType = "sandbox.signing-key.rotated" // for the data path; carries no key
)

// Event tells that a sandbox was made, that the state it shows changed, or that its file URLs are signed with another key.
type Event struct {
	Type     EventType
	Sandbox  Sandbox
	Old, New State // shown states
}

// Events receives events. Publish must not block and may lose events: listeners read the row for what is true.
type Events interface {
	Publish(ctx context.Context, e Event)
}
