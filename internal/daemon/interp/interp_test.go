//go:build linux

package interp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/interp"
)

func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// outcome is all that a client saw of a run.
type outcome struct {
	stdout, stderr string
	messages       []toolbox.InterpreterMessage // without stdout and stderr
	kinds          string                       // of all messages, without repetition in a row
	code           int
	reason         string
}

func (o outcome) fault() toolbox.InterpreterMessage {
	for _, m := range o.messages {
		if m.Type == toolbox.InterpreterError {
			return m
		}
	}
	return toolbox.InterpreterMessage{}
}

func dial(d *daemontest.Daemon, header http.Header) *websocket.Conn {
	d.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	d.T.Cleanup(cancel)
	hc := *d.Client
	hc.Timeout = 0
	c, _, err := websocket.Dial(ctx, "ws://daemon/process/interpreter/execute", &websocket.DialOptions{HTTPClient: &hc, HTTPHeader: header})
	if err != nil {
		d.T.Fatal(err)
	}
	c.SetReadLimit(64 << 20)
	d.T.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// finish reads a run to its end.
func finish(t testing.TB, c *websocket.Conn) (o outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			var ce websocket.CloseError
			if !errors.As(err, &ce) {
				t.Fatalf("%v after %+v", err, o)
			}
			o.code, o.reason = int(ce.Code), ce.Reason
			return o
		}
		var keys map[string]any
		var m toolbox.InterpreterMessage
		if json.Unmarshal(b, &keys) != nil || json.Unmarshal(b, &m) != nil {
			t.Fatalf("no message: %.200q", b)
		}
		for _, k := range []string{"type", "text", "name", "value", "traceback"} {
			if _, ok := keys[k].(string); !ok {
				t.Errorf("key %s is missing in %.200s", k, b)
			}
		}
		if !strings.HasSuffix(o.kinds, m.Type) {
			o.kinds = strings.TrimPrefix(o.kinds+" "+m.Type, " ")
		}
		switch m.Type {
		case "stdout":
			o.stdout += m.Text
		case "stderr":
			o.stderr += m.Text
		default:
			o.messages = append(o.messages, m)
		}
	}
}

func start(d *daemontest.Daemon, message any) *websocket.Conn {
	d.T.Helper()
	c := dial(d, nil)
	b, ok := message.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(message); err != nil {
			d.T.Fatal(err)
		}
	}
	if err := c.Write(context.Background(), websocket.MessageText, b); err != nil {
		d.T.Fatal(err)
	}
	return c
}

func run(d *daemontest.Daemon, message any) outcome {
	d.T.Helper()
	return finish(d.T, start(d, message))
}

func code(d *daemontest.Daemon, text string) outcome {
	d.T.Helper()
	return run(d, toolbox.InterpreterRun{Code: text})
}

func create(d *daemontest.Daemon) toolbox.InterpreterContext {
	d.T.Helper()
	r := d.Do("POST", "/process/interpreter/context", map[string]string{})
	var c toolbox.InterpreterContext
	if r.JSON(d.T, &c); r.Status != 200 {
		d.T.Fatalf("%d %s", r.Status, r.Body)
	}
	return c
}

func seconds(f float64) *float64 { return &f }

