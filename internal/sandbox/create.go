package sandbox

import (
	"context"
	"errors"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/placement"
	"github.com/dugout-dev/dugout/internal/snapshot"
)

// Defaults of a new sandbox, as on the 0.x wire.
const (
	DefaultUser               = "daytona"
	DefaultAutoStopMinutes    = 15
	DefaultAutoArchiveMinutes = 10_080
	DefaultAutoDeleteMinutes  = -1

	tokenLen = 32 // of AuthToken: lower-case letters and digits
)

// placements is how many runners a create tries when one after the other says that it is full.
const placements = 3

// undoTimeout is how long a create that failed may take to clean up before its caller gets the error anyway.
const undoTimeout = 10 * time.Second

// Create makes a sandbox and waits until it runs. A caller that goes away does not end it. When it fails nothing is left
// behind: the row is gone as soon as the runner has confirmed that it holds nothing, and until then nobody sees it as
// anything but a sandbox being destroyed.
//
// Errors: Invalid (request, snapshot, region), Denied (suspended), Exhausted (limits, quota, capacity), Conflict (name; key
// used for another request; destroyed meanwhile), and what the runner said.
func (c *Controller) Create(ctx context.Context, orgID string, r Request) (Sandbox, error) {
	if err := r.check(); err != nil {
		return Sandbox{}, err
	}
	if r.IdempotencyKey == "" {
		return c.place(ctx, orgID, &r, Key{})
	}
	return c.createOnce(ctx, orgID, &r)
}

// createOnce lets concurrent creates with one key share the first one's outcome.
func (c *Controller) createOnce(ctx context.Context, orgID string, r *Request) (Sandbox, error) {
	key := Key{Value: r.IdempotencyKey, Hash: r.fingerprint()}
	at := flightKey{orgID, key.Value}
	c.flights.mu.Lock()
	if f := c.flights.m[at]; f != nil {
		c.flights.mu.Unlock()
		if f.hash != key.Hash {
			return Sandbox{}, otherRequest(key.Value)
		}
		select {
		case <-f.done:
			return f.s, f.err
		case <-ctx.Done():
			return Sandbox{}, errs.Wrap(ctx.Err(), errs.Timeout, "gave up waiting for the first create with this Idempotency-Key")
		}
	}
	f := &flight{hash: key.Hash, done: make(chan struct{})}
	c.flights.m[at] = f
	c.flights.mu.Unlock()

	// Others wait for this one: that its own caller leaves must not fail them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*c.cfg.CreateTimeout+undoTimeout)
	defer cancel()
	f.s, f.err = c.createKeyed(ctx, orgID, r, key)
	c.flights.mu.Lock()
	delete(c.flights.m, at)
	c.flights.mu.Unlock()
	close(f.done)
	return f.s, f.err
}

func (c *Controller) createKeyed(ctx context.Context, orgID string, r *Request, key Key) (Sandbox, error) {
	const rounds = 10 // each ends because another process's create with this key came or went
	for range rounds {
		s, hash, err := c.deps.Store.ByKey(ctx, orgID, key.Value)
		switch {
		case err == nil && hash != key.Hash:
			return Sandbox{}, otherRequest(key.Value)
		case err == nil: // made by an earlier request, perhaps of another process, perhaps not ready yet
			s, err = c.settle(ctx, s)
			if errs.Is(err, errs.NotFound) || err == nil && s.Desired == WantDestroyed {
				continue // that create failed and left nothing: this one is the first again
			}
			return s, err
		case !errs.Is(err, errs.NotFound):
			return Sandbox{}, err
		}
		s, err = c.place(ctx, orgID, r, key)
		if !errors.Is(err, ErrKeyTaken) {
			return s, err
		}
	}
	return Sandbox{}, ErrKeyTaken
}

func otherRequest(key string) error {
	return errs.New(errs.Conflict, "Idempotency-Key %q was used for a different request", clip(key)).WithCode("IDEMPOTENCY_KEY_REUSED")
}

