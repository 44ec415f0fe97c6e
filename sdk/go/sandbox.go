package dugout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api"
)

// Sandbox is an isolated computer. The embedded data are as the server last told them to this value; the methods that
// change a sandbox return or refresh them as they say.
type Sandbox struct {
	api.Sandbox
	client *Client
}

// State and the other wire types, so that callers need no second import.
type (
	State = api.SandboxState
	// CreateOptions are the wish for a new sandbox; all of it is optional.
	CreateOptions = api.CreateSandbox
)

// The states a caller meets most.
const (
	Creating   = api.SandboxCreating
	Started    = api.SandboxStarted
	Stopping   = api.SandboxStopping
	Stopped    = api.SandboxStopped
	Destroying = api.SandboxDestroying
	Destroyed  = api.SandboxDestroyed
	Failed     = api.SandboxError
)

// Create makes a sandbox and returns when it is started. The request carries an idempotency key and is repeated when the
// connection breaks before the answer: one sandbox comes of it. A sandbox that fails to start is an [ErrFailed].
func (c *Client) Create(ctx context.Context, opts CreateOptions) (*Sandbox, error) {
	sb := &Sandbox{client: c}
	header := http.Header{"Idempotency-Key": {randomID()}}
	err := retry(ctx, func() error {
		return c.call(ctx, request{method: "POST", url: c.apiURL + "/sandbox", body: opts, header: header}, &sb.Sandbox)
	})
	if err != nil {
		return nil, err
	}
	return sb, sb.Wait(ctx, Started)
}

// Get returns the sandbox with this id or name; [ErrNotFound] when there is none.
func (c *Client) Get(ctx context.Context, idOrName string) (*Sandbox, error) {
	sb := &Sandbox{client: c}
	return sb, c.get(ctx, idOrName, &sb.Sandbox)
}

func (c *Client) get(ctx context.Context, idOrName string, out *api.Sandbox) error {
	if idOrName == "" {
		return errors.New("the id or name of the sandbox must not be empty")
	}
	return retry(ctx, func() error {
		return c.call(ctx, request{method: "GET", url: c.apiURL + "/sandbox/" + url.PathEscape(idOrName)}, out)
	})
}

// ListOptions narrow a list. Empty fields do not.
type ListOptions struct {
	Labels map[string]string // sandboxes that have all of them
	States []State
	Name   string // prefix
	Limit  int    // sandboxes per request, 1 to 200; 0: the server's default
	Cursor string // page to begin with
}

// List yields sandboxes, latest activity first, and fetches page after page as it goes. The list form of a sandbox leaves
// out its environment, volumes and build; [Sandbox.Refresh] brings them. After an error the sequence ends.
func (c *Client) List(ctx context.Context, opts ListOptions) iter.Seq2[*Sandbox, error] {
	return func(yield func(*Sandbox, error) bool) {
		for {
			page, err := c.ListPage(ctx, opts)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page.Items {
				if !yield(&Sandbox{Sandbox: fromItem(&page.Items[i]), client: c}, nil) {
					return
				}
			}
			if page.NextCursor == nil || *page.NextCursor == "" || *page.NextCursor == opts.Cursor {
				return
			}
			opts.Cursor = *page.NextCursor
		}
	}
}

// ListPage returns one page of sandboxes as it came over the wire.
func (c *Client) ListPage(ctx context.Context, opts ListOptions) (*api.SandboxList, error) {
	q := url.Values{}
	if len(opts.Labels) > 0 {
		b, err := json.Marshal(opts.Labels)
		if err != nil {
			return nil, err
		}
		q.Set("labels", string(b))
	}
	for _, s := range opts.States {
		q.Add("states", string(s))
	}
	if opts.Name != "" {
		q.Set("name", opts.Name)
	}
	if opts.Limit != 0 {
		q.Set("limit", strconv.Itoa(opts.Limit))
	}
	if opts.Cursor != "" {
		q.Set("cursor", opts.Cursor)
	}
	var page api.SandboxList
	err := retry(ctx, func() error {
		return c.call(ctx, request{method: "GET", url: c.apiURL + "/sandbox", query: q}, &page)
	})
	return &page, err
}

// fromItem fills a sandbox from its list form: the same keys with the same meaning, some left out.
func fromItem(it *api.SandboxListItem) api.Sandbox {
	return api.Sandbox{ID: it.ID, OrganizationID: it.OrganizationID, Name: it.Name, Target: it.Target, RunnerID: it.RunnerID,
		SandboxClass: it.SandboxClass, State: it.State, DesiredState: it.DesiredState, Snapshot: it.Snapshot, User: it.User,
		ErrorReason: it.ErrorReason, StopReason: it.StopReason, Recoverable: it.Recoverable, Public: it.Public,
		NetworkBlockAll: it.NetworkBlockAll, NetworkAllowList: it.NetworkAllowList, DomainAllowList: it.DomainAllowList,
		CPU: it.CPU, GPU: it.GPU, Spot: it.Spot, SpotEvictedAt: it.SpotEvictedAt, GPUType: it.GPUType, Memory: it.Memory,
		Disk: it.Disk, Labels: it.Labels, BackupState: it.BackupState, AutoStopInterval: it.AutoStopInterval,
		AutoPauseInterval: it.AutoPauseInterval, AutoArchiveInterval: it.AutoArchiveInterval,
		AutoDeleteInterval: it.AutoDeleteInterval, AutoDestroyAt: it.AutoDestroyAt, CreatedAt: it.CreatedAt,
		UpdatedAt: it.UpdatedAt, LastActivityAt: it.LastActivityAt, DaemonVersion: it.DaemonVersion, WarmPoolID: it.WarmPoolID,
		ToolboxProxyURL: it.ToolboxProxyURL, Env: map[string]string{}}
}

