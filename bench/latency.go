package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"time"
)

const megabyte = 1_000_000

// world is what the measurements share.
type world struct {
	options
	server   *server
	api      *client
	docker   docker
	hasDock  bool
	python   *sdk
	report   *report
	sandbox  string // one sandbox that lives through the run
	box      string // one container that does
	accounts string // CPU account of all sandboxes
}

// open makes what every measurement needs, and says which arms cannot be measured here.
func (w *world) open(ctx context.Context) (err error) {
	if w.sandbox, err = w.firstSandbox(ctx); err != nil {
		return err
	}
	if w.accounts = findAccount(w.sandbox); w.accounts == "" {
		w.report.Skipped = append(w.report.Skipped, "CPU and PSS by group: the sandboxes have no group of their own")
	}
	if w.options.python == "" {
		w.report.Skipped = append(w.report.Skipped, "SDK arms: no --python")
	} else if w.python, err = startSDK(ctx, w.options, w.server); err != nil {
		return err
	} else {
		w.report.SDK = w.python.version
		if _, _, err := w.python.call("use", map[string]any{"id": w.sandbox}); err != nil {
			return err
		}
	}
	if w.options.docker == "" {
		w.report.Skipped = append(w.report.Skipped, "Docker arms: no --docker")
		return nil
	}
	w.docker, w.hasDock = newDocker(w.options.docker), true
	if w.report.Docker, err = w.docker.version(ctx); err != nil {
		return err
	}
	w.box, err = w.docker.create(ctx)
	return err
}

// firstSandbox waits until the server can make one: a snapshot may still be on its way right after the start.
func (w *world) firstSandbox(ctx context.Context) (string, error) {
	deadline := time.Now().Add(time.Minute)
	for {
		id, err := w.api.create(ctx, w.snapshot)
		if err == nil {
			return id, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return "", err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if w.python != nil {
		w.python.close()
	}
	if w.box != "" {
		_ = w.docker.remove(ctx, w.box)
	}
	if w.sandbox != "" {
		_ = w.api.remove(ctx, w.sandbox)
	}
}

// arm is one thing to time. It returns its own time, so that it can prepare and clean up around it.
type arm struct {
	name string
	run  func(context.Context) (time.Duration, error)
}

// timed is an arm without anything around it.
func timed(name string, do func(context.Context) error) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		start := time.Now()
		err := do(ctx)
		return time.Since(start), err
	}}
}

