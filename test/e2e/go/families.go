package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	api "github.com/daytonaio/daytona/libs/api-client-go"
	toolbox "github.com/daytonaio/daytona/libs/toolbox-api-client-go"
)

// families calls every family of the toolbox once, in a sandbox of the base snapshot. It runs twice: as this release of the
// client, and as one from before 0.188, which rejects answers with a field that it does not know. That release cannot be had
// as a module any more; this one keeps such fields aside, so that known can look for them.
func (s *suite) families(strict bool) (err error) {
	want := api.NewCreateSandbox()
	want.SetSnapshot("base")
	box, _, err := s.client.SandboxAPI.CreateSandbox(s.ctx).CreateSandbox(*want).Execute()
	if err != nil {
		return detail(err)
	}
	defer func() { _, _, _ = s.client.SandboxAPI.DeleteSandbox(s.ctx, box.Id).Execute() }()
	c := toolbox.NewConfiguration()
	c.Servers = toolbox.ServerConfigurations{{URL: strings.TrimSuffix(box.ToolboxProxyUrl, "/") + "/" + box.Id}}
	c.DefaultHeader["Authorization"] = "Bearer " + os.Getenv("DAYTONA_API_KEY")
	if strict {
		c.DefaultHeader["X-Daytona-Source"] = "sdk-go"
		c.DefaultHeader["X-Daytona-SDK-Version"] = "0.187.0"
	}
	f := &family{suite: s, t: toolbox.NewAPIClient(c), strict: strict, url: c.Servers[0].URL}
	var all []error
	for _, one := range []struct {
		name string
		run  func() error
	}{
		{"info", f.info}, {"execute", f.execute}, {"code", f.code}, {"files", f.files}, {"sessions", f.sessions}, {"terminals", f.terminals}, {"contexts", f.contexts},
		{"git", f.git}, {"language server", f.languageServer}, {"ports", f.ports}, {"desktop", f.desktop},
	} {
		if err := one.run(); err != nil {
			all = append(all, fmt.Errorf("%s: %w", one.name, err))
		}
	}
	return errors.Join(all...)
}

type family struct {
	*suite
	t      *toolbox.APIClient
	strict bool
	url    string
}

// got checks the error of a call and, of an old client's, that the answer has no field unknown to it.
func (f *family) got(answer any, err error) error {
	if err != nil {
		return detail(err)
	}
	if f.strict {
		return known(reflect.ValueOf(answer))
	}
	return nil
}

// done checks the error of a call that answers nothing.
func done(_ *http.Response, err error) error { return detail(err) }

