//go:build linux

package a11y

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus"
	"github.com/dugout-dev/dugout/internal/errs"
)

// MaxValue is the longest text that a node is set to, bytes.
const MaxValue = 512 << 10

// Focus gives a node the keyboard.
func (b *Bus) Focus(ctx context.Context, id string) error {
	return b.act(ctx, id, func(at ref) error {
		ok, err := b.boolean(ctx, at, ifaceComponent, "GrabFocus", "", dbus.Writer{})
		if err == nil && !ok {
			err = unsupported("the node does not take the focus")
		}
		return err
	})
}

// Invoke does an action of a node; its first when none is named.
func (b *Bus) Invoke(ctx context.Context, id, action string) error {
	return b.act(ctx, id, func(at ref) error {
		replies, err := b.calls(ctx, questions(at))
		if err != nil {
			return err
		}
		if replies[askActions] == nil {
			return silent()
		}
		if replies[askActions].Err != nil {
			return fault(replies[askActions].Err, "the node has no actions")
		}
		all, err := b.actions(ctx, []visit{{at: at}}, replies, callsPerNode)
		if err != nil {
			return err
		}
		names := all[0]
		index := 0
		if action != "" {
			index = -1
			for i, n := range names {
				if strings.EqualFold(n, action) {
					index = i
					break
				}
			}
		}
		if index < 0 || len(names) == 0 {
			return unsupported("the node has no action %q; it has %q", clip(action), clip(strings.Join(names, ", ")))
		}
		var w dbus.Writer
		w.Uint32(uint32(index))
		ok, err := b.boolean(ctx, at, ifaceAction, "DoAction", "i", w)
		if err == nil && !ok {
			err = unsupported("the program refused the action %q", clip(names[index]))
		}
		return err
	})
}

// SetValue replaces the text of a node, or sets its number.
func (b *Bus) SetValue(ctx context.Context, id, value string) error {
	if len(value) > MaxValue {
		return errs.New(errs.Invalid, "the value has %d bytes, at most %d are allowed", len(value), MaxValue).WithCode(CodeInvalid)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return errs.New(errs.Invalid, "the value must not contain a NUL character").WithCode(CodeInvalid)
	}
	return b.act(ctx, id, func(at ref) error {
		ok, err := b.boolean(ctx, at, ifaceEditable, "SetTextContents", "s", dbus.Body(value))
		if err == nil {
			if !ok {
				err = unsupported("the program refused the text")
			}
			return err
		}
		if !errs.Is(err, errs.Invalid) {
			return err
		}
		n, nerr := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if nerr != nil {
			return unsupported("the node holds no text that can be changed, and %q is no number", clip(value))
		}
		w := dbus.Body(ifaceValue, "CurrentValue")
		w.Double(n)
		replies, err := b.calls(ctx, []dbus.Call{{Dest: at.bus, Path: at.path, Interface: ifaceProperties, Method: "Set", Signature: "ssv", Body: w}})
		if err != nil {
			return err
		}
		if replies[0] == nil {
			return silent()
		}
		return fault(replies[0].Err, "the node holds neither a text nor a number that can be changed")
	})
}

// act runs fn for the node with this id, which must exist.
func (b *Bus) act(ctx context.Context, id string, fn func(ref) error) error {
	at, err := parseID(id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, walkTime)
	defer cancel()
	if err := b.connect(ctx); err != nil {
		return err
	}
	replies, err := b.calls(ctx, []dbus.Call{{Dest: at.bus, Path: at.path, Interface: ifaceAccessible, Method: "GetState"}})
	if err != nil {
		return err
	}
	if replies[0] == nil {
		return silent()
	}
	gone := replies[0].Err != nil
	for _, s := range stateNames(replies[0]) {
		gone = gone || s == "defunct" || s == "invalid"
	}
	if gone {
		return errs.New(errs.NotFound, "no node %q: its window was closed, or its program has ended", clip(id)).WithCode(CodeNotFound)
	}
	return fn(at)
}

