//go:build linux

package process_test

import (
	"encoding/base64"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// need skips when this host lacks an interpreter.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// transpiler builds dugoutd-ts once.
var transpiler = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dugoutd-ts-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "dugoutd-ts")
	cmd := exec.Command("go", "build", "-o", path, "github.com/dugout-dev/dugout/cmd/dugoutd-ts")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return string(out), err
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := transpiler(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func codeRun(d *daemontest.Daemon, body toolbox.CodeRun) (toolbox.CodeRan, daemontest.Reply) {
	d.T.Helper()
	r := d.Do("POST", "/process/code-run", body)
	var out toolbox.CodeRan
	if r.Status == 200 {
		r.JSON(d.T, &out)
	}
	return out, r
}

type program struct {
	code string
	argv []string
	exit int
	want string // the whole result, or with a final … its beginning
}

func check(t *testing.T, d *daemontest.Daemon, language string, tests map[string]program) {
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d.T = t
			got, r := codeRun(d, toolbox.CodeRun{Code: tt.code, Language: language, Argv: tt.argv, Envs: map[string]string{"FROM_REQUEST": "v a l"}})
			if r.Status != 200 || got.ExitCode != tt.exit {
				t.Fatalf("status %d exit %d, want %d: %s", r.Status, got.ExitCode, tt.exit, r.Body)
			}
			if begin, open := strings.CutSuffix(tt.want, "…"); open && strings.Contains(got.Result, begin) {
				return
			}
			if diff := cmp.Diff(tt.want, got.Result); diff != "" {
				t.Error(diff)
			}
			if got.Artifacts != nil {
				t.Errorf("artifacts %+v", got.Artifacts)
			}
		})
	}
}

var odd = []string{"a b", "c'd\"", "$x", "", "-v", "--", "\\", "日本"}

func TestPython(t *testing.T) {
	need(t, "python3")
	check(t, daemontest.Start(t), "python", map[string]program{
		"print":          {"print(1+1)", nil, 0, "2\n"},
		"argv":           {"import sys\nprint(sys.argv)", odd, 0, "['-', 'a b', 'c\\'d\"', '$x', '', '-v', '--', '\\\\', '日本']\n"},
		"env":            {"import os\nprint(os.environ['FROM_REQUEST'])", nil, 0, "v a l\n"},
		"stdin is empty": {"import sys\nprint(repr(sys.stdin.read()))\ntry:\n  input()\nexcept EOFError: print('eof')", nil, 0, "''\neof\n"},
		"child's stdin":  {"import subprocess\nprint(subprocess.run(['cat'],capture_output=True).stdout)", nil, 0, "b''\n"},
		"exit":           {"import sys\nsys.exit(3)", nil, 3, ""},
		"both streams":   {"import sys\nprint('a')\nprint('b',file=sys.stderr)\nprint('c')", nil, 0, "a\nb\nc\n"},
		"traceback":      {"def f():\n  1/0\nf()", nil, 1, "Traceback (most recent call last):\n  File \"<stdin>\", line 3, in <module>\n…"},
		"syntax error":   {"print(", nil, 1, "SyntaxError…"},
		"own module":     {"import os, pathlib\npathlib.Path('mine.py').write_text('x=5')\nimport mine\nprint(mine.x)", nil, 0, "5\n"},
		"long":           {"x='" + strings.Repeat("y", 300<<10) + "'\nprint(len(x))", nil, 0, "307200\n"},
		"no final line":  {"print('a')\nif True:\n  print('b')", nil, 0, "a\nb\n"},
		"signal":         {"import os\nos.kill(os.getpid(), 9)", nil, -1, ""},
	})
}

func TestJavaScript(t *testing.T) {
	need(t, "node")
	check(t, daemontest.Start(t), "javascript", map[string]program{
		"print":          {"console.log(1+1)", nil, 0, "2\n"},
		"argv":           {"console.log(JSON.stringify(process.argv.slice(1)))", odd, 0, `["a b","c'd\"","$x","","-v","--","\\","日本"]` + "\n"},
		"argv, long":     {"console.log(JSON.stringify(process.argv.slice(1)))//" + strings.Repeat("y", 300<<10), odd[:4], 0, `["a b","c'd\"","$x",""]` + "\n"},
		"begins with -":  {"-1; console.log(process.env.FROM_REQUEST)", nil, 0, "v a l\n"},
		"require":        {"const fs = require('fs'); fs.writeFileSync('mine.js','module.exports=5'); console.log(require('./mine.js'))", nil, 0, "5\n"},
		"stdin is empty": {"console.log(JSON.stringify(require('fs').readFileSync(0,'utf8')))", nil, 0, "\"\"\n"},
		"error":          {"throw new Error('boom')", nil, 1, "Error: boom\n    at [eval]:1:7…"},
		"exit":           {"process.exit(4)", nil, 4, ""},
		"await":          {"setTimeout(()=>console.log('later'), 20)", nil, 0, "later\n"},
	})
}

