//go:build linux

package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/id"
)

// double is a server whose sandboxes are directories with a real daemon in front: commands run, files are there. Its
// control plane knows as much of the wire as the command line uses.
type double struct {
	*httptest.Server
	key string

	mu        sync.Mutex
	sandboxes map[string]*box // by id
	order     []string
	daemons   []*exec.Cmd
	bin       string // the directory of the daemon's binary
}

type box struct {
	api.Sandbox
	proxy http.Handler // to its daemon
}

func newDouble(root, bin string) *double {
	d := &double{bin: bin, key: id.APIKey(), sandboxes: map[string]*box{}}
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
	handle("/toolbox/{id}/", d.toolbox)
	d.Server = httptest.NewServer(mux)
	return d
}

// daemonMain is the program dugoutd SOCKET WORKDIR. A daemon has a process of its own, since it takes all below it for its
// own to kill.
func daemonMain() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := daemon.Listen(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	d := daemon.New(daemon.Config{Version: "test", Workdir: os.Args[2], Log: slog.New(slog.DiscardHandler)})
	_ = d.Serve(ctx, l)
	d.Close()
}

// launch starts the daemon of b and returns when it answers.
func (d *double) launch(b *box, dir string) error {
	socket := filepath.Join(filepath.Dir(dir), b.ID[:8])
	cmd := exec.Command(filepath.Join(d.bin, "dugoutd"), socket, dir)
	cmd.Env, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, os.Stderr
	for k, v := range b.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.daemons = append(d.daemons, cmd)
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "sandbox"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	b.proxy = proxy
	return nil
}

// close ends the server, the daemons and all that they started.
func (d *double) close() {
	d.Server.Close()
	for _, x := range d.daemons {
		_ = x.Process.Signal(syscall.SIGTERM)
		_ = x.Wait()
	}
}

// toolbox passes a request on to the daemon of a sandbox.
func (d *double) toolbox(w http.ResponseWriter, r *http.Request) error {
	b, err := d.find(r)
	if err != nil {
		return err
	}
	if b.State != api.SandboxStarted {
		return refuse(400, "BAD_REQUEST", "the sandbox is %s", b.State)
	}
	http.StripPrefix("/toolbox/"+r.PathValue("id"), b.proxy).ServeHTTP(w, r)
	return nil
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
	b := &box{Sandbox: sb}
	if err := d.launch(b, dir); err != nil {
		return err
	}
	d.sandboxes[sb.ID] = b
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
