package oci_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/oci"
)

// The crash tests run this test binary again as a child that drives an engine and dies by SIGKILL: at its N-th failpoint,
// or some time after it began. What it had finished it wrote to a journal.
const envCrashDir = "DUGOUT_TEST_CRASH"

type crashPlan struct {
	Config  oci.Config
	A, B    engine.Spec
	Point   int           // die at this failpoint, counted from 1 (0: at none)
	After   time.Duration // die this long after B's first start began (0: not)
	Journal string
}

// crashChild is the main function of the child: A is made and started and stays; B goes through all that there is.
func crashChild() {
	var plan crashPlan
	if err := json.Unmarshal([]byte(os.Getenv(envCrashDir)), &plan); err != nil {
		panic(err)
	}
	journal, err := os.OpenFile(plan.Journal, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	say := func(format string, args ...any) { fmt.Fprintf(journal, format+"\n", args...) }
	hits := 0
	e, err := oci.OpenCrashing(context.Background(), plan.Config, slog.New(slog.DiscardHandler), func(point string) {
		if hits++; hits == plan.Point {
			say("point %s", point)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	})
	check := func(err error, done string, args ...any) {
		if err != nil {
			say("failed %v", err)
			os.Exit(3)
		}
		say(done, args...)
	}
	check(err, "opened")
	ctx := context.Background()
	check(e.Create(ctx, plan.A), "created a")
	status, err := e.Start(ctx, plan.A.ID, engine.Net{})
	check(err, "started a %d", status.Pid)
	check(e.Create(ctx, plan.B), "created b")
	if plan.After > 0 {
		go func() {
			time.Sleep(plan.After)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		}()
	}
	status, err = e.Start(ctx, plan.B.ID, engine.Net{})
	check(err, "started b %d", status.Pid)
	check(e.SetLimits(ctx, plan.B.ID, engine.Limits{Pids: 200}), "limited b")
	say("stopping b")
	check(e.Stop(ctx, plan.B.ID, 0), "stopped b")
	say("starting b")
	status, err = e.Start(ctx, plan.B.ID, engine.Net{})
	check(err, "started b %d", status.Pid)
	say("destroying b")
	check(e.Destroy(ctx, plan.B.ID), "destroyed b")
	say("end")
	_ = unix.Kill(os.Getpid(), unix.SIGKILL) // not even the end is a clean one
}

// crashOnce runs the child and returns its journal.
func crashOnce(t *testing.T, plan crashPlan) []string {
	t.Helper()
	_ = os.Remove(plan.Journal)
	b, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), envCrashDir+"="+string(b))
	out, err := child.CombinedOutput()
	if ctx.Err() != nil || child.ProcessState.ExitCode() >= 0 {
		t.Fatalf("the child did not die by a signal: %v %s", err, out)
	}
	f, err := os.Open(plan.Journal)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

// checkAfterCrash opens a new engine and holds it against what the journal says was finished.
func checkAfterCrash(t *testing.T, h *host, plan crashPlan, journal []string) {
	t.Helper()
	begin := time.Now()
	e, err := oci.Open(context.Background(), h.cfg, testLog(t))
	if err != nil {
		t.Fatalf("Open after the crash: %v\n%s", err, strings.Join(journal, "\n"))
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Open took %s", took)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal:\n%s", strings.Join(journal, "\n"))
		}
	})
	// What must hold of each: there or not, and with which pid; "" is "may be either".
	want := map[string]string{}
	for _, line := range journal {
		var who, pid string
		switch {
		case scan(line, "created %s", &who):
			want[who] = "there" // its Start follows at once
		case scan(line, "started %s %s", &who, &pid):
			want[who] = pid
		case scan(line, "stopping %s", &who):
			want[who] = "there"
		case scan(line, "stopped %s", &who):
			want[who] = "stopped"
		case scan(line, "starting %s", &who):
			want[who] = "there"
		case scan(line, "destroying %s", &who):
			want[who] = ""
		case scan(line, "destroyed %s", &who):
			want[who] = "gone"
		}
	}
	list, _ := e.List(context.Background())
	listed := map[string]bool{}
	for _, status := range list {
		listed[status.Spec.ID] = true
	}
	for who, spec := range map[string]engine.Spec{"a": plan.A, "b": plan.B} {
		state, known := want[who]
		status, err := e.Inspect(context.Background(), spec.ID)
		switch {
		case !known || state == "gone": // Create did not return, or Destroy did
			if err == nil && state == "gone" {
				t.Errorf("%s is back after Destroy: %+v", who, status)
			}
		case state == "":
		case err != nil:
			t.Errorf("%s is lost: %v", who, err)
		case state == "there":
			if status.State == engine.Running { // a Start or Stop that had not returned may have got this far, but then wholly
				if _, err := trySh(context.Background(), e, spec.ID, "true"); err != nil {
					t.Errorf("%s is said to run and does not answer: %v", who, err)
				}
			}
		case state == "stopped":
			if status.State != engine.Stopped {
				t.Errorf("%s is %s, want stopped", who, status.State)
			}
		default:
			if status.State != engine.Running || fmt.Sprint(status.Pid) != state {
				t.Errorf("%s is %s with pid %d, want running with pid %s", who, status.State, status.Pid, state)
			}
			if _, err := trySh(context.Background(), e, spec.ID, "true"); err != nil {
				t.Errorf("%s does not answer: %v", who, err)
			}
		}
	}
	// Nothing is on the host that belongs to no sandbox, and of stopped ones only record and layer.
	for _, trace := range h.traces() {
		for who, spec := range map[string]engine.Spec{"a": plan.A, "b": plan.B} {
			if !strings.Contains(trace, spec.ID) {
				continue
			}
			kept := strings.HasPrefix(trace, h.cfg.Dir+"/sandboxes/") || strings.HasPrefix(trace, h.cfg.Dir+"/disk/")
			status, _ := e.Inspect(context.Background(), spec.ID)
			if !listed[spec.ID] || status.State == engine.Stopped && !kept {
				t.Errorf("%s (%s) has left %s", who, status.State, trace)
			}
		}
	}
	// And everything can go on.
	for _, spec := range []engine.Spec{plan.A, plan.B} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if !listed[spec.ID] {
			if err := e.Create(ctx, spec); err != nil {
				t.Errorf("Create after the crash: %v", err)
			}
		}
		if _, err := e.Start(ctx, spec.ID, engine.Net{}); err != nil {
			t.Errorf("Start after the crash: %v", err)
		}
		if err := e.Destroy(ctx, spec.ID); err != nil {
			t.Errorf("Destroy after the crash: %v", err)
		}
		cancel()
	}
	for _, trace := range h.traces() {
		t.Errorf("left in the end: %s", trace)
	}
}

