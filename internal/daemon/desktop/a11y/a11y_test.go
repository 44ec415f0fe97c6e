//go:build linux

package a11y_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/a11y"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus/dbustest"
	"github.com/dugout-dev/dugout/internal/errs"
)

// body builds what programs answer.
type body struct{ b []byte }

func (w *body) align(n int) *body {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
	return w
}

func (w *body) u32(n uint32) *body {
	w.align(4).b = binary.LittleEndian.AppendUint32(w.align(4).b, n)
	return w
}

func (w *body) text(s string) *body {
	w.u32(uint32(len(s))).b = append(append(w.b, s...), 0)
	return w
}

func refs(list ...string) dbustest.Answer {
	w := &body{b: make([]byte, 8)}
	for i := 0; i+1 < len(list); i += 2 {
		w.align(8).text(list[i]).text(list[i+1])
	}
	binary.LittleEndian.PutUint32(w.b, uint32(len(w.b)-8))
	return dbustest.Answer{Signature: "a(so)", Body: w.b}
}

func str(s string) dbustest.Answer {
	return dbustest.Answer{Signature: "s", Body: (&body{}).text(s).b}
}

func variant(s string) dbustest.Answer {
	return dbustest.Answer{Signature: "v", Body: (&body{b: []byte{1, 's', 0}}).text(s).b}
}

func states(bits ...int) dbustest.Answer {
	var words [2]uint32
	for _, b := range bits {
		words[b/32] |= 1 << (b % 32)
	}
	return dbustest.Answer{Signature: "au", Body: (&body{}).u32(8).u32(words[0]).u32(words[1]).b}
}

func actions(names ...string) dbustest.Answer {
	w := &body{b: make([]byte, 8)}
	for _, n := range names {
		w.align(8).text(n).text("").text("")
	}
	binary.LittleEndian.PutUint32(w.b, uint32(len(w.b)-8))
	return dbustest.Answer{Signature: "a(sss)", Body: w.b}
}

func yes(ok bool) dbustest.Answer {
	n := uint32(0)
	if ok {
		n = 1
	}
	return dbustest.Answer{Signature: "b", Body: (&body{}).u32(n).b}
}

const root = "/org/a11y/atspi/accessible/root"

// desk is a desktop with one well-behaved program, :1.1 with process 77, and whatever odd adds.
func desk(t *testing.T, odd func(dbustest.Call) (dbustest.Answer, bool)) *a11y.Bus {
	t.Helper()
	var address string
	b := dbustest.Start(t, func(c dbustest.Call) dbustest.Answer {
		if odd != nil {
			if a, ok := odd(c); ok {
				return a
			}
		}
		switch c.Method {
		case "GetAddress":
			return str(address)
		case "Ping":
			return dbustest.Answer{Signature: "s", Body: (&body{}).text("").b}
		case "GetConnectionUnixProcessID":
			return dbustest.Answer{Signature: "u", Body: (&body{}).u32(77).b}
		}
		switch c.Dest + c.Path + " " + c.Method {
		case "org.a11y.atspi.Registry" + root + " GetChildren":
			return refs(":1.1", root, ":1.66", "/odd")
		case "org.a11y.atspi.Registry" + root + " GetRoleName":
			return str("desktop frame")
		case ":1.1" + root + " GetChildren":
			return refs(":1.1", "/win")
		case ":1.1" + root + " GetRoleName":
			return str("application")
		case ":1.1/win GetChildren":
			return refs(":1.1", "/button", ":1.1", "/text", ":1.1", "/org/a11y/atspi/null")
		case ":1.1/win GetState":
			return states(1, 25)
		case ":1.1/win GetRoleName":
			return str("frame")
		case ":1.1/win Get":
			return variant("A window")
		case ":1.1/button GetRoleName":
			return str("push button")
		case ":1.1/button GetState", ":1.1/text GetState":
			return states(8, 11)
		case ":1.1/button Get":
			return variant("Press me")
		case ":1.1/button GetActions":
			return actions("Click", "")
		case ":1.1/button GetName":
			return str("menu")
		case ":1.1/button DoAction":
			return yes(c.Body[0] == 0)
		case ":1.1/button GetExtents":
			return dbustest.Answer{Signature: "(iiii)", Body: (&body{}).u32(10).u32(20).u32(30).u32(40).b}
		case ":1.1/text GetRoleName":
			return str("entry")
		case ":1.1/text GrabFocus":
			return yes(true)
		case ":1.1/text SetTextContents":
			return yes(true)
		case ":1.1/gone GetState":
			return states(6)
		}
		return dbustest.Answer{}
	})
	address = b.Address
	bus := &a11y.Bus{Session: func() string { return address }}
	t.Cleanup(bus.Close)
	return bus
}

