//go:build linux

package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
)

func execute(d *daemontest.Daemon, body any, header ...string) (toolbox.Executed, int) {
	d.T.Helper()
	r := d.Do("POST", "/process/execute", body, header...)
	var out toolbox.Executed
	if r.Status == 200 {
		r.JSON(d.T, &out)
	}
	return out, r.Status
}

func TestExecute(t *testing.T) {
	d := daemontest.Start(t)
	long := "x=" + strings.Repeat("y", 300<<10)
	tests := []struct {
		name, command, want string
		exit                int
	}{
		{"exit code", "exit 42", "", 42},
		{"both streams in order", "echo a; echo b >&2; echo c", "a\nb\nc\n", 0},
		{"signal", "kill -9 $$", "", -1},
		{"not found", "surely-no-such-program 2>/dev/null", "", 127},
		{"quotes", `printf '%s|' "a b" 'c"d' e\ f`, `a b|c"d|e f|`, 0},
		{"heredoc", "cat <<E\none $((1+1))\nE\necho after", "one 2\nafter\n", 0},
		{"heredoc at the end", "cat <<'E'\n$x\nE", "$x\n", 0},
		{"lines", "a=1\nb=2\necho $a$b\n", "12\n", 0},
		{"stdin is empty", "cat; read x || echo eof; echo next", "eof\nnext\n", 0},
		{"begins like an option", "-x 2>/dev/null", "", 127},
		{"comment only", "# nothing", "", 0},
		{"last status", "false", "", 1},
		{"no trailing newline", "printf a", "a", 0},
		{"not UTF-8", `printf 'a\377b'`, "a\ufffdb", 0},
		{"unicode", "echo 'grüße 日本 🙂'", "grüße 日本 🙂\n", 0},
		{"control characters", `printf '\001\t\033[0m\\"'`, "\x01\t\x1b[0m\\\"", 0},
		{"long", long + "\necho ${#x}\ncat\nexit 3", "307200\n", 3},
		{"long with heredoc", "cat <<E >/dev/null\n" + strings.Repeat("0123456789\n", 20000) + "E\nread y || echo eof", "eof\n", 0},
		{"pipes end by SIGPIPE", "yes 2>&1 | head -1", "y\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, status := execute(d, toolbox.Execute{Command: tt.command})
			if diff := cmp.Diff(toolbox.Executed{ExitCode: tt.exit, Result: tt.want}, got); diff != "" || status != 200 {
				t.Errorf("status %d %s", status, diff)
			}
		})
		for _, sh := range otherShells(t) {
			t.Run(tt.name+"/"+filepath.Base(sh[0]), func(t *testing.T) {
				argv, stdin, err := shell.Args(sh[0], tt.command)
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.CommandContext(t.Context(), sh[0], append(sh[1:], argv[1:]...)...)
				if stdin != nil {
					cmd.Stdin = stdin
				}
				out, _ := cmd.CombinedOutput()
				if got := strings.ToValidUTF8(string(out), "\ufffd"); got != tt.want || cmd.ProcessState.ExitCode() != tt.exit {
					t.Errorf("exit %d, %q; want %d, %q", cmd.ProcessState.ExitCode(), got, tt.exit, tt.want)
				}
			})
		}
	}
}

// otherShells lists shells that the daemon does not prefer, as far as this host has them.
func otherShells(t *testing.T) (out [][]string) {
	for _, s := range [][]string{{"dash"}, {"zsh"}, {"busybox", "sh"}} {
		if p, err := exec.LookPath(s[0]); err == nil {
			out = append(out, append([]string{p}, s[1:]...))
		} else {
			t.Logf("%s is not here: not tested", s[0])
		}
	}
	return out
}

func TestExecuteShellChoice(t *testing.T) {
	d := daemontest.Start(t)
	got, _ := execute(d, toolbox.Execute{Command: "echo $0"})
	if !filepath.IsAbs(strings.TrimSpace(got.Result)) {
		t.Errorf("$0 = %q, want the shell's path", got.Result)
	}
}

func TestExecuteEnvironment(t *testing.T) {
	d := daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "A": "daemon", "B": "kept"})})
	got, _ := execute(d, toolbox.Execute{Command: `echo "$A $B $C"`, Envs: map[string]string{"A": "request", "C": "x y"}})
	if got.Result != "request kept x y\n" {
		t.Errorf("result %q", got.Result)
	}
	r := d.Do("POST", "/env", toolbox.EnvUpdate{Set: map[string]string{"NEW": "1", "KEEP": "sec-2"}, Unset: []string{"B"}, UnsetValuePrefix: "dae"})
	if r.Status != 200 {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	var all map[string]string
	r.JSON(t, &all)
	if diff := cmp.Diff(map[string]string{"PATH": os.Getenv("PATH"), "NEW": "1", "KEEP": "sec-2"}, all); diff != "" {
		t.Error(diff)
	}
	got, _ = execute(d, toolbox.Execute{Command: `echo "$A-$B-$NEW"`})
	if got.Result != "--1\n" {
		t.Errorf("result %q", got.Result)
	}
	d.Do("POST", "/env", toolbox.EnvUpdate{Set: map[string]string{"KEEP": "sec-3"}, UnsetValuePrefix: "sec-"})
	got, _ = execute(d, toolbox.Execute{Command: `echo "$KEEP"`})
	if got.Result != "sec-3\n" {
		t.Errorf("a variable that is set again must stay: %q", got.Result)
	}
}

