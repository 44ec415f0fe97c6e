//go:build linux

// Package a11y reads and uses the accessibility trees (AT-SPI) of the programs on a desktop. Every program answers for itself, so
// each may lie, answer for ever or not at all: trees have a budget of nodes, of text and of time, and a program that does not answer
// once is not asked again in the same walk.
package a11y

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of one request.
const (
	MaxNodes = 20000 // nodes that are visited
	MaxDepth = 250   // levels of a tree
	MaxText  = 8 << 20

	maxName   = 4096 // bytes of one name or description
	maxAction = 16   // actions of a node
	walkTime  = 20 * time.Second
	patience  = 2 * time.Second // for the answers of one batch
	batch     = 24              // nodes that are asked about at once
)

// Codes of the 0.x wire.
const (
	CodeUnavailable  = "A11Y_UNAVAILABLE"
	CodeNotFound     = "A11Y_NODE_NOT_FOUND"
	CodeNoRoot       = "A11Y_NO_ACCESSIBLE_ROOT"
	CodeUnsupported  = "A11Y_ACTION_NOT_SUPPORTED"
	CodeInvalidScope = "A11Y_INVALID_SCOPE"
	CodeInvalid      = "A11Y_INVALID_REQUEST"
	CodeInternal     = "A11Y_INTERNAL"
)

// Interfaces of AT-SPI.
const (
	ifaceAccessible = "org.a11y.atspi.Accessible"
	ifaceComponent  = "org.a11y.atspi.Component"
	ifaceAction     = "org.a11y.atspi.Action"
	ifaceEditable   = "org.a11y.atspi.EditableText"
	ifaceValue      = "org.a11y.atspi.Value"
	ifaceProperties = "org.freedesktop.DBus.Properties"
	ifaceBus        = "org.freedesktop.DBus"
	pathBus         = "/org/freedesktop/DBus"
	registry        = "org.a11y.atspi.Registry"
	rootPath        = "/org/a11y/atspi/accessible/root"
	nullPath        = "/org/a11y/atspi/null"
)

// Bus is the accessibility bus of a desktop. It connects when it is first used. It is safe for concurrent use; requests take turns.
type Bus struct {
	Session   func() string                              // address of the session bus at present
	ActivePID func(context.Context) (pid int, err error) // process of the active window, 0: not known

	mu   sync.Mutex // guards conn, held for a whole request
	conn *dbus.Conn
	addr string // session bus by which conn was found
}

// Close ends the connection.
func (b *Bus) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// Ready reports whether the accessibility bus answers.
func (b *Bus) Ready(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connect(ctx) == nil
}

// Enable tells programs that somebody reads their trees: some make none before.
func Enable(ctx context.Context, session string) error {
	c, err := dbus.Dial(ctx, session)
	if err != nil {
		return err
	}
	defer c.Close()
	w := dbus.Body("org.a11y.Status", "IsEnabled")
	w.Bool(true)
	r, err := c.Calls(ctx, []dbus.Call{{Dest: "org.a11y.Bus", Path: "/org/a11y/bus", Interface: ifaceProperties, Method: "Set", Signature: "ssv", Body: w, NoStart: true}})
	if err != nil {
		return err
	}
	if r[0] == nil {
		return context.DeadlineExceeded
	}
	return r[0].Err
}

// Owned reports whether some program has made the accessibility bus of a session.
func Owned(ctx context.Context, session string) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := dbus.Dial(ctx, session)
	if err != nil {
		return false
	}
	defer c.Close()
	r, err := c.Calls(ctx, []dbus.Call{{Dest: ifaceBus, Path: pathBus, Interface: ifaceBus, Method: "NameHasOwner", Signature: "s", Body: dbus.Body("org.a11y.Bus")}})
	if err != nil || r[0] == nil {
		return false
	}
	v, err := r[0].Read("b")
	return err == nil && v.Uint32() != 0
}

