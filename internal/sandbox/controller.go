package sandbox

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Config of a controller. Zero fields get the defaults of the 0.x wire.
type Config struct {
	MaxAutoArchiveMinutes int64         // what 0 and larger values become; 43,200
	CreateTimeout         time.Duration // how long a create may work on the runner; 30 s
	StartTimeout          time.Duration // how long Start waits for the sandbox; 30 s
	StopWait              time.Duration // how long Stop waits before it answers "stopping"; 2 s
	Patience              time.Duration // how long a call goes on trying with a runner that does not answer; 5 s. The reconciler tries for ever
	Now                   func() time.Time
}

func (c Config) withDefaults() Config {
	if c.MaxAutoArchiveMinutes <= 0 {
		c.MaxAutoArchiveMinutes = 43_200
	}
	if c.CreateTimeout <= 0 {
		c.CreateTimeout = 30 * time.Second
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 30 * time.Second
	}
	if c.StopWait <= 0 {
		c.StopWait = 2 * time.Second
	}
	if c.Patience <= 0 {
		c.Patience = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Deps of a controller. All are needed, Events excepted.
type Deps struct {
	Store         Store
	Fleet         Fleet
	Runners       Runners
	Snapshots     Snapshots
	Organizations Organizations
	Events        Events
	Log           *slog.Logger
}

// Controller does what callers ask of sandboxes. All its methods are safe for concurrent use. Where one takes an organization,
// another organization's sandbox is NotFound, with the same message as an id that never existed.
type Controller struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	driver  *driver
	flights flights
	touches touches
	roll    func(n int) int
	began   time.Time
}

// New returns a controller. The caller closes it.
func New(cfg Config, deps Deps) (*Controller, error) {
	switch {
	case deps.Store == nil, deps.Fleet == nil, deps.Runners == nil, deps.Snapshots == nil, deps.Organizations == nil, deps.Log == nil:
		return nil, errs.New(errs.Internal, "sandbox: a dependency is missing")
	}
	if deps.Events == nil {
		deps.Events = silence{}
	}
	c := &Controller{cfg: cfg.withDefaults(), deps: deps, log: deps.Log, roll: rand.IntN}
	c.began = c.cfg.Now().Truncate(time.Millisecond) // rows carry whole milliseconds
	c.flights.m = map[flightKey]*flight{}
	c.touches.m = map[string]time.Time{}
	c.driver = newDriver(c)
	return c, nil
}

// Close interrupts the work under way and waits for it to let go. Nothing is lost: the next process's reconciler goes on
// from the rows.
func (c *Controller) Close() error {
	c.driver.close()
	return nil
}

type silence struct{}

func (silence) Publish(context.Context, Event) {}

// save writes next over row and tells the listeners. False: somebody else was first.
func (c *Controller) save(ctx context.Context, row, next Sandbox, q Quota) (Sandbox, bool, error) {
	now := c.cfg.Now()
	next.Version = row.Version
	next.UpdatedAt = now
	if next.State != row.State {
		next.StateSince, next.LastActivityAt = now, now
	}
	ok, err := c.deps.Store.Save(ctx, next, q)
	if err != nil || !ok {
		return row, false, err
	}
	next.Version++
	if was, is := row.Shown(), next.Shown(); was != is {
		c.deps.Events.Publish(ctx, Event{Type: StateUpdated, Sandbox: next, Old: was, New: is})
	}
	return next, true, nil
}

// change reads the sandbox, lets decide say what it should become, and saves that, again from the start when somebody else
// wrote in between. decide returns false when there is nothing to write.
func (c *Controller) change(ctx context.Context, orgID, idOrName string, q Quota, decide func(Sandbox) (Sandbox, bool, error)) (Sandbox, error) {
	for range maxLost {
		row, err := c.find(ctx, orgID, idOrName)
		if err != nil {
			return Sandbox{}, err
		}
		next, write, err := decide(row)
		if err != nil || !write {
			return row, err
		}
		saved, ok, err := c.save(ctx, row, next, q)
		if err != nil || ok {
			return saved, err
		}
	}
	return Sandbox{}, errs.New(errs.Conflict, "sandbox %s changes too often right now; try again", clip(idOrName))
}

// maxLost is how often a write may lose against others before its caller gives up.
const maxLost = 100

// wait waits for a job, at most for d or until ctx ends. True: the job is done.
func wait(ctx context.Context, j *job, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-j.done:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// flights joins concurrent creates with the same idempotency key.
type flights struct {
	mu sync.Mutex // guards m
	m  map[flightKey]*flight
}

type flightKey struct{ orgID, key string }

type flight struct {
	hash string
	done chan struct{}
	s    Sandbox // valid after done
	err  error
}
