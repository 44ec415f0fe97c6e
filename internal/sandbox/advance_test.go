package sandbox

import (
	"testing"
	"time"
)

// TestAdvance fixes the transition table: every stored state that this build writes, with everything a runner may say.
func TestAdvance(t *testing.T) {
	running, halted := found(Seen{Running: true}), found(Seen{Reason: "oom"})
	type out struct {
		verb    verb
		state   State
		desired Desired
	}
	keep := out{verb: rest}
	for _, tc := range []struct {
		state                            State
		desired                          Desired
		unasked, runs, stopped, isAbsent out
	}{
		{Creating, WantStarted, out{verb: put}, out{write, Started, WantStarted}, out{verb: put}, out{verb: put}},
		{Starting, WantStarted, out{verb: start}, out{write, Started, WantStarted}, out{verb: start}, out{write, Error, WantStarted}},
		{Started, WantStarted, keep, keep, out{write, Stopped, WantStopped}, out{write, Error, WantStarted}},
		{Stopping, WantStopped, out{verb: stop}, out{verb: stop}, out{write, Stopped, WantStopped}, out{write, Error, WantStopped}},
		{Stopped, WantStopped, keep, out{write, Stopping, WantStopped}, keep, out{write, Error, WantStopped}},
		{Error, WantStarted, keep, out{write, Started, WantStarted}, out{write, Stopped, WantStopped}, keep},
		{Error, WantStopped, keep, out{write, Stopping, WantStopped}, out{write, Stopped, WantStopped}, keep},
		{Destroying, WantDestroyed, out{verb: remove}, out{verb: remove}, out{verb: remove}, out{write, Destroyed, WantDestroyed}},
		{Destroyed, WantDestroyed, keep, keep, keep, keep},
	} {
		for name, c := range map[string]struct {
			v    view
			want out
		}{"unasked": {view{}, tc.unasked}, "running": {running, tc.runs}, "stopped": {halted, tc.stopped}, "absent": {absent, tc.isAbsent}} {
			row := Sandbox{ID: "i", Name: "n", RunnerID: "r", State: tc.state, Desired: tc.desired, AutoDeleteMinutes: -1}
			got := advance(row, c.v, time.Now())
			if got.verb != c.want.verb || got.verb == write && (got.next.State != c.want.state || got.next.Desired != c.want.desired) {
				t.Errorf("%s/%s, %s: %d %s/%s, want %d %s/%s", tc.state, tc.desired, name, got.verb, got.next.State, got.next.Desired, c.want.verb, c.want.state, c.want.desired)
			}
			if got.verb == write { // every write gets nearer to rest: following it ends
				for n, next := 0, got; next.verb == write; n++ {
					if n > 3 {
						t.Errorf("%s/%s, %s: writes without end", tc.state, tc.desired, name)
						break
					}
					next = advance(next.next, c.v, time.Now())
				}
			}
		}
	}
}

func TestDestroyingIsAbsorbing(t *testing.T) {
	for _, s := range append(allStates, Destroyed) {
		for _, d := range []Desired{WantStarted, WantStopped, WantArchived, WantDestroyed} {
			row := doomed(Sandbox{Name: "n", RunnerID: "r", State: s, Desired: d}, time.Now())
			for _, v := range []view{{}, absent, found(Seen{Running: true}), found(Seen{})} {
				st := advance(row, v, time.Now())
				if st.verb != remove && (st.verb != write || st.next.State != Destroyed || st.next.RunnerID != "") {
					t.Errorf("%s/%s, doomed: verb %d to %s", s, d, st.verb, st.next.State)
				}
			}
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor(&Filter{Sort: "name"}, &Sandbox{ID: "i", Name: "n"}), "name", false)
	f.Add("e30", "cpu", true)
	f.Add("", "", false)
	f.Fuzz(func(t *testing.T, c, sort string, asc bool) {
		m, err := parseCursor(Filter{Cursor: c, Sort: sort, Ascending: asc})
		if err == nil && c != "" && m.ID == "" {
			t.Errorf("cursor %q was taken without an id", c)
		}
		if !plain(m.ID, false) || !plain(m.Text, false) {
			t.Errorf("cursor %q carries %q %q", c, m.ID, m.Text)
		}
	})
}