func code(err error) string {
	if e, ok := errs.As(err); ok {
		return e.Code
	}
	return ""
}

func TestTree(t *testing.T) {
	bus := desk(t, nil)
	win := &toolbox.AccessibilityNode{ID: ":1.1:/win", Role: "frame", Name: "A window", Description: "A window", States: []string{"active", "showing"}, Children: []*toolbox.AccessibilityNode{
		{ID: ":1.1:/button", Role: "push button", Name: "Press me", Description: "Press me", States: []string{"enabled", "focusable"}, Actions: []string{"Click", "menu"},
			Bounds: toolbox.AccessibilityBounds{X: 10, Y: 20, Width: 30, Height: 40}},
		{ID: ":1.1:/text", Role: "entry", States: []string{"enabled", "focusable"}},
	}}
	app := &toolbox.AccessibilityNode{ID: ":1.1:" + root, Role: "application", States: []string{}, Children: []*toolbox.AccessibilityNode{win}}
	all := &toolbox.AccessibilityNode{ID: "org.a11y.atspi.Registry:" + root, Role: "desktop frame", States: []string{}, Children: []*toolbox.AccessibilityNode{app}}
	alone := *win
	alone.Children = nil
	for name, c := range map[string]struct {
		q    a11y.Query
		want *toolbox.AccessibilityNode
	}{
		"focused":      {a11y.Query{Depth: -1}, win},
		"focused, top": {a11y.Query{Scope: "focused", Depth: 0}, &alone},
		"pid":          {a11y.Query{Scope: "pid", PID: 77, Depth: -1}, app},
		"all":          {a11y.Query{Scope: "all", Depth: -1}, all},
	} {
		got, truncated, err := bus.Tree(t.Context(), c.q)
		if diff := cmp.Diff(c.want, got); err != nil || truncated || diff != "" {
			t.Errorf("%s: %v %v %s", name, truncated, err, diff)
		}
	}
	for want, q := range map[string]a11y.Query{
		a11y.CodeInvalidScope: {Scope: "screen"}, a11y.CodeInvalid: {Scope: "pid"}, a11y.CodeNoRoot: {Scope: "pid", PID: 78},
	} {
		if _, _, err := bus.Tree(t.Context(), q); code(err) != want {
			t.Errorf("%+v: %v, want %s", q, err, want)
		}
	}
	none := &a11y.Bus{Session: func() string { return "unix:path=/nowhere" }}
	if _, _, err := none.Tree(t.Context(), a11y.Query{}); code(err) != a11y.CodeUnavailable || !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	bus := desk(t, nil)
	for name, c := range map[string]struct {
		f    toolbox.AccessibilityFind
		want []string
		cut  bool
	}{
		"all":             {toolbox.AccessibilityFind{}, []string{":1.1:/win", ":1.1:/button", ":1.1:/text"}, false},
		"limit":           {toolbox.AccessibilityFind{Limit: 1}, []string{":1.1:/win"}, true},
		"role":            {toolbox.AccessibilityFind{Role: "Push-Button"}, []string{":1.1:/button"}, false},
		"short role":      {toolbox.AccessibilityFind{Role: "button"}, []string{":1.1:/button"}, false},
		"name":            {toolbox.AccessibilityFind{Name: "press"}, []string{":1.1:/button"}, false},
		"exact":           {toolbox.AccessibilityFind{Name: "press", NameMatch: "exact"}, nil, false},
		"regex":           {toolbox.AccessibilityFind{Name: "^(Press|x)", NameMatch: "regex"}, []string{":1.1:/button"}, false},
		"states":          {toolbox.AccessibilityFind{States: []string{"ENABLED", "focusable"}}, []string{":1.1:/button", ":1.1:/text"}, false},
		"state and other": {toolbox.AccessibilityFind{States: []string{"enabled", "active"}}, nil, false},
	} {
		f, err := a11y.NewFilter(c.f)
		if err != nil {
			t.Fatal(err)
		}
		got, cut, err := bus.Find(t.Context(), a11y.Query{Depth: -1}, f)
		var ids []string
		for _, n := range got {
			ids = append(ids, n.ID)
		}
		if err != nil || cut != c.cut || !slices.Equal(ids, c.want) {
			t.Errorf("%s: %q %v %v, want %q", name, ids, cut, err, c.want)
		}
	}
	for _, bad := range []toolbox.AccessibilityFind{{Limit: -1}, {Limit: 5001}, {NameMatch: "like"}, {Name: "(", NameMatch: "regex"}, {Name: strings.Repeat("x", 2000)}, {States: make([]string, 45)}} {
		if _, err := a11y.NewFilter(bad); code(err) != a11y.CodeInvalid {
			t.Errorf("%.60v: %v", bad, err)
		}
	}
}

