package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const mebibyte = 1 << 20

// measureIdlePlatform weighs the server before it has done much: one sandbox lives.
func (w *world) measureIdlePlatform(ctx context.Context) error {
	pause(ctx, w.idle/4)
	w.report.put(platformPSS, "MiB", float64(pss(w.server.pid))/mebibyte)
	if w.server.cgroup != "" {
		before, start := accountCPU(w.server.cgroup), time.Now()
		pause(ctx, w.idle/2)
		w.report.put("idle platform, CPU", "ms/s", ms(accountCPU(w.server.cgroup)-before)/time.Since(start).Seconds())
	}
	return nil
}

const platformPSS = "idle platform, PSS of the server"

func memoryAllIn(n int) string { return fmt.Sprintf("memory per idle sandbox, %d, all-in", n) }
func memoryPSS(n int) string   { return fmt.Sprintf("memory per idle sandbox, %d, PSS", n) }
func idleHost(n int) string    { return fmt.Sprintf("idle CPU per sandbox, %d, whole host", n) }
func idleGroups(n int) string {
	return fmt.Sprintf("idle CPU per sandbox, %d, server and sandboxes", n)
}

// measureCrowds makes many sandboxes that do nothing, and says what each costs: in memory by what the host has left
// (which counts the kernel's part and the server's growth) and by the set size of its processes plus that growth; in CPU by
// the host's busy time against before.
func (w *world) measureCrowds(ctx context.Context) error {
	for _, n := range w.dense {
		if err := w.measureCrowd(ctx, n); err != nil {
			return fmt.Errorf("%d sandboxes: %w", n, err)
		}
	}
	w.report.put("platform after the crowd, PSS of the server", "MiB", float64(pss(w.server.pid))/mebibyte)
	return nil
}

func (w *world) measureCrowd(ctx context.Context, n int) (err error) {
	pause(ctx, 3*time.Second)
	idle := w.idleRate(ctx, w.idle/2)
	groupsBefore, start := w.groupCPU(), time.Now()
	pause(ctx, w.idle/2)
	groupsIdle := float64(w.groupCPU()-groupsBefore) / float64(time.Since(start))
	free, server := available(), pss(w.server.pid)
	var boxes int64
	if w.accounts != "" {
		boxes, _ = accountPSS(w.accounts)
	}

	var (
		mu  sync.Mutex // guards ids
		ids []string
	)
	defer func() {
		if removed := w.removeAll(context.WithoutCancel(ctx), ids); err == nil {
			err = removed
		}
	}()
	began := time.Now()
	err = each(4, make([]struct{}, n), func(struct{}) error {
		id, err := w.api.create(ctx, w.snapshot)
		mu.Lock()
		defer mu.Unlock()
		if id != "" {
			ids = append(ids, id)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.report.put(fmt.Sprintf("time to %d sandboxes, 4 workers", n), "s", time.Since(began).Seconds())
	pause(ctx, w.idle/2) // the daemons give their start-up memory back in this time

	count := float64(n)
	w.report.put(memoryAllIn(n), "MiB", float64(free-available())/count/mebibyte)
	if w.accounts != "" {
		now, processes := accountPSS(w.accounts)
		if processes < n {
			return fmt.Errorf("only %d processes are below %s", processes, w.accounts)
		}
		w.report.put(memoryPSS(n), "MiB", float64(now-boxes+pss(w.server.pid)-server)/count/mebibyte)
	}
	groupsBefore, start = w.groupCPU(), time.Now()
	busy := w.idleRate(ctx, w.idle)
	groupsBusy := float64(w.groupCPU()-groupsBefore) / float64(time.Since(start))
	if idle < busyHost {
		w.report.put(idleHost(n), "ms/s", (busy-idle)*1000/count)
	}
	if w.accounts != "" && w.server.cgroup != "" {
		w.report.put(idleGroups(n), "ms/s", (groupsBusy-groupsIdle)*1000/count)
	}
	for range 50 {
		began := time.Now()
		if err := w.api.exec(ctx, w.sandbox, "true", ""); err != nil {
			return err
		}
		w.report.add(fmt.Sprintf("exec true, HTTP, beside %d idle", n), time.Since(began))
	}
	return nil
}