func scan(line, format string, args ...any) bool {
	n, err := fmt.Sscanf(line, format, args...)
	return err == nil && n == len(args)
}

// TestKillAtEveryFailpoint dies at each of the points that the engine's code names, one after the other.
func TestKillAtEveryFailpoint(t *testing.T) {
	h := newHost(t, "btrfs")
	seen := map[string]bool{}
	for point := 1; ; point++ {
		plan := crashPlan{Config: h.cfg, A: h.spec(), B: h.spec(), Point: point, Journal: filepath.Join(h.cfg.Dir, "journal")}
		journal := crashOnce(t, plan)
		var name string
		for _, line := range journal {
			if strings.HasPrefix(line, "failed") {
				t.Fatalf("the child failed: %s", line)
			}
			scan(line, "point %s", &name)
		}
		seen[name] = true
		t.Run(fmt.Sprintf("%d-%s", point, name), func(t *testing.T) { checkAfterCrash(t, h, plan, journal) })
		if name == "" { // the child came to its end
			break
		}
	}
	for _, name := range []string{
		"create-intent", "create-disk", "create-committed", "start-intent", "start-run-mount", "start-rootfs", "start-bundle", "runc-started",
		"runc-ended", "start-committed", "stop-intent", "stop-killed", "destroy-intent", "destroy-killed", "destroy-cleaned", "destroy-disk",
	} {
		if !seen[name] {
			t.Errorf("no child died at %s", name)
		}
	}
}

// TestKillDuringStart dies at moments that no failpoint names, while runc is at work.
func TestKillDuringStart(t *testing.T) {
	h := newHost(t, "btrfs")
	for after := time.Millisecond; after < 60*time.Millisecond; after += 3 * time.Millisecond {
		plan := crashPlan{Config: h.cfg, A: h.spec(), B: h.spec(), After: after, Journal: filepath.Join(h.cfg.Dir, "journal")}
		journal := crashOnce(t, plan)
		t.Run(after.String(), func(t *testing.T) { checkAfterCrash(t, h, plan, journal) })
	}
}
