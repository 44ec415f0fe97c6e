//go:build linux

package reap_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
)

// A copy of the test binary becomes the parent of orphans: a subreaper, so that no namespace is needed.
func TestMain(m *testing.M) {
	switch os.Getenv("REAP_TEST") {
	case "subreaper":
		os.Exit(subreaper())
	case "expect":
		os.Exit(expect())
	}
	os.Exit(m.Run())
}

func start(r *reap.Reaper, script string) (*reap.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	return r.Start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), 2}, Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}})
}

func wait(t *testing.T, p *reap.Process) syscall.WaitStatus {
	t.Helper()
	select {
	case <-p.Done():
		return p.Status()
	case <-time.After(20 * time.Second):
		t.Fatal("the process was not waited for")
		return 0
	}
}

func TestStatus(t *testing.T) {
	r := reap.New(false)
	defer r.Close()
	p, err := start(r, "exit 7")
	if err != nil {
		t.Fatal(err)
	}
	if ws := wait(t, p); !ws.Exited() || ws.ExitStatus() != 7 {
		t.Errorf("status %v", ws)
	}
	if err := p.Signal(syscall.SIGKILL); err != syscall.ESRCH {
		t.Errorf("signal after the end: %v, want ESRCH", err)
	}
	p, err = start(r, "sleep 100")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SignalGroup(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if ws := wait(t, p); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("status %v", ws)
	}
	if _, err := r.Start("/no/such/program", []string{"x"}, &syscall.ProcAttr{}); err != syscall.ENOENT {
		t.Errorf("start: %v, want ENOENT", err)
	}
	if len(r.Live()) != 0 {
		t.Errorf("live %v, want none", r.Live())
	}
}

// Children of others must be left to them.
func TestOthersChildrenAreTheirs(t *testing.T) {
	r := reap.New(false)
	defer r.Close()
	for range 20 {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exit 3")
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 3 {
			t.Fatalf("%v", err)
		}
	}
}

// TestOrphans proves, with many processes at once, that no status is lost or mixed up while orphans are reaped, and that no
// zombie remains.
func TestOrphans(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "REAP_TEST=subreaper")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func subreaper() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		println("no subreaper:", err.Error())
		return 1
	}
	r := reap.New(true)
	var wg sync.WaitGroup
	failed := make(chan string, 1000)
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				want := (w*60 + i) % 256
				// Each leaves two orphans behind, one dead at once and one a little later.
				p, err := start(r, "(sh -c 'exit 1' &) ; (sleep 0.02 &) ; exit "+strconv.Itoa(want))
				if err != nil {
					failed <- err.Error()
					return
				}
				select {
				case <-p.Done():
				case <-time.After(30 * time.Second):
					failed <- "a status was lost"
					return
				}
				if got := p.Status().ExitStatus(); got != want {
					failed <- "exit " + strconv.Itoa(got) + ", want " + strconv.Itoa(want)
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for f := range failed {
		println(f)
		return 1
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := children()
		if len(left) == 0 {
			println("480 processes, 960 orphans, none left")
			return 0
		}
		if time.Now().After(deadline) {
			println("left:", strings.Join(left, " "))
			return 1
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// An orphan that is expected is not thrown away, whenever it ends, and everything else goes on meanwhile.
func TestExpect(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "REAP_TEST=expect")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func expect() int {
	fail := func(what ...string) int { println(strings.Join(what, " ")); return 1 }
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fail(err.Error())
	}
	r := reap.New(true)
	defer r.Close()
	for i := range 50 {
		done := r.Expect()
		dir, err := os.MkdirTemp("", "reap-")
		if err != nil {
			return fail(err.Error())
		}
		defer func() { _ = os.RemoveAll(dir) }()
		p, err := start(r, "(sh -c 'echo $$ > "+dir+"/pid; exit 4' &); exit 2")
		if err != nil {
			return fail(err.Error())
		}
		<-p.Done()
		if got := p.Status().ExitStatus(); got != 2 {
			return fail("known child:", strconv.Itoa(got))
		}
		pid := 0
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Microsecond) {
			b, _ := os.ReadFile(dir + "/pid")
			if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && (i%2 == 0 || strings.HasPrefix(state(n), "Z")) {
				pid = n
				break
			}
			if time.Now().After(deadline) {
				return fail("no orphan")
			}
		}
		orphan := r.Adopt(pid, time.Now())
		done()
		select {
		case <-orphan.Done():
		case <-time.After(10 * time.Second):
			return fail("the orphan's status was lost")
		}
		if got := orphan.Status().ExitStatus(); got != 4 {
			return fail("orphan:", strconv.Itoa(got))
		}
	}
	for deadline := time.Now().Add(10 * time.Second); len(children()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fail("left:", strings.Join(children(), " "))
		}
	}
	return 0
}

// children lists the children of this process, zombies too.
func children() (out []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		s := string(b)
		fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			out = append(out, fields[0]+filepath.Base(filepath.Dir(f)))
		}
	}
	return out
}

// A status that comes while the reaper is frozen is kept, and given to whoever adopts the process.
func TestAdopt(t *testing.T) {
	r := reap.New(false)
	defer r.Close()
	r.Freeze()
	fork := func(script string) int {
		t.Helper()
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}})
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	dead, alive := fork("exit 5"), fork("sleep 100")
	until(t, "a zombie", func() bool { return strings.HasPrefix(state(dead), "Z") })
	started := time.Now().Add(-time.Hour)
	first, second := r.Adopt(dead, started), r.Adopt(alive, started)
	if r.Adopt(dead, time.Now()) != first {
		t.Error("adopted twice")
	}
	other := r.Adopt(os.Getppid(), started) // no child
	select {
	case <-first.Done():
		t.Error("a frozen reaper took a status")
	case <-time.After(20 * time.Millisecond):
	}
	r.Thaw()
	if ws := wait(t, first); ws.ExitStatus() != 5 || !first.Started.Equal(started) {
		t.Errorf("status %v, started %v", ws, first.Started)
	}
	if ws := wait(t, other); ws.Signal() != syscall.SIGKILL {
		t.Errorf("a stranger's status is %v", ws)
	}
	if err := second.SignalGroup(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if ws := wait(t, second); ws.Signal() != syscall.SIGTERM {
		t.Errorf("status %v", ws)
	}
}

func state(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return strings.TrimSpace(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