// boolean makes a call that answers whether it worked.
func (b *Bus) boolean(ctx context.Context, at ref, iface, method, sig string, body dbus.Writer) (bool, error) {
	replies, err := b.calls(ctx, []dbus.Call{{Dest: at.bus, Path: at.path, Interface: iface, Method: method, Signature: sig, Body: body}})
	if err != nil {
		return false, err
	}
	if replies[0] == nil {
		return false, silent()
	}
	if err := fault(replies[0].Err, "the node does not offer that"); err != nil {
		return false, err
	}
	r, err := replies[0].Read("b")
	if err != nil {
		return false, errs.Wrap(err, errs.Internal, "the program answered something else than it should").WithCode(CodeInternal)
	}
	return r.Uint32() != 0, nil
}

// fault says what the error of a program means for a node that exists.
func fault(err error, sentence string) error {
	if err == nil {
		return nil
	}
	if de := (*dbus.Error)(nil); errors.As(err, &de) {
		switch de.Name {
		case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.UnknownObject":
			return errs.Wrap(err, errs.NotFound, "the node is gone: its program has ended").WithCode(CodeNotFound)
		}
		return errs.Wrap(err, errs.Invalid, "%s", sentence).WithCode(CodeUnsupported)
	}
	return errs.Wrap(err, errs.Internal, "the program answered something else than it should").WithCode(CodeInternal)
}

func unsupported(format string, args ...any) error {
	return errs.New(errs.Invalid, format, args...).WithCode(CodeUnsupported)
}

func silent() error {
	return errs.New(errs.Internal, "the program did not answer within %v", patience).WithCode(CodeInternal)
}

// Limits of a search.
const (
	DefaultLimit = 500
	MaxLimit     = 5000
	maxPattern   = 1024 // bytes
	maxStates    = 44   // there are no more
)

// NewFilter makes a filter of a search.
func NewFilter(f toolbox.AccessibilityFind) (Filter, error) {
	invalid := func(format string, args ...any) (Filter, error) {
		return Filter{}, errs.New(errs.Invalid, format, args...).WithCode(CodeInvalid)
	}
	out := Filter{Limit: f.Limit}
	if f.Limit < 0 || f.Limit > MaxLimit {
		return invalid("limit must be 0 to %d, got %d", MaxLimit, f.Limit)
	}
	if f.Limit == 0 {
		out.Limit = DefaultLimit
	}
	if len(f.Name) > maxPattern || len(f.Role) > maxPattern || len(f.States) > maxStates {
		return invalid("name and role must have at most %d bytes, states at most %d names", maxPattern, maxStates)
	}
	name := func(string) bool { return true }
	switch f.NameMatch {
	case "exact":
		name = func(s string) bool { return s == f.Name }
	case "substring", "":
		want := strings.ToLower(f.Name)
		name = func(s string) bool { return strings.Contains(strings.ToLower(s), want) }
	case "regex":
		re, err := regexp.Compile(f.Name)
		if err != nil {
			return invalid("name is no regular expression: %v", err)
		}
		name = re.MatchString
	default:
		return invalid("nameMatch must be exact, substring or regex, got %q", clip(f.NameMatch))
	}
	want := make([]string, len(f.States))
	for i, s := range f.States {
		want[i] = plain(s)
	}
	role := plain(f.Role)
	out.Match = func(n *toolbox.AccessibilityNode) bool {
		if f.Name != "" && !name(n.Name) {
			return false
		}
		if role != "" && plain(n.Role) != role && !(role == "button" && plain(n.Role) == "push button") {
			return false
		}
		for _, s := range want {
			found := false
			for _, have := range n.States {
				found = found || plain(have) == s
			}
			if !found {
				return false
			}
		}
		return true
	}
	return out, nil
}

// plain makes push-button, PUSH_BUTTON and "push button" the same.
func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("-", " ", "_", " ").Replace(strings.TrimSpace(s)))
}
