// Command e2e runs the official Go clients of the 0.x wire, unmodified, against the server at DAYTONA_API_URL. These are
// the strictest readers of the wire: an answer that lacks a required field is an error.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	api "github.com/daytonaio/daytona/libs/api-client-go"
	toolbox "github.com/daytonaio/daytona/libs/toolbox-api-client-go"
)

type suite struct {
	ctx     context.Context
	client  *api.APIClient
	box     *api.Sandbox
	tools   *toolbox.APIClient
	scratch string
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	s := &suite{ctx: ctx, client: client(os.Getenv("DAYTONA_API_KEY"))}
	var err error
	if s.scratch, err = os.MkdirTemp("", "dugout-e2e-go-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer func() { _ = os.RemoveAll(s.scratch) }()
	passed, failed := 0, 0
	for _, t := range []struct {
		name string
		run  func() error
	}{
		{"create", s.create}, {"get", s.get}, {"list", s.list}, {"labels and intervals", s.settings}, {"execute", s.execute},
		{"timeout", s.timeout}, {"code", s.code}, {"files", s.files}, {"stop and start", s.stopStart}, {"errors", s.errors}, {"delete", s.remove},
		{"every family", func() error { return s.families(false) }}, {"every family, as an old client", func() error { return s.families(true) }},
	} {
		if err := t.run(); err != nil {
			failed++
			fmt.Printf("FAILED %s: %v\n", t.name, err)
			continue
		}
		passed++
		fmt.Println("ok", t.name)
	}
	if s.box != nil && failed > 0 {
		_, _, _ = s.client.SandboxAPI.DeleteSandbox(ctx, s.box.Id).Execute()
	}
	fmt.Printf("go: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func client(key string) *api.APIClient {
	c := api.NewConfiguration()
	c.Servers = api.ServerConfigurations{{URL: os.Getenv("DAYTONA_API_URL")}}
	c.DefaultHeader["Authorization"] = "Bearer " + key
	return api.NewAPIClient(c)
}

func (s *suite) create() error {
	want := api.NewCreateSandbox()
	want.SetSnapshot("tiny")
	want.SetLabels(map[string]string{"client": "go", "run": s.scratch})
	want.SetEnv(map[string]string{"COLOUR": "dark blue"})
	want.SetAutoStopInterval(11)
	box, _, err := s.client.SandboxAPI.CreateSandbox(s.ctx).CreateSandbox(*want).Execute()
	if err != nil {
		return detail(err)
	}
	s.box = box
	if err := s.await(api.SANDBOXSTATE_STARTED); err != nil {
		return err
	}
	c := toolbox.NewConfiguration()
	c.Servers = toolbox.ServerConfigurations{{URL: strings.TrimSuffix(box.ToolboxProxyUrl, "/") + "/" + box.Id}}
	c.DefaultHeader["Authorization"] = "Bearer " + os.Getenv("DAYTONA_API_KEY")
	s.tools = toolbox.NewAPIClient(c)
	return same("user and snapshot", box.User+" "+box.GetSnapshot(), "daytona tiny")
}

func (s *suite) await(state api.SandboxState) error {
	for {
		box, _, err := s.client.SandboxAPI.GetSandbox(s.ctx, s.box.Id).Execute()
		if err != nil {
			return detail(err)
		}
		switch box.GetState() {
		case state:
			s.box = box
			return nil
		case api.SANDBOXSTATE_ERROR:
			return fmt.Errorf("the sandbox is in error: %s", box.GetErrorReason())
		}
		select {
		case <-s.ctx.Done():
			return fmt.Errorf("the sandbox is %s, want %s", box.GetState(), state)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *suite) get() error {
	for _, key := range []string{s.box.Id, s.box.Name} {
		box, _, err := s.client.SandboxAPI.GetSandbox(s.ctx, key).Execute()
		if err != nil {
			return detail(err)
		}
		if err := same("id", box.Id, s.box.Id); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) list() error {
	labels, _ := json.Marshal(map[string]string{"run": s.scratch})
	page, _, err := s.client.SandboxAPI.ListSandboxes(s.ctx).Labels(string(labels)).Limit(5).Execute()
	if err != nil {
		return detail(err)
	}
	if len(page.Items) != 1 || page.Items[0].Id != s.box.Id {
		return fmt.Errorf("found %d sandboxes by label, want the one", len(page.Items))
	}
	old, _, err := s.client.SandboxAPI.ListSandboxesPaginatedDeprecated(s.ctx).Labels(string(labels)).Execute()
	if err != nil {
		return detail(err)
	}
	return same("total of the older list", old.Total, float32(1))
}

func (s *suite) settings() error {
	labels := api.NewSandboxLabels(map[string]string{"run": s.scratch, "new": "ü"})
	if _, _, err := s.client.SandboxAPI.ReplaceLabels(s.ctx, s.box.Id).SandboxLabels(*labels).Execute(); err != nil {
		return detail(err)
	}
	if _, _, err := s.client.SandboxAPI.SetAutostopInterval(s.ctx, s.box.Id, 7).Execute(); err != nil {
		return detail(err)
	}
	if _, _, err := s.client.SandboxAPI.SetAutoArchiveInterval(s.ctx, s.box.Id, 60).Execute(); err != nil {
		return detail(err)
	}
	if _, _, err := s.client.SandboxAPI.SetAutoDeleteInterval(s.ctx, s.box.Id, -1).Execute(); err != nil {
		return detail(err)
	}
	box, _, err := s.client.SandboxAPI.GetSandbox(s.ctx, s.box.Id).Execute()
	if err != nil {
		return detail(err)
	}
	got := fmt.Sprint(box.Labels["new"], box.GetAutoStopInterval(), box.GetAutoArchiveInterval(), box.GetAutoDeleteInterval())
	return same("settings", got, fmt.Sprint("ü", 7, 60, -1))
}

func (s *suite) execute() error {
	r := toolbox.NewExecuteRequest(`pwd; printf '%s|%s' "$COLOUR" "$A"; exit 3`)
	r.SetCwd("/tmp")
	r.SetEnvs(map[string]string{"A": `it's "quoted"`})
	out, _, err := s.tools.ProcessAPI.ExecuteCommand(s.ctx).Request(*r).Execute()
	if err != nil {
		return detail(err)
	}
	return same("result", fmt.Sprint(out.GetExitCode(), out.Result), fmt.Sprint(3, "/tmp\ndark blue|it's \"quoted\""))
}

func (s *suite) timeout() error {
	r := toolbox.NewExecuteRequest("sleep 60")
	r.SetTimeout(1)
	_, res, err := s.tools.ProcessAPI.ExecuteCommand(s.ctx).Request(*r).Execute()
	return status(res, err, http.StatusRequestTimeout)
}

func (s *suite) code() error {
	r := toolbox.NewCodeRunRequest("print(1)", "no-such-language")
	_, res, err := s.tools.ProcessAPI.CodeRun(s.ctx).Request(*r).Execute()
	return status(res, err, http.StatusBadRequest)
}

func (s *suite) files() error {
	fs := s.tools.FileSystemAPI
	content := bytes.Repeat([]byte("needle in the hay\n"), 1000)
	local := filepath.Join(s.scratch, "up")
	if err := os.WriteFile(local, content, 0o600); err != nil {
		return err
	}
	up, err := os.Open(local)
	if err != nil {
		return err
	}
	defer func() { _ = up.Close() }()
	if _, err := fs.CreateFolder(s.ctx).Path("/tmp/go").Mode("755").Execute(); err != nil {
		return detail(err)
	}
	if _, _, err := fs.UploadFile(s.ctx).Path("/tmp/go/a b").File(up).Execute(); err != nil {
		return detail(err)
	}
	info, _, err := fs.GetFileInfo(s.ctx).Path("/tmp/go/a b").Execute()
	if err != nil {
		return detail(err)
	}
	if err := same("info", fmt.Sprint(info.Name, info.Size, info.IsDir, info.Mode), fmt.Sprint("a b", len(content), false, "-rw-r--r--")); err != nil {
		return err
	}
	if _, err := fs.SetFilePermissions(s.ctx).Path("/tmp/go/a b").Mode("600").Execute(); err != nil {
		return detail(err)
	}
	if _, err := fs.MoveFile(s.ctx).Source("/tmp/go/a b").Destination("/tmp/go/c").Execute(); err != nil {
		return detail(err)
	}
	list, _, err := fs.ListFiles(s.ctx).Path("/tmp/go").Execute()
	if err != nil {
		return detail(err)
	}
	if len(list) != 1 || list[0].Name != "c" || list[0].Mode != "-rw-------" {
		return fmt.Errorf("the folder holds %v, want c with -rw-------", list)
	}
	found, _, err := fs.FindInFiles(s.ctx).Path("/tmp/go").Pattern("needle").Execute()
	if err != nil {
		return detail(err)
	}
	if err := same("lines found", len(found), 1000); err != nil {
		return err
	}
	named, _, err := fs.SearchFiles(s.ctx).Path("/tmp/go").Pattern("c*").Execute()
	if err != nil {
		return detail(err)
	}
	if err := same("files found", fmt.Sprint(named.Files), "[/tmp/go/c]"); err != nil {
		return err
	}
	if _, _, err := fs.ReplaceInFiles(s.ctx).Request(*toolbox.NewReplaceRequest([]string{"/tmp/go/c"}, "pin", "needle")).Execute(); err != nil {
		return detail(err)
	}
	down, _, err := fs.DownloadFile(s.ctx).Path("/tmp/go/c").Execute()
	if err != nil {
		return detail(err)
	}
	defer func() { _ = os.Remove(down.Name()) }()
	defer func() { _ = down.Close() }()
	got, err := io.ReadAll(down)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, bytes.ReplaceAll(content, []byte("needle"), []byte("pin"))) {
		return fmt.Errorf("downloaded %d bytes that are not what was uploaded and replaced", len(got))
	}
	if _, err := fs.DeleteFile(s.ctx).Path("/tmp/go").Recursive(true).Execute(); err != nil {
		return detail(err)
	}
	_, res, err := fs.GetFileInfo(s.ctx).Path("/tmp/go").Execute()
	return status(res, err, http.StatusNotFound)
}

func (s *suite) stopStart() error {
	if _, _, err := s.tools.ProcessAPI.ExecuteCommand(s.ctx).Request(*toolbox.NewExecuteRequest("echo kept > kept")).Execute(); err != nil {
		return detail(err)
	}
	if _, _, err := s.client.SandboxAPI.StopSandbox(s.ctx, s.box.Id).Execute(); err != nil {
		return detail(err)
	}
	if err := s.await(api.SANDBOXSTATE_STOPPED); err != nil {
		return err
	}
	if _, _, err := s.client.SandboxAPI.StartSandbox(s.ctx, s.box.Id).Execute(); err != nil {
		return detail(err)
	}
	if err := s.await(api.SANDBOXSTATE_STARTED); err != nil {
		return err
	}
	out, _, err := s.tools.ProcessAPI.ExecuteCommand(s.ctx).Request(*toolbox.NewExecuteRequest("cat kept")).Execute()
	if err != nil {
		return detail(err)
	}
	return same("the file", out.Result, "kept\n")
}

func (s *suite) errors() error {
	_, res, err := client("dgt_not_a_key_of_this_server").SandboxAPI.GetSandbox(s.ctx, s.box.Id).Execute()
	if err := status(res, err, http.StatusUnauthorized); err != nil {
		return err
	}
	_, res, err = s.client.SandboxAPI.GetSandbox(s.ctx, "00000000-0000-4000-8000-000000000000").Execute()
	if err := status(res, err, http.StatusNotFound); err != nil {
		return err
	}
	bad := api.NewCreateSandbox()
	bad.SetName("<b>x</b>")
	_, res, err = s.client.SandboxAPI.CreateSandbox(s.ctx).CreateSandbox(*bad).Execute()
	if err := status(res, err, http.StatusBadRequest); err != nil {
		return err
	}
	taken := api.NewCreateSandbox()
	taken.SetName(s.box.Name)
	taken.SetSnapshot("tiny")
	_, res, err = s.client.SandboxAPI.CreateSandbox(s.ctx).CreateSandbox(*taken).Execute()
	return status(res, err, http.StatusConflict)
}

func (s *suite) remove() error {
	if _, _, err := s.client.SandboxAPI.DeleteSandbox(s.ctx, s.box.Id).Execute(); err != nil {
		return detail(err)
	}
	for {
		_, res, err := s.client.SandboxAPI.GetSandbox(s.ctx, s.box.Id).Execute()
		if err != nil {
			return status(res, err, http.StatusNotFound)
		}
		select {
		case <-s.ctx.Done():
			return errors.New("a deleted sandbox is still found")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func same[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// status says unless the call failed with this status.
func status(res *http.Response, err error, want int) error {
	if err == nil {
		return fmt.Errorf("no error, want status %d", want)
	}
	if res == nil || res.StatusCode != want {
		return fmt.Errorf("want status %d, got %w", want, detail(err))
	}
	return nil
}

// detail adds the body of the answer to an error of the clients.
func detail(err error) error {
	var e interface{ Body() []byte }
	if errors.As(err, &e) {
		return fmt.Errorf("%w: %.300s", err, e.Body())
	}
	return err
}
