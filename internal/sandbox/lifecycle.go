package sandbox

import (
	"context"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Delete asks to destroy a sandbox and returns it as it is then, normally destroying; the work goes on behind it. It is
// legal in every state, also while a create, start or stop is running, which it ends. Repeating it changes nothing. Its name
// is free at once. A sandbox whose delete was confirmed never runs again.
func (c *Controller) Delete(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	s, err := c.change(ctx, orgID, idOrName, Quota{}, func(row Sandbox) (Sandbox, bool, error) {
		if row.Desired == WantDestroyed {
			return row, false, nil
		}
		return doomed(row, c.cfg.Now()), true, nil
	})
	if err != nil {
		return Sandbox{}, err
	}
	c.driver.drive(s.ID, manner{}, true)
	return s, nil
}

// Start runs a stopped sandbox and waits for it; one that runs is returned as it is. When it takes longer than the
// configured time, the sandbox is returned as it is then, starting.
//
// Errors: Conflict while another change is running; WrongState for one in error; Exhausted (quota, or the runner is full) and
// other errors of the runner, after which the sandbox is stopped as before.
func (c *Controller) Start(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	row, err := c.find(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, err
	}
	if row.State == Started && row.Desired == WantStarted {
		return row, nil
	}
	o, err := c.deps.Organizations.Organization(ctx, orgID)
	if err != nil {
		return Sandbox{}, err
	}
	if o.Suspended {
		return Sandbox{}, suspended(&o)
	}
	s, err := c.change(ctx, orgID, row.ID, quotaOf(&o), func(row Sandbox) (Sandbox, bool, error) {
		switch {
		case row.State == Started && row.Desired == WantStarted:
			return row, false, nil
		case row.State == Stopped && row.Desired == WantStopped:
			row.State, row.Desired = Starting, WantStarted
			row.AuthToken = id.Token(tokenLen)
			return row, true, nil
		}
		return row, false, refuse(&row, "start", "stopped")
	})
	if err != nil || s.State == Started {
		return s, err
	}
	// The caller may leave; the start goes on.
	j := c.driver.drive(s.ID, manner{}, false)
	done := wait(ctx, j, c.cfg.StartTimeout)
	latest, err := c.find(context.WithoutCancel(ctx), orgID, s.ID)
	switch {
	case err != nil:
		return Sandbox{}, err
	case latest.State == Error:
		return Sandbox{}, errs.New(errs.WrongState, "sandbox %s failed to start: %s", latest.ID, latest.ErrorReason).WithCode("SANDBOX_START_FAILED")
	case done && j.err != nil && latest.State == Stopped:
		return Sandbox{}, j.err
	}
	return latest, nil
}

// Stop ends everything that runs in a sandbox and keeps its disk; an ephemeral one is destroyed. It waits a short while,
// then returns the sandbox as it is, still stopping if need be. force ends processes without asking them, also for a stop
// that is under way.
//
// Errors: WrongState for one that does not run, Conflict while another change is running.
func (c *Controller) Stop(ctx context.Context, orgID, idOrName string, force bool) (Sandbox, error) {
	harder := false
	s, err := c.change(ctx, orgID, idOrName, Quota{}, func(row Sandbox) (Sandbox, bool, error) {
		switch {
		case row.State == Started && row.Desired == WantStarted && row.Ephemeral():
			return doomed(row, c.cfg.Now()), true, nil
		case row.State == Started && row.Desired == WantStarted:
			return stopping(row, ""), true, nil
		case row.State == Stopping && force:
			harder = true
			return row, false, nil
		}
		return row, false, refuse(&row, "stop", "started")
	})
	if err != nil {
		return Sandbox{}, err
	}
	j := c.driver.drive(s.ID, manner{force: force}, harder)
	if s.Desired == WantDestroyed {
		return s, nil
	}
	wait(ctx, j, c.cfg.StopWait)
	latest, err := c.find(context.WithoutCancel(ctx), orgID, s.ID)
	if err != nil {
		return s, nil // destroyed meanwhile: the stop was accepted
	}
	return latest, nil
}

// refuse says why a change is not possible in the present state.
func refuse(row *Sandbox, what, needs string) error {
	switch {
	case row.State == Error || row.State == BuildFailed:
		return errs.New(errs.WrongState, "cannot %s sandbox %s: it is in state %s: %s", what, row.ID, row.State, row.ErrorReason).WithCode("SANDBOX_WRONG_STATE")
	case row.Pending():
		return errs.New(errs.Conflict, "cannot %s sandbox %s: another change is running (state %s, asked for %s)", what, row.ID, row.Shown(), row.Desired).WithCode("SANDBOX_STATE_CHANGE_IN_PROGRESS")
	}
	return errs.New(errs.WrongState, "cannot %s sandbox %s: it is %s and must be %s", what, row.ID, row.Shown(), needs).WithCode("SANDBOX_WRONG_STATE")
}
