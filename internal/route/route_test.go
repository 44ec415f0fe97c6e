package route_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/route"
)

// source is a control plane in memory that counts what it is asked.
type source struct {
	mu        sync.Mutex
	sandboxes map[string]route.Sandbox
	keys      map[string]string // credential -> organization
	signing   map[string]string // sandbox -> signing key
	away      error
	asked     map[string]int
}

func newSource() (*source, route.Sandbox) {
	s := route.Sandbox{ID: id.New(), OrganizationID: "mine", Running: true, State: "started", Token: "token-1", RunnerAddress: "unix:///r"}
	return &source{sandboxes: map[string]route.Sandbox{s.ID: s}, keys: map[string]string{"mine-key": "mine", "other-key": "other"}, asked: map[string]int{}}, s
}

func (s *source) Sandbox(_ context.Context, id string) (route.Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked["sandbox"]++
	if s.away != nil {
		return route.Sandbox{}, s.away
	}
	b, ok := s.sandboxes[id]
	if !ok {
		return b, errs.New(errs.NotFound, "sandbox %s not found", id)
	}
	return b, nil
}

func (s *source) Organization(_ context.Context, credential string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked["organization"]++
	if s.away != nil {
		return "", s.away
	}
	o, ok := s.keys[credential]
	if !ok {
		return "", errs.New(errs.Unauthenticated, "unknown key")
	}
	return o, nil
}

func (s *source) SigningKey(_ context.Context, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked["signing"]++
	return s.signing[id], s.away
}

func (s *source) Touch(context.Context, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked["touch"]++
}

func (s *source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *source) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

func TestAccess(t *testing.T) {
	src, box := newSource()
	stopped := route.Sandbox{ID: id.New(), OrganizationID: "mine", State: "stopped", Token: "token-2"}
	tokenless := route.Sandbox{ID: id.New(), OrganizationID: "mine", Running: true}
	src.sandboxes[stopped.ID], src.sandboxes[tokenless.ID] = stopped, tokenless
	for _, tc := range []struct {
		name, id, bearer, token string
		want                    errs.Class
		ok                      bool
	}{
		{name: "own key", id: box.ID, bearer: "mine-key", ok: true},
		{name: "own token", id: box.ID, token: "token-1", ok: true},
		{name: "own token and a bearer that is no key", id: box.ID, bearer: "nonsense", token: "token-1", ok: true},
		{name: "wrong token, own key", id: box.ID, bearer: "mine-key", token: "wrong", ok: true},
		{name: "nothing", id: box.ID, want: errs.Unauthenticated},
		{name: "unknown key", id: box.ID, bearer: "nonsense", want: errs.Unauthenticated},
		{name: "wrong token", id: box.ID, token: "wrong", want: errs.Unauthenticated},
		{name: "token of another sandbox", id: box.ID, token: "token-2", want: errs.Unauthenticated},
		{name: "a token that is empty opens nothing", id: tokenless.ID, token: "", want: errs.Unauthenticated},
		{name: "any token where there is none", id: tokenless.ID, token: "x", want: errs.Unauthenticated},
		{name: "foreign key learns nothing", id: box.ID, bearer: "other-key", want: errs.NotFound},
		{name: "foreign key, stopped sandbox", id: stopped.ID, bearer: "other-key", want: errs.NotFound},
		{name: "unknown sandbox", id: id.New(), bearer: "mine-key", want: errs.NotFound},
		{name: "unknown sandbox without a key", id: id.New(), want: errs.Unauthenticated},
		{name: "unknown sandbox with a token", id: id.New(), token: "x", want: errs.Unauthenticated},
		{name: "no id at all", id: "../x", bearer: "mine-key", want: errs.NotFound},
		{name: "no id and no key", id: "../x", want: errs.Unauthenticated},
		{name: "stopped", id: stopped.ID, bearer: "mine-key", want: errs.WrongState},
		{name: "stopped, by token", id: stopped.ID, token: "token-2", want: errs.WrongState},
		{name: "huge key", id: box.ID, bearer: strings.Repeat("k", 5000), want: errs.Unauthenticated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // from the source and from the cache
				got, err := route.New(src).Access(t.Context(), tc.id, tc.bearer, tc.token)
				switch {
				case tc.ok && (err != nil || got != box):
					t.Fatalf("got %+v, %v", got, err)
				case !tc.ok && (err == nil || errs.ClassOf(err) != tc.want):
					t.Fatalf("got %v (%v), want %v", err, errs.ClassOf(err), tc.want)
				}
			}
		})
	}
}