// interleave runs every arm once per round in a new order. The first round is a warm-up and is not kept. An arm that fails
// three times in a row is given up and reported.
func (w *world) interleave(ctx context.Context, rounds int, arms []arm) error {
	row := map[string]int{}
	var errs []error
	for round := -1; round < rounds; round++ {
		for _, i := range mathrand.Perm(len(arms)) {
			a := arms[i]
			if row[a.name] >= 3 {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			took, err := a.run(ctx)
			switch {
			case err != nil:
				row[a.name]++
				w.report.failed(a.name)
				if row[a.name] == 3 {
					errs = append(errs, fmt.Errorf("%s: %w", a.name, err))
				}
			case round >= 0:
				row[a.name] = 0
				w.report.add(a.name, took)
			}
			time.Sleep(5 * time.Millisecond) // what an arm set off in the background shall not count for the next
		}
	}
	return errors.Join(errs...)
}

// Names of arms that goals and ratios refer to.
const (
	createRaw      = "create → started, HTTP"
	createFirstRaw = "create → first command, HTTP"
	createSDK      = "create → started, SDK"
	createFirstSDK = "create → first command, SDK"
	deleteRaw      = "delete → gone, HTTP"
	dockerCreate   = "Docker create + start"
	dockerFirst    = "Docker create + start + exec"
	dockerDelete   = "Docker delete"
	dockerExec     = "Docker exec true"
	execTrueRaw    = "exec true, HTTP"
	execEchoRaw    = "exec echo, HTTP"
	execTrueSDK    = "exec true, SDK"
	execEchoSDK    = "exec echo, SDK"
	codeRaw        = "Python print(1+1), HTTP"
	codeSDK        = "Python print(1+1), SDK"
	upSmallRaw     = "upload 1 KiB, HTTP"
	downSmallRaw   = "download 1 KiB, HTTP"
	upSmallSDK     = "upload 1 KiB, SDK"
	downSmallSDK   = "download 1 KiB, SDK"
	listRaw        = "list a folder, HTTP"
	listSDK        = "list a folder, SDK"
	sessionRaw     = "session command, HTTP"
	sessionSDK     = "session command, SDK"
	interpSDK      = "stateful interpreter run, SDK"
	ptyEcho        = "terminal echo, WebSocket"
	upFileSDK      = "upload 100 MB from a file, SDK"
	downFileSDK    = "download 100 MB to a file, SDK"
	upLargeRaw     = "upload 100 MB, HTTP"
	downLargeRaw   = "download 100 MB, HTTP"
	upLargeSDK     = "upload 100 MB, SDK"
	downLargeSDK   = "download 100 MB, SDK"
	forkExec       = "reference: fork + exec sh -c true"
)

func (w *world) measureLatencies(ctx context.Context) error {
	api := w.api

	// made times a create by HTTP with what follows it, and removes what it made outside the timed part.
	made := func(name string, then func(ctx context.Context, id string) error) arm {
		return arm{name, func(ctx context.Context) (time.Duration, error) {
			start := time.Now()
			id, err := api.create(ctx, w.snapshot)
			if err == nil && then != nil {
				err = then(ctx, id)
			}
			took := time.Since(start)
			return took, errors.Join(err, w.removeIfAny(ctx, id))
		}}
	}
	arms := []arm{
		made(createRaw, nil),
		made(createFirstRaw, func(ctx context.Context, id string) error { return api.exec(ctx, id, "true", "") }),
		{deleteRaw, func(ctx context.Context) (time.Duration, error) {
			id, err := api.create(ctx, w.snapshot)
			if err != nil {
				return 0, err
			}
			time.Sleep(20 * time.Millisecond)
			start := time.Now()
			err = api.remove(ctx, id)
			return time.Since(start), err
		}},
	}
	if w.python != nil {
		arms = append(arms, w.bySDK(createSDK, "create", map[string]any{"snapshot": w.snapshot}),
			w.bySDK(createFirstSDK, "create_first", map[string]any{"snapshot": w.snapshot}))
	}
	if w.hasDock {
		arms = append(arms, w.byDocker(dockerCreate, nil),
			w.byDocker(dockerFirst, func(ctx context.Context, id string) error { return w.docker.exec(ctx, id, "/bin/true") }),
			arm{dockerDelete, func(ctx context.Context) (time.Duration, error) {
				id, err := w.docker.create(ctx)
				if err != nil {
					return 0, err
				}
				start := time.Now()
				err = w.docker.remove(ctx, id)
				return time.Since(start), err
			}})
	}
	return w.interleave(ctx, w.rounds, arms)
}

// measureBulk moves 100 MB both ways. The SDK's arms go from and to memory, as its simplest calls do.
func (w *world) measureBulk(ctx context.Context) error {
	data := make([]byte, 100*megabyte)
	_, _ = rand.Read(data)
	arms := []arm{
		timed(upLargeRaw, func(ctx context.Context) error { return w.api.upload(ctx, w.sandbox, "large.bin", data) }),
		timed(downLargeRaw, func(ctx context.Context) error { return w.api.download(ctx, w.sandbox, "down.bin", len(data)) }),
	}
	if err := w.api.upload(ctx, w.sandbox, "down.bin", data); err != nil {
		return err
	}
	if w.python != nil {
		size := map[string]any{"size": len(data), "path": "large-sdk.bin"}
		arms = append(arms, w.bySDK(upLargeSDK, "up", size), w.bySDK(downLargeSDK, "down", map[string]any{"size": len(data), "path": "down.bin"}))
		local, err := os.MkdirTemp("/dev/shm", "dugout-bench-") // the client's disk is not what is measured
		if err != nil {
			return err
		}
		defer os.RemoveAll(local)
		arms = append(arms, w.bySDK(upFileSDK, "up_file", map[string]any{"size": len(data), "path": "large-file.bin", "local": local + "/up"}),
			w.bySDK(downFileSDK, "down_file", map[string]any{"size": len(data), "path": "down.bin", "local": local + "/down"}))
	}
	err := w.interleave(ctx, w.bulk, arms)
	return errors.Join(err, w.api.exec(ctx, w.sandbox, "rm -f large.bin down.bin large-sdk.bin large-file.bin", ""))
}

func (w *world) bySDK(name, op string, args map[string]any) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		took, id, err := w.python.call(op, args)
		return took, errors.Join(err, w.removeIfAny(ctx, id))
	}}
}

func (w *world) byDocker(name string, then func(ctx context.Context, id string) error) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		start := time.Now()
		id, err := w.docker.create(ctx)
		if err == nil && then != nil {
			err = then(ctx, id)
		}
		took := time.Since(start)
		if id != "" {
			err = errors.Join(err, w.docker.remove(ctx, id))
		}
		return took, err
	}}
}

func (w *world) removeIfAny(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	return w.api.remove(ctx, id)
}