func TestActs(t *testing.T) {
	bus := desk(t, nil)
	ctx := t.Context()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"focus":            {bus.Focus(ctx, ":1.1:/text"), ""},
		"focus refused":    {bus.Focus(ctx, ":1.1:/button"), a11y.CodeUnsupported},
		"first action":     {bus.Invoke(ctx, ":1.1:/button", ""), ""},
		"named action":     {bus.Invoke(ctx, ":1.1:/button", "click"), ""},
		"refused action":   {bus.Invoke(ctx, ":1.1:/button", "menu"), a11y.CodeUnsupported},
		"unknown action":   {bus.Invoke(ctx, ":1.1:/button", "fly"), a11y.CodeUnsupported},
		"no actions":       {bus.Invoke(ctx, ":1.1:/text", ""), a11y.CodeUnsupported},
		"value":            {bus.SetValue(ctx, ":1.1:/text", "x"), ""},
		"value of others":  {bus.SetValue(ctx, ":1.1:/button", "x"), a11y.CodeUnsupported},
		"number of others": {bus.SetValue(ctx, ":1.1:/button", "5"), a11y.CodeUnsupported},
		"too long":         {bus.SetValue(ctx, ":1.1:/text", strings.Repeat("x", a11y.MaxValue+1)), a11y.CodeInvalid},
		"NUL":              {bus.SetValue(ctx, ":1.1:/text", "\x00"), a11y.CodeInvalid},
		"gone":             {bus.Focus(ctx, ":1.1:/gone"), a11y.CodeNotFound},
		"unknown":          {bus.Focus(ctx, ":1.9:/x"), a11y.CodeNotFound},
		"no id":            {bus.Focus(ctx, ""), a11y.CodeInvalid},
		"bad id":           {bus.Focus(ctx, "1.1:/../x"), a11y.CodeInvalid},
	} {
		if code(c.err) != c.want || (c.want == "") != (c.err == nil) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
}

