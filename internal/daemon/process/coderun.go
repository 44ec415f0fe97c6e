//go:build linux

package process

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/code"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of a code run's arguments.
const (
	maxArgs     = 1000
	maxArgBytes = 100 << 10 // each
)

type codeRunIn struct {
	ID   string `header:"X-Dugout-Execution-Id" doc:"Names the execution, so that the request can be repeated without running the program twice."`
	Body toolbox.CodeRun
}

func (h *Handler) codeRun(w http.ResponseWriter, r *http.Request, in *codeRunIn) error {
	b := in.Body
	switch {
	case b.Code == "":
		return errs.New(errs.Invalid, "code must not be empty")
	case strings.IndexByte(b.Code, 0) >= 0:
		return errs.New(errs.Invalid, "code must not contain a NUL byte")
	case b.Language == "":
		return errs.New(errs.Invalid, "language must not be empty; it is one of python, javascript, typescript")
	case len(b.Argv) > maxArgs:
		return errs.New(errs.Invalid, "argv must have at most %d entries, got %d", maxArgs, len(b.Argv))
	}
	for i, a := range b.Argv {
		if strings.IndexByte(a, 0) >= 0 || len(a) > maxArgBytes {
			return errs.New(errs.Invalid, "argv[%d] must be at most %d bytes without a NUL byte", i, maxArgBytes)
		}
	}
	if err := environ.Check(b.Envs); err != nil {
		return err
	}
	var work func(*execution)
	switch b.Language {
	case "python":
		work = func(ex *execution) { h.program(ex, b, code.Python(b.Code, b.Argv)) }
	case "javascript":
		work = func(ex *execution) { h.program(ex, b, code.JavaScript(b.Code, b.Argv)) }
	case "typescript":
		work = func(ex *execution) { h.typeScript(ex, b) }
	default:
		return errs.New(errs.Invalid, "language must be one of python, javascript, typescript, got %q", clip(b.Language))
	}
	ex, err := h.begin(in.ID, b, b.Timeout, work)
	if err != nil {
		return err
	}
	return h.answer(w, r, ex)
}

// program runs p as a step of ex, and keeps its charts.
func (h *Handler) program(ex *execution, b toolbox.CodeRun, p code.Program) {
	path := ""
	for _, name := range p.Names {
		if path = shell.LookPath(name, h.getenv(b.Envs)("PATH")); path != "" {
			break
		}
	}
	if path == "" {
		ex.fail(127, "%s: not found in PATH\n", strings.Join(p.Names, " or "))
		return
	}
	var stdin *os.File
	if len(p.Stdin) > 0 {
		f, err := run.MemFile("program", p.Stdin)
		if err != nil {
			ex.fail(-1, "%v\n", err)
			return
		}
		defer func() { _ = f.Close() }()
		stdin = f
	}
	charts := &code.Charts{}
	text := code.NewFilter(ex.out, charts)
	spec := run.Spec{Path: path, Argv: append([]string{path}, p.Args...), Env: h.Env.List(b.Envs), Dir: h.Workdir, Stdin: stdin, Out: text}
	var side *code.Lines
	if p.Side {
		side = code.NewLines(charts)
		spec.Side = side
	}
	if p.Warm {
		cold := spec
		done, warm := h.Python.Prepare(&spec, p.Argv)
		r := h.step(ex, spec)
		done()
		// Its process was killed before it took the program, and not because somebody wanted that.
		if warm && r != nil && ex.exit == -1 && !ex.timedOut && !r.Signaled() && unread(stdin) {
			ex.exit = 0
			h.step(ex, cold)
		}
		h.Python.Warm(cold, h.Env.List(nil), warm, code.UsesLarge(b.Code))
	} else {
		h.step(ex, spec)
	}
	text.Close()
	if side != nil {
		side.Close()
	}
	var dropped int
	ex.charts, dropped = charts.Take()
	ex.chartCost = charts.Cost()
	if dropped > 0 {
		h.Log.Warn("malformed artifacts of a program were dropped", "count", dropped)
	}
}

// unread reports whether nobody has read from f, which a program was given as its standard input.
func unread(f *os.File) bool {
	at, err := f.Seek(0, io.SeekCurrent)
	return err == nil && at == 0
}

// typeScript transpiles in a process of its own, so that the transpiler, which is larger than the rest of the daemon, costs
// nothing in a sandbox that never needs it; see cmd/dugoutd-ts.
func (h *Handler) typeScript(ex *execution, b toolbox.CodeRun) {
	if !shell.Executable(h.TS) {
		ex.fail(127, "%s: not found; TypeScript needs it\n", h.TS)
		return
	}
	src, err := run.MemFile("source", []byte(b.Code))
	if err != nil {
		ex.fail(-1, "%v\n", err)
		return
	}
	name := filepath.Join(h.Workdir, code.TypeScriptFile)
	js := run.NewOutput(h.Runner.Budget, run.MaxOutput)
	defer js.Release()
	h.step(ex, run.Spec{Path: h.TS, Argv: []string{h.TS, name}, Env: h.Env.List(nil), Dir: "/", Stdin: src, Out: js})
	_ = src.Close()
	js.Seal()
	text := js.String()
	if ex.exit != 0 || ex.timedOut {
		_, _ = ex.out.Write([]byte(text))
		return
	}
	p, ok := code.TypeScript(text, name, b.Argv)
	if !ok {
		ex.fail(-1, "%s answered nonsense\n", h.TS)
		return
	}
	h.program(ex, b, p)
}