func TestRuns(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	// In this order, in one namespace.
	for _, tt := range []struct {
		code           string
		stdout, stderr string
		kinds          string
	}{
		{"x = 1", "", "", "control"},
		{"print(x)", "1\n", "", "stdout control"},
		{"x += 1\nprint('a'); import sys; print('b', file=sys.stderr)", "a\n", "b\n", ""},
		{"print('no newline', end='')", "no newline", "", "stdout control"},
		{"def f(): return x\nclass C: pass\nimport json", "", "", "control"},
		{"print(f(), C().__class__.__module__, json.dumps([1]), __name__)", "2 __main__ [1] __main__\n", "", "stdout control"},
		{"x", "", "", "result control"},
		{"print('t'); x", "t\n", "", "stdout result control"},
		{"1/0", "", "", "error control"},
		{"print('before'); raise ValueError('v')", "before\n", "", "stdout error control"},
		{"x", "", "", "result control"},
		{"import sys; sys.exit(3)", "", "", "control"},
		{"sys.exit('bye')", "", "bye\n", "stderr control"},
		{"exit()", "", "", "control"},
		{"try:\n  input()\nexcept EOFError: print('eof')", "eof\n", "", "stdout control"},
		{"import os\nos.write(1, b'direct\\n'); print('then'); os.system('echo child; echo err >&2'); print('last')", "direct\nthen\nchild\nlast\n", "err\n", ""},
		{"import subprocess\nprint(subprocess.run(['cat'], capture_output=True).stdout)", "b''\n", "", "stdout control"},
		{"print('ü日本🙂' * 3)", "ü日本🙂ü日本🙂ü日本🙂\n", "", "stdout control"},
		{"os.write(1, b'\\xff\\xe6\\x97');None", "\ufffd\ufffd\ufffd", "", "stdout control"},
		{"from __future__ import annotations\ndef g(a: Nowhere): pass", "", "", "control"},
		{"def g(a: Nowhere2): pass", "", "", "control"},
		{"pid = os.fork()\nif pid: os.waitpid(pid, 0); print('parent')\nelse: print('child')", "child\nparent\n", "", "stdout control"},
		{"import sys\nsys.stdout.close()", "", "", "control"},
		{"print('open again')", "open again\n", "", "stdout control"},
		{"import io; sys.stdout = io.StringIO(); print('lost')", "", "", "control"},
		{"print('own'); sys.stdout = sys.__stdout__; print('back')", "back\n", "", "stdout control"},
		{"for n in range(3, 300):\n  try: os.close(n) if n not in () else 0\n  except OSError: pass", "", "", ""},
	} {
		o := code(d, tt.code)
		if strings.Contains(tt.code, "os.close(n)") { // it closed its own channel: the worker is lost, and says so
			if o.code != 1001 {
				t.Errorf("channel closed by the program: %+v", o)
			}
			continue
		}
		if o.stdout != tt.stdout || o.stderr != tt.stderr || tt.kinds != "" && o.kinds != tt.kinds || o.code != 1000 {
			t.Errorf("%q:\n%+v", tt.code, o)
		}
	}
	if o := code(d, "x"); o.fault().Name != "NameError" {
		t.Errorf("after the worker was lost: %+v", o)
	}
}

func TestErrors(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	code(d, "def first():\n    second()\n\ndef second():\n    raise KeyError('k')")
	for _, tt := range []struct{ code, name, value, traceback string }{
		{"first()", "KeyError", "'k'", "Traceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\n    first()\n  File \"<stdin>\", line 2, in first\n    second()\n  File \"<stdin>\", line 5, in second\n    raise KeyError('k')\nKeyError: 'k'\n"},
		{"print(", "SyntaxError", "", ""},
		{"x = 1\n  y", "IndentationError", "", ""},
		{"try:\n  1/0\nexcept Exception as e:\n  raise ValueError('v') from e", "ValueError", "v", ""},
		{"class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E", "<the error has no text>", ""},
		{"raise BaseException('b')", "BaseException", "b", ""},
		{"raise KeyboardInterrupt", "KeyboardInterrupt", "", ""},
		{"raise GeneratorExit", "GeneratorExit", "", ""},
		{"def r(): r()\nr()", "RecursionError", "", ""},
		{"class R:\n  def __repr__(self): raise TypeError('no text')\nR()", "TypeError", "no text", ""},
		{"'\\ud800'.encode()", "UnicodeEncodeError", "", ""},
		{"a = '\\0'\nraise ValueError('x' * 3000000)", "ValueError", "", ""},
	} {
		o := code(d, tt.code)
		f := o.fault()
		if f.Name != tt.name || tt.value != "" && f.Value != tt.value || o.code != 1000 || o.kinds != "error control" {
			t.Errorf("%q: %.2000q %s %d %s", tt.code, f.Name+": "+f.Value, o.kinds, o.code, o.reason)
		}
		if strings.Contains(f.Traceback, "dugout") || strings.Contains(f.Traceback, "stdin>#") || tt.traceback != "" && !strings.Contains(stripCarets(f.Traceback), tt.traceback) {
			t.Errorf("%q:\n%.3000s", tt.code, f.Traceback)
		}
	}
	if o := code(d, "1/0"); strings.Contains(o.fault().Traceback, "^") && !strings.Contains(o.fault().Traceback, "    1/0\n    ~^~\n") {
		t.Errorf("it points elsewhere:\n%s", o.fault().Traceback)
	}
	// Python refuses what is no text.
	if o := code(d, "x = 1\x00"); o.fault().Name != "SyntaxError" && o.fault().Name != "ValueError" {
		t.Errorf("%+v", o)
	}
}