func TestExecuteCwd(t *testing.T) {
	d := daemontest.Start(t)
	if err := os.MkdirAll(filepath.Join(d.Dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cwd, want string
		exit      int
	}{
		{"", d.Dir + "\n", 0},
		{"/", "/\n", 0},
		{"sub", d.Dir + "/sub\n", 0},
		{"/no/such/dir", "chdir /no/such/dir: no such file or directory\n", -1},
		{file, "chdir " + file + ": not a directory\n", -1},
	} {
		got, status := execute(d, map[string]any{"command": "pwd", "cwd": tt.cwd})
		if diff := cmp.Diff(toolbox.Executed{ExitCode: tt.exit, Result: tt.want}, got); diff != "" || status != 200 {
			t.Errorf("cwd %q: status %d %s", tt.cwd, status, diff)
		}
	}
}

func TestExecuteRefuses(t *testing.T) {
	d := daemontest.Start(t)
	for name, body := range map[string]string{
		"empty body":       ``,
		"blank command":    `{"command":" \n\t"}`,
		"no command":       `{}`,
		"NUL":              `{"command":"a\u0000b"}`,
		"negative timeout": `{"command":"true","timeout":-1}`,
		"huge timeout":     `{"command":"true","timeout":4294967296}`,
		"text timeout":     `{"command":"true","timeout":"1"}`,
		"bad env name":     `{"command":"true","envs":{"A-B":"1"}}`,
		"digit env name":   `{"command":"true","envs":{"1A":"1"}}`,
		"empty env name":   `{"command":"true","envs":{"":"1"}}`,
		"NUL in env":       `{"command":"true","envs":{"A":"\u0000"}}`,
		"NUL in cwd":       `{"command":"true","cwd":"/\u0000"}`,
		"array":            `[]`,
		"torn":             `{"command":"true"`,
		"two values":       `{"command":"true"}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := d.Do("POST", "/process/execute", body)
			if r.Status != 400 {
				t.Fatalf("status %d, want 400: %s", r.Status, r.Body)
			}
			var e map[string]any
			r.JSON(t, &e)
			if e["source"] != "DAYTONA_DAEMON" || e["message"] == "" || e["error"] != e["message"] || e["statusCode"] != 400.0 {
				t.Errorf("error body %s", r.Body)
			}
		})
	}
}

// alive reports whether a process runs whose command line holds marker.
func alive(marker string) bool {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), marker) && !strings.Contains(string(b), "echo") {
			return true
		}
	}
	return false
}

func TestTimeoutKillsEverything(t *testing.T) {
	d := daemontest.Start(t)
	for name, command := range map[string]string{
		"plain":             "sleep %s",
		"background":        "sleep %s & sleep %[1]s & wait",
		"setsid":            "setsid sleep %s & sleep 3600.1",
		"daemonized":        "(setsid sh -c 'sleep %s & wait' >/dev/null 2>&1 </dev/null &) ; sleep 3600.1",
		"cleared env":       "(setsid env -i sleep %s >/dev/null 2>&1 &) ; sleep 3600.1",
		"ignores signals":   "trap '' TERM HUP INT; sh -c \"trap '' TERM; sleep %s\" ; true",
		"forks again":       "while :; do setsid sleep %s & sleep 0.01; done",
		"stopped by itself": "setsid sleep %s & kill -STOP $$",
	} {
		t.Run(name, func(t *testing.T) {
			marker := "3600." + strconv.Itoa(os.Getpid()) + strconv.Itoa(len(name))
			start := time.Now()
			r := d.Do("POST", "/process/execute", map[string]any{"command": "echo before\n" + fmt.Sprintf(command, marker), "timeout": 1})
			if took := time.Since(start); took < time.Second || took > 8*time.Second {
				t.Errorf("took %v, want about a second", took)
			}
			if r.Status != 408 {
				t.Fatalf("status %d, want 408: %s", r.Status, r.Body)
			}
			var e toolbox.TimedOut
			r.JSON(t, &e)
			if e.Code != "PROCESS_EXECUTION_TIMEOUT" || e.Source != "DAYTONA_DAEMON" || e.Result != "before\n" || !strings.Contains(e.Message, "before") || e.StatusCode != 408 {
				t.Errorf("error %+v", e)
			}
			if alive(marker) {
				t.Error("a process of the command is still alive")
			}
		})
	}
}

func TestTimeoutSparesOthers(t *testing.T) {
	d := daemontest.Start(t)
	marker := "3601." + strconv.Itoa(os.Getpid())
	if got, _ := execute(d, toolbox.Execute{Command: "(setsid sleep " + marker + " >/dev/null 2>&1 &)"}); got.ExitCode != 0 {
		t.Fatal(got)
	}
	r := d.Do("POST", "/process/execute", map[string]any{"command": "setsid sleep 3602 & sleep 3602", "timeout": 1})
	if r.Status != 408 {
		t.Fatalf("status %d", r.Status)
	}
	if !alive(marker) {
		t.Error("the process of another command was killed")
	}
	execute(d, toolbox.Execute{Command: "pkill -f 'sleep " + marker + "'"})
}

func TestBackgroundChildren(t *testing.T) {
	d := daemontest.Start(t)
	start := time.Now()
	got, _ := execute(d, toolbox.Execute{Command: "sleep 20 & echo started"})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v: the call waited for a background child", took)
	}
	if got.Result != "started\n" {
		t.Errorf("result %q", got.Result)
	}
	got, _ = execute(d, toolbox.Execute{Command: "(sleep 0.05; echo late) & echo now"})
	if got.Result != "now\nlate\n" {
		t.Errorf("result %q, want also what a quick background child wrote", got.Result)
	}
	// A child that writes on after the call must not be killed by that.
	file := filepath.Join(d.Dir, "alive")
	execute(d, toolbox.Execute{Command: "(for i in 1 2 3 4 5 6; do sleep 0.1; echo $i; done; echo done > " + file + ") &"})
	daemontest.Until(t, "the background child to finish", func() bool { _, err := os.Stat(file); return err == nil })
}

func TestOutputLimit(t *testing.T) {
	d := daemontest.Start(t)
	file := filepath.Join(d.Dir, "ran-on")
	const limit = 64 << 20
	// Read without making sense of all that JSON, which takes long under the race detector.
	r := d.Do("POST", "/process/execute", toolbox.Execute{Command: "head -c 70000000 /dev/zero | tr '\\0' x; touch " + file})
	_, result, _ := bytes.Cut(r.Body, []byte(`"result":"`))
	text, mark, ok := bytes.Cut(result, []byte(`\n`))
	if r.Status != 200 || !ok || len(text) != limit || bytes.Count(text, []byte("x")) != limit || !bytes.Contains(mark, []byte("truncated")) {
		t.Errorf("status %d, kept %d bytes, want %d and a mark, got %.100q", r.Status, len(text), limit, mark)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the command did not run on after its output was cut")
	}
	got, _ := execute(d, toolbox.Execute{Command: "echo fine"})
	if got.Result != "fine\n" {
		t.Errorf("after a large output: %q", got.Result)
	}
}

func TestClientThatLeavesDoesNotEndTheCommand(t *testing.T) {
	d := daemontest.Start(t)
	begun, ended := filepath.Join(d.Dir, "begun"), filepath.Join(d.Dir, "ended")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		body := fmt.Sprintf(`{"command":"touch %s; sleep 0.3; touch %s; exit 7"}`, begun, ended)
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://d/process/execute", strings.NewReader(body))
		req.Header.Set(toolbox.ExecutionIDHeader, "left-1")
		if res, err := d.Client.Do(req); err == nil {
			_ = res.Body.Close()
		}
	}()
	daemontest.Until(t, "the command to begin", func() bool { _, err := os.Stat(begun); return err == nil })
	cancel()
	<-done
	r := d.Do("GET", "/process/execution/left-1?wait=10", nil)
	var ex toolbox.Execution
	r.JSON(t, &ex)
	if ex.Running || ex.ExitCode == nil || *ex.ExitCode != 7 {
		t.Errorf("execution %s", r.Body)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Error("the command was cut off with its client")
	}
}

func TestExecutionIDs(t *testing.T) {
	d := daemontest.Start(t)
	count := filepath.Join(d.Dir, "count")
	body := map[string]any{"command": "echo x >> " + count + "; sleep 0.2; echo out; exit 5"}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			got, status := execute(d, body, toolbox.ExecutionIDHeader, "same")
			if status != 200 || got.ExitCode != 5 || got.Result != "out\n" {
				t.Errorf("status %d, %+v", status, got)
			}
		})
	}
	wg.Wait()
	got, _ := execute(d, body, toolbox.ExecutionIDHeader, "same") // after its end
	if got.ExitCode != 5 || got.Result != "out\n" {
		t.Errorf("again: %+v", got)
	}
	if b, _ := os.ReadFile(count); string(b) != "x\n" {
		t.Errorf("the command ran %d times, want once", strings.Count(string(b), "x"))
	}
	if _, status := execute(d, map[string]any{"command": "true"}, toolbox.ExecutionIDHeader, "same"); status != 409 {
		t.Errorf("another request under the id: status %d, want 409", status)
	}
	for _, id := range []string{"a b", "ü", strings.Repeat("a", 65), "a/b"} {
		if _, status := execute(d, body, toolbox.ExecutionIDHeader, id); status != 400 {
			t.Errorf("id %q: status %d, want 400", id, status)
		}
	}
	if r := d.Do("GET", "/process/execution/never", nil); r.Status != 404 || !strings.Contains(string(r.Body), "PROCESS_NOT_FOUND") {
		t.Errorf("unknown id: %d %s", r.Status, r.Body)
	}
	// A timed out one can be asked for, too.
	if _, status := execute(d, map[string]any{"command": "echo a; sleep 60", "timeout": 1}, toolbox.ExecutionIDHeader, "late"); status != 408 {
		t.Errorf("status %d, want 408", status)
	}
	var ex toolbox.Execution
	d.Do("GET", "/process/execution/late", nil).JSON(t, &ex)
	if !ex.TimedOut || ex.Result == nil || *ex.Result != "a\n" {
		t.Errorf("execution %+v", ex)
	}
}

