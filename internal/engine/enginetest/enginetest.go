// Package enginetest is the conformance suite of engine.Engine: what its documentation promises, as tests. An engine
// passes all of it or is not one.
package enginetest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Host is an installation that engines come and go over.
type Host struct {
	// Open returns a new engine over the state of this host. At most one is open at a time.
	Open func() (engine.Engine, error)
	// Spec returns a valid spec with a new id, different from every other one in nothing else.
	Spec func() engine.Spec
	// End makes the first process of a running sandbox end by itself. It works with and without an open engine.
	End func(status engine.Status) error
	// Left lists what sandboxes have on this host: processes, mounts, files. Empty when there are none.
	Left func() []string
}

// Factory returns a host of its own for one test, and arranges for its removal.
type Factory func(t *testing.T) *Host

// Run runs the suite.
func Run(t *testing.T, factory Factory) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, r *rig)
	}{
		{"Life", testLife},
		{"Idempotent", testIdempotent},
		{"Conflict", testConflict},
		{"Unknown", testUnknown},
		{"Invalid", testInvalid},
		{"NotRunning", testNotRunning},
		{"DestroyInEveryState", testDestroyInEveryState},
		{"EndedContext", testEndedContext},
		{"ContextEndsMidway", testContextEndsMidway},
		{"Parallel", testParallel},
		{"ParallelOnOne", testParallelOnOne},
		{"Restart", testRestart},
		{"Exits", testExits},
		{"ExitsWhileClosed", testExitsWhileClosed},
		{"Grace", testGrace},
		{"SetLimits", testSetLimits},
		{"Copies", testCopies},
		{"Closed", testClosed},
		{"Capabilities", testCapabilities},
		{"NoLeaks", testNoLeaks},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{t: t, host: factory(t)}
			r.open()
			t.Cleanup(r.finish)
			c.test(t, r)
		})
	}
}

// rig is one test's host with the engine that is open now.
type rig struct {
	t    *testing.T
	host *Host
	e    engine.Engine
}

func (r *rig) open() {
	r.t.Helper()
	e, err := r.host.Open()
	if err != nil {
		r.t.Fatalf("Open: %v", err)
	}
	r.e = e
}

func (r *rig) close() {
	r.t.Helper()
	if r.e == nil {
		return
	}
	if err := r.e.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
	r.e = nil
}

// finish destroys everything and checks that nothing is left.
func (r *rig) finish() {
	if r.e == nil {
		r.open()
	}
	for _, status := range r.list() {
		if err := r.e.Destroy(context.Background(), status.Spec.ID); err != nil {
			r.t.Errorf("Destroy at the end: %v", err)
		}
	}
	if n := len(r.list()); n != 0 {
		r.t.Errorf("%d sandboxes are listed after all were destroyed", n)
	}
	r.close()
	for _, line := range r.host.Left() {
		r.t.Errorf("left at the end: %s", line)
	}
}

func (r *rig) list() []engine.Status {
	r.t.Helper()
	list, err := r.e.List(context.Background())
	if err != nil {
		r.t.Fatalf("List: %v", err)
	}
	return list
}

func (r *rig) create() engine.Spec {
	r.t.Helper()
	spec := r.host.Spec()
	if err := r.e.Create(deadline(r.t), spec); err != nil {
		r.t.Fatalf("Create: %v", err)
	}
	return spec
}

func (r *rig) start(id string) engine.Status {
	r.t.Helper()
	status, err := r.e.Start(deadline(r.t), id, engine.Net{})
	if err != nil {
		r.t.Fatalf("Start: %v", err)
	}
	if status.State != engine.Running || status.Pid <= 0 || status.Reason != "" || !status.StoppedAt.IsZero() || status.StartedAt.IsZero() {
		r.t.Fatalf("Start returned %+v", status)
	}
	return status
}

func (r *rig) inspect(id string) engine.Status {
	r.t.Helper()
	status, err := r.e.Inspect(context.Background(), id)
	if err != nil {
		r.t.Fatalf("Inspect: %v", err)
	}
	return status
}

func (r *rig) state(id string, want engine.State, reason string) engine.Status {
	r.t.Helper()
	status := r.inspect(id)
	if status.State != want || status.Reason != reason {
		r.t.Errorf("state %q reason %q, want %q %q", status.State, status.Reason, want, reason)
	}
	return status
}

// answers checks that the daemon of a sandbox answers.
func (r *rig) answers(id string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return r.e.Dial(ctx, id) },
	}}
	req, _ := http.NewRequestWithContext(deadline(r.t), http.MethodGet, "http://daemon/version", nil)
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatalf("the daemon does not answer: %v", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("the daemon answers %s", resp.Status)
	}
}

func (r *rig) want(err error, class errs.Class, doing string) {
	r.t.Helper()
	if !errs.Is(err, class) {
		r.t.Errorf("%s: error %v, want one of class %s", doing, err, class)
	}
}

func (r *rig) ok(err error, doing string) {
	r.t.Helper()
	if err != nil {
		r.t.Errorf("%s: %v", doing, err)
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until check returns nil and fails the test with its last error.
func (r *rig) eventually(check func() error) {
	r.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// diff compares, and says where two values differ.
func diff(a, b any) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
}

// held counts descriptors and goroutines of this process.
func held() (fds, goroutines int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries), runtime.NumGoroutine()
}

var errStill = errors.New("still there")