// stripCarets takes the lines away with which newer versions point into a line.
func stripCarets(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if strings.Trim(line, " ^~\n") != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestRefuses(t *testing.T) {
	d := daemontest.Start(t)
	for name, tt := range map[string]struct {
		message string
		code    int
	}{
		"no JSON":       {"print(1)", 1002},
		"list":          {"[1]", 1002},
		"null":          {"null", 1002},
		"empty":         {"", 1002},
		"code a number": {`{"code":1}`, 1002},
		"no code":       {`{}`, 1008},
		"empty code":    {`{"code":""}`, 1008},
		"negative":      {`{"code":"1","timeout":-1}`, 1008},
		"env name":      {`{"code":"1","envs":{"a b":"c"}}`, 1008},
		"env NUL":       {`{"code":"1","envs":{"a":"\u0000"}}`, 1008},
		"unknown":       {`{"code":"1","contextId":"nope"}`, 1008},
		"too long":      {`{"code":"` + strings.Repeat("x", interp.MaxRun) + `"}`, 1009},
	} {
		if o := run(d, []byte(tt.message)); o.code != tt.code || o.kinds != "" || o.reason == "" {
			t.Errorf("%s: %+v, want %d", name, o, tt.code)
		}
	}
	if r := d.Do("GET", "/process/interpreter/execute", nil); r.Status != 400 {
		t.Errorf("without a WebSocket: %d %s", r.Status, r.Body)
	}
	d = daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"PATH": "/nowhere"})})
	if o := code(d, "1"); o.code != 1008 || !strings.Contains(o.reason, "python3") {
		t.Errorf("without Python: %+v", o)
	}
	if r := d.Do("POST", "/process/interpreter/context", map[string]string{}); r.Status != 422 || !strings.Contains(string(r.Body), "python3") {
		t.Errorf("without Python: %d %s", r.Status, r.Body)
	}
}