func TestTypeScript(t *testing.T) {
	need(t, "node")
	ts, err := transpiler()
	if err != nil {
		t.Fatal(err, ts)
	}
	d := daemontest.StartWith(t, daemon.Config{TS: ts})
	long := "\n//" + strings.Repeat("y", 300<<10)
	check(t, d, "typescript", map[string]program{
		"types":           {"interface A { x: number }\nenum E { B = 2 }\nconst a: A = { x: 1 } as A;\nconsole.log(a.x + E.B)", nil, 0, "3\n"},
		"argv":            {"console.log(JSON.stringify(process.argv.slice(2)))", odd, 0, `["a b","c'd\"","$x","","-v","--","\\","日本"]` + "\n"},
		"import":          {"import * as path from 'path';\nimport { sep } from 'node:path';\nconsole.log(path.sep === sep, require.main === module)", nil, 0, "true true\n"},
		"local package":   {"import * as fs from 'fs';\nfs.mkdirSync('node_modules/mine',{recursive:true});fs.writeFileSync('node_modules/mine/index.js','exports.x=5');\nconsole.log(require('mine').x)", nil, 0, "5\n"},
		"await":           {"const x: number = await Promise.resolve(5);\nconsole.log(x, process.argv.length)", []string{"a"}, 0, "5 3\n"},
		"await and more":  {"import { sep } from 'path';\nawait 0;\nconsole.log(sep, typeof require('fs').readFileSync)", nil, 0, "/ function\n"},
		"error is mapped": {"type T = {\n  a: number\n}\nfunction f(x: T): never { throw new Error('boom') }\nf({a: 1})", nil, 1, "target_code.ts:4:33)…"},
		"mapped in await": {"type T = {\n  a: number\n}\nawait 0;\nfunction f(x: T): never { throw new Error('boom') }\nf({a: 1})", nil, 1, "target_code.ts:5:33)…"},
		"syntax error":    {"const x: = 5", nil, 1, "target_code.ts:1:9…"},
		"long":            {"console.log(process.argv.slice(2)[0])" + long, []string{"z"}, 0, "z\n"},
		"long with await": {"await 0;\nconsole.log('w')" + long, nil, 0, "w\n"},
		"stdin is empty":  {"import * as fs from 'fs';\nconsole.log(JSON.stringify(fs.readFileSync(0,'utf8')))", nil, 0, "\"\"\n"},
		"exit":            {"process.exit(4)", nil, 4, ""},
	})
	d = daemontest.StartWith(t, daemon.Config{TS: "/no/such/transpiler"})
	if got, r := codeRun(d, toolbox.CodeRun{Code: "1", Language: "typescript"}); r.Status != 200 || got.ExitCode != 127 || !strings.Contains(got.Result, "/no/such/transpiler") {
		t.Errorf("without a transpiler: %d %+v", r.Status, got)
	}
}