// settle waits for a sandbox on its way that this call did not start.
func (c *Controller) settle(ctx context.Context, s Sandbox) (Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CreateTimeout)
	defer cancel()
	const pause = 50 * time.Millisecond
	for inTransition(&s) && ctx.Err() == nil {
		if c.driver.busy(s.ID) || !c.foreign(&s) {
			wait(ctx, c.driver.drive(s.ID, manner{}, false), c.cfg.CreateTimeout)
		} else {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		var err error
		if s, err = c.deps.Store.ByID(context.WithoutCancel(ctx), s.ID); err != nil {
			return s, err
		}
	}
	return s, nil
}

// foreign reports a sandbox that is most likely being created by another process right now. It is left to that one, which
// undoes a create that fails; a process that takes over after it only leaves it in error.
func (c *Controller) foreign(s *Sandbox) bool {
	return s.State == Creating && !s.StateSince.Before(c.began) && c.cfg.Now().Sub(s.StateSince) < c.cfg.CreateTimeout+undoTimeout
}

// place does the checks in the order of the wire, finds a runner, and makes the sandbox there.
func (c *Controller) place(ctx context.Context, orgID string, r *Request, key Key) (Sandbox, error) {
	plan, err := c.plan(ctx, orgID, r)
	if err != nil {
		return Sandbox{}, err
	}
	var refused []string
	var first error // why the first runner refused: it says more than that no other is left
	for len(refused) < placements {
		s, err := c.attempt(ctx, plan, key, refused)
		var full *fullError
		switch {
		case errors.As(err, &full):
			refused = append(refused, full.runnerID)
			if first == nil {
				first = full.cause
			}
		case first != nil && (errs.Is(err, errs.Exhausted) || errs.Is(err, errs.Unavailable)):
			return Sandbox{}, first
		default:
			return s, err
		}
	}
	return Sandbox{}, first
}

// fullError is a runner that said that it is full; another one may not be.
type fullError struct {
	runnerID string
	cause    error
}

func (e *fullError) Error() string { return e.cause.Error() }
func (e *fullError) Unwrap() error { return e.cause }

// plan is a create whose request is checked against what exists.
type plan struct {
	sandbox Sandbox // without id, runner, times
	quota   Quota
	need    placement.Need
}

func (c *Controller) plan(ctx context.Context, orgID string, r *Request) (*plan, error) {
	region, err := c.deps.Organizations.Region(ctx, orgID, r.Region)
	if err != nil {
		return nil, err
	}
	snap, err := c.deps.Snapshots.Resolve(ctx, orgID, r.Snapshot)
	if err != nil {
		return nil, err
	}
	o, err := c.deps.Organizations.Organization(ctx, orgID)
	if err != nil {
		return nil, err
	}
	if o.Suspended {
		return nil, suspended(&o)
	}
	if err := withinLimits(&o, &snap); err != nil {
		return nil, err
	}
	s := Sandbox{
		OrganizationID: orgID, Name: r.Name, Region: region.ID, Class: snap.Class, Snapshot: snap.Name, Image: snap.Image,
		User: r.User, Env: r.Env, Labels: r.Labels, Public: r.Public, Network: r.Network,
		CPU: snap.CPU, GPU: snap.GPU, MemoryGiB: snap.MemoryGiB, DiskGiB: snap.DiskGiB,
		State: Creating, Desired: WantStarted,
		AutoStopMinutes: DefaultAutoStopMinutes, AutoArchiveMinutes: DefaultAutoArchiveMinutes, AutoDeleteMinutes: DefaultAutoDeleteMinutes,
	}
	if s.User == "" {
		s.User = snap.User
	}
	if s.User == "" {
		s.User = DefaultUser
	}
	if s.Network.BlockAll {
		s.Network.Allow = nil // nothing is reached, listed or not
	}
	if r.AutoStopMinutes != nil {
		s.AutoStopMinutes = *r.AutoStopMinutes
	}
	if r.AutoArchiveMinutes != nil {
		s.AutoArchiveMinutes = c.autoArchive(*r.AutoArchiveMinutes)
	}
	if r.AutoDeleteMinutes != nil {
		s.AutoDeleteMinutes = max(*r.AutoDeleteMinutes, -1)
	}
	return &plan{sandbox: s, quota: quotaOf(&o), need: placement.Need{Region: s.Region, Class: s.Class, Image: s.Image, CPU: s.CPU, MemoryGiB: s.MemoryGiB, DiskGiB: s.DiskGiB}}, nil
}

