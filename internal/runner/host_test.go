//go:build linux

package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	wire "github.com/dugout-dev/dugout/api/runner"
	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/fake"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/runner"
)

// slots is a network that hands out numbers and remembers who has which.
type slots struct {
	mu     sync.Mutex
	held   map[int]runner.Policy
	next   int
	refuse error
}

func (s *slots) Claim(_ context.Context, p runner.Policy) (engine.Net, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return engine.Net{}, s.refuse
	}
	s.next++
	s.held[s.next] = p
	return engine.Net{Slot: s.next, Netns: "/run/netns/x"}, nil
}

func (s *slots) Adopt(_ context.Context, n engine.Net, p runner.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.held[n.Slot], s.next = p, max(s.next, n.Slot)
	return nil
}

func (s *slots) Sweep(context.Context) (int, error) { return 0, nil }

func (s *slots) Release(_ context.Context, slot int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.held[slot]; !ok {
		return errors.New("released a slot that nobody holds")
	}
	delete(s.held, slot)
	return nil
}

func (s *slots) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

type oneImage struct{ dir string }

func (i oneImage) Image(ref string) (engine.Image, error) {
	if ref != "base" {
		return engine.Image{}, errs.New(errs.NotFound, "no image %q", ref)
	}
	return engine.Image{Ref: ref, Rootfs: i.dir, User: "root"}, nil
}
func (oneImage) List() []wire.Image { return []wire.Image{{Ref: "base"}} }

// rig is a runner over the fake engine. Its fields may be changed before open.
type rig struct {
	t      *testing.T
	dir    string
	cfg    runner.Config
	before func(ctx context.Context, verb, id string) error
	daemon func(engine.Spec) http.Handler
	net    *slots

	engine *fake.Engine
	host   *runner.Host
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, dir: t.TempDir(), cfg: runner.Config{Version: "test", Key: "key"}, net: &slots{held: map[int]runner.Policy{}}}
}

// open makes the engine and the runner; a second call is a restart of the process.
func (r *rig) open() *rig {
	r.t.Helper()
	if r.engine != nil {
		_ = r.engine.Close()
	}
	var err error
	r.engine, err = fake.Open(fake.Config{Dir: filepath.Join(r.dir, "engine"), Before: r.before, Daemon: r.daemon})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.engine.Close() })
	r.cfg.Dir = r.dir
	r.host, err = runner.New(r.t.Context(), r.cfg, runner.Deps{Engine: r.engine, Network: r.net, Images: oneImage{r.dir}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) list() []wire.Sandbox {
	r.t.Helper()
	l, err := r.host.List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func spec() wire.Spec {
	return wire.Spec{Class: engine.ClassContainer, Image: "base", CPU: 1, MemoryGiB: 1, DiskGiB: 1}
}

func TestLifeIsIdempotent(t *testing.T) {
	r := newRig(t).open()
	ctx, sid := t.Context(), id.New()
	for range 2 {
		if s, err := r.host.Put(ctx, sid, spec()); err != nil || s.State != wire.Running || s.ID != sid {
			t.Fatalf("put: %+v, %v", s, err)
		}
	}
	if n := r.net.count(); n != 1 || len(r.list()) != 1 {
		t.Fatalf("a repeated put: %d networks, %d sandboxes", n, len(r.list()))
	}
	other := spec()
	other.CPU = 2
	if _, err := r.host.Put(ctx, sid, other); !errs.Is(err, errs.Conflict) {
		t.Errorf("put with another request: %v", err)
	}
	if s, err := r.host.Get(ctx, sid); err != nil || s.State != wire.Running {
		t.Errorf("a refused put did something to the sandbox: %+v, %v", s, err)
	}
	for _, force := range []bool{false, true} {
		if s, err := r.host.Stop(ctx, sid, force); err != nil || s.State != wire.Stopped {
			t.Fatalf("stop: %+v, %v", s, err)
		}
	}
	if r.net.count() != 0 {
		t.Error("a stopped sandbox keeps its network")
	}
	for range 2 {
		if s, err := r.host.Start(ctx, sid); err != nil || s.State != wire.Running {
			t.Fatalf("start: %+v, %v", s, err)
		}
	}
	if r.net.count() != 1 {
		t.Errorf("%d networks for one sandbox", r.net.count())
	}
	for range 2 {
		if err := r.host.Delete(ctx, sid); err != nil {
			t.Fatal(err)
		}
	}
	if r.net.count() != 0 || len(r.list()) != 0 {
		t.Errorf("left behind: %d networks, %d sandboxes", r.net.count(), len(r.list()))
	}
}

func TestUnknown(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if _, err := r.host.Get(t.Context(), sid); !errs.Is(err, errs.NotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := r.host.Start(t.Context(), sid); !errs.Is(err, errs.NotFound) {
		t.Errorf("start: %v", err)
	}
	if _, err := r.host.Stop(t.Context(), sid, true); !errs.Is(err, errs.NotFound) {
		t.Errorf("stop: %v", err)
	}
}

func TestPutRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		id   string
		spec func(*wire.Spec)
		want errs.Class
	}{
		"path for an id":   {id: "../../etc", want: errs.Invalid},
		"no cpu":           {spec: func(s *wire.Spec) { s.CPU = 0 }, want: errs.Invalid},
		"negative memory":  {spec: func(s *wire.Spec) { s.MemoryGiB = -1 }, want: errs.Invalid},
		"memory overflows": {spec: func(s *wire.Spec) { s.MemoryGiB = 1 << 40 }, want: errs.Invalid},
		"cpu overflows":    {spec: func(s *wire.Spec) { s.CPU = 1 << 62 }, want: errs.Invalid},
		"disk overflows":   {spec: func(s *wire.Spec) { s.DiskGiB = 1<<34 + 1 }, want: errs.Invalid},
		"unknown image":    {spec: func(s *wire.Spec) { s.Image = "nope" }, want: errs.NotFound},
		"IPv6 prefix":      {spec: func(s *wire.Spec) { s.NetworkAllow = []string{"::/0"} }, want: errs.Invalid},
		"no prefix":        {spec: func(s *wire.Spec) { s.NetworkAllow = []string{"1.2.3.4"} }, want: errs.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := newRig(t).open(), spec()
			if tc.id == "" {
				tc.id = id.New()
			}
			if tc.spec != nil {
				tc.spec(&s)
			}
			if _, err := r.host.Put(t.Context(), tc.id, s); !errs.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if len(r.list()) != 0 || r.net.count() != 0 {
				t.Error("a refused request left something behind")
			}
		})
	}
}

