// Command bench measures a whole server as its users see it, beside references on the same machine in the same run.
//
// It starts a server of its own on loopback with a data directory of its own, takes every measurement, prints tables and
// writes the raw figures, and stops what it started. Latencies are interleaved: every round runs each arm once in a new
// order, so that a machine which is slow for a minute is slow for all arms and the ratios hold.
//
//	bench [--quick] [--server bin/dugout] [--docker SOCKET] [--python PYTHON] [--out FILE] [-- more flags of dugout up]
//
// It needs root, because the server does. An arm whose means are absent (no Docker engine, no Python SDK) is named as skipped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what the command line chooses.
type options struct {
	quick     bool
	server    string
	docker    string
	python    string
	script    string
	out       string
	snapshot  string
	rounds    int
	bulk      int
	sustained time.Duration
	idle      time.Duration
	dense     []int
	limit     time.Duration
	upArgs    []string
}

func parse(args []string) (options, error) {
	o := options{script: "bench/sdk.py"}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "few rounds and no large fleet: shows that everything runs, proves no figure")
	f.StringVar(&o.server, "server", "bin/dugout", "the dugout binary to measure")
	f.StringVar(&o.docker, "docker", "", "socket of a Docker engine that has the image dugout-bench:1 (bench/docker.sh); empty: no Docker arms")
	f.StringVar(&o.python, "python", "", "a Python with the package daytona; empty: no SDK arms")
	f.StringVar(&o.out, "out", "", "file for the raw figures; empty: bench/results/DATE.json")
	f.StringVar(&o.snapshot, "snapshot", "base", "snapshot of the sandboxes")
	f.IntVar(&o.rounds, "rounds", 60, "rounds of the latency arms")
	f.DurationVar(&o.limit, "limit", 15*time.Minute, "the run ends itself after this time")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.upArgs = f.Args()
	o.bulk, o.sustained, o.idle, o.dense = 10, 10*time.Second, 20*time.Second, []int{20, 200}
	if o.quick {
		o.rounds, o.bulk, o.sustained, o.idle, o.dense = 5, 2, 2*time.Second, 3*time.Second, []int{20}
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("rounds is %d, it must be at least 1", o.rounds)
	}
	if o.out == "" {
		o.out = filepath.Join("bench", "results", time.Now().UTC().Format("2006-01-02")+".json")
		if o.quick {
			o.out += ".tmp"
		}
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run takes all measurements in an order in which none disturbs the next: the idle platform first, the crowd last.
func run(ctx context.Context, o options) (err error) {
	r := newReport(o)
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	w := &world{options: o, server: s, api: newClient(s.url, s.key), report: r}
	defer w.close()
	if err := w.open(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"idle platform", w.measureIdlePlatform},
		{"toolbox", w.measureToolbox},
		{"latencies", w.measureLatencies},
		{"large files", w.measureBulk},
		{"CPU per operation", w.measureCPU},
		{"sustained create and delete", w.measureSustained},
		{"crowds", w.measureCrowds},
	} {
		fmt.Fprintf(os.Stderr, "bench: %s\n", step.name)
		if err := step.do(ctx); err != nil {
			r.Problems = append(r.Problems, step.name+": "+err.Error())
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", step.name, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	r.finish()
	r.print(os.Stdout)
	if err := r.write(o.out); err != nil {
		return err
	}
	fmt.Println("raw figures:", o.out)
	if len(r.Problems) > 0 {
		return fmt.Errorf("%d measurements failed", len(r.Problems))
	}
	return nil
}
