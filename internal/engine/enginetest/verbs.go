package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

func testLife(t *testing.T, r *rig) {
	spec := r.create()
	made := r.state(spec.ID, engine.Stopped, "")
	if !made.StartedAt.IsZero() || !made.StoppedAt.IsZero() || made.Pid != 0 {
		t.Errorf("never started: %+v", made)
	}
	if made.Spec.Limits.MilliCPU == 0 || made.Spec.Limits.Pids == 0 || made.Spec.Limits.OpenFiles == 0 || made.Spec.Limits.DiskBytes == 0 || made.Spec.Limits.MemoryBytes == 0 {
		t.Errorf("limits that were not asked for did not get the engine's defaults: %+v", made.Spec.Limits)
	}
	want := spec
	want.Limits = made.Spec.Limits
	if d := diff(want, made.Spec); d != "" {
		t.Errorf("spec (-given +kept): %s", d)
	}
	began := time.Now()
	started := r.start(spec.ID)
	if started.StartedAt.Before(began.Add(-time.Second)) || started.StartedAt.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %s, began at %s", started.StartedAt, began)
	}
	if d := diff(started, r.inspect(spec.ID)); d != "" {
		t.Errorf("Start and Inspect differ: %s", d)
	}
	r.answers(spec.ID)
	usage, err := r.e.Usage(context.Background(), spec.ID)
	r.ok(err, "Usage")
	if usage.Pids < 1 || usage.MemoryBytes <= 0 {
		t.Errorf("usage %+v", usage)
	}
	r.ok(r.e.Stop(deadline(t), spec.ID, 0), "Stop")
	if status := r.state(spec.ID, engine.Stopped, engine.ReasonStopped); status.StoppedAt.Before(status.StartedAt) || status.Pid != 0 {
		t.Errorf("after Stop: %+v", status)
	}
	if again := r.start(spec.ID); !again.StartedAt.After(started.StartedAt) {
		t.Errorf("started again at %s, first at %s", again.StartedAt, started.StartedAt)
	}
	r.answers(spec.ID)
	r.ok(r.e.Destroy(deadline(t), spec.ID), "Destroy")
	_, err = r.e.Inspect(context.Background(), spec.ID)
	r.want(err, errs.NotFound, "Inspect after Destroy")
}

func testIdempotent(t *testing.T, r *rig) {
	spec := r.create()
	r.ok(r.e.Create(deadline(t), spec), "Create again")
	first := r.start(spec.ID)
	if second := r.start(spec.ID); second.Pid != first.Pid {
		t.Errorf("the second Start made a second run: pid %d, then %d", first.Pid, second.Pid)
	}
	r.ok(r.e.Create(deadline(t), spec), "Create while it runs")
	for range 2 {
		r.ok(r.e.Stop(deadline(t), spec.ID, 0), "Stop")
	}
	for range 2 {
		r.ok(r.e.Destroy(deadline(t), spec.ID), "Destroy")
	}
	r.ok(r.e.Create(deadline(t), spec), "Create after Destroy")
	r.start(spec.ID)
}

func testConflict(t *testing.T, r *rig) {
	spec := r.create()
	for name, change := range map[string]func(*engine.Spec){
		"env":      func(s *engine.Spec) { s.Env = map[string]string{"A": "2"} },
		"hostname": func(s *engine.Spec) { s.Hostname = "other" },
		"limits":   func(s *engine.Spec) { s.Limits.Pids = 77 },
		"strict":   func(s *engine.Spec) { s.Strict = !s.Strict },
	} {
		other := spec
		change(&other)
		r.want(r.e.Create(deadline(t), other), errs.Conflict, "Create with another "+name)
	}
	r.start(spec.ID)
}

func testUnknown(t *testing.T, r *rig) {
	for _, unknown := range []string{id.New(), "", "../../etc", strings.Repeat("x", 100000)} {
		_, err := r.e.Start(deadline(t), unknown, engine.Net{})
		r.want(err, errs.NotFound, "Start")
		r.want(r.e.Stop(deadline(t), unknown, 0), errs.NotFound, "Stop")
		r.want(r.e.SetLimits(deadline(t), unknown, engine.Limits{}), errs.NotFound, "SetLimits")
		_, err = r.e.Inspect(deadline(t), unknown)
		r.want(err, errs.NotFound, "Inspect")
		_, err = r.e.Usage(deadline(t), unknown)
		r.want(err, errs.NotFound, "Usage")
		_, err = r.e.Dial(deadline(t), unknown)
		r.want(err, errs.NotFound, "Dial")
		r.ok(r.e.Destroy(deadline(t), unknown), "Destroy")
	}
}

