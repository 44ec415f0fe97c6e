package dugout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// cut ends the connection of a request without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func TestCreateSurvivesALostAnswer(t *testing.T) {
	var mu sync.Mutex
	made := map[string]string{} // idempotency key → id
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		key := r.Header.Get("Idempotency-Key")
		if made[key] == "" {
			made[key] = fmt.Sprintf("sb%d", len(made)+1)
		}
		if calls < 3 { // it was made, but nobody hears of it
			cut(w)
			return
		}
		reply(w, 200, api.Sandbox{ID: made[key], Name: "box", State: api.SandboxStarted})
	}))
	defer srv.Close()
	s, err := connect(t, srv.URL).Create(t.Context(), dugout.CreateOptions{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != "sb1" || len(made) != 1 || calls != 3 {
		t.Errorf("id %s, %d sandboxes after %d calls", s.ID, len(made), calls)
	}
	if made[""] != "" {
		t.Error("the request had no idempotency key")
	}
}

func TestNobodyThereIsSaidAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	began := time.Now()
	_, err = connect(t, "http://"+l.Addr().String()).Create(t.Context(), dugout.CreateOptions{})
	if !errors.Is(err, dugout.ErrUnavailable) || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestCreateWaitsUntilStarted(t *testing.T) {
	for _, c := range []struct {
		name   string
		states []api.SandboxState
		err    string
	}{
		{"started at once", []api.SandboxState{"started"}, ""},
		{"later", []api.SandboxState{"pending_build", "creating", "started"}, ""},
		{"error", []api.SandboxState{"creating", "error"}, "the sandbox is in an error state: box is error: no disk"},
		{"deleted meanwhile", []api.SandboxState{"creating", "destroying"}, "the sandbox is in an error state: box is being deleted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				i := min(int(n.Add(1))-1, len(c.states)-1)
				sb := api.Sandbox{ID: "1", Name: "box", State: c.states[i]}
				if sb.State == "error" {
					sb.ErrorReason = "no disk"
				}
				reply(w, 200, sb)
			}))
			defer srv.Close()
			s, err := connect(t, srv.URL).Create(t.Context(), dugout.CreateOptions{})
			if c.err != "" {
				if !errors.Is(err, dugout.ErrFailed) || err.Error() != c.err {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || s.State != dugout.Started {
				t.Fatal(s, err)
			}
		})
	}
}

func TestWaitForTheEnd(t *testing.T) {
	for _, want := range []dugout.State{dugout.Destroyed, dugout.Stopped} {
		var n atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch n.Add(1) {
			case 1:
				reply(w, 200, api.Sandbox{ID: "1", State: api.SandboxDestroying})
			case 2:
				cut(w) // the server restarts
			case 3:
				reply(w, 200, api.Sandbox{ID: "1", State: api.SandboxDestroying})
			default:
				reply(w, 404, api.Error{Message: "gone"})
			}
		}))
		s, err := connect(t, srv.URL).Get(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(t.Context(), want); err != nil {
			t.Errorf("wait for %s: %v", want, err)
		}
		srv.Close()
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, api.Sandbox{ID: "1", Name: "box", State: api.SandboxStarting})
	}))
	defer srv.Close()
	s, err := connect(t, srv.URL).Get(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, dugout.Started); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestListFollowsTheCursor(t *testing.T) {
	pages := map[string][]string{"": {"a", "b"}, "c1": {"c"}, "c2": {"d", "e"}}
	next := map[string]string{"": "c1", "c1": "c2"}
	var queries []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		queries = append(queries, q.Encode())
		out := api.SandboxList{}
		for _, n := range pages[q.Get("cursor")] {
			out.Items = append(out.Items, api.SandboxListItem{ID: n, Name: n})
		}
		if n := next[q.Get("cursor")]; n != "" {
			out.NextCursor = &n
		}
		reply(w, 200, out)
	}))
	defer srv.Close()
	client := connect(t, srv.URL)
	var names []string
	opts := dugout.ListOptions{Labels: map[string]string{"team": "a b"}, States: []dugout.State{"started", "stopped"}, Limit: 2}
	for s, err := range client.List(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "e"}, names); diff != "" {
		t.Error(diff)
	}
	first := "labels=%7B%22team%22%3A%22a+b%22%7D&limit=2&states=started&states=stopped"
	if diff := cmp.Diff([]string{first, "cursor=c1&" + first, "cursor=c2&" + first}, queries); diff != "" {
		t.Error(diff)
	}
	for range client.List(t.Context(), opts) {
		break // a caller that has enough asks for no more pages
	}
	if len(queries) != 4 {
		t.Errorf("%d requests, want 4", len(queries))
	}
}