func (c *Controller) autoArchive(minutes int64) int64 {
	if minutes == 0 || minutes > c.cfg.MaxAutoArchiveMinutes {
		return c.cfg.MaxAutoArchiveMinutes
	}
	return minutes
}

func suspended(o *org.Organization) error {
	if o.SuspensionReason == "" {
		return errs.New(errs.Denied, "organization is suspended").WithCode("ORGANIZATION_SUSPENDED")
	}
	return errs.New(errs.Denied, "organization is suspended: %s", o.SuspensionReason).WithCode("ORGANIZATION_SUSPENDED")
}

func withinLimits(o *org.Organization, s *snapshot.Snapshot) error {
	for _, l := range []struct {
		what, unit string
		asks, most int64
	}{{"CPU", "", s.CPU, o.MaxCPUPerSandbox}, {"memory", " GiB", s.MemoryGiB, o.MaxMemoryGiBPerSandbox}, {"disk", " GiB", s.DiskGiB, o.MaxDiskGiBPerSandbox}} {
		if l.most > 0 && l.asks > l.most {
			return errs.New(errs.Exhausted, "%s request %d%s exceeds maximum per sandbox (%d%s)", l.what, l.asks, l.unit, l.most, l.unit).WithCode("SANDBOX_LIMIT_EXCEEDED")
		}
	}
	return nil
}

func quotaOf(o *org.Organization) Quota {
	return Quota{Sandboxes: o.MaxSandboxes, CPU: o.TotalCPU, MemoryGiB: o.TotalMemoryGiB, DiskGiB: o.TotalDiskGiB}
}

// attempt places the sandbox once.
func (c *Controller) attempt(ctx context.Context, p *plan, key Key, refused []string) (Sandbox, error) {
	runners, err := c.deps.Fleet.Runners(ctx, p.need.Region)
	if err != nil {
		return Sandbox{}, err
	}
	need := p.need
	need.Exclude = refused
	runner, err := placement.Pick(runners, need, c.roll)
	if err != nil {
		return Sandbox{}, err
	}
	s, now := p.sandbox, c.cfg.Now()
	s.ID, s.RunnerID, s.AuthToken = id.New(), runner.ID, id.Token(tokenLen)
	if s.Name == "" {
		s.Name = s.ID
	}
	s.CreatedAt, s.UpdatedAt, s.LastActivityAt, s.StateSince = now, now, now, now
	s.Version = 1
	if err := c.deps.Store.Insert(ctx, s, key, p.quota); errors.Is(err, ErrRunnerFull) {
		return Sandbox{}, &fullError{runner.ID, err}
	} else if err != nil {
		return Sandbox{}, err
	}
	// From here on the row is the truth. The caller may leave; the work goes on.
	ctx = context.WithoutCancel(ctx)
	c.deps.Events.Publish(ctx, Event{Type: Created, Sandbox: s, New: s.Shown()})
	j := c.driver.drive(s.ID, manner{undo: true}, false)
	if !wait(ctx, j, c.cfg.CreateTimeout+undoTimeout) {
		return c.deps.Store.ByID(ctx, s.ID)
	}
	if j.err != nil {
		return Sandbox{}, createFailed(j.err, runner.ID)
	}
	s, err = c.deps.Store.ByID(ctx, s.ID)
	switch {
	case err != nil && !errs.Is(err, errs.NotFound):
		return Sandbox{}, err
	case err != nil, s.Desired == WantDestroyed:
		return Sandbox{}, errs.New(errs.Conflict, "the sandbox was destroyed while it was being created").WithCode("SANDBOX_DESTROYED")
	case s.State == Error:
		return Sandbox{}, errs.New(errs.WrongState, "sandbox %s could not be created: %s", s.ID, s.ErrorReason)
	}
	return s, nil
}

// createFailed is what the caller of a create gets for an error of the runner. It keeps its class, except that nothing the
// caller named is missing: an unknown image or runner is the platform's lack.
func createFailed(err error, runnerID string) error {
	switch errs.ClassOf(err) {
	case errs.Exhausted:
		return &fullError{runnerID, err}
	case errs.NotFound:
		return errs.Wrap(err, errs.Unavailable, "sandbox could not be created: %s", shown(err))
	}
	return err
}
