//go:build linux

// Package process serves one-shot processes: commands for the shell, and programs in Python, JavaScript and TypeScript.
//
// A request that names itself with the header X-Dugout-Execution-Id can be repeated: while the execution runs the second
// request waits for the same one, after its end it gets the same result. The last 64 results are kept, together at most
// 16 MiB and each for 10 minutes; an id whose result is gone answers 410 with the exit code and is not run again.
package process

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// maxBody limits the body of a request to run something, in bytes.
const maxBody = 32 << 20

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // where commands run that name no directory
	TS      string // path of the TypeScript transpiler

	live  atomic.Int64
	works sync.WaitGroup
	kept  kept
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	return []rest.Route{
		rest.Stream("POST", "/process/execute", "ExecuteCommand", h.execute, rest.Tag("process"), rest.MaxBody(maxBody), rest.Answers[toolbox.Executed](),
			rest.Summary("Run a shell command"),
			rest.Description("The command has no standard input. When the timeout passes, the command and everything it started is killed, and the answer is 408 with the output until then. A background process that keeps the output open is not waited for longer than 200 ms; it lives on.")),
		rest.Stream("POST", "/process/code-run", "CodeRun", h.codeRun, rest.Tag("process"), rest.MaxBody(maxBody), rest.Answers[toolbox.CodeRan](),
			rest.Summary("Run a program"),
			rest.Description("Runs source text in Python, JavaScript or TypeScript. Charts that a Python program shows with matplotlib come as artifacts.")),
		rest.Stream("GET", "/process/execution/{id}", "GetExecution", h.execution, rest.Tag("process"), rest.Answers[toolbox.Execution](),
			rest.Summary("Get an execution by the id that its request gave it")),
	}
}

// Close waits for what still runs. The caller has closed the runner before.
func (h *Handler) Close() {
	h.works.Wait()
	h.kept.close()
}

type executeIn struct {
	ID   string `header:"X-Dugout-Execution-Id" doc:"Names the execution, so that the request can be repeated without running the command twice."`
	Body toolbox.Execute
}

func (h *Handler) execute(w http.ResponseWriter, r *http.Request, in *executeIn) error {
	b := in.Body
	switch {
	case strings.TrimSpace(b.Command) == "":
		return errs.New(errs.Invalid, "command must not be empty")
	case strings.IndexByte(b.Command, 0) >= 0:
		return errs.New(errs.Invalid, "command must not contain a NUL byte")
	}
	dir := h.Workdir
	if b.Cwd != nil && *b.Cwd != "" {
		if strings.IndexByte(*b.Cwd, 0) >= 0 || len(*b.Cwd) > 4096 {
			return errs.New(errs.Invalid, "cwd must be at most 4096 bytes without a NUL byte")
		}
		dir = *b.Cwd
		if dir[0] != '/' {
			dir = h.Workdir + "/" + dir
		}
	}
	if err := environ.Check(b.Envs); err != nil {
		return err
	}
	ex, err := h.begin(in.ID, b, b.Timeout, func(ex *execution) {
		sh := shell.Pick(h.getenv(b.Envs))
		argv, stdin, err := shell.Args(sh, b.Command)
		if err != nil {
			ex.fail(-1, "%v\n", err)
			return
		}
		if stdin != nil {
			defer func() { _ = stdin.Close() }()
		}
		h.step(ex, run.Spec{Path: sh, Argv: argv, Env: h.Env.List(b.Envs), Dir: dir, Stdin: stdin, Out: ex.out})
	})
	if err != nil {
		return err
	}
	return h.answer(w, r, ex)
}

// getenv looks a variable up as a child with these extra variables will see it.
func (h *Handler) getenv(extra map[string]string) func(string) string {
	return func(name string) string {
		if v, ok := extra[name]; ok {
			return v
		}
		return h.Env.Get(name)
	}
}

type executionIn struct {
	ID   string `path:"id" doc:"Id given with the request."`
	Wait int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait for the end."`
}

func (h *Handler) execution(w http.ResponseWriter, r *http.Request, in *executionIn) error {
	ex, err := h.kept.find(in.ID)
	if err != nil {
		return err
	}
	defer ex.release()
	if in.Wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(in.Wait)*time.Second)
		defer cancel()
		select {
		case <-ex.done:
		case <-ctx.Done():
		}
	}
	select {
	case <-ex.done:
	default:
		h.Edge.Write(w, http.StatusOK, toolbox.Execution{ID: ex.id, Running: true})
		return nil
	}
	timedOut := ""
	if ex.timedOut {
		timedOut = `"timedOut":true,`
	}
	return writeJSON(w, http.StatusOK, `{"id":"`+ex.id+`","running":false,`+timedOut+`"exitCode":`+strconv.Itoa(ex.exit)+`,"result":`, ex)
}
