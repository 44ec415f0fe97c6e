// Package engine is the contract between the runner and what actually runs a sandbox on a host.
//
// An [Engine] makes isolated computers out of an unpacked image: a root filesystem of its own with a disk limit, namespaces,
// resource limits and the daemon as first process. It knows nothing of organizations, quotas, states of the control plane
// or HTTP. It keeps its own records on disk, so that a new process finds every sandbox that an earlier one made, whatever
// moment that one died at.
//
// Implementations: engine/oci (runc and other OCI runtimes), engine/fake (in memory, for tests of everything above).
// All of them pass engine/enginetest.
package engine

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// ClassContainer is the class of isolation of this build. The wire knows more; an engine lists those it can make.
const ClassContainer = "container"

// Image is an unpacked image on this host.
type Image struct {
	Ref        string            // what the control plane calls it
	Rootfs     string            // directory, owned by root, shared read-only by all sandboxes made from it
	User       string            // default user: a name of the image's passwd file or a uid; empty: root
	Workdir    string            // empty: the user's home
	Env        map[string]string // defaults below the sandbox's own
	Entrypoint []string          // not run by the engine: handed to the daemon
}

// Limits of one sandbox. Zero means the engine's default, never "none".
type Limits struct {
	MilliCPU    int64 // thousandths of a core
	MemoryBytes int64 // without swap
	DiskBytes   int64 // what the sandbox may write, the image not counted
	Pids        int64
	OpenFiles   int64
}

// Spec is what a sandbox is made from. It never changes after Create, except through the verbs that say so.
type Spec struct {
	ID       string // UUID; also the name of everything the engine makes for it
	Class    string
	Image    Image
	Hostname string
	User     string // who the daemon and the processes run as; empty: the image's user
	Env      map[string]string
	Limits   Limits
	Strict   bool              // no_new_privs: no sudo inside
	Labels   map[string]string // kept and returned, not interpreted
}

// Net is the network a sandbox is started in. The caller prepared it, with its rules in force, and releases it after Stop
// or Destroy has returned, or when Inspect says that the sandbox is not running.
type Net struct {
	Slot  int        // the caller's number for it
	Netns string     // path of the network namespace; empty: a new one with nothing but loopback
	Addr  netip.Addr // the sandbox's address, for /etc/hosts
	DNS   netip.Addr // resolver, for /etc/resolv.conf
}

// State of a sandbox as the host sees it.
type State string

// The states. There is no "starting": verbs block until done, and a half-done verb of a dead process shows as Stopped
// (disk there, nothing runs) and is cleaned up by the next verb.
const (
	Running State = "running"
	Stopped State = "stopped"
)

// Why a sandbox is not running.
const (
	ReasonStopped = "stopped" // a Stop asked for it
	ReasonOOM     = "oom"     // the kernel killed its first process for memory
	ReasonExited  = "exited"  // its first process ended by itself, or someone outside Dugout killed it
	ReasonHost    = "host"    // the host restarted under it
)

// Status is what an engine knows of one sandbox.
type Status struct {
	Spec      Spec
	State     State
	Pid       int       // of the first process, in the host's pid namespace; 0 when not running
	StartedAt time.Time // zero: never
	StoppedAt time.Time // zero: running, or never started
	Reason    string    // why it is not running, one of the constants above; "" while running or never started
	ExitCode  int       // of the first process where it could be learned, else -1; meaningful with Reason
	OOMKills  int64     // processes the kernel killed for memory since the last start
	Net       Net       // of the present or last run
	DiskLimit bool      // the disk limit is enforced
}

// Usage is what a running sandbox uses now.
type Usage struct {
	CPU         time.Duration // since start
	MemoryBytes int64         // working set
	DiskBytes   int64
	Pids        int64
}

// Exit tells that a sandbox stopped without having been asked.
type Exit struct {
	ID     string
	Status Status
}

// Capabilities say what an engine really does here; what is missing is declared, never faked.
type Capabilities struct {
	Name      string            // "oci", "fake"
	Version   string            // of the runtime
	Classes   []string          // that it can make
	DiskLimit string            // driver that enforces disk limits; empty: they are only measured
	Network   bool              // it uses Net.Netns
	Problems  []string          // one line each: what this host cannot do and what would mend it
	Details   map[string]string // for `dugout doctor`
}

// Engine makes and runs sandboxes on this host.
//
// Every verb is idempotent and safe to call from many goroutines; verbs on one id are serialised by the engine. A verb that
// fails undoes what it did. Errors are classified with package errs: NotFound (no such sandbox, no such image directory),
// Invalid (the spec; names the field), Exhausted (disk, pids, memory: names the resource), Unavailable (the runtime is
// missing or too old, or the engine is closed), Timeout (ctx ended), Internal. When ctx ends, the verb returns soon and undoes
// its work in the background under a deadline of its own; Stop and Destroy, which cannot be undone, are carried through.
//
// Crash safety: an intent is on disk before its effect. After kill -9 at any moment a new engine over the same directory
// lists every sandbox whose Create had returned, running ones still running with the same Pid, and removes what was left
// half-made, without waiting longer than the work itself.
type Engine interface {
	// Create makes the root filesystem and the record of a sandbox and does not start it. Creating the same spec again is
	// a success; another spec under the same id is a Conflict.
	Create(ctx context.Context, spec Spec) error
	// Start runs the sandbox in net and returns when its daemon answers. Starting a running sandbox returns its status.
	Start(ctx context.Context, id string, net Net) (Status, error)
	// Stop ends all processes of a sandbox: SIGTERM to the first process, after grace SIGKILL; grace 0 kills at once. It
	// returns when none is left. The disk stays. Stopping a stopped sandbox is a success.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Destroy kills and removes a sandbox and everything made for it, in whatever state. An unknown id is a success.
	Destroy(ctx context.Context, id string) error
	// SetLimits changes the limits of a sandbox, live where it runs (OpenFiles: from its next start). Zero fields stay as they
	// are. Exhausted, and nothing changed, when it holds more memory or disk than the new limit.
	SetLimits(ctx context.Context, id string, limits Limits) error
	// Inspect returns what is known of a sandbox.
	Inspect(ctx context.Context, id string) (Status, error)
	// List returns all sandboxes, in no order.
	List(ctx context.Context) ([]Status, error)
	// Usage measures a running sandbox; WrongState when it is not running.
	Usage(ctx context.Context, id string) (Usage, error)
	// Dial connects to the daemon of a running sandbox; WrongState when it is not running.
	Dial(ctx context.Context, id string) (net.Conn, error)
	// Exits delivers sandboxes that ended by themselves. One reader. Exits that happened while no process watched are
	// found by List, not delivered here.
	Exits() <-chan Exit
	// Capabilities says what this engine does on this host.
	Capabilities() Capabilities
	// Close releases what this process holds. Sandboxes go on running.
	Close() error
}