// A program may answer whatever it likes: the tree ends, within its limits, and the other programs are in it.
func TestHostilePrograms(t *testing.T) {
	long := variant(strings.Repeat("long ", 2000))
	for name, c := range map[string]struct {
		odd      func(dbustest.Call) dbustest.Answer
		cut      bool
		min, max int
	}{
		"a circle": {func(c dbustest.Call) dbustest.Answer {
			return refs(":1.66", "/odd", ":1.66", "/odd2", ":1.1", root)
		}, false, 4, 8},
		"endless depth": {func(c dbustest.Call) dbustest.Answer {
			if c.Method == "GetChildren" {
				return refs(":1.66", c.Path+"x")
			}
			return str("x")
		}, true, 240, 260},
		"endless width": {func(c dbustest.Call) dbustest.Answer {
			if c.Method == "GetChildren" {
				var list []string
				for i := range 300 {
					list = append(list, ":1.66", fmt.Sprintf("%s/x%d", c.Path, i))
				}
				return refs(list...)
			}
			return str("x")
		}, true, 20, a11y.MaxNodes},
		"endless text": {func(c dbustest.Call) dbustest.Answer {
			switch c.Method {
			case "GetChildren":
				return refs(":1.66", c.Path+"x", ":1.66", c.Path+"y")
			case "Get":
				return long
			}
			return str("x")
		}, true, 500, 2000},
		"silence": {func(dbustest.Call) dbustest.Answer { return dbustest.Answer{Silent: true} }, true, 4, 6},
		"foreign types": {func(dbustest.Call) dbustest.Answer {
			return dbustest.Answer{Signature: "ay", Body: []byte{255, 255, 255, 255}}
		}, false, 4, 8},
		"half an answer": {func(dbustest.Call) dbustest.Answer {
			return dbustest.Answer{Signature: "a(so)", Body: []byte{64, 0, 0, 0}}
		}, false, 4, 8},
		"bad names": {func(c dbustest.Call) dbustest.Answer {
			if c.Method == "GetChildren" {
				return refs("", "", "a b", "/x", ":1.66", "no path", ":1.66", "/a//b", "..", "/")
			}
			return str("x")
		}, false, 4, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := desk(t, func(call dbustest.Call) (dbustest.Answer, bool) {
				if call.Dest != ":1.66" {
					return dbustest.Answer{}, false
				}
				return c.odd(call), true
			})
			start := time.Now()
			tree, cut, err := bus.Tree(t.Context(), a11y.Query{Scope: "all", Depth: -1})
			if err != nil {
				t.Fatal(err)
			}
			n, text := 0, 0
			var count func(*toolbox.AccessibilityNode)
			var found bool
			count = func(node *toolbox.AccessibilityNode) {
				n++
				text += len(node.Name) + len(node.Description)
				found = found || node.ID == ":1.1:/button"
				for _, c := range node.Children {
					count(c)
				}
			}
			count(tree)
			if cut != c.cut || n < c.min || n > c.max || !found || text > a11y.MaxText+1<<20 {
				t.Errorf("%d nodes, %d bytes of text, truncated %v, the other program is there: %v; after %v", n, text, cut, found, time.Since(start))
			}
		})
	}
}

func TestALostBusIsFoundAgain(t *testing.T) {
	var address string
	b := dbustest.Start(t, func(c dbustest.Call) dbustest.Answer {
		switch c.Method {
		case "GetAddress":
			return str(address)
		case "GetRoleName":
			return str("desktop frame")
		}
		return dbustest.Answer{}
	})
	address = b.Address
	bus := &a11y.Bus{Session: func() string { return address }}
	defer bus.Close()
	for range 3 {
		if _, _, err := bus.Tree(context.Background(), a11y.Query{Scope: "all"}); err != nil {
			t.Fatal(err)
		}
		b.Hangup()
	}
}

// An id that is accepted is one that a bus takes without hanging up.
func FuzzID(f *testing.F) {
	for _, s := range []string{":1.1:/org/a11y/atspi/accessible/root", "org.a11y.atspi.Registry:/", ":1.1:/a//b", "::/", ".:/x", ":1:/x", "a.b:/x/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bus, path, err := a11y.ParseID(s)
		if err != nil {
			return
		}
		if bus+":"+path != s || path[0] != '/' || len(bus) > 255 || !strings.Contains(bus, ".") || strings.Contains(bus, "..") || strings.Contains(path, "//") ||
			strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q is %q and %q", s, bus, path)
		}
	})
}