// Refresh fetches the sandbox anew. It must not run at the same time as other uses of s.
func (s *Sandbox) Refresh(ctx context.Context) error {
	var fresh api.Sandbox
	if err := s.client.get(ctx, s.ID, &fresh); err != nil {
		return err
	}
	s.Sandbox = fresh
	return nil
}

// Start starts a stopped sandbox and returns when it is started.
func (s *Sandbox) Start(ctx context.Context) error {
	if err := s.verb(ctx, "POST", "/start", nil, nil); err != nil {
		return err
	}
	return s.Wait(ctx, Started)
}

// Stop stops a sandbox and returns when it is stopped; an ephemeral one is then destroyed. Its processes get SIGTERM first;
// force kills them at once.
func (s *Sandbox) Stop(ctx context.Context, force bool) error {
	var q url.Values
	if force {
		q = url.Values{"force": {"true"}}
	}
	if err := s.verb(ctx, "POST", "/stop", q, nil); err != nil {
		return err
	}
	return s.Wait(ctx, Stopped)
}

// Delete asks for the end of a sandbox and everything in it. It returns when the server has written that down, not when the
// last of it is gone: wait for [Destroyed] for that.
func (s *Sandbox) Delete(ctx context.Context) error {
	return s.verb(ctx, "DELETE", "", nil, nil)
}

// SetLabels replaces all labels of the sandbox.
func (s *Sandbox) SetLabels(ctx context.Context, labels map[string]string) error {
	if labels == nil {
		labels = map[string]string{}
	}
	var out api.SandboxLabels
	u := s.client.apiURL + "/sandbox/" + url.PathEscape(s.ID) + "/labels"
	if err := s.client.call(ctx, request{method: "PUT", url: u, body: api.SandboxLabels{Labels: labels}}, &out); err != nil {
		return err
	}
	s.Labels = out.Labels
	return nil
}

// SetAutoStop sets after how many minutes without activity the sandbox is stopped; 0: never.
func (s *Sandbox) SetAutoStop(ctx context.Context, minutes int) error {
	return s.verb(ctx, "POST", "/autostop/"+strconv.Itoa(minutes), nil, nil)
}

// SetAutoDelete sets how many minutes after it stopped the sandbox is deleted; 0: at once; negative: never.
func (s *Sandbox) SetAutoDelete(ctx context.Context, minutes int) error {
	return s.verb(ctx, "POST", "/autodelete/"+strconv.Itoa(minutes), nil, nil)
}

// verb calls an operation that answers with the sandbox, and keeps the answer.
func (s *Sandbox) verb(ctx context.Context, method, path string, q url.Values, body any) error {
	var fresh api.Sandbox
	u := s.client.apiURL + "/sandbox/" + url.PathEscape(s.ID) + path
	if err := s.client.call(ctx, request{method: method, url: u, query: q, body: body}, &fresh); err != nil {
		return err
	}
	if fresh.ID == s.ID { // a deleted sandbox is renamed, but keeps its id
		s.Sandbox = fresh
	}
	return nil
}

// Wait returns when the sandbox is in the wanted state. A sandbox that ends in another final state instead is an
// [ErrFailed] with the reason; waiting for [Stopped] or [Destroyed] ends well when it is gone. A server that does not answer
// for a minute ends the wait.
func (s *Sandbox) Wait(ctx context.Context, want State) error {
	var unreachable time.Time // since when the server does not answer
	for pause := 20 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		switch {
		case s.State == want, s.State == Destroyed && want == Stopped:
			return nil
		case s.State == Failed, s.State == api.SandboxBuildFailed, s.State == Destroyed:
			return fmt.Errorf("%w: %s is %s%s", ErrFailed, s.Name, s.State, because(s.ErrorReason))
		case s.State == Destroying && want != Destroyed && want != Stopped:
			return fmt.Errorf("%w: %s is being deleted", ErrFailed, s.Name)
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("waiting for %s to be %s, it is %s: %w", s.Name, want, s.State, err)
		}
		switch err := s.Refresh(ctx); {
		case err == nil:
			unreachable = time.Time{}
		case errors.Is(err, ErrNotFound) && (want == Destroyed || want == Stopped):
			s.State = Destroyed
			return nil
		case errors.Is(err, ErrUnavailable) && (unreachable.IsZero() || time.Since(unreachable) < time.Minute):
			if unreachable.IsZero() { // the server may be restarting; the sandbox is not
				unreachable = time.Now()
			}
		default:
			return err
		}
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// retryWindow is how long a request that got no answer is repeated: long enough for a server to restart.
const retryWindow = 15 * time.Second

// retry calls f until it gets an answer, good or bad. When nothing was listening at the very first try, there is nothing to
// wait for: the server is not restarting under a request of ours, it is not there.
func retry(ctx context.Context, f func() error) error {
	start := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(pause*2, time.Second) {
		first := pause == 50*time.Millisecond
		err := f()
		var lost *connectionError
		if !errors.As(err, &lost) || first && neverSent(err) || time.Since(start) > retryWindow {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// neverSent reports whether not even a connection came about.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func randomID() string { return rand.Text() }