// connect makes sure of a connection. It starts no accessibility bus: that would be one besides the desktop's own.
func (b *Bus) connect(ctx context.Context) error {
	addr := b.Session()
	if b.conn != nil && b.conn.Alive() && b.addr == addr {
		if r, err := b.conn.Calls(ctx, []dbus.Call{{Dest: registry, Path: rootPath, Interface: "org.freedesktop.DBus.Peer", Method: "Ping"}}); err == nil && r[0] != nil {
			return nil
		}
	}
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
	fail := func(err error) error {
		return errs.Wrap(err, errs.Unavailable, "the accessibility bus does not answer; start the desktop first").WithCode(CodeUnavailable)
	}
	if addr == "" {
		return fail(errors.New("no session bus is known"))
	}
	session, err := dbus.Dial(ctx, addr)
	if err != nil {
		return fail(err)
	}
	defer session.Close()
	replies, err := session.Calls(ctx, []dbus.Call{{Dest: "org.a11y.Bus", Path: "/org/a11y/bus", Interface: "org.a11y.Bus", Method: "GetAddress", NoStart: true}})
	if err != nil {
		return fail(err)
	}
	if replies[0] == nil {
		return fail(context.DeadlineExceeded)
	}
	r, err := replies[0].Read("s")
	if err != nil {
		return fail(err)
	}
	if b.conn, err = dbus.Dial(ctx, r.String()); err != nil {
		b.conn = nil
		return fail(err)
	}
	b.addr = addr
	return nil
}

// Query says which trees, and how much of them.
type Query struct {
	Scope string // focused, pid or all
	PID   int
	Depth int // levels below the root; negative: all
}

// Filter selects nodes; the zero filter selects all.
type Filter struct {
	Match func(*toolbox.AccessibilityNode) bool
	Limit int
}

// Tree returns the tree of a scope.
func (b *Bus) Tree(ctx context.Context, q Query) (*toolbox.AccessibilityNode, bool, error) {
	w, err := b.walk(ctx, q, nil)
	if err != nil {
		return nil, false, err
	}
	return w.root, w.truncated, nil
}

// Find returns the nodes of a scope that a filter selects, upper levels first and without their children.
func (b *Bus) Find(ctx context.Context, q Query, f Filter) ([]*toolbox.AccessibilityNode, bool, error) {
	w, err := b.walk(ctx, q, &f)
	if err != nil {
		return nil, false, err
	}
	return w.matches, w.truncated, nil
}

func (b *Bus) walk(ctx context.Context, q Query, f *Filter) (*walk, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, walkTime)
	defer cancel()
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	w := &walk{bus: b, depth: q.Depth, filter: f, seen: map[ref]bool{}, silent: map[string]bool{}, text: MaxText}
	if w.depth < 0 || w.depth > MaxDepth {
		w.depth = MaxDepth
	}
	root, err := b.rootOf(ctx, q)
	if err != nil {
		return nil, err
	}
	return w, w.run(ctx, root)
}

// ref names a node: the program's name on the bus and the path there.
type ref struct{ bus, path string }

func (r ref) id() string { return r.bus + ":" + r.path }

// parseID is the other way round. The name of a connection has a colon in front.
func parseID(id string) (ref, error) {
	invalid := func() (ref, error) {
		return ref{}, errs.New(errs.Invalid, "id must be one that the tree gave, of the form <bus>:<path>, got %q", clip(id)).WithCode(CodeInvalid)
	}
	i := strings.Index(id, ":/")
	if i < 1 || len(id) > 512 {
		return invalid()
	}
	r := ref{id[:i], id[i+1:]}
	for _, c := range []byte(r.path) {
		if c != '/' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return invalid()
		}
	}
	if len(r.path) > 1 && (strings.HasSuffix(r.path, "/") || strings.Contains(r.path, "//")) {
		return invalid()
	}
	// A malformed name makes a bus hang up on us.
	name := strings.TrimPrefix(r.bus, ":")
	for part := range strings.SplitSeq(name, ".") {
		if part == "" {
			return invalid()
		}
		for i, c := range []byte(part) {
			digit := c >= '0' && c <= '9'
			if c != '_' && c != '-' && !digit && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') || digit && i == 0 && name == r.bus {
				return invalid()
			}
		}
	}
	if !strings.Contains(name, ".") || len(r.bus) > 255 {
		return invalid()
	}
	return r, nil
}

// rootOf finds the node from which a scope is walked.
func (b *Bus) rootOf(ctx context.Context, q Query) (ref, error) {
	desktop := ref{registry, rootPath}
	switch q.Scope {
	case "all":
		return desktop, nil
	case "pid":
		if q.PID < 1 {
			return ref{}, errs.New(errs.Invalid, "pid must name a process when scope is pid, got %d", q.PID).WithCode(CodeInvalid)
		}
		r, err := b.program(ctx, q.PID)
		if err == nil && r == (ref{}) {
			err = errs.New(errs.NotFound, "process %d shows nothing on the accessibility bus", q.PID).WithCode(CodeNoRoot)
		}
		return r, err
	case "focused", "":
		return b.focused(ctx)
	}
	return ref{}, errs.New(errs.Invalid, "scope must be focused, pid or all, got %q", clip(q.Scope)).WithCode(CodeInvalidScope)
}

