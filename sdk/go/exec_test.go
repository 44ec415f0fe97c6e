package dugout_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// inside serves a sandbox named box whose toolbox is h, and returns it.
func inside(t *testing.T, h http.Handler) *dugout.Sandbox {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/sandbox/box", func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, api.Sandbox{ID: "id1", Name: "box", State: api.SandboxStarted, ToolboxProxyURL: "http://" + r.Host + "/toolbox/"})
	})
	mux.Handle("/toolbox/id1/", http.StripPrefix("/toolbox/id1", h))
	mux.Handle("/api/sandbox/id1/", h)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s, err := connect(t, srv.URL).Get(t.Context(), "box")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runs is a daemon that keeps executions by id, over connections that break as told.
type runs struct {
	mu      sync.Mutex
	started map[string]int // id → how often the command was really run
	cuts    int            // executes still to be cut after the command began
	gateway int            // requests still to be answered 503 by somebody else
	forget  bool           // the daemon lost everything, as after a restart of the sandbox
	expired bool           // it ended so long ago that only its code is known
	finds   int
}

func (d *runs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gateway > 0 {
		d.gateway--
		reply(w, 503, api.Error{StatusCode: 503, Source: api.SourceProxy, Message: "the runner does not answer"})
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/process/execution/"); ok {
		d.finds++
		switch {
		case d.forget || d.started[id] == 0:
			reply(w, 404, api.Error{StatusCode: 404, Source: api.SourceDaemon, Message: "no such execution"})
		case d.expired:
			reply(w, 410, api.Error{StatusCode: 410, Source: api.SourceDaemon, Message: "it ended with exit code 7"})
		default:
			reply(w, 200, toolbox.Execution{ID: id, Running: true})
		}
		return
	}
	id := r.Header.Get(toolbox.ExecutionIDHeader)
	var in toolbox.Execute
	_ = json.NewDecoder(r.Body).Decode(&in)
	if d.started[id] == 0 {
		d.started[id]++
	}
	if d.cuts > 0 {
		d.cuts--
		cut(w)
		return
	}
	reply(w, 200, toolbox.Executed{ExitCode: 7, Result: "out of " + in.Command})
}

func TestExecSurvivesLostConnections(t *testing.T) {
	cases := []struct {
		name    string
		daemon  runs
		err     error
		message string
		ran     int
	}{
		{name: "plain", ran: 1},
		{name: "cut once", daemon: runs{cuts: 1}, ran: 1},
		{name: "cut again and again", daemon: runs{cuts: 4}, ran: 1},
		{name: "never comes through", daemon: runs{cuts: 1000}, err: dugout.ErrUnavailable, ran: 1},
		{name: "the sandbox restarted", daemon: runs{cuts: 1, forget: true}, err: dugout.ErrLost, ran: 1},
		{name: "long over", daemon: runs{cuts: 1, expired: true}, err: dugout.ErrGone, message: "it ended with exit code 7", ran: 1},
		{name: "never passed on", daemon: runs{gateway: 1}, err: dugout.ErrUnavailable, message: "the runner does not answer", ran: 0},
	}
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			c.daemon.started = map[string]int{}
			s := inside(t, &c.daemon)
			r, err := s.Exec(t.Context(), "make", dugout.ExecOptions{})
			if c.err != nil {
				if !errors.Is(err, c.err) || c.message != "" && err.Error() != c.message {
					t.Errorf("error %v, want %v %s", err, c.err, c.message)
				}
			} else if diff := cmp.Diff(&dugout.Result{ExitCode: 7, Output: "out of make"}, r); diff != "" || err != nil {
				t.Error(diff, err)
			}
			ran := 0
			for _, n := range c.daemon.started {
				ran += n
			}
			if ran != c.ran {
				t.Errorf("the command ran %d times, want %d", ran, c.ran)
			}
		})
	}
}

func TestExecRequest(t *testing.T) {
	var got toolbox.Execute
	var header http.Header
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		_ = json.NewDecoder(r.Body).Decode(&got)
		reply(w, 200, toolbox.Executed{})
	}))
	_, err := s.Exec(t.Context(), "ls", dugout.ExecOptions{Cwd: "/x", Env: map[string]string{"A": "1"}, Timeout: 1500 * time.Millisecond, ID: "run-1"})
	if err != nil {
		t.Fatal(err)
	}
	cwd, two := "/x", uint32(2)
	want := toolbox.Execute{Command: "ls", Cwd: &cwd, Timeout: &two, Envs: map[string]string{"A": "1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if header.Get(toolbox.ExecutionIDHeader) != "run-1" || header.Get("Authorization") != "Bearer dtn_0123456789abcdef" {
		t.Errorf("headers %v", header)
	}
	if _, err := s.Exec(t.Context(), "ls", dugout.ExecOptions{ID: "a/../b"}); err == nil {
		t.Error("a run id with a slash was accepted")
	}
	if err := s.Kill(t.Context(), "x'; rm -rf /; '", "KILL"); err == nil {
		t.Error("Kill accepted shell syntax for an id")
	}
}

func TestExecTimeoutKeepsTheOutput(t *testing.T) {
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, 408, toolbox.TimedOut{Error: api.Error{StatusCode: 408, Code: "PROCESS_EXECUTION_TIMEOUT", Source: api.SourceDaemon, Message: "killed"},
			Result: "half of it"})
	}))
	_, err := s.Exec(t.Context(), "make", dugout.ExecOptions{Timeout: time.Second})
	var e *dugout.Error
	if !errors.Is(err, dugout.ErrTimeout) || !errors.As(err, &e) || e.Output != "half of it" {
		t.Errorf("got %v", err)
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	arrived := make(chan struct{})
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := s.Exec(ctx, "sleep 100", dugout.ExecOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCodeRun(t *testing.T) {
	var got toolbox.CodeRun
	first := true
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			reply(w, 200, toolbox.Execution{Running: true})
			return
		}
		_ = json.NewDecoder(r.Body).Decode(&got)
		if first {
			first = false
			cut(w)
			return
		}
		reply(w, 200, toolbox.CodeRan{ExitCode: 0, Result: "2\n", Artifacts: &toolbox.Artifacts{Charts: []toolbox.Chart{{Type: "bar", Title: "T"}}}})
	}))
	r, err := s.CodeRun(t.Context(), dugout.Python, "print(1+1)", dugout.CodeOptions{Argv: []string{"x y"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Output != "2\n" || len(r.Charts) != 1 || got.Language != "python" || got.Code != "print(1+1)" || got.Argv[0] != "x y" {
		t.Errorf("result %+v of %+v", r, got)
	}
}

func TestTheKeyIsNotSentInTheClear(t *testing.T) {
	reached := false
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached = true }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, api.Sandbox{ID: "1", State: api.SandboxStarted, ToolboxProxyURL: plain.URL + "/toolbox"})
	}))
	defer secure.Close()
	client, err := dugout.New(dugout.Options{APIURL: secure.URL + "/api", APIKey: "dtn_0123456789abcdef", HTTPClient: secure.Client()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Get(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), "ls", dugout.ExecOptions{}); err == nil || reached {
		t.Errorf("error %v, reached %v", err, reached)
	}
}