func TestForeignAndUnknownAnswerAlike(t *testing.T) {
	src, box := newSource()
	table := route.New(src)
	_, foreign := table.Access(t.Context(), box.ID, "other-key", "")
	delete(src.sandboxes, box.ID)
	table.ForgetSandboxes()
	_, unknown := table.Access(t.Context(), box.ID, "other-key", "")
	if a, _ := errs.As(foreign); a == nil || unknown == nil || a.Message != "sandbox "+box.ID+" not found" {
		t.Errorf("foreign: %v, unknown: %v", foreign, unknown)
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, box := newSource()
		table := route.New(src)
		access := func() error {
			_, err := table.Access(t.Context(), box.ID, "mine-key", "")
			return err
		}
		for range 10 {
			if err := access(); err != nil {
				t.Fatal(err)
			}
		}
		if s, o := src.count("sandbox"), src.count("organization"); s != 1 || o != 1 {
			t.Errorf("ten requests asked %d times for the sandbox and %d times for the key, want 1 and 1", s, o)
		}
		src.change(func() { delete(src.keys, "mine-key") })
		time.Sleep(6 * time.Second)
		if err := access(); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("six seconds after the key was revoked: %v", err)
		}
		src.change(func() { src.keys["mine-key"] = "mine" })
		table.Forget(box.ID)
		src.change(func() { box.Running = false; src.sandboxes[box.ID] = box })
		if err := access(); !errs.Is(err, errs.WrongState) {
			t.Errorf("after it was stopped and forgotten: %v", err)
		}
		src.change(func() { box.Running = true; src.sandboxes[box.ID] = box })
		if err := access(); err != nil {
			t.Errorf("a stopped sandbox must not be cached: %v", err)
		}
		table.ForgetSandboxes()
		table.ForgetCredentials()
		before := src.count("organization")
		if err := access(); err != nil || src.count("organization") != before+1 {
			t.Errorf("forgotten credentials were not asked again (%v)", err)
		}
	})
}

func TestStaleWhileAway(t *testing.T) {
	for _, class := range []errs.Class{errs.Unavailable, errs.Timeout, errs.Internal} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, box := newSource()
				table := route.New(src)
				if _, err := table.Access(t.Context(), box.ID, "mine-key", "token-1"); err != nil {
					t.Fatal(err)
				}
				if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err != nil {
					t.Fatal(err)
				}
				src.change(func() { src.away = errs.New(class, "the database does not answer") })
				time.Sleep(9 * time.Minute)
				if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err != nil {
					t.Errorf("nine minutes away: %v", err)
				}
				if _, err := table.Access(t.Context(), box.ID, "", "token-1"); err != nil {
					t.Errorf("nine minutes away, by token: %v", err)
				}
				if _, err := table.Access(t.Context(), box.ID, "new-key", ""); err == nil {
					t.Error("a key nobody ever checked got in")
				}
				time.Sleep(2 * time.Minute)
				if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err == nil {
					t.Error("eleven minutes away, and still let in")
				}
			})
		})
	}
}

// A change that is heard of while an answer is on its way must not be undone by the older answer.
func TestForgetDuringLookup(t *testing.T) {
	src, box := newSource()
	slow := &slowSource{source: src, asked: make(chan struct{}), answer: make(chan struct{})}
	table := route.New(slow)
	done := make(chan error)
	go func() {
		_, err := table.Access(context.Background(), box.ID, "mine-key", "")
		done <- err
	}()
	<-slow.asked // it has read "running" and not answered yet
	src.change(func() { box.Running = false; src.sandboxes[box.ID] = box })
	table.Forget(box.ID)
	close(slow.answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); !errs.Is(err, errs.WrongState) {
		t.Errorf("the stale answer was kept: %v", err)
	}
}

type slowSource struct {
	*source
	once          sync.Once
	asked, answer chan struct{}
}

func (s *slowSource) Sandbox(ctx context.Context, id string) (route.Sandbox, error) {
	b, err := s.source.Sandbox(ctx, id)
	s.once.Do(func() { close(s.asked); <-s.answer })
	return b, err
}

func TestTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, box := newSource()
		table := route.New(src)
		if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err != nil {
			t.Fatal(err)
		}
		for range 35 { // seconds
			table.Touch(t.Context(), box.ID)
			time.Sleep(time.Second)
			if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err != nil { // renews the entry on the way
				t.Fatal(err)
			}
		}
		if n := src.count("touch"); n < 3 || n > 4 {
			t.Errorf("35 seconds of use made %d marks, want one in ten seconds", n)
		}
		before := src.count("touch")
		table.Forget(box.ID)
		table.Touch(t.Context(), box.ID) // of a request that is still open
		if src.count("touch") != before+1 {
			t.Error("a long request on a forgotten sandbox no longer counts as activity")
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	src, box := newSource()
	table := route.New(src)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := table.Access(t.Context(), box.ID, "mine-key", ""); err != nil {
					t.Error(err)
					return
				}
				table.Touch(t.Context(), box.ID)
				switch i % 50 {
				case 0:
					table.Forget(box.ID)
				case 25:
					table.ForgetCredentials()
				}
			}
		})
	}
	wg.Wait()
}
