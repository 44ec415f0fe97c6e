package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/id"
)

// double is a server whose sandboxes are directories: commands really run in a shell, files really are there. It knows as
// much of the wire as the command line uses and is as strict about it.
type double struct {
	*httptest.Server
	key string

	mu        sync.Mutex
	sandboxes map[string]*box // by id
	order     []string
}

type box struct {
	api.Sandbox
	dir string
}

func newDouble(t testing.TB, root string) *double {
	d := &double{key: id.APIKey(), sandboxes: map[string]*box{}}
	mux := http.NewServeMux()
	handle := func(pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+d.key {
				fail(w, r, 401, "UNAUTHORIZED", "the API key is missing or unknown")
				return
			}
			if err := h(w, r); err != nil {
				var e *api.Error
				if !errors.As(err, &e) {
					e = &api.Error{StatusCode: 500, Message: err.Error()}
				}
				fail(w, r, e.StatusCode, e.Code, e.Message)
			}
		})
	}
	handle("GET /api/sandbox", d.list)
	handle("POST /api/sandbox", func(w http.ResponseWriter, r *http.Request) error { return d.create(w, r, root) })
	handle("GET /api/sandbox/{id}", d.get)
	handle("POST /api/sandbox/{id}/start", d.to(api.SandboxStarted))
	handle("POST /api/sandbox/{id}/stop", d.to(api.SandboxStopped))
	handle("DELETE /api/sandbox/{id}", d.to(api.SandboxDestroyed))
	handle("GET /api/snapshots", d.snapshots)
	handle("GET /api/snapshots/{name}", d.snapshot)
	handle("POST /toolbox/{id}/process/execute", d.execute)
	handle("GET /toolbox/{id}/files", d.files)
	handle("GET /toolbox/{id}/files/info", d.info)
	handle("GET /toolbox/{id}/files/download", d.download)
	handle("POST /toolbox/{id}/files/upload-v2", d.upload)
	handle("POST /toolbox/{id}/files/folder", d.folder)
	handle("POST /toolbox/{id}/files/permissions", d.permissions)
	handle("DELETE /toolbox/{id}/files", d.remove)
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