func known(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return known(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := known(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			if more := v.Field(i); v.Type().Field(i).Name == "AdditionalProperties" && more.Len() > 0 {
				return fmt.Errorf("%s has fields that an old client rejects: %v", v.Type().Name(), more.MapKeys())
			}
			if err := known(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// words puts values on a line, a space between them.
func words(v ...any) string { return strings.TrimSpace(fmt.Sprintln(v...)) }

func (f *family) info() error {
	home, _, err := f.t.InfoAPI.GetUserHomeDir(f.ctx).Execute()
	if err := f.got(home, err); err != nil {
		return err
	}
	work, _, err := f.t.InfoAPI.GetWorkDir(f.ctx).Execute()
	if err := f.got(work, err); err != nil {
		return err
	}
	version, _, err := f.t.InfoAPI.GetVersion(f.ctx).Execute()
	if err := f.got(version, err); err != nil {
		return err
	}
	return same("folders", words(home.GetDir(), work.GetDir(), version["version"] != ""), "/home/daytona /home/daytona true")
}

// run executes a command that must succeed.
func (f *family) run(command string) (string, error) {
	out, _, err := f.t.ProcessAPI.ExecuteCommand(f.ctx).Request(*toolbox.NewExecuteRequest(command)).Execute()
	if err := f.got(out, err); err != nil {
		return "", err
	}
	if out.GetExitCode() != 0 {
		return "", fmt.Errorf("%s: exit %d: %s", command, out.GetExitCode(), out.Result)
	}
	return out.Result, nil
}

func (f *family) execute() error {
	out, err := f.run("echo out; echo err >&2")
	if err != nil {
		return err
	}
	return same("output", out, "out\nerr\n")
}

func (f *family) code() error {
	r := toolbox.NewCodeRunRequest("import sys\nimport matplotlib.pyplot as plt\nplt.bar(['a'], [1]); plt.title('T'); plt.show()\nprint(sys.argv[1:])", "python")
	r.SetArgv([]string{"a b"})
	out, _, err := f.t.ProcessAPI.CodeRun(f.ctx).Request(*r).Execute()
	if err := f.got(out, err); err != nil {
		return err
	}
	charts := out.Artifacts.GetCharts()
	if len(charts) != 1 {
		return fmt.Errorf("%d charts, want one: %s", len(charts), out.GetResult())
	}
	return same("run", words(out.GetExitCode(), out.GetResult(), charts[0].GetType(), charts[0].GetTitle()), words(0, "['a b']\n", "bar", "T"))
}

func (f *family) files() error {
	// The second upload of the wire is not in this client.
	q, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.url+"/files/upload-v2?path=go/raw", bytes.NewReader([]byte("raw\n")))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+os.Getenv("DAYTONA_API_KEY"))
	q.Header.Set("Content-Type", "application/octet-stream")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if err := same("status of upload-v2", res.StatusCode, http.StatusOK); err != nil {
		return err
	}
	list, _, err := f.t.FileSystemAPI.ListFiles(f.ctx).Path("go").Execute()
	if err := f.got(list, err); err != nil {
		return err
	}
	info, _, err := f.t.FileSystemAPI.GetFileInfo(f.ctx).Path("go/raw").Execute()
	if err := f.got(info, err); err != nil {
		return err
	}
	found, _, err := f.t.FileSystemAPI.FindInFiles(f.ctx).Path("go").Pattern("raw").Execute()
	if err := f.got(found, err); err != nil {
		return err
	}
	named, _, err := f.t.FileSystemAPI.SearchFiles(f.ctx).Path("go").Pattern("r*").Execute()
	if err := f.got(named, err); err != nil {
		return err
	}
	replaced, _, err := f.t.FileSystemAPI.ReplaceInFiles(f.ctx).Request(*toolbox.NewReplaceRequest([]string{"go/raw"}, "x", "raw")).Execute()
	if err := f.got(replaced, err); err != nil {
		return err
	}
	return same("file", words(len(list), info.Size, len(found), len(named.Files), len(replaced)), "1 4 1 1 1")
}

func (f *family) sessions() error {
	p := f.t.ProcessAPI
	if err := done(p.CreateSession(f.ctx).Request(*toolbox.NewCreateSessionRequest("go")).Execute()); err != nil {
		return err
	}
	out, _, err := p.SessionExecuteCommand(f.ctx, "go").Request(*toolbox.NewSessionExecuteRequest("cd /tmp; pwd; echo bad >&2; (exit 3)")).Execute()
	if err := f.got(out, err); err != nil {
		return err
	}
	if err := same("exit code", out.GetExitCode(), 3); err != nil {
		return err
	}
	r := toolbox.NewSessionExecuteRequest("read n; echo hello $n; pwd")
	r.SetRunAsync(true)
	started, _, err := p.SessionExecuteCommand(f.ctx, "go").Request(*r).Execute()
	if err := f.got(started, err); err != nil {
		return err
	}
	if err := done(p.SendInput(f.ctx, "go", started.CmdId).Request(*toolbox.NewSessionSendInputRequest("bob")).Execute()); err != nil {
		return err
	}
	if _, _, err := p.SessionExecuteCommand(f.ctx, "go").Request(*toolbox.NewSessionExecuteRequest("true")).Execute(); err != nil {
		return detail(err) // commands run one after another: the one before has ended now
	}
	command, _, err := p.GetSessionCommand(f.ctx, "go", started.CmdId).Execute()
	if err := f.got(command, err); err != nil {
		return err
	}
	session, _, err := p.GetSession(f.ctx, "go").Execute()
	if err := f.got(session, err); err != nil {
		return err
	}
	all, _, err := p.ListSessions(f.ctx).Execute()
	if err := f.got(all, err); err != nil {
		return err
	}
	if err := same("session", words(command.GetExitCode(), len(session.Commands), len(all)), "0 3 1"); err != nil {
		return err
	}
	if f.strict { // of that age, logs come as text with marks
		_, res, err := p.GetSessionCommandLogs(f.ctx, "go", started.CmdId).Execute()
		if res == nil {
			return detail(err)
		}
		if err := same("status of the log", res.StatusCode, http.StatusOK); err != nil {
			return err
		}
	} else {
		r, err := http.NewRequestWithContext(f.ctx, http.MethodGet, f.url+"/process/session/go/command/"+started.CmdId+"/logs", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+os.Getenv("DAYTONA_API_KEY"))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		if err := same("log", b.String(), "bob\nhello bob\n/tmp\n"); err != nil {
			return err
		}
	}
	_, res, err := p.GetEntrypointSession(f.ctx).Execute()
	if err := status(res, err, http.StatusNotFound); err != nil {
		return err
	}
	return done(p.DeleteSession(f.ctx, "go").Execute())
}

func (f *family) terminals() error {
	p := f.t.ProcessAPI
	r := toolbox.NewPtyCreateRequest()
	r.SetId("go")
	r.SetCwd("/tmp")
	r.SetLazyStart(false)
	made, _, err := p.CreatePtySession(f.ctx).Request(*r).Execute()
	if err := f.got(made, err); err != nil {
		return err
	}
	_, res, err := p.CreatePtySession(f.ctx).Request(*r).Execute()
	if err := status(res, err, http.StatusConflict); err != nil {
		return err
	}
	sized, _, err := p.ResizePtySession(f.ctx, "go").Request(*toolbox.NewPtyResizeRequest(132, 40)).Execute()
	if err := f.got(sized, err); err != nil {
		return err
	}
	one, _, err := p.GetPtySession(f.ctx, "go").Execute()
	if err := f.got(one, err); err != nil {
		return err
	}
	all, _, err := p.ListPtySessions(f.ctx).Execute()
	if err := f.got(all, err); err != nil {
		return err
	}
	if err := same("terminal", words(made.SessionId, sized.Cols, one.Rows, one.Cwd, len(all.Sessions)), "go 132 40 /tmp 1"); err != nil {
		return err
	}
	// The client takes the message of the answer for an object, and so finds fault with it; the status counts.
	_, res, err = p.DeletePtySession(f.ctx, "go").Execute()
	if res == nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("deletion: %w", detail(err))
	}
	_, res, err = p.GetPtySession(f.ctx, "go").Execute()
	return status(res, err, http.StatusNotFound)
}

func (f *family) contexts() error {
	r := toolbox.NewCreateContextRequest()
	r.SetCwd("/tmp")
	made, _, err := f.t.InterpreterAPI.CreateInterpreterContext(f.ctx).Request(*r).Execute()
	if err := f.got(made, err); err != nil {
		return err
	}
	all, _, err := f.t.InterpreterAPI.ListInterpreterContexts(f.ctx).Execute()
	if err := f.got(all, err); err != nil {
		return err
	}
	if err := same("contexts", words(len(all.Contexts), made.Cwd, made.Language, made.Active), "1 /tmp python true"); err != nil {
		return err
	}
	_, _, err = f.t.InterpreterAPI.DeleteInterpreterContext(f.ctx, made.Id).Execute()
	if err != nil {
		return detail(err)
	}
	_, res, err := f.t.InterpreterAPI.DeleteInterpreterContext(f.ctx, made.Id).Execute()
	return status(res, err, http.StatusNotFound)
}

func (f *family) git() error {
	g := f.t.GitAPI
	if _, err := f.run(`git init -q -b main seed && cd seed && echo one > a.txt && git add -A && git -c user.name=S -c user.email=s@e commit -qm first &&
		cd .. && git clone -q --bare seed origin.git`); err != nil {
		return err
	}
	for _, to := range []string{"work", "other"} {
		if err := done(g.CloneRepository(f.ctx).Request(*toolbox.NewGitCloneRequest(to, "/home/daytona/origin.git")).Execute()); err != nil {
			return err
		}
	}
	if err := done(g.CreateBranch(f.ctx).Request(*toolbox.NewGitBranchRequest("feature", "work")).Execute()); err != nil {
		return err
	}
	branches, _, err := g.ListBranches(f.ctx).Path("work").Execute()
	if err := f.got(branches, err); err != nil {
		return err
	}
	if err := done(g.CheckoutBranch(f.ctx).Request(*toolbox.NewGitCheckoutRequest("main", "work")).Execute()); err != nil {
		return err
	}
	if err := done(g.DeleteBranch(f.ctx).Request(*toolbox.NewGitDeleteBranchRequest("feature", "work")).Execute()); err != nil {
		return err
	}
	if _, err := f.run("echo two > work/b.txt"); err != nil {
		return err
	}
	st, _, err := g.GetStatus(f.ctx).Path("work").Execute()
	if err := f.got(st, err); err != nil {
		return err
	}
	if !f.strict && known(reflect.ValueOf(st)) == nil { // what an old client must not get, this one gets, and known finds it
		return errors.New("no field beyond this release's is in the status")
	}
	if err := same("status", words(branches.Branches, st.CurrentBranch, len(st.FileStatus), st.FileStatus[0].Name, st.FileStatus[0].Staging), "[feature main] main 1 b.txt Untracked"); err != nil {
		return err
	}
	if err := done(g.AddFiles(f.ctx).Request(*toolbox.NewGitAddRequest([]string{"."}, "work")).Execute()); err != nil {
		return err
	}
	commit, _, err := g.CommitChanges(f.ctx).Request(*toolbox.NewGitCommitRequest("Ann", "ann@example.org", "second", "work")).Execute()
	if err := f.got(commit, err); err != nil {
		return err
	}
	if err := done(g.PushChanges(f.ctx).Request(*toolbox.NewGitRepoRequest("work")).Execute()); err != nil {
		return err
	}
	if err := done(g.PullChanges(f.ctx).Request(*toolbox.NewGitRepoRequest("other")).Execute()); err != nil {
		return err
	}
	history, _, err := g.GetCommitHistory(f.ctx).Path("other").Execute()
	if err := f.got(history, err); err != nil {
		return err
	}
	if err := same("history", words(len(history), history[0].Hash == commit.Hash, history[0].Author), "2 true Ann"); err != nil {
		return err
	}
	_, res, err := g.GetStatus(f.ctx).Path("/tmp").Execute()
	return status(res, err, http.StatusNotFound)
}

func (f *family) languageServer() error {
	l := f.t.LspAPI
	const dir, uri = "/home/daytona/py", "file:///home/daytona/py/dog.py"
	if _, err := f.run(`mkdir -p py && printf 'class Dog:\n    def bark(self): pass\n\nDog().\n' > py/dog.py`); err != nil {
		return err
	}
	server, document := *toolbox.NewLspServerRequest("python", dir), *toolbox.NewLspDocumentRequest("python", dir, uri)
	if err := done(l.Start(f.ctx).Request(server).Execute()); err != nil {
		return err
	}
	if err := done(l.DidOpen(f.ctx).Request(document).Execute()); err != nil {
		return err
	}
	symbols, _, err := l.DocumentSymbols(f.ctx).LanguageId("python").PathToProject(dir).Uri(uri).Execute()
	if err := f.got(symbols, err); err != nil {
		return err
	}
	found, _, err := l.WorkspaceSymbols(f.ctx).LanguageId("python").PathToProject(dir).Query("Dog").Execute()
	if err := f.got(found, err); err != nil {
		return err
	}
	list, _, err := l.Completions(f.ctx).Request(*toolbox.NewLspCompletionParams("python", dir, *toolbox.NewLspPosition(6, 3), uri)).Execute()
	if err := f.got(list, err); err != nil {
		return err
	}
	if !slices.ContainsFunc(symbols, func(s toolbox.LspSymbol) bool { return s.Name == "bark" }) || len(found) == 0 ||
		!slices.ContainsFunc(list.Items, func(i toolbox.CompletionItem) bool { return i.Label == "bark()" }) {
		return fmt.Errorf("%d symbols, %d found, %d completions, and not what is there", len(symbols), len(found), len(list.Items))
	}
	if err := done(l.DidClose(f.ctx).Request(document).Execute()); err != nil {
		return err
	}
	return done(l.Stop(f.ctx).Request(server).Execute())
}

func (f *family) ports() error {
	if _, err := f.run("cd /tmp && (setsid python3 -m http.server 3456 >/dev/null 2>&1 </dev/null &) ; for i in $(seq 200); do curl -fs -o /dev/null 127.0.0.1:3456 && break; sleep 0.02; done"); err != nil {
		return err
	}
	ports, _, err := f.t.PortAPI.GetPorts(f.ctx).Execute()
	if err := f.got(ports, err); err != nil {
		return err
	}
	used, _, err := f.t.PortAPI.IsPortInUse(f.ctx, 3456).Execute()
	if err := f.got(used, err); err != nil {
		return err
	}
	if !slices.Contains(ports.Ports, 3456) || !used.GetIsInUse() {
		return fmt.Errorf("port 3456 is not among %v", ports.Ports)
	}
	return nil
}

// desktop: the base snapshot has none, and says so.
func (f *family) desktop() error {
	_, res, err := f.t.ComputerUseAPI.GetComputerUseStatus(f.ctx).Execute()
	if err := status(res, err, http.StatusServiceUnavailable); err != nil {
		return err
	}
	_, res, err = f.t.ComputerUseAPI.TakeScreenshot(f.ctx).Execute()
	if err := status(res, err, http.StatusServiceUnavailable); err != nil {
		return err
	}
	recordings, _, err := f.t.ComputerUseAPI.ListRecordings(f.ctx).Execute()
	return f.got(recordings, err)
}
