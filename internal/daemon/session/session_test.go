//go:build linux

package session_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/session"
)

// Clients of two ages.
var (
	newest = []string{"X-Daytona-SDK-Version", "0.205.0", "X-Daytona-Source", "sdk-python"}
	oldest = []string{"X-Daytona-SDK-Version", "0.26.1"}
)

// sess is a session of a daemon.
type sess struct {
	*daemontest.Daemon
	id string
}

func open(t testing.TB, d *daemontest.Daemon, id string) sess {
	t.Helper()
	if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: id}, newest...); r.Status != 201 || len(r.Body) != 0 {
		t.Fatalf("create: %d %s", r.Status, r.Body)
	}
	return sess{d, id}
}

func (s sess) path(more string) string { return "/process/session/" + s.id + more }

// run runs a command to its end, as the newest client sees it.
func (s sess) run(command string) (stdout, stderr string, exit int) {
	s.T.Helper()
	r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: command}, newest...)
	if r.Status != 200 {
		s.T.Fatalf("%.100s: %d %s", command, r.Status, r.Body)
	}
	var out toolbox.SessionExecuted
	r.JSON(s.T, &out)
	return *out.Stdout, *out.Stderr, *out.ExitCode
}

// launch starts a command and returns its id.
func (s sess) launch(command string) string {
	s.T.Helper()
	r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: command, RunAsync: true}, newest...)
	var out map[string]any
	r.JSON(s.T, &out)
	id, _ := out["cmdId"].(string)
	if want := (map[string]any{"cmdId": id, "output": nil, "stdout": nil, "stderr": nil, "exitCode": nil}); r.Status != 202 || id == "" || !cmp.Equal(out, want) {
		s.T.Fatalf("%.100s: %d %s", command, r.Status, r.Body)
	}
	return id
}

func (s sess) command(id string) toolbox.SessionCommand {
	s.T.Helper()
	r := s.Do("GET", s.path("/command/"+id), nil)
	if r.Status != 200 {
		s.T.Fatalf("%d %s", r.Status, r.Body)
	}
	var c toolbox.SessionCommand
	r.JSON(s.T, &c)
	return c
}

// ended waits for the end of a command.
func (s sess) ended(id string) int {
	s.T.Helper()
	var c toolbox.SessionCommand
	daemontest.Until(s.T, "the end of the command", func() bool { c = s.command(id); return c.ExitCode != nil })
	return *c.ExitCode
}

func (s sess) logs(id string) toolbox.SessionLogs {
	s.T.Helper()
	r := s.Do("GET", s.path("/command/"+id+"/logs"), nil, newest...)
	if r.Status != 200 {
		s.T.Fatalf("%d %s", r.Status, r.Body)
	}
	var l toolbox.SessionLogs
	r.JSON(s.T, &l)
	return l
}

func (s sess) input(id, data string, want int) {
	s.T.Helper()
	if r := s.Do("POST", s.path("/command/"+id+"/input"), toolbox.SessionInput{Data: data}); r.Status != want {
		s.T.Fatalf("input: %d %s", r.Status, r.Body)
	}
}