func TestExecutionIDsForget(t *testing.T) {
	d := daemontest.Start(t)
	for i := range 66 {
		if _, status := execute(d, map[string]any{"command": "exit 3"}, toolbox.ExecutionIDHeader, fmt.Sprintf("n%d", i)); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	r := d.Do("POST", "/process/execute", map[string]any{"command": "exit 3"}, toolbox.ExecutionIDHeader, "n0")
	if r.Status != 410 || !strings.Contains(string(r.Body), "exit code 3") {
		t.Errorf("a forgotten execution: %d %s, want 410 with its exit code and no second run", r.Status, r.Body)
	}
	if r := d.Do("GET", "/process/execution/n65", nil); r.Status != 200 {
		t.Errorf("the last one: %d", r.Status)
	}
	// Too large to be kept.
	if r := d.Do("POST", "/process/execute", map[string]any{"command": "head -c 20000000 /dev/zero | tr '\\0' x"}, toolbox.ExecutionIDHeader, "big"); r.Status != 200 {
		t.Fatalf("status %d", r.Status)
	}
	if r := d.Do("GET", "/process/execution/"+url.PathEscape("big"), nil); r.Status != 410 {
		t.Errorf("a large one: %d", r.Status)
	}
}

func TestParallel(t *testing.T) {
	d := daemontest.Start(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				want := fmt.Sprintf("%d-%d\n", w, i)
				got, status := execute(d, map[string]any{"command": fmt.Sprintf("echo %d-%d; exit %d", w, i, i)})
				if status != 200 || got.Result != want || got.ExitCode != i {
					t.Errorf("%d %+v, want %q", status, got, want)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzExecuteBody(f *testing.F) {
	for _, s := range []string{`{"command":"true"}`, `{"command":"","timeout":1}`, `{"command":"x","envs":{"A":"b"}}`, `{"command":1}`, `[`, `{"command":"true","cwd":"/nope"}`,
		`{"command":"echo a","timeout":-5}`, `{"command":"\ud800"}`, `{"command":"true","timeout":1e3}`, `nul`, `{"command":"a","command":"true"}`} {
		f.Add([]byte(s))
	}
	d := daemontest.Start(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var in toolbox.Execute
		if json.Unmarshal(body, &in) == nil && in.Command != "" {
			// What would run is replaced: the test is about the body, not about whatever the fuzzer invents as a command.
			in.Command = "true"
			in.Timeout = nil
			body, _ = json.Marshal(in)
		}
		d.T = t
		r := d.Do("POST", "/process/execute", body)
		if r.Status != 200 && r.Status != 400 || !json.Valid(r.Body) {
			t.Errorf("%d %q for %q", r.Status, r.Body, body)
		}
	})
}

func BenchmarkExecuteTrue(b *testing.B) {
	d := daemontest.Start(b)
	for b.Loop() {
		if got, status := execute(d, toolbox.Execute{Command: "true"}); status != 200 || got.ExitCode != 0 {
			b.Fatal(status, got)
		}
	}
}

func BenchmarkExecuteOutput(b *testing.B) {
	d := daemontest.Start(b)
	b.SetBytes(32 << 20)
	for b.Loop() {
		if r := d.Do("POST", "/process/execute", toolbox.Execute{Command: "head -c 33554432 /dev/zero | tr '\\0' x"}); r.Status != 200 || len(r.Body) < 32<<20 {
			b.Fatal(r.Status, len(r.Body))
		}
	}
}