func fail(w http.ResponseWriter, r *http.Request, status int, code, msg string) {
	answer(w, status, api.Error{Path: r.URL.Path, StatusCode: status, Code: code, Message: msg, Reason: http.StatusText(status), RequestID: "req1"})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(status int, code, format string, args ...any) error {
	return &api.Error{StatusCode: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (d *double) find(r *http.Request) (*box, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := r.PathValue("id")
	for _, i := range d.order {
		if b := d.sandboxes[i]; b != nil && (b.ID == key || b.Name == key) {
			return b, nil
		}
	}
	return nil, refuse(404, "NOT_FOUND", "there is no sandbox %q", key)
}

func (d *double) create(w http.ResponseWriter, r *http.Request, root string) error {
	var in api.CreateSandbox
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return refuse(400, "INVALID_REQUEST_BODY", "malformed JSON")
	}
	if in.Snapshot == "missing" {
		return refuse(400, "BAD_REQUEST", "snapshot %q does not exist", in.Snapshot)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sb := api.Sandbox{ID: id.New(), Name: in.Name, Snapshot: "base", Env: in.Env, Labels: in.Labels, State: api.SandboxStarted, User: "daytona",
		Target: "us", CPU: 1, Memory: 1, Disk: 3, AutoStopInterval: 15, AutoDeleteInterval: -1, ToolboxProxyURL: "http://" + r.Host + "/toolbox",
		CreatedAt: api.At(time.Now()), LastActivityAt: api.At(time.Now()), SandboxClass: api.ClassContainer, DesiredState: "started"}
	if sb.Name == "" {
		sb.Name = sb.ID
	}
	if in.AutoStopInterval != nil {
		sb.AutoStopInterval = *in.AutoStopInterval
	}
	if in.AutoDeleteInterval != nil {
		sb.AutoDeleteInterval = *in.AutoDeleteInterval
	}
	for _, b := range d.sandboxes {
		if b.Name == sb.Name {
			return refuse(409, "CONFLICT", "a sandbox named %q exists", sb.Name)
		}
	}
	dir := filepath.Join(root, sb.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	d.sandboxes[sb.ID] = &box{Sandbox: sb, dir: dir}
	d.order = append(d.order, sb.ID)
	answer(w, 200, sb)
	return nil
}

func (d *double) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit := 100
	_, _ = fmt.Sscan(q.Get("limit"), &limit)
	var want map[string]string
	if l := q.Get("labels"); l != "" && json.Unmarshal([]byte(l), &want) != nil {
		return refuse(400, "BAD_REQUEST", "labels must be a JSON object")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out, seen := api.SandboxList{Items: []api.SandboxListItem{}}, q.Get("cursor") == ""
	for _, i := range slices.Backward(d.order) {
		b := d.sandboxes[i]
		if b == nil || !strings.HasPrefix(b.Name, q.Get("name")) || q.Has("states") && !slices.Contains(q["states"], string(b.State)) || !within(want, b.Labels) {
			continue
		}
		if !seen {
			seen = b.ID == q.Get("cursor")
			continue
		}
		if len(out.Items) == limit {
			out.NextCursor = &out.Items[limit-1].ID
			break
		}
		out.Items = append(out.Items, api.SandboxListItem{ID: b.ID, Name: b.Name, State: b.State, Snapshot: b.Snapshot, Target: b.Target, Labels: b.Labels,
			LastActivityAt: b.LastActivityAt, ToolboxProxyURL: b.ToolboxProxyURL})
	}
	answer(w, 200, out)
	return nil
}

func within(want, have map[string]string) bool {
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			return false
		}
	}
	return true
}

func (d *double) get(w http.ResponseWriter, r *http.Request) error {
	b, err := d.find(r)
	if err != nil {
		return err
	}
	answer(w, 200, b.Sandbox)
	return nil
}

func (d *double) to(state api.SandboxState) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		b, err := d.find(r)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if state == api.SandboxStopped && b.State != api.SandboxStarted {
			return refuse(400, "BAD_REQUEST", "the sandbox is %s, only a started one can be stopped", b.State)
		}
		b.State = state
		answer(w, 200, b.Sandbox)
		if state == api.SandboxDestroyed {
			delete(d.sandboxes, b.ID)
		}
		return nil
	}
}

func (d *double) snapshots(w http.ResponseWriter, r *http.Request) error {
	answer(w, 200, api.SnapshotPage{Items: snapshotRows(), Total: 2, Page: 1, TotalPages: 1})
	return nil
}

func snapshotRows() []api.Snapshot {
	at := api.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	broken := "no runner has it"
	return []api.Snapshot{
		{ID: id.New(), Name: "base", State: api.SnapshotActive, CPU: 1, Mem: 1, Disk: 3, General: true, CreatedAt: at},
		{ID: id.New(), Name: "team/tools:1.2", State: api.SnapshotError, ErrorReason: &broken, CPU: 2, Mem: 4, Disk: 8, CreatedAt: at},
	}
}

func (d *double) snapshot(w http.ResponseWriter, r *http.Request) error {
	for _, s := range snapshotRows() {
		if s.Name == r.PathValue("name") {
			answer(w, 200, s)
			return nil
		}
	}
	return refuse(404, "NOT_FOUND", "there is no snapshot %q", r.PathValue("name"))
}

func (d *double) started(r *http.Request) (*box, error) {
	b, err := d.find(r)
	if err == nil && b.State != api.SandboxStarted {
		err = refuse(400, "BAD_REQUEST", "the sandbox is %s", b.State)
	}
	return b, err
}