func TestStatePersists(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	for _, c := range []struct {
		command, stdout, stderr string
		exit                    int
	}{
		{"cd /usr/bin; export A='a b'; B=2; f() { echo \"f $A $1\"; }", "", "", 0},
		{"pwd; f $B; sh -c 'echo $A$B'", "/usr/bin\nf a b 2\na b\n", "", 0},
		{"echo o; echo e >&2; echo o2", "o\no2\n", "e\n", 0},
		{"(exit 7)", "", "", 7},
		{"echo $?", "7\n", "", 0},
		{"echo $?; false", "0\n", "", 1},
		{"cat; read x || echo eof", "eof\n", "", 0},
		{"printf 'no end'", "no end\n", "", 0}, // the wire ends the last line
		{"printf 'o'; printf e >&2", "o\n", "e\n", 0},
		{"echo a # comment", "a\n", "", 0},
		{"echo \\\n  b", "b\n", "", 0},
		{"cat <<E\n$B $((1+1))\nE", "2 2\n", "", 0},
		{"cat <<'E'\nit's $B \\\nE\n", "it's $B \\\n", "", 0},
		{"for i in 1 2; do\n  echo $i\ndone", "1\n2\n", "", 0},
		{"{ sh -c 'kill -9 $$'; } 2>/dev/null", "", "", 137},
		{"echo 'grüße' \"日本\" 🙂", "grüße 日本 🙂\n", "", 0},
		{"printf 'a\\000b\\r\\n'", "a\x00b\r\n", "", 0},
		{"\n\n  \techo spaced\n\n", "spaced\n", "", 0},
		{"ls /proc/self/fd/[4-9] 2>/dev/null || echo none", "none\n", "", 0},
	} {
		t.Run(c.command, func(t *testing.T) {
			s.T = t
			stdout, stderr, exit := s.run(c.command)
			if diff := cmp.Diff([]any{c.stdout, c.stderr, c.exit}, []any{stdout, stderr, exit}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is wrong with a command is wrong with it alone.
func TestBrokenCommandsDoNotEatTheNext(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	for i, broken := range []string{"if", "echo 'open", "echo \"open", "echo $(open", "echo `open", "case x in", "f() {", "((1+", "[[ a", "cat <<E\nno end", "}", ")", "done", ";;", "&", "echo \\",
		"'", "\"", "`", "$(", "#", "-n", "--", "!", "\\", "$'\\", "| cat", "> ", "exec 7>&-", "exec 7>/dev/null", "exec >/dev/null 2>&1", "exec </dev/zero", "return 3", "break", "continue 2", "unset PATH", "set -- a b",
		"eval() { :; }; printf() { :; }", "alias eval=false printf=false", "shopt -s expand_aliases"} {
		_, stderr, exit := s.run(broken)
		if stdout, _, next := s.run(fmt.Sprint("echo next ", i)); next != 0 || stdout != fmt.Sprintf("next %d\n", i) {
			t.Fatalf("after %q (%d, %q): %d %q", broken, exit, stderr, next, stdout)
		}
	}
}

func TestShellEnds(t *testing.T) {
	d := daemontest.Start(t)
	for i, c := range []struct {
		command, stdout string
		exit            int
	}{
		{"echo before; exit 3; echo after", "before\n", 3},
		{"set -e; echo on; false; echo after", "on\n", 1},
		{"exec sh -c 'echo replaced; exit 5'", "replaced\n", 5},
		{"kill -9 $$", "", 137},
		{"trap 'echo bye' EXIT; exit 4", "bye\n", 4},
		{": ${unset?message}", "", 1},
	} {
		t.Run(c.command, func(t *testing.T) {
			d.T = t
			s := open(t, d, fmt.Sprint("s", i))
			stdout, _, exit := s.run(c.command)
			if stdout != c.stdout || exit != c.exit {
				t.Errorf("%d %q, want %d %q", exit, stdout, c.exit, c.stdout)
			}
			var r daemontest.Reply
			daemontest.Until(t, "the session's end", func() bool {
				r = s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: "echo"}, newest...)
				return r.Status != 200
			})
			if r.Status != 410 || !strings.Contains(string(r.Body), `"SESSION_ENDED"`) {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			var got toolbox.Session
			s.Do("GET", s.path(""), nil).JSON(t, &got)
			if len(got.Commands) == 0 || got.Commands[0].ExitCode == nil || *got.Commands[0].ExitCode != c.exit {
				t.Errorf("%+v", got)
			}
			if r := s.Do("POST", "/process/session", toolbox.CreateSession{SessionID: s.id}); r.Status != 409 {
				t.Errorf("%d", r.Status)
			}
			if r := s.Do("DELETE", s.path(""), nil); r.Status != 204 {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			open(t, d, s.id)
		})
	}
}

func TestForms(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	const command = "echo out; sleep 0.1; echo err >&2; sleep 0.1; printf end"
	const raw = "\x01\x01\x01out\n\x02\x02\x02err\n\x01\x01\x01end\n"
	str := func(s string) *string { return &s }
	zero := 0
	for name, c := range map[string]struct {
		header []string
		sync   toolbox.SessionExecuted
		logs   string // "": JSON
	}{
		"newest":  {newest, toolbox.SessionExecuted{Output: str(raw), Stdout: str("out\nend\n"), Stderr: str("err\n")}, ""},
		"0.167":   {[]string{"X-Daytona-SDK-Version", "0.167.0"}, toolbox.SessionExecuted{Output: str(raw), Stdout: str("out\nend\n"), Stderr: str("err\n")}, ""},
		"dev":     {[]string{"X-Daytona-SDK-Version", "0.0.0-dev"}, toolbox.SessionExecuted{Output: str(raw), Stdout: str("out\nend\n"), Stderr: str("err\n")}, ""},
		"0.166":   {[]string{"X-Daytona-SDK-Version", "0.166.9"}, toolbox.SessionExecuted{Output: str(raw)}, raw},
		"0.27a1":  {[]string{"X-Daytona-SDK-Version", "0.27.0a1"}, toolbox.SessionExecuted{Output: str(raw)}, raw},
		"oldest":  {oldest, toolbox.SessionExecuted{Output: str("out\nerr\nend\n")}, "out\nerr\nend\n"},
		"nothing": {nil, toolbox.SessionExecuted{Output: str("out\nerr\nend\n")}, "out\nerr\nend\n"},
		"split":   {[]string{toolbox.SplitOutputHeader, "true"}, toolbox.SessionExecuted{Output: str(raw)}, raw},
		"oldest, split": {append([]string{toolbox.SplitOutputHeader, "true"}, oldest...), toolbox.SessionExecuted{Output: str("out\nerr\nend\n")},
			"out\nerr\nend\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s.T = t
			r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: command}, c.header...)
			var got toolbox.SessionExecuted
			r.JSON(t, &got)
			c.sync.CmdID, c.sync.ExitCode = got.CmdID, &zero
			if diff := cmp.Diff(c.sync, got); diff != "" || r.Status != 200 {
				t.Errorf("%d %s", r.Status, diff)
			}
			logs := s.Do("GET", s.path("/command/"+got.CmdID+"/logs"), nil, c.header...)
			if c.logs != "" {
				if string(logs.Body) != c.logs || !strings.HasPrefix(logs.Header.Get("Content-Type"), "text/plain") {
					t.Errorf("%q %v", logs.Body, logs.Header)
				}
				return
			}
			var l toolbox.SessionLogs
			logs.JSON(t, &l)
			if diff := cmp.Diff(toolbox.SessionLogs{Output: raw, Stdout: "out\nend\n", Stderr: "err\n"}, l); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAsyncAndInput(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	id := s.launch(`printf 'name? '; read n; echo "hello $n"; cat`)
	daemontest.Until(t, "the prompt, which has no line end", func() bool { return s.logs(id).Stdout == "name? " })
	if c := s.command(id); c.ExitCode != nil || !strings.HasPrefix(c.Command, "printf") {
		t.Errorf("%+v", c)
	}
	s.input(id, "bob", 204)
	daemontest.Until(t, "the answer", func() bool { return s.logs(id).Stdout == "name? bob\nhello bob\n" })
	next := s.launch("echo next") // waits for the one that runs
	s.input(id, "line\n", 204)
	daemontest.Until(t, "cat's answer", func() bool { return s.logs(id).Stdout == "name? bob\nhello bob\nline\nline\n" })
	if c := s.command(next); c.ExitCode != nil {
		t.Error("two commands run at the same time")
	}
	other := open(t, s.Daemon, "other") // its own session is busy
	other.run("pkill -f '^cat$' || kill $(pgrep -x cat) || true")
	if exit := s.ended(id); exit != 143 {
		t.Errorf("exit %d", exit)
	}
	if s.ended(next) != 0 || s.logs(next).Stdout != "next\n" {
		t.Error("the next command did not run")
	}
	if r := s.Do("POST", s.path("/command/"+id+"/input"), toolbox.SessionInput{Data: "x"}); r.Status != 410 || !strings.Contains(string(r.Body), "COMMAND_ALREADY_COMPLETED") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	r := s.Do("POST", s.path("/exec"), toolbox.SessionExecute{Command: "read x; echo got $x", Async: true, SuppressInputEcho: true}, newest...)
	var out toolbox.SessionExecuted
	r.JSON(t, &out)
	s.input(out.CmdID, "secret", 204)
	if s.ended(out.CmdID) != 0 || s.logs(out.CmdID).Output != "\x01\x01\x01got secret\n" {
		t.Errorf("%+v", s.logs(out.CmdID))
	}
}

func TestBackground(t *testing.T) {
	s := open(t, daemontest.Start(t), "s")
	pipe := filepath.Join(s.Dir, "go")
	id := s.launch("mkfifo go; (read x <go; echo late; echo late2 >&2) & echo started")
	if s.ended(id) != 0 {
		t.Error("exit code")
	}
	if l := s.logs(id); l.Stdout != "started\n" {
		t.Errorf("%+v", l)
	}
	if stdout, _, _ := s.run("echo other"); stdout != "other\n" { // not mixed with what comes now
		t.Errorf("%q", stdout)
	}
	if err := os.WriteFile(pipe, []byte("x\n"), 0); err != nil {
		t.Fatal(err)
	}
	daemontest.Until(t, "the background's output in the log of its command", func() bool {
		l := s.logs(id)
		return l.Stdout == "started\nlate\n" && l.Stderr == "late2\n"
	})
}

func TestListAndDelete(t *testing.T) {
	d := daemontest.Start(t)
	a, b := open(t, d, "b one"[:1]), open(t, d, "a")
	a.run("echo 1")
	id := b.launch("sleep 1000 & trap '' TERM; sleep 1001")
	var got []toolbox.Session
	d.Do("GET", "/process/session", nil).JSON(t, &got)
	if len(got) != 2 || got[0].SessionID != "b" || got[1].SessionID != "a" || len(got[0].Commands) != 1 || got[1].Commands[0].ID != id || got[1].Commands[0].ExitCode != nil {
		t.Errorf("%+v", got)
	}
	dir := filepath.Join(d.Dir, ".daytona/sessions/b", got[0].Commands[0].ID)
	if raw, err := os.ReadFile(filepath.Join(dir, "output.log")); err != nil || string(raw) != "\x01\x01\x011\n" {
		t.Errorf("%q %v", raw, err)
	}
	for _, p := range []string{a.path(""), b.path("")} {
		if r := d.Do("DELETE", p, nil); r.Status != 204 || len(r.Body) != 0 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		if r := d.Do("DELETE", p, nil); r.Status != 404 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the log is still there: %v", err)
	}
	if r := d.Do("GET", "/process/session", nil); strings.TrimSpace(string(r.Body)) != "[]" {
		t.Errorf("%s", r.Body)
	}
}

func TestRefusals(t *testing.T) {
	d := daemontest.Start(t)
	s := open(t, d, "s")
	id := s.launch("cat")
	var done toolbox.SessionExecuted
	other := open(t, d, "other")
	other.Do("POST", other.path("/exec"), toolbox.SessionExecute{Command: "true"}).JSON(t, &done)
	long := strings.Repeat("x", session.MaxID+1)
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"POST", "", "{}", 400, ""},
		{"POST", "", `{"sessionId":""}`, 400, ""},
		{"POST", "", `{"sessionId":"entrypoint"}`, 400, ""},
		{"POST", "", `{"sessionId":"a\nb"}`, 400, ""},
		{"POST", "", `{"sessionId":"a\u0000b"}`, 400, ""},
		{"POST", "", toolbox.CreateSession{SessionID: long}, 400, ""},
		{"POST", "", `{"sessionId":"s"}`, 409, ""},
		{"POST", "", "{", 400, "INVALID_REQUEST_BODY"},
		{"GET", "/none", nil, 404, "NOT_FOUND"},
		{"GET", "/entrypoint", nil, 404, ""},
		{"GET", "/entrypoint/logs", nil, 404, ""},
		{"GET", "/entrypoint/logs?follow=true", nil, 404, ""},
		{"DELETE", "/none", nil, 404, ""},
		{"DELETE", "/entrypoint", nil, 400, ""},
		{"POST", "/none/exec", `{"command":"x"}`, 404, ""},
		{"POST", "/entrypoint/exec", `{"command":"x"}`, 400, ""},
		{"POST", "/s/exec", `{"command":" \n\t"}`, 400, ""},
		{"POST", "/s/exec", `{}`, 400, ""},
		{"POST", "/s/exec", `{"command":"a\u0000b"}`, 400, ""},
		{"POST", "/s/exec", `{"command":"` + strings.Repeat("x", session.MaxCommandText+1) + `"}`, 413, ""},
		{"GET", "/s/command/none", nil, 404, ""},
		{"GET", "/none/command/none", nil, 404, ""},
		{"GET", "/s/command/none/logs", nil, 404, ""},
		{"GET", "/s/command/none/logs?follow=true", nil, 404, ""},
		{"GET", "/s/command/" + id + "/logs?offset=-1", nil, 400, ""},
		{"GET", "/s/command/" + id + "/logs?offset=1", nil, 400, ""},
		{"GET", "/s/command/" + id + "/logs?offset=1&follow=true", nil, 400, ""},
		{"GET", "/s/command/" + id + "/logs?offset=99999999999999999999", nil, 400, ""},
		{"POST", "/s/command/none/input", `{"data":"x"}`, 404, ""},
		{"POST", "/none/command/none/input", `{"data":"x"}`, 404, ""},
		{"POST", "/entrypoint/command/entrypoint_command/input", `{"data":"x"}`, 400, ""},
		{"POST", "/s/command/" + id + "/input", `{"data":""}`, 400, ""},
		{"POST", "/other/command/" + done.CmdID + "/input", `{"data":"x"}`, 400, ""},
	} {
		r := d.Do(c.method, "/process/session"+c.path, c.body)
		var e struct{ Message, Error, Source, Code string }
		r.JSON(t, &e)
		if r.Status != c.status || e.Message == "" || e.Error != e.Message || e.Source != "DAYTONA_DAEMON" || e.Code == "" || c.code != "" && e.Code != c.code {
			t.Errorf("%s %s %.80v: %d %.300s", c.method, c.path, c.body, r.Status, r.Body)
		}
	}
}

// Names become directories, and none gets out of its own.
func TestNames(t *testing.T) {
	d := daemontest.Start(t)
	names := []string{"..", ".", "a/b", "../../../../tmp/x", "a b", "ü", "%2e", "-rf", strings.Repeat("/", session.MaxID), strings.Repeat("x", session.MaxID), "'\"$(id)`"}
	for _, name := range names {
		if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: name}); r.Status != 201 {
			t.Fatalf("%q: %d %s", name, r.Status, r.Body)
		}
		escaped := strings.NewReplacer("%", "%25", "/", "%2F", " ", "%20", "ü", "%C3%BC", "\"", "%22", "`", "%60").Replace(name)
		if strings.Trim(name, ".") == "" {
			escaped = strings.ReplaceAll(name, ".", "%2E")
		}
		r := d.Do("POST", "/process/session/"+escaped+"/exec", toolbox.SessionExecute{Command: "echo hi"}, newest...)
		if r.Status != 200 || !strings.Contains(string(r.Body), `"stdout":"hi\n"`) {
			if strings.Trim(name, ".") != "" { // no client can name these: a path with .. is cleaned
				t.Errorf("%q: %d %s", name, r.Status, r.Body)
			}
		}
	}
	entries, err := os.ReadDir(filepath.Join(d.Dir, ".daytona/sessions"))
	if err != nil || len(entries) != len(names) {
		t.Errorf("%v %v", entries, err)
	}
	top, _ := os.ReadDir(filepath.Join(d.Dir, ".daytona"))
	home, _ := os.ReadDir(d.Dir)
	if len(top) != 1 || len(home) != 1 {
		t.Errorf("%v %v", top, home)
	}
}

func TestWorkingDirectory(t *testing.T) {
	d := daemontest.Start(t)
	for version, want := range map[string]string{"0.102.9": d.Dir, "0.103.0": d.Dir, "": d.Dir} {
		id := "v" + version
		if r := d.Do("POST", "/process/session", toolbox.CreateSession{SessionID: id}, "X-Daytona-SDK-Version", version); r.Status != http.StatusCreated {
			t.Fatal(r.Status)
		}
		if stdout, _, _ := (sess{d, id}).run("pwd"); stdout != want+"\n" {
			t.Errorf("%s: %q, want %q", version, stdout, want)
		}
	}
}
