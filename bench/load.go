package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// spent is the CPU time of a stretch of work, counted twice: by the groups of the server and its sandboxes, which no other
// process of the host can disturb, and by the whole host less its idle rate, which also sees the kernel's own threads and
// the client.
type spent struct{ groups, host time.Duration }

// busyHost is the number of busy cores from which a host counts as used by others: what they do would drown the difference.
const busyHost = 0.2

// idleRate is the share of one core the host is busy with while nothing is asked of the server.
func (w *world) idleRate(ctx context.Context, during time.Duration) float64 {
	before, start := hostCPU(), time.Now()
	pause(ctx, during)
	return float64(hostCPU()-before) / float64(time.Since(start))
}

func (w *world) groupCPU() time.Duration {
	sum := time.Duration(0)
	for _, dir := range []string{w.server.cgroup, w.accounts} {
		if dir != "" {
			sum += accountCPU(dir)
		}
	}
	return sum
}

func (w *world) spend(ctx context.Context, idle float64, settle time.Duration, do func() error) (spent, error) {
	groups, host, start := w.groupCPU(), hostCPU(), time.Now()
	err := do()
	pause(ctx, settle)
	return spent{w.groupCPU() - groups, hostCPU() - host - time.Duration(idle*float64(time.Since(start)))}, err
}

func (w *world) measureCPU(ctx context.Context) error {
	n, execs, settle := 20, 300, 2*time.Second
	if w.quick {
		n, execs, settle = 3, 20, time.Second
	}
	pause(ctx, settle)
	idle := w.idleRate(ctx, 3*time.Second)
	put := func(name string, count int, s spent, groups bool) {
		if groups {
			w.report.put(name+", server and sandboxes", "ms", ms(s.groups)/float64(count))
		}
		if idle < busyHost {
			w.report.put(name+", whole host less idle", "ms", ms(s.host)/float64(count))
		}
	}
	groups := w.server.cgroup != "" && w.accounts != ""
	if idle >= busyHost {
		w.report.Skipped = append(w.report.Skipped, fmt.Sprintf("CPU by the whole host: other work keeps %.2f cores busy", idle))
	}

	var ids []string
	s, err := w.spend(ctx, idle, settle, func() error {
		for range n {
			id, err := w.api.create(ctx, w.snapshot)
			if id != "" {
				ids = append(ids, id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	put("CPU per create until settled", n, s, groups)
	t, removed := w.spend(ctx, idle, settle, func() error { return w.removeAll(ctx, ids) })
	put("CPU per delete until settled", n, t, groups)
	if err := errors.Join(err, removed); err != nil {
		return err
	}
	s, err = w.spend(ctx, idle, 200*time.Millisecond, func() error {
		for range execs {
			if err := w.api.exec(ctx, w.sandbox, "true", ""); err != nil {
				return err
			}
		}
		return nil
	})
	put("CPU per exec true", execs, s, groups)
	if err != nil || !w.hasDock {
		return err
	}
	var boxes []string
	s, err = w.spend(ctx, idle, settle, func() error {
		for range n {
			id, err := w.docker.create(ctx)
			if err != nil {
				return err
			}
			boxes = append(boxes, id)
		}
		return nil
	})
	put("Docker: CPU per create + start until settled", n, s, false)
	for _, id := range boxes {
		err = errors.Join(err, w.docker.remove(ctx, id))
	}
	return err
}

// measureSustained keeps 1, 4 and 10 workers busy with create and delete. The rate counts the time until the last one is gone.
func (w *world) measureSustained(ctx context.Context) error {
	var errs []error
	for _, workers := range []int{1, 4, 10} {
		name := fmt.Sprintf("cycle create + delete, %d workers", workers)
		var (
			group  sync.WaitGroup
			mu     sync.Mutex // guards cycles, failures and first
			cycles int
			first  error
		)
		start := time.Now()
		for range workers {
			group.Go(func() {
				for time.Since(start) < w.sustained && ctx.Err() == nil {
					began := time.Now()
					id, err := w.api.create(ctx, w.snapshot)
					err = errors.Join(err, w.removeIfAny(ctx, id))
					took := time.Since(began)
					mu.Lock()
					if err != nil {
						w.report.failed(name)
						if first == nil {
							first = err
						}
					} else {
						cycles++
						w.report.add(name, took)
					}
					mu.Unlock()
					if err != nil {
						pause(ctx, 50*time.Millisecond)
					}
				}
			})
		}
		group.Wait()
		w.report.put(sustainedName(workers), "/s", float64(cycles)/time.Since(start).Seconds())
		if first != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, first))
		}
		pause(ctx, time.Second)
	}
	return errors.Join(errs...)
}

func sustainedName(workers int) string {
	return fmt.Sprintf("create + delete sustained, %d workers", workers)
}

func (w *world) removeAll(ctx context.Context, ids []string) error {
	return each(4, ids, func(id string) error { return w.api.remove(ctx, id) })
}

// each runs do for every item with some at a time and returns all errors.
func each[T any](workers int, items []T, do func(T) error) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex // guards errs
		errs  []error
	)
	next := make(chan T)
	for range workers {
		group.Go(func() {
			for item := range next {
				if err := do(item); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	group.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