func TestContexts(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	if err := os.Mkdir(d.Dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	var a, b toolbox.InterpreterContext
	d.Do("POST", "/process/interpreter/context", map[string]string{"cwd": "sub", "language": "python"}).JSON(t, &a)
	b = create(d)
	if a.Cwd != d.Dir+"/sub" || b.Cwd != d.Dir || len(a.ID) != 36 || a.ID == b.ID || !a.Active || a.Language != "python" {
		t.Errorf("%+v %+v", a, b)
	}
	if at, err := time.Parse(time.RFC3339, a.CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created at %s: %v", a.CreatedAt, err)
	}
	for _, in := range []struct{ id, code, want string }{
		{a.ID, "v = 'a'", ""}, {b.ID, "v = 'b'", ""}, {"", "v = 'default'", ""},
		{a.ID, "import os; print(v, os.getcwd())", "a " + d.Dir + "/sub\n"}, {b.ID, "print(v)", "b\n"}, {"default", "print(v)", "default\n"},
	} {
		if o := run(d, toolbox.InterpreterRun{Code: in.code, ContextID: in.id}); o.stdout != in.want || o.code != 1000 {
			t.Errorf("%q: %+v", in.code, o)
		}
	}
	var all toolbox.InterpreterContexts
	if d.Do("GET", "/process/interpreter/context", nil).JSON(t, &all); !cmp.Equal(all.Contexts, []toolbox.InterpreterContext{a, b}) {
		t.Errorf("listed %+v", all)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
	}{
		"language":       {"POST", "", `{"language":"ruby"}`, 400},
		"no directory":   {"POST", "", `{"cwd":"/no/such"}`, 400},
		"a file":         {"POST", "", `{"cwd":"/etc/passwd"}`, 400},
		"NUL":            {"POST", "", `{"cwd":"a\u0000"}`, 400},
		"delete default": {"DELETE", "/default", "", 400},
		"delete unknown": {"DELETE", "/nope", "", 404},
	} {
		if r := d.Do(tt.method, "/process/interpreter/context"+tt.path, tt.body); r.Status != tt.status {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	running := start(d, toolbox.InterpreterRun{Code: "print('up', flush=True)\nimport time; time.sleep(100)", ContextID: a.ID})
	if _, m, err := running.Read(context.Background()); err != nil || !strings.Contains(string(m), "up") {
		t.Fatalf("%s %v", m, err)
	}
	waiting := start(d, toolbox.InterpreterRun{Code: "1", ContextID: a.ID})
	if r := d.Do("DELETE", "/process/interpreter/context/"+a.ID, nil); r.Status != 200 || !strings.Contains(string(r.Body), "message") {
		t.Errorf("delete: %d %s", r.Status, r.Body)
	}
	if o := finish(t, running); o.code != 1001 || strings.Contains(o.kinds, "control") {
		t.Errorf("run of a deleted context: %+v", o)
	}
	if o := finish(t, waiting); o.code != 1001 && o.code != 1008 {
		t.Errorf("waiting run of a deleted context: %+v", o)
	}
	if r := d.Do("DELETE", "/process/interpreter/context/"+a.ID, nil); r.Status != 404 {
		t.Errorf("deleted twice: %d", r.Status)
	}
	for i := 1; i < interp.MaxContexts; i++ {
		create(d)
	}
	if r := d.Do("POST", "/process/interpreter/context", map[string]string{}); r.Status != 429 || !strings.Contains(string(r.Body), "32") {
		t.Errorf("one too many: %d %s", r.Status, r.Body)
	}
}

func TestTimeouts(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	code(d, "x = 5")
	began := time.Now()
	o := run(d, toolbox.InterpreterRun{Code: "print('so far')\nimport time\ntime.sleep(60)", Timeout: seconds(0.3)})
	if took := time.Since(began); o.code != 4008 || o.stdout != "so far\n" || o.fault().Name != "KeyboardInterrupt" || o.messages[len(o.messages)-1].Text != "interrupted" || took > 1500*time.Millisecond {
		t.Errorf("after %v: %+v", took, o)
	}
	if o := code(d, "print(x)"); o.stdout != "5\n" {
		t.Errorf("the namespace is lost after an interrupt: %+v", o)
	}
	began = time.Now()
	o = run(d, toolbox.InterpreterRun{Code: "import signal, subprocess\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsubprocess.Popen(['sleep', '4242'])\nprint('deaf')\ntime.sleep(60)", Timeout: seconds(0.2)})
	if took := time.Since(began); o.code != 4008 || o.kinds != "stdout control" || took < 2*time.Second || took > 4*time.Second {
		t.Errorf("deaf, after %v: %+v", took, o)
	}
	if o := code(d, "import os\nprint('x' in dir(), os.system('pgrep -f \"^sleep 4242\" >/dev/null'))"); o.stdout != "False 256\n" {
		t.Errorf("after SIGKILL: %+v", o)
	}
	if o := run(d, toolbox.InterpreterRun{Code: "import time; time.sleep(0.2); print('done')", Timeout: seconds(0)}); o.stdout != "done\n" || o.code != 1000 {
		t.Errorf("timeout 0: %+v", o)
	}
}

func TestEnvsAreForOneRun(t *testing.T) {
	need(t, "python3")
	d := daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"PATH": os.Getenv("PATH"), "OLD": "old"})})
	const show = "import os; print(os.environ.get('OLD'), os.environ.get('NEW'), flush=True); os.system('echo $OLD,$NEW')"
	if o := run(d, toolbox.InterpreterRun{Code: show, Envs: map[string]string{"OLD": "changed", "NEW": "n"}}); o.stdout != "changed n\nchanged,n\n" {
		t.Errorf("%+v", o)
	}
	if o := code(d, show); o.stdout != "old None\nold,\n" {
		t.Errorf("%+v", o)
	}
}