func (d *double) execute(w http.ResponseWriter, r *http.Request) error {
	b, err := d.started(r)
	if err != nil {
		return err
	}
	var in toolbox.Execute
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return refuse(400, "INVALID_REQUEST_BODY", "malformed JSON")
	}
	ctx := context.WithoutCancel(r.Context()) // a client that leaves does not end the command
	if in.Timeout != nil && *in.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*in.Timeout)*time.Second)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", in.Command)
	cmd.Dir = b.dir
	if in.Cwd != nil {
		cmd.Dir = d.path(b, *in.Cwd)
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}
	for _, m := range []map[string]string{b.Env, in.Envs} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			cmd.Env = append(cmd.Env, k+"="+m[k])
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		answer(w, 408, toolbox.TimedOut{Error: api.Error{StatusCode: 408, Code: "PROCESS_EXECUTION_TIMEOUT", Source: api.SourceDaemon,
			Message: "the command was killed when its timeout passed"}, Result: string(out)})
		return nil
	}
	code := cmd.ProcessState.ExitCode()
	if err != nil && cmd.ProcessState == nil {
		code, out = -1, []byte(err.Error())
	}
	answer(w, 200, toolbox.Executed{ExitCode: code, Result: string(out)})
	return nil
}

// path maps a path of the sandbox to one here: /tmp is shared, since commands use it too.
func (d *double) path(b *box, p string) string {
	if strings.HasPrefix(p, "/tmp/") {
		return p
	}
	return filepath.Join(b.dir, p)
}

func fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(404, "FILE_NOT_FOUND", "no such file")
	}
	return err
}

func describe(path string) (toolbox.FileInfo, error) {
	st, err := os.Stat(path)
	if err != nil {
		return toolbox.FileInfo{}, fileError(err)
	}
	return toolbox.FileInfo{Name: filepath.Base(path), Size: st.Size(), Mode: st.Mode().String(), ModifiedAt: st.ModTime().Format(time.RFC3339),
		IsDir: st.IsDir(), Owner: "1000", Group: "1000", Permissions: fmt.Sprintf("%04o", st.Mode().Perm())}, nil
}

func (d *double) at(r *http.Request) (string, error) {
	b, err := d.started(r)
	if err != nil {
		return "", err
	}
	return d.path(b, r.URL.Query().Get("path")), nil
}

func (d *double) files(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	b, _ := d.find(r)
	deep := r.URL.Query().Get("depth") != ""
	out := []toolbox.FileInfo{}
	err = filepath.WalkDir(p, func(at string, e fs.DirEntry, err error) error {
		if err != nil || at == p {
			return err
		}
		f, err := describe(at)
		if err != nil {
			return nil
		}
		if deep {
			f.Path = strings.TrimPrefix(at, b.dir)
		}
		out = append(out, f)
		if e.IsDir() && !deep {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fileError(err)
	}
	answer(w, 200, out)
	return nil
}

func (d *double) info(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	f, err := describe(p)
	if err != nil {
		return err
	}
	answer(w, 200, f)
	return nil
}

func (d *double) download(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	if _, err := describe(p); err != nil {
		return err
	}
	http.ServeFile(w, r, p)
	return nil
}

func (d *double) upload(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	f, err := os.Create(p)
	if err != nil {
		return refuse(400, "BAD_REQUEST", "%v", err)
	}
	_, err = io.Copy(f, r.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(p)
		return err
	}
	answer(w, 200, toolbox.UploadedFile{Name: filepath.Base(p), Path: p, Type: "file"})
	return nil
}

func (d *double) folder(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	w.WriteHeader(201)
	return os.MkdirAll(p, 0o755)
}

func (d *double) permissions(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	var mode uint32
	if _, err := fmt.Sscanf(r.URL.Query().Get("mode"), "%o", &mode); err != nil {
		return refuse(400, "BAD_REQUEST", "mode must be octal")
	}
	return os.Chmod(p, fs.FileMode(mode))
}

func (d *double) remove(w http.ResponseWriter, r *http.Request) error {
	p, err := d.at(r)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return fileError(err)
	}
	w.WriteHeader(204)
	return nil
}
