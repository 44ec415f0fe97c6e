//go:build linux

package a11y

import (
	"context"
	"math"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus"
	"github.com/dugout-dev/dugout/internal/errs"
)

// walk visits a tree level by level: when the budget ends, the deepest part is missing.
type walk struct {
	bus    *Bus
	depth  int
	filter *Filter // nil: the tree is built

	root      *toolbox.AccessibilityNode
	matches   []*toolbox.AccessibilityNode
	truncated bool

	seen   map[ref]bool
	silent map[string]bool // programs that did not answer
	text   int             // bytes of text left
}

// visit is a node that is to be visited.
type visit struct {
	at    ref
	depth int
	into  *toolbox.AccessibilityNode // parent; nil: the root
}

func (w *walk) run(ctx context.Context, root ref) error {
	queue := []visit{{at: root}}
	w.seen[root] = true
	for len(queue) > 0 && !w.full() {
		if ctx.Err() != nil {
			w.truncated = true
			break
		}
		n := min(len(queue), batch)
		next, err := w.visit(ctx, queue[:n])
		if err != nil {
			return err
		}
		queue = append(queue[n:], next...)
	}
	if w.root == nil && w.filter == nil {
		return errs.New(errs.NotFound, "the program with the root of the tree does not answer").WithCode(CodeNoRoot)
	}
	return nil
}

func (w *walk) full() bool {
	if w.filter != nil && len(w.matches) >= w.filter.Limit {
		w.truncated = true
		return true
	}
	return false
}

// What is asked about each node, in this order.
const (
	askName = iota
	askDescription
	askRole
	askState
	askExtents
	askActions
	askChildren
	callsPerNode
)

func questions(r ref) []dbus.Call {
	call := func(iface, method, sig string, body dbus.Writer) dbus.Call {
		return dbus.Call{Dest: r.bus, Path: r.path, Interface: iface, Method: method, Signature: sig, Body: body}
	}
	var screen dbus.Writer
	screen.Uint32(0) // coordinates of the screen
	return []dbus.Call{
		askName:        call(ifaceProperties, "Get", "ss", dbus.Body(ifaceAccessible, "Name")),
		askDescription: call(ifaceProperties, "Get", "ss", dbus.Body(ifaceAccessible, "Description")),
		askRole:        call(ifaceAccessible, "GetRoleName", "", dbus.Writer{}),
		askState:       call(ifaceAccessible, "GetState", "", dbus.Writer{}),
		askExtents:     call(ifaceComponent, "GetExtents", "u", screen),
		askActions:     call(ifaceAction, "GetActions", "", dbus.Writer{}),
		askChildren:    call(ifaceAccessible, "GetChildren", "", dbus.Writer{}),
	}
}

// visit asks about nodes and returns those below them.
func (w *walk) visit(ctx context.Context, nodes []visit) ([]visit, error) {
	var asked []visit
	var calls []dbus.Call
	each := callsPerNode
	if len(w.seen) >= MaxNodes {
		each = askChildren // there is no room for them
		w.truncated = true
	}
	for _, v := range nodes {
		if w.silent[v.at.bus] {
			w.truncated = true
			continue
		}
		asked = append(asked, v)
		calls = append(calls, questions(v.at)[:each]...)
	}
	replies, err := w.bus.calls(ctx, calls)
	if err != nil {
		return nil, err
	}
	actions, err := w.bus.actions(ctx, asked, replies, each)
	if err != nil {
		return nil, err
	}
	var next []visit
	for i, v := range asked {
		answers := replies[i*each : (i+1)*each]
		late := false
		for _, a := range answers {
			late = late || a == nil
		}
		if late {
			w.silent[v.at.bus], w.truncated = true, true
			continue
		}
		if answers[askRole].Err != nil && answers[askState].Err != nil {
			continue // it is gone, and its program answers that
		}
		node := w.node(v.at, answers, actions[i])
		if w.text < 0 {
			w.truncated = true
			return nil, nil
		}
		w.place(v, node)
		if w.full() {
			return nil, nil
		}
		if each == askChildren {
			continue
		}
		below := refs(answers[askChildren])
		if v.depth >= w.depth {
			w.truncated = w.truncated || len(below) > 0 && w.depth == MaxDepth
			continue
		}
		for _, c := range below {
			if w.seen[c] {
				continue
			}
			if len(w.seen) >= MaxNodes {
				w.truncated = true
				break
			}
			w.seen[c] = true
			next = append(next, visit{at: c, depth: v.depth + 1, into: node})
		}
	}
	return next, nil
}

