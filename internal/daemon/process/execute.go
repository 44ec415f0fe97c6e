//go:build linux

package process

import (
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

type executeIn struct {
	ID   string `header:"X-Dugout-Execution-Id" doc:"Names the execution, so that the request can be repeated without running the command twice."`
	Body toolbox.Execute
}

func (h *Handler) execute(w http.ResponseWriter, r *http.Request, in *executeIn) error {
	ex, err := h.start(r, in.ID, in.Body, false)
	if err != nil {
		return err
	}
	return h.answer(w, r, ex)
}

// start checks a request to run a command and runs it. The caller must release what it gets.
func (h *Handler) start(r *http.Request, id string, b toolbox.Execute, ring bool) (*execution, error) {
	if err := h.check(id, b); err != nil {
		return nil, err
	}
	who, err := h.identity(r.Context(), b.User)
	if err != nil {
		return nil, err
	}
	if len(b.Command) > shell.MaxInline && who.sudo != "" && (b.Stdin != "" || len(b.StdinData) > 0 || b.OpenStdin) {
		return nil, errs.New(errs.Invalid, "command must be at most %d bytes when it has standard input and runs as another user by sudo, got %d", shell.MaxInline, len(b.Command))
	}
	var opened error
	ex, err := h.beginAs(id, b, b.Timeout, func(ex *execution) {
		ex.command, ex.split = &b, b.Split
		if ring {
			ex.out = run.NewRing(h.Runner.Budget, run.MaxRing)
			ex.split = true
		}
		if b.OpenStdin {
			opened = ex.input.open()
		}
	}, func(ex *execution) {
		if opened != nil {
			ex.fail(-1, "%v\n", opened)
			return
		}
		h.perform(ex, who)
	})
	return ex, err
}

func (h *Handler) check(id string, b toolbox.Execute) error {
	switch {
	case strings.TrimSpace(b.Command) == "":
		return errs.New(errs.Invalid, "command must not be empty")
	case strings.IndexByte(b.Command, 0) >= 0:
		return errs.New(errs.Invalid, "command must not contain a NUL byte")
	case b.Cwd != nil && (strings.IndexByte(*b.Cwd, 0) >= 0 || len(*b.Cwd) > 4096):
		return errs.New(errs.Invalid, "cwd must be at most 4096 bytes without a NUL byte")
	case b.Stdin != "" && len(b.StdinData) > 0, b.OpenStdin && (b.Stdin != "" || len(b.StdinData) > 0):
		return errs.New(errs.Invalid, "stdin, stdinData and openStdin exclude each other")
	case b.OpenStdin && id == "":
		return errs.New(errs.Invalid, "openStdin needs the header %s: nobody could connect otherwise", toolbox.ExecutionIDHeader)
	}
	return environ.Check(b.Envs)
}

// perform runs the command of ex to its end.
func (h *Handler) perform(ex *execution, who identity) {
	b := ex.command
	dir := h.Workdir
	if b.Cwd != nil && *b.Cwd != "" {
		if dir = *b.Cwd; dir[0] != '/' {
			dir = h.Workdir + "/" + dir
		}
	}
	given, err := givenInput(b)
	if err != nil {
		ex.fail(-1, "%v\n", err)
		return
	}
	spec := run.Spec{Dir: dir, Stdin: given, Cred: who.cred, Out: ex.writers()[0]}
	if given != nil {
		defer func() { _ = given.Close() }()
	}
	if b.OpenStdin {
		spec.Stdin = ex.input.their
	}
	if ex.split {
		spec.Err = ex.writers()[1]
	}
	sh := shell.Pick(h.getenv(b.Envs))
	var script *os.File
	if spec.Stdin == nil {
		spec.Argv, script, err = shell.Args(sh, b.Command)
		spec.Stdin = script
	} else if spec.Argv, script, err = shell.ArgsBeside(sh, b.Command); script != nil {
		spec.Files = []*os.File{script}
	}
	if err != nil {
		ex.fail(-1, "%v\n", err)
		return
	}
	if script != nil {
		defer func() { _ = script.Close() }()
	}
	spec.Env = h.Env.List(who.environ(b.Envs))
	spec.Path, spec.Argv = who.wrap(sh, spec.Argv)
	h.step(ex, spec)
}

// writers are where the pipes of a command go, one for each.
func (ex *execution) writers() []io.Writer {
	if ex.split {
		return []io.Writer{ex.out.Stream(run.Stdout), ex.out.Stream(run.Stderr)}
	}
	return []io.Writer{ex.out}
}

// givenInput returns the standard input that the request brought; nil: none.
func givenInput(b *toolbox.Execute) (*os.File, error) {
	switch {
	case b.Stdin != "":
		return run.MemFile("stdin", []byte(b.Stdin))
	case len(b.StdinData) > 0:
		return run.MemFile("stdin", b.StdinData)
	}
	return nil, nil
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