func TestOneAfterTheOther(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	code(d, "order = []\nimport time")
	var conns []*websocket.Conn
	for i := range 20 {
		conns = append(conns, start(d, toolbox.InterpreterRun{Code: fmt.Sprintf("order.append(%d); time.sleep(0.02 if %d else 0.3)", i, i)}))
	}
	for _, c := range conns {
		if o := finish(t, c); o.code != 1000 {
			t.Errorf("%+v", o)
		}
	}
	if o := code(d, "print(sorted(order) == list(range(20)), len(order))"); o.stdout != "True 20\n" {
		t.Errorf("%+v", o)
	}
	// Contexts run beside each other.
	var wg sync.WaitGroup
	began := time.Now()
	for range 20 {
		c := create(d)
		wg.Go(func() {
			if o := run(d, toolbox.InterpreterRun{Code: "import time; time.sleep(0.5); print('ok')", ContextID: c.ID}); o.stdout != "ok\n" {
				t.Errorf("%+v", o)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("20 contexts took %v", took)
	}
}

func TestWorkerEnds(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	for text, want := range map[string]string{
		"print('x', flush=True); import os; os._exit(7)":                            "exit code 7",
		"import os, signal; os.kill(os.getpid(), signal.SIGSEGV)":                   "signal 11",
		"import os\nif os.fork(): os._exit(0)\nelse:\n  import time; time.sleep(2)": "exit code 0",
	} {
		code(d, "x = 1")
		began := time.Now()
		if o := code(d, text); o.code != 1001 || !strings.Contains(o.reason, want) || strings.Contains(o.kinds, "control") || time.Since(began) > time.Second*3 {
			t.Errorf("%q after %v: %+v", text, time.Since(began), o)
		}
		if o := code(d, "print('x' in dir())"); o.stdout != "False\n" {
			t.Errorf("after %q: %+v", text, o)
		}
	}
	// Nonsense on the channel.
	for _, text := range []string{"b'nonsense\\n'", "b'{\"type\":\"control\",\"text\":\"completed\"}\\n'", "b'x' * (9 << 20) + b'\\n'", "b'[' * 100 + b'\\n'", "b'{\"type\":\"error\",\"name\":1}\\n'"} {
		if o := code(d, "import os\nfor n in range(200, 210):\n  try: b = "+text+"; [b := b[os.write(n, b):] for _ in range(1000) if b]\n  except OSError: pass\nimport time; time.sleep(20)"); o.code != 1011 {
			t.Errorf("%s: %+v", text, o)
		}
	}
}

// What is shown between two runs takes nothing of the next one's code.
func TestShownBetweenRuns(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	c := create(d)
	in := func(text string) outcome { return run(d, toolbox.InterpreterRun{Code: text, ContextID: c.ID}) }
	mark := d.Dir + "/shown"
	in("import threading, os, time\ndone = threading.Event()\ndef late():\n  done.wait(); time.sleep(0.1); open('" + mark + "', 'w').close(); display('late'); display('later')\nthreading.Thread(target=late).start(); kept = 1")
	in("done.set()")
	daemontest.Until(t, "the thread", func() bool { _, err := os.Stat(mark); return err == nil })
	var shown []string
	for i := range 5 {
		o := in(fmt.Sprintf("# %s\nkept += 1; print(kept)", strings.Repeat("x", i*50000)))
		if o.code != 1000 || o.stdout != fmt.Sprintln(i+2) {
			t.Fatalf("run %d: %.300v", i, o)
		}
		for _, m := range o.messages {
			if m.Type == toolbox.InterpreterDisplay {
				shown = append(shown, m.Text)
			}
		}
		if o := in("display('now')"); o.code != 1000 {
			t.Fatalf("run %d: %.300v", i, o)
		}
	}
	if diff := cmp.Diff([]string{"'late'", "'later'"}, shown); diff != "" {
		t.Error(diff)
	}
}

// A worker that is killed while it sends ends its run, although a child holds its channel.
func TestWorkerIsKilledInTheMiddleOfAMessage(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	for i := range 5 {
		began := time.Now()
		o := run(d, toolbox.InterpreterRun{Code: "import os, time, signal\nif not os.fork():\n  time.sleep(4); os._exit(0)\nb = b'{' * 2000000\nwhile b: b = b[os.write(200, b):]\nos.kill(os.getpid(), signal.SIGKILL)"})
		if took := time.Since(began); o.code != 1001 || took > 3*time.Second {
			t.Fatalf("run %d, after %v: %.300v", i, took, o)
		}
	}
}

func TestBigOutput(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	n := daemontest.Volume(20000, 200000)
	o := code(d, fmt.Sprintf("for i in range(%d): print(i)\nimport os\nos.system('seq 200000')\nprint('é' * 3000000)", n))
	var want strings.Builder
	for i := range n {
		fmt.Fprintln(&want, i)
	}
	for i := range 200000 {
		fmt.Fprintln(&want, i+1)
	}
	want.WriteString(strings.Repeat("é", 3000000) + "\n")
	if o.stdout != want.String() || o.code != 1000 {
		t.Errorf("%d bytes of %d, %d %s", len(o.stdout), want.Len(), o.code, o.reason)
	}
	// Output between runs comes with the next one; it does not hold the worker up.
	code(d, "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()")
	daemontest.Until(t, "late output", func() bool { return code(d, "1").stdout == "late\n" })
}

func TestRichResults(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	o := code(d, `class R:
  def __repr__(self): return 'plain'
  def _repr_html_(self): return '<b>rich</b>'
  def _repr_png_(self): return b'\x89PNG'
  def _repr_json_(self): return {'a': 1}
  def _repr_svg_(self): raise ValueError
  def _repr_latex_(self): return None
print('first')
display(R(), 5)
print('second')
R()`)
	data := map[string]string{"text/html": "<b>rich</b>", "image/png": "iVBORw==", "application/json": `{"a": 1}`}
	want := []toolbox.InterpreterMessage{{Type: "display", Text: "plain", Data: data}, {Type: "display", Text: "5"}, {Type: "result", Text: "plain", Data: data}, {Type: "control", Text: "completed"}}
	if diff := cmp.Diff(want, o.messages); diff != "" || o.kinds != "stdout display stdout result control" {
		t.Errorf("%s %s", o.kinds, diff)
	}
	// A client that rejects unknown keys gets none.
	c := dial(d, http.Header{"X-Daytona-Source": {"sdk-go"}, "X-Daytona-Sdk-Version": {"0.150.0"}})
	if err := c.Write(context.Background(), websocket.MessageText, []byte(`{"code":"display(R())\nprint(1)\nR()"}`)); err != nil {
		t.Fatal(err)
	}
	if o := finish(t, c); o.kinds != "stdout control" {
		t.Errorf("an old client got %s", o.kinds)
	}
}

func TestCharts(t *testing.T) {
	path := os.Getenv("PATH")
	if p := os.Getenv("DUGOUT_TEST_PATH"); p != "" {
		path = p + ":" + path
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/env", "python3", "-c", "import matplotlib")
	cmd.Env = append(os.Environ(), "PATH="+path)
	if err := cmd.Run(); err != nil {
		t.Skip("python3 has no matplotlib")
	}
	d := daemontest.StartWith(t, daemon.Config{Env: environ.New(map[string]string{"PATH": path})})
	code(d, "import matplotlib.pyplot as plt")
	o := code(d, "print('a'); plt.bar(['x','y'],[1,2.5]); plt.title('T'); plt.show(); print('b', plt.get_fignums())")
	if o.kinds != "stdout display stdout control" || o.messages[0].Chart == nil {
		t.Fatalf("%.2000v", o)
	}
	if c := o.messages[0].Chart; c.Type != "bar" || c.Title != "T" || len(c.Elements) != 2 || *c.Elements[1].Value != "2.5" || len(c.PNG) < 1000 {
		t.Errorf("%+v", c)
	}
}

// A client that goes away ends what it started, and its turn.
func TestClientLeaves(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	c := start(d, toolbox.InterpreterRun{Code: "import time\nx = 1\nprint('up', flush=True)\ntime.sleep(100)", Timeout: seconds(0)})
	if _, _, err := c.Read(context.Background()); err != nil {
		t.Fatal(err)
	}
	never := start(d, toolbox.InterpreterRun{Code: "x = 2"})
	_ = c.CloseNow()
	if o := finish(t, never); o.code != 1000 {
		t.Errorf("%+v", o)
	}
	if o := code(d, "print(x)"); o.stdout != "2\n" {
		t.Errorf("%+v", o)
	}
}
