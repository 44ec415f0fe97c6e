package dugout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// sessions is a daemon with one session that breaks the connections of followers as told.
type sessions struct {
	mu    sync.Mutex
	log   string
	step  int // bytes of the log per connection
	calls []string
}

func (d *sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, r.Method+" "+r.URL.EscapedPath())
	switch path := strings.TrimPrefix(r.URL.Path, "/process/session"); {
	case path == "" && r.Method == "POST":
		var in toolbox.CreateSession
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.SessionID == "taken" {
			reply(w, 409, api.Error{StatusCode: 409, Message: "exists"})
			return
		}
		w.WriteHeader(201)
	case path == "":
		reply(w, 200, []toolbox.Session{{SessionID: "a b", Commands: []toolbox.SessionCommand{}}})
	case strings.HasSuffix(path, "/exec"):
		var in toolbox.SessionExecute
		_ = json.NewDecoder(r.Body).Decode(&in)
		if r.Header.Get(toolbox.SplitOutputHeader) != "true" {
			reply(w, 400, api.Error{StatusCode: 400, Message: "marks were not asked for"})
			return
		}
		if in.RunAsync {
			reply(w, 202, toolbox.SessionExecuted{CmdID: "c1"})
			return
		}
		code := 3
		reply(w, 200, toolbox.SessionExecuted{CmdID: "c0", Output: &d.log, ExitCode: &code})
	case strings.HasSuffix(path, "/input"):
		reply(w, 410, api.Error{StatusCode: 410, Code: "COMMAND_ALREADY_COMPLETED", Message: "ended"})
	case strings.HasSuffix(path, "/logs"):
		at, err := strconv.Atoi(r.URL.Query().Get("offset"))
		if err != nil || at > len(d.log) || r.URL.Query().Get("follow") != r.URL.Query().Get("marks") {
			reply(w, 400, api.Error{StatusCode: 400, Message: "bad query"})
			return
		}
		rest := d.log[at:]
		if d.step > 0 && len(rest) > d.step && r.URL.Query().Get("follow") == "true" {
			_, _ = w.Write([]byte(rest[:d.step]))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(rest))
	case r.Method == "DELETE":
		w.WriteHeader(204)
	default:
		reply(w, 200, toolbox.SessionCommand{ID: "c1", Command: "x"})
	}
}

func TestSession(t *testing.T) {
	d := &sessions{log: "\x01\x01\x01one\n\x02\x02\x02bad\x01\n\x01\x01\x01two"}
	box := inside(t, d)
	if _, err := box.CreateSession(t.Context(), "taken"); !errors.Is(err, dugout.ErrConflict) {
		t.Errorf("%v", err)
	}
	s, err := box.CreateSession(t.Context(), "a b/c")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := box.CreateSession(t.Context(), ""); err != nil || r.ID == "" {
		t.Errorf("%+v %v", r, err)
	}
	got, err := s.Exec(t.Context(), "x")
	if diff := cmp.Diff(&dugout.SessionResult{CommandID: "c0", ExitCode: 3, Stdout: "one\ntwo", Stderr: "bad\x01\n"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	c, err := s.Start(t.Context(), "x", dugout.StartOptions{})
	if err != nil || c.ID != "c1" {
		t.Fatalf("%+v %v", c, err)
	}
	if err := c.Input(t.Context(), "x"); !errors.Is(err, dugout.ErrGone) {
		t.Errorf("%v", err)
	}
	if info, err := c.Info(t.Context()); err != nil || info.ExitCode != nil {
		t.Errorf("%+v %v", info, err)
	}
	if list, err := box.Sessions(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if last := d.calls[len(d.calls)-1]; last != "DELETE /process/session/a%20b%2Fc" {
		t.Error(last)
	}
}

// A follower whose connection breaks after each few bytes has all of them, once.
func TestSessionFollow(t *testing.T) {
	for _, step := range []int{0, 1, 2, 5, 11} {
		d := &sessions{step: step, log: strings.Repeat("\x01\x01\x01one\n\x02\x02\x02bad\n", 3) + "\x01\x01\x01last\x02"}
		c := inside(t, d).Session("s").Command("c")
		var stdout, stderr bytes.Buffer
		if err := c.Follow(t.Context(), &stdout, &stderr); err != nil {
			t.Fatalf("%d: %v", step, err)
		}
		if stdout.String() != "one\none\none\nlast\x02" || stderr.String() != "bad\nbad\nbad\n" {
			t.Errorf("%d: %q %q", step, &stdout, &stderr)
		}
		stdout.Reset()
		if err := c.Logs(t.Context(), &stdout, nil); err != nil || stdout.String() != "one\none\none\nlast\x02" {
			t.Errorf("%v %q", err, &stdout)
		}
	}
}