func testInvalid(t *testing.T, r *rig) {
	for _, c := range []struct {
		name   string
		change func(*engine.Spec)
		class  errs.Class
		field  string
	}{
		{"no id", func(s *engine.Spec) { s.ID = "" }, errs.Invalid, "id"},
		{"id with a path", func(s *engine.Spec) { s.ID = "../" + s.ID }, errs.Invalid, "id"},
		{"id in upper case", func(s *engine.Spec) { s.ID = "A" + s.ID[1:] }, errs.Invalid, "id"},
		{"class", func(s *engine.Spec) { s.Class = "unheard-of" }, errs.Invalid, "class"},
		{"env name with =", func(s *engine.Spec) { s.Env = map[string]string{"A=B": "x"} }, errs.Invalid, "env"},
		{"env name empty", func(s *engine.Spec) { s.Env = map[string]string{"": "x"} }, errs.Invalid, "env"},
		{"env value with NUL", func(s *engine.Spec) { s.Env = map[string]string{"A": "x\x00y"} }, errs.Invalid, "env"},
		{"env too big", func(s *engine.Spec) { s.Env = map[string]string{"A": strings.Repeat("x", 4<<20)} }, errs.Invalid, "env"},
		{"hostname with a line", func(s *engine.Spec) { s.Hostname = "a\nb" }, errs.Invalid, "hostname"},
		{"negative cpu", func(s *engine.Spec) { s.Limits.MilliCPU = -1 }, errs.Invalid, "milli_cpu"},
		{"negative memory", func(s *engine.Spec) { s.Limits.MemoryBytes = -1 }, errs.Invalid, "memory_bytes"},
		{"one pid", func(s *engine.Spec) { s.Limits.Pids = 1 }, errs.Invalid, "pids"},
		{"endless disk", func(s *engine.Spec) { s.Limits.DiskBytes = 1<<63 - 1 }, errs.Invalid, "disk_bytes"},
		{"relative image", func(s *engine.Spec) { s.Image.Rootfs = "etc" }, errs.Invalid, "rootfs"},
		{"missing image", func(s *engine.Spec) { s.Image.Rootfs = "/nonexistent/image" }, errs.NotFound, "/nonexistent/image"},
	} {
		spec := r.host.Spec()
		c.change(&spec)
		err := r.e.Create(deadline(t), spec)
		r.want(err, c.class, c.name)
		if err != nil && (!strings.Contains(err.Error(), c.field) || len(err.Error()) > 600) {
			t.Errorf("%s: the message must name %q and be short: %.200s", c.name, c.field, err)
		}
	}
	if n := len(r.list()); n != 0 {
		t.Errorf("%d sandboxes after refused creates", n)
	}
	for _, line := range r.host.Left() {
		t.Errorf("left by a refused create: %s", line)
	}
}

func testNotRunning(t *testing.T, r *rig) {
	spec := r.create()
	for _, when := range []string{"created", "stopped"} {
		_, err := r.e.Usage(deadline(t), spec.ID)
		r.want(err, errs.WrongState, "Usage when "+when)
		_, err = r.e.Dial(deadline(t), spec.ID)
		r.want(err, errs.WrongState, "Dial when "+when)
		r.ok(r.e.Stop(deadline(t), spec.ID, 0), "Stop when "+when)
		if when == "created" {
			r.state(spec.ID, engine.Stopped, "")
			r.start(spec.ID)
			r.ok(r.e.Stop(deadline(t), spec.ID, time.Second), "Stop")
		}
	}
}

func testDestroyInEveryState(t *testing.T, r *rig) {
	created, running, stopped, ended := r.create(), r.create(), r.create(), r.create()
	r.start(running.ID)
	r.start(stopped.ID)
	r.ok(r.e.Stop(deadline(t), stopped.ID, 0), "Stop")
	r.ok(r.host.End(r.start(ended.ID)), "End")
	// Not waiting for the engine to notice the end: Destroy must be right at any moment of it.
	for _, spec := range []engine.Spec{created, running, stopped, ended} {
		r.ok(r.e.Destroy(deadline(t), spec.ID), "Destroy")
		_, err := r.e.Inspect(deadline(t), spec.ID)
		r.want(err, errs.NotFound, "Inspect")
	}
	for _, line := range r.host.Left() {
		t.Errorf("left: %s", line)
	}
}

