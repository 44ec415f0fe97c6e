package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	callTimeout = 30 * time.Second      // of one runner call
	patience    = 5 * time.Second       // of a job with a runner that does not answer; the reconciler tries again later
	firstPause  = 50 * time.Millisecond // between two tries; doubles
	lastPause   = 1000 * time.Millisecond
)

// driver moves sandboxes to where they are asked to be. One goroutine at most works on a sandbox in this process, so that
// its runner gets one request at a time; what other processes do meets in the row's version.
type driver struct {
	c    *Controller
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex // guards all below, and the fields of jobs that say so
	jobs   map[string]*job
	closed bool
}

// manner is how a job is to be done.
type manner struct {
	undo  bool // a create that fails leaves nothing behind: its caller gets the error
	force bool // stop without grace
	once  bool // do not try again with a runner that does not answer; a user's call that joins takes this back
}

type job struct {
	manner               // guarded by driver.mu
	again  bool          // guarded by driver.mu: the row changed since the job looked
	cancel func()        // guarded by driver.mu: ends the runner call under way, if it may be ended
	kick   chan struct{} // ends a pause between tries
	done   chan struct{}
	failed error // of the job's goroutine: why a create is undone
	err    error // why what was asked was not reached; valid after done
}

func newDriver(c *Controller) *driver {
	ctx, stop := context.WithCancel(context.Background())
	return &driver{c: c, ctx: ctx, stop: stop, jobs: map[string]*job{}}
}

func (d *driver) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	d.wg.Wait()
}

// errChanged: the row is not what the job decided on any more.
var errChanged = errs.New(errs.Unavailable, "the sandbox changed")

var errClosed = errs.New(errs.Unavailable, "the control plane is shutting down")

// drive starts work on a sandbox whose row asks for some, or joins the work under way. interrupt ends a call under way that
// serves an earlier wish.
func (d *driver) drive(id string, m manner, interrupt bool) *job {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jobs[id]; j != nil {
		j.again = true
		j.undo = j.undo || m.undo
		j.force = j.force || m.force
		j.once = j.once && m.once
		if interrupt {
			if j.cancel != nil {
				j.cancel()
			}
			select {
			case j.kick <- struct{}{}:
			default:
			}
		}
		return j
	}
	j := &job{manner: m, kick: make(chan struct{}, 1), done: make(chan struct{})}
	if d.closed {
		j.err = errClosed
		close(j.done)
		return j
	}
	d.jobs[id] = j
	d.wg.Go(func() { d.run(id, j) })
	return j
}

// busy reports whether a sandbox is being worked on.
func (d *driver) busy(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.jobs[id] != nil
}

func (d *driver) run(id string, j *job) {
	for {
		err := d.converge(id, j)
		d.mu.Lock()
		if j.again && d.ctx.Err() == nil {
			j.again = false
			d.mu.Unlock()
			continue
		}
		delete(d.jobs, id)
		if j.err = err; j.failed != nil { // whatever was asked since: that create failed for this reason
			j.err = j.failed
		}
		close(j.done)
		d.mu.Unlock()
		return
	}
}

// converge goes on until the row rests or there is no getting further now. It returns why the wish was not fulfilled.
func (d *driver) converge(id string, j *job) error {
	var (
		c       = d.c
		ctx     = d.ctx
		failure error // definite: the wish is dropped
		v       view
		last    Sandbox
		pause   = firstPause
		giveUp  = time.Now().Add(c.cfg.Patience)
		lost    = 0
	)
	for {
		if ctx.Err() != nil {
			return errClosed
		}
		row, err := c.deps.Store.ByID(ctx, id)
		if errs.Is(err, errs.NotFound) {
			return failure
		} else if err != nil {
			return err
		}
		if row.State != last.State || row.Desired != last.Desired || row.RunnerID != last.RunnerID {
			v = view{}
		}
		last = row

		st := advance(row, v, c.cfg.Now())
		switch st.verb {
		case rest:
			if row.State == Destroyed && failure != nil && d.undo(j) {
				if _, err := c.deps.Store.Remove(ctx, row); err != nil {
					c.log.WarnContext(ctx, "failed create not removed", "sandbox", id, "error", err)
				}
			}
			return failure
		case write:
			_, ok, err := c.save(ctx, row, st.next, Quota{})
			switch {
			case err != nil:
				return err
			case !ok:
				if lost++; lost > maxLost {
					return errs.New(errs.Conflict, "sandbox %s changes too often right now", id)
				}
			case st.next.State == Started:
				failure = nil // of an earlier wish
			}
			continue
		default: // the others ask the runner
		}

		v, err = d.ask(row, st.verb, j)
		if err == nil {
			continue
		}
		if definite(err) {
			if failure == nil {
				failure = err
			}
			if err := d.drop(row, st.verb, j, err); err != nil {
				return err
			}
			continue
		}
		if d.interrupted(j) { // the row says something else now
			continue
		}
		if time.Now().After(giveUp) || d.once(j) {
			if row.State == Creating && d.undo(j) { // its caller waits for an answer: undo
				failure = err
				d.mu.Lock()
				j.once = true // the undo too: what cannot be removed now, the reconciler removes
				d.mu.Unlock()
				if err := d.drop(row, st.verb, j, err); err != nil {
					return err
				}
				continue
			}
			if failure == nil {
				failure = err
			}
			return failure
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-j.kick:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, lastPause)
	}
}