func TestFailedPutIsUndone(t *testing.T) {
	for name, fail := range map[string]func(r *rig){
		"start fails": func(r *rig) {
			r.before = func(_ context.Context, verb, _ string) error {
				if verb == "start" {
					return errs.New(errs.Internal, "no luck")
				}
				return nil
			}
		},
		"no network": func(r *rig) { r.net.refuse = errs.New(errs.Exhausted, "no slot") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			fail(r)
			r.open()
			if _, err := r.host.Put(t.Context(), id.New(), spec()); err == nil {
				t.Fatal("no error")
			}
			if len(r.list()) != 0 || r.net.count() != 0 {
				t.Errorf("left behind: %d sandboxes, %d networks", len(r.list()), r.net.count())
			}
		})
	}
}

// A caller that goes away in the middle of a create leaves nothing behind either.
func TestPutUndoneWhenTheCallerLeaves(t *testing.T) {
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	r.before = func(ctx context.Context, verb, _ string) error {
		if verb == "start" {
			leave()
			<-ctx.Done()
		}
		return nil
	}
	r.open()
	if _, err := r.host.Put(ctx, id.New(), spec()); err == nil {
		t.Fatal("no error")
	}
	if len(r.list()) != 0 || r.net.count() != 0 {
		t.Errorf("left behind: %d sandboxes, %d networks", len(r.list()), r.net.count())
	}
}

