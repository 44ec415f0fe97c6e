package sandbox

import (
	"context"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	firstWatchPause = time.Second
	lastWatchPause  = 10 * time.Second
	watchTimeout    = time.Minute // of one wait for news; longer than a runner waits
	maxNews         = 10_000      // of one batch; a longer one is a reason to look at all
)

// watch listens to every runner of the installation, and stops listening to those that left.
func (r *Reconciler) watch(ctx context.Context) {
	ids, err := r.runners(ctx)
	if err != nil {
		return // as before
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	want := map[string]bool{}
	for _, runnerID := range ids {
		want[runnerID] = true
		if r.watches[runnerID] != nil {
			continue
		}
		listening, cancel := context.WithCancel(ctx)
		r.watches[runnerID] = cancel
		r.wg.Go(func() { r.listen(listening, runnerID) })
	}
	for runnerID, cancel := range r.watches {
		if !want[runnerID] {
			cancel()
			delete(r.watches, runnerID)
		}
	}
}

// listen follows the news of one runner until ctx ends. News are hints: the runner is asked what is true.
func (r *Reconciler) listen(ctx context.Context, runnerID string) {
	var since int64
	first := true
	pause := firstWatchPause
	for ctx.Err() == nil {
		news, err := r.changes(ctx, runnerID, since)
		if err != nil {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			pause = min(2*pause, lastWatchPause)
			continue
		}
		pause = firstWatchPause
		since = news.Next
		if news.Reset || len(news.IDs) > maxNews {
			if first {
				first = false
				r.log(ctx, "first look at a runner failed", r.lookAtAll(ctx, runnerID))
			} else {
				r.log(ctx, "sweep after missed news failed", r.sweepRunner(ctx, runnerID))
			}
			continue
		}
		for _, sandboxID := range news.IDs {
			r.log(ctx, "news of a sandbox not followed", r.look(ctx, runnerID, sandboxID))
		}
	}
}

func (r *Reconciler) log(ctx context.Context, message string, err error) {
	if err != nil && ctx.Err() == nil {
		r.c.log.WarnContext(ctx, message, "error", err)
	}
}

func (r *Reconciler) changes(ctx context.Context, runnerID string, since int64) (News, error) {
	runner, err := r.c.deps.Runners.Runner(ctx, runnerID)
	if err != nil {
		return News{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	return runner.Changes(ctx, since)
}

// lookAtAll looks at what a runner should have, once it is listened to: something may have happened between the sweep of the
// start and the first question. It is no sweep, which would count what is absent a second time.
func (r *Reconciler) lookAtAll(ctx context.Context, runnerID string) error {
	const page = 500
	for after := ""; ; {
		rows, err := r.c.deps.Store.OnRunner(ctx, runnerID, after, page)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.ID
			if err := r.look(ctx, runnerID, row.ID); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
}

// look asks a runner for one sandbox, after the row was read.
func (r *Reconciler) look(ctx context.Context, runnerID, sandboxID string) error {
	row, err := r.c.deps.Store.ByID(ctx, sandboxID)
	if errs.Is(err, errs.NotFound) || err == nil && row.RunnerID != runnerID {
		return nil // a sweep finds out what it is
	} else if err != nil {
		return err
	}
	runner, err := r.c.deps.Runners.Runner(ctx, runnerID)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	seen, err := runner.Get(asking, sandboxID)
	if err != nil {
		return nil // gone or away: a sweep decides
	}
	return r.observe(ctx, row, found(seen))
}