// definite reports an error that says for sure that the runner did not do it.
func definite(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch errs.ClassOf(err) {
	case errs.Unavailable, errs.Timeout, errs.Busy:
		return false
	}
	return true
}

// interrupted reports, once, that the call under way was ended because the row changed.
func (d *driver) interrupted(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := j.again
	j.again = false
	return was
}

func (d *driver) once(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.once
}

func (d *driver) undo(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.manner.undo
}

// ask does one verb on the runner.
func (d *driver) ask(row Sandbox, what verb, j *job) (view, error) {
	timeout := callTimeout
	if what == put {
		timeout = d.c.cfg.CreateTimeout
	}
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	d.mu.Lock()
	if j.again {
		d.mu.Unlock()
		return view{}, errChanged
	}
	force := j.force
	if what != remove { // a delete is never ended for another wish: there is none after it
		j.cancel = cancel
	}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		j.cancel = nil
		d.mu.Unlock()
	}()

	r, err := d.c.deps.Runners.Runner(ctx, row.RunnerID)
	if errs.Is(err, errs.NotFound) { // the runner left the installation, and what was on it with it
		if what == put {
			return view{}, errs.Wrap(err, errs.Exhausted, "the runner chosen for the sandbox left").WithCode("RUNNER_GONE")
		}
		return absent, nil
	} else if err != nil {
		return view{}, err
	}
	var seen Seen
	switch what {
	case put:
		seen, err = r.Put(ctx, row)
		if err == nil && !seen.Running {
			err = errs.New(errs.Internal, "the sandbox ended right after its start: %s", reasonOf(seen))
		}
		if errs.Is(err, errs.NotFound) { // the image: "absent" would mean to try again
			return view{}, err
		}
	case start:
		seen, err = r.Start(ctx, row.ID)
		if err == nil && !seen.Running {
			err = errs.New(errs.Internal, "the sandbox ended right after its start: %s", reasonOf(seen))
		}
	case stop:
		seen, err = r.Stop(ctx, row.ID, force)
		if err == nil && seen.Running {
			err = errs.New(errs.Unavailable, "the sandbox still runs")
		}
	case remove:
		if err = r.Delete(ctx, row.ID); err == nil {
			return absent, nil
		}
	}
	if errs.Is(err, errs.NotFound) {
		return absent, nil
	} else if err != nil {
		return view{}, err
	}
	return found(seen), nil
}

func reasonOf(s Seen) string {
	if s.Reason == "" {
		return "unknown reason"
	}
	return clip(s.Reason)
}

// drop writes that a wish cannot be fulfilled. An error says that this could not be written, or not yet.
func (d *driver) drop(row Sandbox, what verb, j *job, cause error) error {
	c, ctx := d.c, d.ctx
	c.log.WarnContext(ctx, "sandbox did not get where it was asked to be", "sandbox", row.ID, "state", string(row.State), "error", cause)
	next := row
	switch what {
	case put:
		if d.undo(j) {
			j.failed = cause
			next = doomed(row, c.cfg.Now())
			next.ErrorReason = shown(cause)
			break
		}
		// Nobody waits for this create any more (its process died). What was made is removed, so that an error never runs.
		if _, err := d.ask(row, remove, j); err != nil {
			return err
		}
		next = failed(row, shown(cause))
		next.RunnerID = ""
	case start: // as it was: its disk is there, and it may be started when the cause is gone
		next.State, next.Desired, next.StopReason = Stopped, WantStopped, "start failed: "+shown(cause)
	case stop:
		next = failed(row, "the sandbox could not be stopped: "+shown(cause))
	case remove: // delete always wins, if not now then at a later sweep
		return cause
	default: // the others do not ask a runner, so none of them fails there
	}
	_, _, err := c.save(ctx, row, next, Quota{})
	return err
}

// shown is the part of an error that may be stored and shown.
func shown(err error) string {
	if e, ok := errs.As(err); ok && e.Message != "" {
		return e.Message
	}
	return "internal error of the runner"
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