// A create that is repeated late, and fails, does not take the disk of a sandbox that was used meanwhile.
func TestFailedRepeatedPutKeepsTheSandbox(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if _, err := r.host.Put(t.Context(), sid, spec()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.host.Stop(t.Context(), sid, false); err != nil {
		t.Fatal(err)
	}
	r.net.refuse = errs.New(errs.Exhausted, "no slot")
	if _, err := r.host.Put(t.Context(), sid, spec()); !errs.Is(err, errs.Exhausted) {
		t.Fatalf("put: %v", err)
	}
	if l := r.list(); len(l) != 1 || l[0].State != wire.Stopped {
		t.Errorf("after a failed repetition: %+v", l)
	}
}

func TestFailedStartKeepsTheSandbox(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if _, err := r.host.Put(t.Context(), sid, spec()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.host.Stop(t.Context(), sid, false); err != nil {
		t.Fatal(err)
	}
	r.net.refuse = errs.New(errs.Exhausted, "no slot")
	if _, err := r.host.Start(t.Context(), sid); !errs.Is(err, errs.Exhausted) {
		t.Fatalf("start: %v", err)
	}
	if l := r.list(); len(l) != 1 || l[0].State != wire.Stopped {
		t.Errorf("after a failed start: %+v", l)
	}
}

func TestDestroyedStaysDestroyed(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if err := r.host.Delete(t.Context(), sid); err != nil {
		t.Fatalf("delete of an unknown id: %v", err)
	}
	if _, err := r.host.Put(t.Context(), sid, spec()); !errs.Is(err, errs.Conflict) {
		t.Errorf("a late put after the delete: %v", err)
	}
	if err := r.host.Delete(t.Context(), "../../etc"); !errs.Is(err, errs.Invalid) {
		t.Errorf("delete of what is no id: %v", err)
	}
}

// A delete that comes while the create is at work wins.
func TestDeleteDuringPut(t *testing.T) {
	r := newRig(t)
	starting, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.before = func(_ context.Context, verb, _ string) error {
		if verb == "start" {
			once.Do(func() { close(starting); <-goOn })
		}
		return nil
	}
	r.open()
	sid := id.New()
	put, deleted := make(chan error, 1), make(chan error, 1)
	go func() { _, err := r.host.Put(context.Background(), sid, spec()); put <- err }()
	<-starting
	go func() { deleted <- r.host.Delete(context.Background(), sid) }()
	close(goOn)
	<-put
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	if len(r.list()) != 0 || r.net.count() != 0 {
		t.Errorf("left behind: %d sandboxes, %d networks", len(r.list()), r.net.count())
	}
}

func TestReattach(t *testing.T) {
	r := newRig(t).open()
	up, down := id.New(), id.New()
	allowed := spec()
	allowed.NetworkAllow = []string{"192.0.2.7/24"}
	for _, sid := range []string{up, down} {
		if _, err := r.host.Put(t.Context(), sid, allowed); err != nil {
			t.Fatal(err)
		}
	}
	if err := fake.EndRecord(filepath.Join(r.dir, "engine"), down, engine.ReasonOOM, 137); err != nil {
		t.Fatal(err)
	}
	r.net = &slots{held: map[int]runner.Policy{}}
	r.open()
	if r.net.count() != 1 {
		t.Fatalf("%d networks adopted, want that of the running one", r.net.count())
	}
	for _, p := range r.net.held {
		if len(p.Allow) != 1 || p.Allow[0] != netip.MustParsePrefix("192.0.2.0/24") {
			t.Errorf("adopted with the policy %+v", p)
		}
	}
	if s, err := r.host.Get(t.Context(), down); err != nil || s.State != wire.Stopped || s.Reason != engine.ReasonOOM {
		t.Errorf("the one that ended: %+v, %v", s, err)
	}
	if err := r.host.Delete(t.Context(), up); err != nil || r.net.count() != 0 {
		t.Errorf("delete after a restart: %v, %d networks", err, r.net.count())
	}
}

// A sandbox whose rules cannot be put in force must not run.
func TestReattachWithoutRulesStops(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if _, err := r.host.Put(t.Context(), sid, spec()); err != nil {
		t.Fatal(err)
	}
	r.net = &slots{held: map[int]runner.Policy{}, refuse: errors.New("no table")}
	r.open()
	if s, err := r.host.Get(t.Context(), sid); err != nil || s.State != wire.Stopped {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAdmission(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg     runner.Config
		allowed int
	}{
		"count":  {cfg: runner.Config{MaxSandboxes: 2}, allowed: 2},
		"memory": {cfg: runner.Config{FreeMemory: 1 << 60}},
		"disk":   {cfg: runner.Config{FreeDisk: 1 << 60}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cfg = tc.cfg
			r.cfg.Key = "key"
			r.open()
			var wg sync.WaitGroup
			var mu sync.Mutex
			made := 0
			for range 6 {
				wg.Go(func() {
					_, err := r.host.Put(t.Context(), id.New(), spec())
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						made++
					} else if !errs.Is(err, errs.Exhausted) {
						t.Errorf("refused with %v", err)
					}
				})
			}
			wg.Wait()
			if made != tc.allowed || len(r.list()) != tc.allowed || r.net.count() != tc.allowed {
				t.Errorf("made %d, listed %d, networks %d; want %d", made, len(r.list()), r.net.count(), tc.allowed)
			}
			if tc.allowed == 0 {
				return
			}
			if err := r.host.Delete(t.Context(), r.list()[0].ID); err != nil {
				t.Fatal(err)
			}
			if _, err := r.host.Put(t.Context(), id.New(), spec()); err != nil {
				t.Errorf("after one was deleted there is room: %v", err)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t).open()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- r.host.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	server := httptest.NewServer(r.host.Handler())
	defer server.Close()
	sid := id.New()
	if _, err := r.host.Put(ctx, sid, spec()); err != nil {
		t.Fatal(err)
	}
	first := events(t, server.URL, "0")
	if !first.Reset || first.Next == 0 {
		t.Fatalf("a reader from before this process must list again: %+v", first)
	}
	got := make(chan wire.Events)
	go func() { got <- events(t, server.URL, fmt.Sprint(first.Next)) }()
	if err := r.engine.End(sid, engine.ReasonOOM, 137); err != nil {
		t.Fatal(err)
	}
	select {
	case ev := <-got:
		if len(ev.Events) != 1 || ev.Events[0].Seq != first.Next || ev.Next != first.Next+1 || ev.Events[0].Sandbox.ID != sid ||
			ev.Events[0].Sandbox.State != wire.Stopped || ev.Events[0].Sandbox.Reason != engine.ReasonOOM {
			t.Errorf("%+v", ev)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	if r.net.count() != 0 {
		t.Error("the network of a sandbox that ended is still held")
	}
	if ev := events(t, server.URL, fmt.Sprint(first.Next+100)); !ev.Reset {
		t.Errorf("a number from the future: %+v", ev)
	}
}

func events(t *testing.T, url, since string) (out wire.Events) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+wire.Prefix+"/events?since="+since, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer key")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("events: %d, %v", res.StatusCode, err)
	}
	return out
}

func TestHandlerAsksForTheKey(t *testing.T) {
	r := newRig(t).open()
	sid := id.New()
	if _, err := r.host.Put(t.Context(), sid, spec()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/info", "/sandboxes", "/sandboxes/" + sid + "/toolbox/version", "/nope"} {
		for _, authorization := range []string{"", "Bearer ", "Bearer kez", "Bearer keyy", "Basic key", "key"} {
			if status, _ := call(r, "GET", wire.Prefix+path, authorization); status != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", path, authorization, status)
			}
		}
	}
	if status, body := call(r, "GET", wire.Prefix+"/info", "Bearer key"); status != http.StatusOK || !json.Valid([]byte(body)) {
		t.Errorf("info: %d %s", status, body)
	}
}

func TestDataPath(t *testing.T) {
	r := newRig(t)
	seen := make(chan *http.Request, 16)
	r.daemon = func(engine.Spec) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			seen <- req.Clone(context.Background())
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte("mine"))
		})
	}
	r.open()
	sid := id.New()
	if _, err := r.host.Put(t.Context(), sid, spec()); err != nil {
		t.Fatal(err)
	}
	base := wire.Prefix + "/sandboxes/" + sid + "/toolbox"
	status, body := call(r, "GET", base+"/files/a%2Fb?x=%2F&y", "Bearer key")
	if status != http.StatusTeapot || body != "mine" {
		t.Fatalf("%d %q", status, body)
	}
	if req := <-seen; req.RequestURI != "/files/a%2Fb?x=%2F&y" || req.Header.Get("Authorization") != "" {
		t.Errorf("the daemon got %q with the authorization %q", req.RequestURI, req.Header.Get("Authorization"))
	}
	if status, _ := call(r, "GET", wire.Prefix+"/sandboxes/"+id.New()+"/toolbox/version", "Bearer key"); status != http.StatusNotFound {
		t.Errorf("unknown sandbox: %d", status)
	}
	if _, err := r.host.Stop(t.Context(), sid, true); err != nil {
		t.Fatal(err)
	}
	if status, body := call(r, "GET", base+"/version", "Bearer key"); status != http.StatusBadRequest { // as on the wire of the toolbox
		t.Errorf("stopped sandbox: %d %s", status, body)
	}
}

func call(r *rig, method, target, authorization string) (int, string) {
	r.t.Helper()
	server := httptest.NewServer(r.host.Handler())
	defer server.Close()
	req, err := http.NewRequestWithContext(r.t.Context(), method, server.URL+target, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
