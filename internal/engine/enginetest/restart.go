package enginetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

func testRestart(t *testing.T, r *rig) {
	created, running, stopped := r.create(), r.create(), r.create()
	r.start(running.ID)
	r.start(stopped.ID)
	r.ok(r.e.Stop(deadline(t), stopped.ID, 0), "Stop")
	sorted := func() []engine.Status {
		list := r.list()
		slices.SortFunc(list, func(a, b engine.Status) int { return int(compare(a.Spec.ID, b.Spec.ID)) })
		return list
	}
	before := sorted()
	for range 2 {
		r.close()
		r.open()
		if d := diff(before, sorted()); d != "" {
			t.Fatalf("after a restart (-before +after): %s", d)
		}
		r.answers(running.ID)
	}
	if again := r.start(running.ID); again.Pid != r.inspect(running.ID).Pid {
		t.Errorf("Start after a restart made a second run")
	}
	r.ok(r.e.Create(deadline(t), created), "Create of what is there")
	r.start(created.ID)
	r.start(stopped.ID)
	r.ok(r.e.Stop(deadline(t), running.ID, 0), "Stop after a restart")
	r.state(running.ID, engine.Stopped, engine.ReasonStopped)
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// exit waits for the next exit.
func (r *rig) exit() engine.Exit {
	r.t.Helper()
	select {
	case exit := <-r.e.Exits():
		return exit
	case <-time.After(30 * time.Second):
		r.t.Fatal("no exit was delivered")
		return engine.Exit{}
	}
}

func testExits(t *testing.T, r *rig) {
	asked, ended := r.create(), r.create()
	r.start(asked.ID)
	for round := range 2 {
		if round == 1 { // the same must hold for a sandbox that an earlier engine started
			r.start(ended.ID)
			r.close()
			r.open()
		}
		status := r.start(ended.ID)
		r.ok(r.host.End(status), "End")
		exit := r.exit()
		if exit.ID != ended.ID || exit.Status.State != engine.Stopped || exit.Status.Reason != engine.ReasonExited || exit.Status.StoppedAt.IsZero() {
			t.Errorf("round %d: exit %+v", round, exit)
		}
		if d := diff(exit.Status, r.inspect(ended.ID)); d != "" {
			t.Errorf("round %d: Exit and Inspect differ: %s", round, d)
		}
		_, err := r.e.Dial(deadline(t), ended.ID)
		r.want(err, errs.WrongState, "Dial after an exit")
	}
	r.ok(r.e.Stop(deadline(t), asked.ID, 0), "Stop")
	// A second end, to have something to wait for: nothing may have been delivered for the Stop before it.
	r.ok(r.host.End(r.start(ended.ID)), "End")
	if exit := r.exit(); exit.ID != ended.ID {
		t.Errorf("an exit was delivered for a sandbox that was stopped: %+v", exit)
	}
}

func testExitsWhileClosed(t *testing.T, r *rig) {
	ended, other := r.create(), r.create()
	status := r.start(ended.ID)
	r.start(other.ID)
	r.close()
	r.ok(r.host.End(status), "End")
	r.open()
	if s := r.state(ended.ID, engine.Stopped, engine.ReasonExited); s.StoppedAt.IsZero() {
		t.Errorf("no time of the end: %+v", s)
	}
	r.ok(r.host.End(r.inspect(other.ID)), "End")
	if exit := r.exit(); exit.ID != other.ID {
		t.Errorf("the first exit is %+v, want the one that happened while open", exit)
	}
	r.start(ended.ID)
	r.answers(ended.ID)
}

func testGrace(t *testing.T, r *rig) {
	spec := r.create()
	r.start(spec.ID)
	begin := time.Now()
	r.ok(r.e.Stop(deadline(t), spec.ID, 50*time.Second), "Stop")
	if took := time.Since(begin); took > 25*time.Second {
		t.Errorf("Stop waited out its grace (%s) although the daemon heeds SIGTERM", took)
	}
	r.state(spec.ID, engine.Stopped, engine.ReasonStopped)
}

func testSetLimits(t *testing.T, r *rig) {
	spec := r.create()
	before := r.inspect(spec.ID).Spec.Limits
	for _, running := range []bool{false, true} {
		if running {
			r.start(spec.ID)
		}
		want := before
		want.MilliCPU, want.MemoryBytes, want.Pids = before.MilliCPU*2, before.MemoryBytes*2, before.Pids+10
		r.ok(r.e.SetLimits(deadline(t), spec.ID, engine.Limits{MilliCPU: want.MilliCPU, MemoryBytes: want.MemoryBytes, Pids: want.Pids}), "SetLimits")
		if d := diff(want, r.inspect(spec.ID).Spec.Limits); d != "" {
			t.Errorf("running %v: %s", running, d)
		}
		r.want(r.e.SetLimits(deadline(t), spec.ID, engine.Limits{MemoryBytes: -5}), errs.Invalid, "SetLimits to less than nothing")
		r.ok(r.e.Create(deadline(t), spec), "Create with the spec of before")
		r.close()
		r.open()
		if d := diff(want, r.inspect(spec.ID).Spec.Limits); d != "" {
			t.Errorf("running %v, after a restart: %s", running, d)
		}
		r.ok(r.e.SetLimits(deadline(t), spec.ID, before), "SetLimits back")
	}
	if d := diff(before, r.inspect(spec.ID).Spec.Limits); d != "" {
		t.Error(d)
	}
	r.answers(spec.ID)
}

func testCopies(t *testing.T, r *rig) {
	spec := r.host.Spec()
	spec.Env, spec.Labels = map[string]string{"A": "1"}, map[string]string{"l": "1"}
	r.ok(r.e.Create(deadline(t), spec), "Create")
	spec.Env["A"], spec.Labels["l"] = "2", "2"
	r.inspect(spec.ID).Spec.Env["A"] = "3"
	if kept := r.inspect(spec.ID).Spec; kept.Env["A"] != "1" || kept.Labels["l"] != "1" {
		t.Errorf("the engine shares its maps: %v %v", kept.Env, kept.Labels)
	}
}

func testClosed(t *testing.T, r *rig) {
	spec := r.create()
	status := r.start(spec.ID)
	e := r.e
	r.close()
	r.want(e.Create(deadline(t), r.host.Spec()), errs.Unavailable, "Create after Close")
	_, err := e.Start(deadline(t), spec.ID, engine.Net{})
	r.want(err, errs.Unavailable, "Start after Close")
	r.want(e.Destroy(deadline(t), spec.ID), errs.Unavailable, "Destroy after Close")
	r.ok(e.Close(), "Close again")
	r.open()
	if now := r.inspect(spec.ID); now.State != engine.Running || now.Pid != status.Pid {
		t.Errorf("Close stopped the sandbox: %+v", now)
	}
}

func testCapabilities(t *testing.T, r *rig) {
	c := r.e.Capabilities()
	if c.Name == "" || !slices.Contains(c.Classes, r.host.Spec().Class) {
		t.Errorf("capabilities %+v", c)
	}
	spec := r.create()
	if status := r.inspect(spec.ID); status.DiskLimit != (c.DiskLimit != "") {
		t.Errorf("the sandbox says its disk limit is enforced: %v; the engine names the driver %q", status.DiskLimit, c.DiskLimit)
	}
	if c.DiskLimit == "" && len(c.Problems) == 0 {
		t.Error("disk limits are not enforced and no problem says so")
	}
}

// testNoLeaks runs many lives and compares what this process holds before and after.
func testNoLeaks(t *testing.T, r *rig) {
	cycle := func() {
		spec := r.create()
		r.start(spec.ID)
		r.answers(spec.ID)
		r.ok(r.e.Stop(context.Background(), spec.ID, 0), "Stop")
		r.start(spec.ID)
		r.ok(r.e.Destroy(context.Background(), spec.ID), "Destroy")
	}
	cycle()
	fds, goroutines := held()
	for range 15 {
		cycle()
	}
	r.eventually(func() error {
		nowFDs, nowGoroutines := held()
		if nowFDs > fds || nowGoroutines > goroutines+2 {
			return fmt.Errorf("%w: descriptors %d, then %d; goroutines %d, then %d", errStill, fds, nowFDs, goroutines, nowGoroutines)
		}
		return nil
	})
	for _, line := range r.host.Left() {
		t.Errorf("left: %s", line)
	}
}