func testEndedContext(t *testing.T, r *rig) {
	spec, fresh := r.create(), r.host.Spec()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	r.want(r.e.Create(ended, fresh), errs.Timeout, "Create")
	_, err := r.e.Start(ended, spec.ID, engine.Net{})
	r.want(err, errs.Timeout, "Start")
	r.want(r.e.Stop(ended, spec.ID, 0), errs.Timeout, "Stop")
	r.want(r.e.SetLimits(ended, spec.ID, engine.Limits{Pids: 99}), errs.Timeout, "SetLimits")
	r.want(r.e.Destroy(ended, spec.ID), errs.Timeout, "Destroy")
	if list := r.list(); len(list) != 1 || list[0].State != engine.Stopped {
		t.Errorf("after verbs with an ended context: %+v", list)
	}
}

// testContextEndsMidway cuts creates and starts off at many moments. Whatever a verb reported must be true.
func testContextEndsMidway(t *testing.T, r *rig) {
	spec := r.create()
	cut := 0
	for after := time.Duration(0); after < 80*time.Millisecond; after += 4 * time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		fresh := r.host.Spec()
		err := r.e.Create(ctx, fresh)
		if err != nil {
			r.want(err, errs.Timeout, "Create that was cut off")
		}
		r.eventually(func() error {
			_, ierr := r.e.Inspect(context.Background(), fresh.ID)
			if (err == nil) != (ierr == nil) {
				return fmt.Errorf("Create said %v, Inspect says %v", err, ierr)
			}
			return nil
		})
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), after)
		begin := time.Now()
		_, err = r.e.Start(ctx, spec.ID, engine.Net{})
		if took := time.Since(begin); took > after+10*time.Second {
			t.Errorf("Start returned %s after its context ended", took-after)
		}
		if err != nil {
			cut++
			r.want(err, errs.Timeout, "Start that was cut off")
		}
		r.eventually(func() error {
			if state := r.inspect(spec.ID).State; (err == nil) != (state == engine.Running) {
				return fmt.Errorf("Start said %v, the sandbox is %s", err, state)
			}
			return nil
		})
		cancel()
		r.ok(r.e.Stop(deadline(t), spec.ID, 0), "Stop")
	}
	if cut == 0 {
		t.Error("no start was cut off: this test proves nothing")
	}
	r.start(spec.ID)
	r.answers(spec.ID)
}

func testParallel(t *testing.T, r *rig) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			spec := r.host.Spec()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			err := r.e.Create(ctx, spec)
			if err == nil {
				_, err = r.e.Start(ctx, spec.ID, engine.Net{})
			}
			if err == nil {
				err = r.e.Stop(ctx, spec.ID, 0)
			}
			if err = errors.Join(err, r.e.Destroy(ctx, spec.ID)); err != nil {
				t.Errorf("one of twenty: %v", err)
			}
		})
	}
	wg.Wait()
	if n := len(r.list()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func testParallelOnOne(t *testing.T, r *rig) {
	spec := r.host.Spec()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { r.ok(r.e.Create(deadline(t), spec), "Create") })
	}
	wg.Wait()
	if n := len(r.list()); n != 1 {
		t.Fatalf("%d sandboxes after twenty equal creates", n)
	}
	pids := make(chan int, 20)
	for range 20 {
		wg.Go(func() {
			status, err := r.e.Start(deadline(t), spec.ID, engine.Net{})
			r.ok(err, "Start")
			pids <- status.Pid
		})
	}
	wg.Wait()
	first := <-pids
	for range 19 {
		if pid := <-pids; pid != first {
			t.Errorf("twenty starts made two runs: %d and %d", first, pid)
		}
	}
	// A storm of verbs that contradict each other: each either works or says why not, and the engine stays whole.
	for i := range 40 {
		wg.Go(func() {
			var err error
			switch i % 5 {
			case 0:
				_, err = r.e.Start(deadline(t), spec.ID, engine.Net{})
			case 1:
				err = r.e.Stop(deadline(t), spec.ID, 0)
			case 2:
				err = r.e.Destroy(deadline(t), spec.ID)
			case 3:
				err = r.e.Create(deadline(t), spec)
			case 4:
				_, err = r.e.Usage(deadline(t), spec.ID)
			}
			if err != nil && !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.WrongState) {
				t.Errorf("verb %d of the storm: %v", i%5, err)
			}
		})
	}
	wg.Wait()
	r.ok(r.e.Create(deadline(t), spec), "Create after the storm")
	r.start(spec.ID)
	r.answers(spec.ID)
}