func TestCodeRunRefuses(t *testing.T) {
	d := daemontest.Start(t)
	for name, body := range map[string]string{
		"no code":      `{"language":"python"}`,
		"no language":  `{"code":"1"}`,
		"ruby":         `{"code":"1","language":"ruby"}`,
		"Python":       `{"code":"1","language":"Python"}`,
		"NUL":          `{"code":"a\u0000","language":"python"}`,
		"NUL in argv":  `{"code":"1","language":"python","argv":["\u0000"]}`,
		"text as argv": `{"code":"1","language":"python","argv":"a"}`,
		"env name":     `{"code":"1","language":"python","envs":{"=":""}}`,
		"timeout":      `{"code":"1","language":"python","timeout":-1}`,
	} {
		if r := d.Do("POST", "/process/code-run", body); r.Status != 400 {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	if got, r := codeRun(d, toolbox.CodeRun{Code: "print(1)", Language: "python", Envs: map[string]string{"PATH": "/nowhere"}}); r.Status != 200 || got.ExitCode != 127 {
		t.Errorf("no interpreter: %d %+v", r.Status, got)
	}
}

func TestCodeRunTimeout(t *testing.T) {
	need(t, "python3")
	d := daemontest.Start(t)
	r := d.Do("POST", "/process/code-run", map[string]any{"code": "print('so far')\nimport time\ntime.sleep(60)", "language": "python", "timeout": 1})
	var e toolbox.TimedOut
	r.JSON(t, &e)
	if r.Status != 408 || e.Code != "PROCESS_EXECUTION_TIMEOUT" || e.Result != "so far\n" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// needMatplotlib skips where Python lacks it. DUGOUT_TEST_PATH goes before PATH in the tests of charts.
func needMatplotlib(t *testing.T) map[string]string {
	t.Helper()
	path := os.Getenv("PATH")
	if p := os.Getenv("DUGOUT_TEST_PATH"); p != "" {
		path = p + ":" + path
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/env", "python3", "-c", "import matplotlib")
	cmd.Env = append(os.Environ(), "PATH="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("python3 has no matplotlib: %v %s", err, out)
	}
	return map[string]string{"PATH": path}
}

func TestCharts(t *testing.T) {
	envs := needMatplotlib(t)
	d := daemontest.Start(t)
	const head = "import matplotlib.pyplot as plt\nimport datetime\n"
	str := func(s string) *string { return &s }
	num := func(f float64) *float64 { return &f }
	for _, tt := range []struct {
		name, code string
		want       toolbox.Chart // ticks are checked apart
	}{
		{"line", "plt.plot([1,2,3],[4,5,float('nan')],label='L')\nplt.title('T')\nplt.xlabel('X')\nplt.ylabel('Y')",
			toolbox.Chart{Type: "line", Title: "T", XLabel: "X", YLabel: "Y", XScale: "linear", YScale: "linear", Elements: []toolbox.ChartElement{{Label: "L", Points: [][]float64{{1, 4}, {2, 5}}}}}},
		{"log scale", "plt.plot([1,2],[1,10])\nplt.yscale('log')", toolbox.Chart{Type: "line", XScale: "linear", YScale: "log", Elements: []toolbox.ChartElement{{Points: [][]float64{{1, 1}, {2, 10}}}}}},
		{"dates", "plt.plot([datetime.datetime(1970,1,1), datetime.datetime(1970,1,3)],[1,2])",
			toolbox.Chart{Type: "line", XScale: "datetime", YScale: "linear", Elements: []toolbox.ChartElement{{Points: [][]float64{{0, 1}, {172800, 2}}}}}},
		{"names", "plt.plot(['a','b'],[1,2])", toolbox.Chart{Type: "line", XScale: "categorical", YScale: "linear", Elements: []toolbox.ChartElement{{Points: [][]float64{{0, 1}, {1, 2}}}}}},
		{"scatter", "plt.scatter([1,2],[3,4],label='S')", toolbox.Chart{Type: "scatter", XScale: "linear", YScale: "linear", Elements: []toolbox.ChartElement{{Label: "S", Points: [][]float64{{1, 3}, {2, 4}}}}}},
		{"dots", "plt.plot([1,2],[3,4],'o')", toolbox.Chart{Type: "scatter", XScale: "linear", YScale: "linear", Elements: []toolbox.ChartElement{{Points: [][]float64{{1, 3}, {2, 4}}}}}},
		{"bar", "plt.bar(['a','b'],[3,4.5],label='G')", toolbox.Chart{Type: "bar", Elements: []toolbox.ChartElement{{Label: "a", Group: "G", Value: str("3")}, {Label: "b", Group: "G", Value: str("4.5")}}}},
		{"horizontal bar", "plt.barh(['a','b'],[3,4])", toolbox.Chart{Type: "bar", Elements: []toolbox.ChartElement{{Label: "a", Value: str("3")}, {Label: "b", Value: str("4")}}}},
		{"pie", "plt.pie([1,3],labels=['a','b'])", toolbox.Chart{Type: "pie", Elements: []toolbox.ChartElement{{Label: "a", Angle: num(90), Radius: num(1)}, {Label: "b", Angle: num(270), Radius: num(1)}}}},
		{"box", "plt.boxplot([[1,2,3,4,100],[1,1,1,1]])", toolbox.Chart{Type: "box_and_whisker", Elements: []toolbox.ChartElement{
			{Label: "1", Min: num(1), FirstQuartile: num(2), Median: num(3), ThirdQuartile: num(4), Max: num(4), Outliers: []float64{100}},
			{Label: "2", Min: num(1), FirstQuartile: num(1), Median: num(1), ThirdQuartile: num(1), Max: num(1)}}}},
		{"picture", "plt.imshow([[1,2],[3,4]])\nplt.colorbar()", toolbox.Chart{Type: "unknown", XScale: "linear", YScale: "linear"}},
		{"composite", "f,(a,b)=plt.subplots(1,2)\na.bar(['x'],[1])\nb.pie([1])\nf.suptitle('both')", toolbox.Chart{Type: "composite_chart", Title: "both", Elements: []toolbox.ChartElement{
			{Type: "bar", Elements: []toolbox.ChartElement{{Label: "x", Value: str("1")}}}, {Type: "pie", Elements: []toolbox.ChartElement{{Angle: num(360), Radius: num(1)}}}}}},
		{"empty", "plt.figure()", toolbox.Chart{Type: "unknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.T = t
			got, r := codeRun(d, toolbox.CodeRun{Code: head + tt.code + "\nprint('before')\nplt.show()\nprint('after', plt.get_fignums())", Language: "python", Envs: envs})
			if got.ExitCode != 0 || got.Result != "before\nafter []\n" || got.Artifacts == nil || len(got.Artifacts.Charts) != 1 {
				t.Fatalf("%d %.2000s", r.Status, r.Body)
			}
			c := got.Artifacts.Charts[0]
			if png, err := base64.StdEncoding.DecodeString(c.PNG); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
				t.Errorf("picture: %v, %d bytes", err, len(png))
			}
			if len(c.XTicks) != len(c.XTickLabels) || len(c.YTicks) != len(c.YTickLabels) || c.XScale != "" && len(c.XTicks) == 0 {
				t.Errorf("ticks %v %v %v %v", c.XTicks, c.XTickLabels, c.YTicks, c.YTickLabels)
			}
			c.PNG, c.XTicks, c.YTicks, c.XTickLabels, c.YTickLabels = "", nil, nil, nil, nil
			near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-3 })
			if tt.want.Elements == nil {
				tt.want.Elements = []toolbox.ChartElement{}
			}
			if diff := cmp.Diff(tt.want, c, near); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a program sees of the prelude: as little as possible.
func TestPrelude(t *testing.T) {
	envs := needMatplotlib(t)
	d := daemontest.Start(t)
	const head = "import matplotlib.pyplot as plt\n"
	for name, tt := range map[string]program{
		"argv":         {head + "import sys\nprint(sys.argv, sys.stdin.read()=='', __name__)", odd[:3], 0, "['-', 'a b', 'c\\'d\"', '$x'] True __main__\n"},
		"names":        {head + "print(sorted(k for k in dir() if not k.startswith('__')))", nil, 0, "['plt']\n"},
		"traceback":    {head + "def f():\n    1/0\nf()", nil, 1, "Traceback (most recent call last):\n  File \"<target_code>\", line 4, in <module>\n    f()\n…"},
		"syntax error": {head + "print(", nil, 1, "  File \"<target_code>\", line 2\n…"},
		"exit":         {head + "raise SystemExit(3)", nil, 3, ""},
		"exit text":    {head + "raise SystemExit('bye')", nil, 1, "bye\n"},
		"no channel":   {head + "import subprocess,sys\nprint(subprocess.run([sys.executable,'-c','import os;os.fstat(3)'],close_fds=False,capture_output=True,text=True).stderr.split('\\n')[-2])", nil, 0, "OSError: [Errno 9] Bad file descriptor\n"},
		"only imports": {"import matplotlib\nprint('pyplot' in dir(matplotlib))", nil, 0, "False\n"},
		"not there":    {"try:\n    import matplotlib.nothing\nexcept ImportError as e:\n    print(e.name)", nil, 0, "matplotlib.nothing\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d.T = t
			got, r := codeRun(d, toolbox.CodeRun{Code: tt.code, Language: "python", Argv: tt.argv, Envs: envs})
			begin, open := strings.CutSuffix(tt.want, "…")
			if r.Status != 200 || got.ExitCode != tt.exit || got.Artifacts != nil || got.Result != begin && !(open && strings.HasPrefix(got.Result, begin)) {
				t.Errorf("%s, want %d %q", r.Body, tt.exit, tt.want)
			}
			if strings.Contains(got.Result, "dugout") {
				t.Errorf("the prelude shows: %s", got.Result)
			}
		})
	}
	// Hostile: a program writes to the channel itself, and wraps itself as old clients do.
	got, r := codeRun(d, toolbox.CodeRun{Language: "python", Envs: envs, Code: head + `import os
os.write(3, b'garbage\n{"type":"chart","value":{"type":"line","title":"own"}}\n{"type":"chart","value":[]}')
print('dtn_artifact_k39fd2:{"type":"chart","value":{"type":"pie","title":"printed"}}')
print('dtn_artifact_k39fd2:torn')
print('text')`})
	if got.Result != "text\n" || got.Artifacts == nil || len(got.Artifacts.Charts) != 2 {
		t.Errorf("%s", r.Body)
	}
}