// programs returns the root nodes of all programs on the bus.
func (b *Bus) programs(ctx context.Context) ([]ref, error) {
	r, err := b.calls(ctx, []dbus.Call{{Dest: registry, Path: rootPath, Interface: ifaceAccessible, Method: "GetChildren"}})
	if err != nil {
		return nil, err
	}
	return refs(r[0]), nil
}

// program returns the root node of the program with this pid; the zero ref when there is none.
func (b *Bus) program(ctx context.Context, pid int) (ref, error) {
	list, err := b.programs(ctx)
	if err != nil {
		return ref{}, err
	}
	calls := make([]dbus.Call, len(list))
	for i, p := range list {
		calls[i] = dbus.Call{Dest: ifaceBus, Path: pathBus, Interface: ifaceBus, Method: "GetConnectionUnixProcessID", Signature: "s", Body: dbus.Body(p.bus)}
	}
	replies, err := b.calls(ctx, calls)
	if err != nil {
		return ref{}, err
	}
	for i, reply := range replies {
		if reply == nil {
			continue
		}
		if r, err := reply.Read("u"); err == nil && int64(r.Uint32()) == int64(pid) {
			return list[i], nil
		}
	}
	return ref{}, nil
}

// focused returns the active window: the one whose state says so, else that of the process that owns the active X window.
func (b *Bus) focused(ctx context.Context) (ref, error) {
	list, err := b.programs(ctx)
	if err != nil {
		return ref{}, err
	}
	replies, err := b.calls(ctx, each(list, ifaceAccessible, "GetChildren"))
	if err != nil {
		return ref{}, err
	}
	var windows []ref
	for _, reply := range replies {
		windows = append(windows, refs(reply)...)
		if len(windows) > 1000 {
			break
		}
	}
	states, err := b.calls(ctx, each(windows, ifaceAccessible, "GetState"))
	if err != nil {
		return ref{}, err
	}
	for i, reply := range states {
		for _, s := range stateNames(reply) {
			if s == "active" {
				return windows[i], nil
			}
		}
	}
	if b.ActivePID != nil {
		if pid, err := b.ActivePID(ctx); err == nil && pid > 0 {
			if r, err := b.program(ctx, pid); err != nil || r != (ref{}) {
				return r, err
			}
		}
	}
	return ref{}, errs.New(errs.NotFound, "no program that has the focus shows anything on the accessibility bus; scope all has every program").WithCode(CodeNoRoot)
}

func each(list []ref, iface, method string) []dbus.Call {
	out := make([]dbus.Call, len(list))
	for i, r := range list {
		out[i] = dbus.Call{Dest: r.bus, Path: r.path, Interface: iface, Method: method}
	}
	return out
}

// calls makes calls in batches and gives each batch its time.
func (b *Bus) calls(ctx context.Context, calls []dbus.Call) ([]*dbus.Reply, error) {
	var out []*dbus.Reply
	for len(calls) > 0 {
		n := min(len(calls), batch*callsPerNode)
		limited, cancel := context.WithTimeout(ctx, patience)
		replies, err := b.conn.Calls(limited, calls[:n])
		cancel()
		if err != nil {
			return nil, errs.Wrap(err, errs.Unavailable, "the accessibility bus was lost").WithCode(CodeUnavailable)
		}
		out, calls = append(out, replies...), calls[n:]
	}
	return out, nil
}

// refs reads the answer of GetChildren. What is malformed has no children.
func refs(reply *dbus.Reply) []ref {
	if reply == nil {
		return nil
	}
	r, err := reply.Read("a(so)")
	if err != nil {
		return nil
	}
	var out []ref
	r.Array(8, func() {
		r.Struct()
		c := ref{r.String(), r.String()}
		if _, err := parseID(c.id()); err == nil && c.path != nullPath && len(out) < MaxNodes {
			out = append(out, c)
		}
	})
	if r.Bad() {
		return nil
	}
	return out
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