func (w *walk) place(v visit, node *toolbox.AccessibilityNode) {
	switch {
	case w.filter != nil:
		if w.filter.Match == nil || w.filter.Match(node) {
			w.matches = append(w.matches, node)
		}
	case v.into == nil:
		w.root = node
	default:
		v.into.Children = append(v.into.Children, node)
	}
}

// node makes a node of the answers about it.
func (w *walk) node(at ref, answers []*dbus.Reply, actions []string) *toolbox.AccessibilityNode {
	n := &toolbox.AccessibilityNode{ID: at.id(), States: stateNames(answers[askState])}
	n.Name = w.variant(answers[askName])
	n.Description = w.variant(answers[askDescription])
	if r, err := answers[askRole].Read("s"); err == nil {
		n.Role = w.clip(r.String())
	}
	if r, err := answers[askExtents].Read("(iiii)"); err == nil {
		r.Struct()
		v := [4]int32{int32(r.Uint32()), int32(r.Uint32()), int32(r.Uint32()), int32(r.Uint32())}
		if !r.Bad() && v[0] != math.MinInt32 && v[1] != math.MinInt32 { // that means: nowhere
			n.Bounds = toolbox.AccessibilityBounds{X: int(v[0]), Y: int(v[1]), Width: int(v[2]), Height: int(v[3])}
		}
	}
	for _, name := range actions {
		n.Actions = append(n.Actions, w.clip(name))
	}
	w.text -= 200 // what a node costs without any
	return n
}

// actions returns the names of the actions of nodes. GetActions tells names for people, which some programs leave empty: those are asked
// for the names for programs.
func (b *Bus) actions(ctx context.Context, nodes []visit, replies []*dbus.Reply, each int) ([][]string, error) {
	out := make([][]string, len(nodes))
	var calls []dbus.Call
	var into []*string
	for i, v := range nodes {
		out[i] = actionNames(replies[i*each+askActions])
		for k := range out[i] {
			if out[i][k] != "" {
				continue
			}
			var w dbus.Writer
			w.Uint32(uint32(k))
			calls = append(calls, dbus.Call{Dest: v.at.bus, Path: v.at.path, Interface: ifaceAction, Method: "GetName", Signature: "i", Body: w})
			into = append(into, &out[i][k])
		}
	}
	names, err := b.calls(ctx, calls)
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		if n == nil {
			continue
		}
		if r, err := n.Read("s"); err == nil {
			*into[i] = r.String()
		}
	}
	return out, nil
}

func (w *walk) variant(reply *dbus.Reply) string {
	r, err := reply.Read("v")
	if err != nil || !r.Variant("s") {
		return ""
	}
	return w.clip(r.String())
}

func (w *walk) clip(s string) string {
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	w.text -= len(s)
	return s
}

// actionNames reads the answer of GetActions: names, descriptions and key bindings.
func actionNames(reply *dbus.Reply) []string {
	if reply == nil {
		return nil
	}
	r, err := reply.Read("a(sss)")
	if err != nil {
		return nil
	}
	var out []string
	r.Array(8, func() {
		r.Struct()
		name := r.String()
		_, _ = r.String(), r.String()
		if len(out) < maxAction {
			out = append(out, name)
		}
	})
	if r.Bad() {
		return nil
	}
	return out
}

// states of AT-SPI by number.
var states = [...]string{"invalid", "active", "armed", "busy", "checked", "collapsed", "defunct", "editable", "enabled", "expandable", "expanded",
	"focusable", "focused", "has-tooltip", "horizontal", "iconified", "modal", "multi-line", "multiselectable", "opaque", "pressed", "resizable",
	"selectable", "selected", "sensitive", "showing", "single-line", "stale", "transient", "vertical", "visible", "manages-descendants",
	"indeterminate", "required", "truncated", "animated", "invalid-entry", "supports-autocompletion", "selectable-text", "is-default", "visited",
	"checkable", "has-popup", "read-only"}

// stateNames reads the answer of GetState: two words of bits.
func stateNames(reply *dbus.Reply) []string {
	out := []string{}
	if reply == nil {
		return out
	}
	r, err := reply.Read("au")
	if err != nil {
		return out
	}
	var words []uint32
	r.Array(4, func() {
		if n := r.Uint32(); len(words) < 2 {
			words = append(words, n)
		}
	})
	for i, name := range states {
		if i/32 < len(words) && words[i/32]&(1<<(i%32)) != 0 {
			out = append(out, name)
		}
	}
	return out
}
