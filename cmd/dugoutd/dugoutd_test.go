//go:build linux

package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// binary is the daemon as it is shipped: static. Threads are only all reached without cgo.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dugoutd-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Chmod(dir, 0o755); err != nil { // other users run it
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary = filepath.Join(dir, "dugoutd")
		for _, pkg := range []string{"dugoutd", "dugoutd-ts"} {
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, pkg), "github.com/dugout-dev/dugout/cmd/"+pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// instance is a daemon in a process of its own.
type instance struct {
	*daemontest.Daemon
	cmd *exec.Cmd
	pid int // of the daemon, as this test sees it
	log string
}

// launch runs the daemon with wrap before its command and waits until it listens.
func launch(t testing.TB, wrap []string, env []string, args ...string) *instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "dugoutd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	ready, readyW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ready.Close() }()
	socket := filepath.Join(dir, "d.sock")
	argv := append(append([]string(nil), wrap...), binary, "--socket", socket, "--ready-fd", "3", "--workdir", dir)
	cmd := exec.Command(argv[0], append(argv[1:], args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "DUGOUT_SECRET=hidden", "FROM_IMAGE=yes"}, env...)
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{readyW, log} // 4 is a descriptor that somebody forgot
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = readyW.Close()
	in := &instance{Daemon: daemontest.Dial(t, socket, dir), cmd: cmd, pid: cmd.Process.Pid, log: log.Name()}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
		if t.Failed() {
			b, _ := os.ReadFile(in.log)
			t.Logf("log of the daemon:\n%s", b)
		}
	})
	_ = ready.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 2)
	if n, err := ready.Read(b); n != 1 || err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("not ready: %d %v\n%s", n, err, text)
	}
	if len(wrap) > 0 { // unshare waits for its child
		daemontest.Until(t, "the daemon's pid", func() bool {
			kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
			f := strings.Fields(string(kids))
			if len(f) == 1 {
				in.pid, _ = strconv.Atoi(f[0])
			}
			return len(f) == 1
		})
	}
	return in
}

// asInit runs the daemon as the first process of a pid namespace; as user 1000 with CAP_KILL when user is set.
func asInit(t testing.TB, user bool) []string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	wrap := []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if user {
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip(err)
		}
		wrap = append(wrap, "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all,+kill", "--ambient-caps=-all,+kill")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	return wrap
}

func (in *instance) run(command string) toolbox.Executed {
	in.T.Helper()
	var out toolbox.Executed
	r := in.Do("POST", "/process/execute", toolbox.Execute{Command: command})
	if r.Status != 200 {
		in.T.Fatalf("%d %s", r.Status, r.Body)
	}
	r.JSON(in.T, &out)
	return out
}

// status reads lines of a /proc status file.
func status(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			out[k] = strings.TrimSpace(v)
		}
	}
	return out
}

const (
	noCaps  = "0000000000000000"
	capKill = "0000000000000020"
)

func TestFirstProcessAsUser(t *testing.T) {
	in := launch(t, asInit(t, true), nil)
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.pid))
	if err != nil {
		t.Fatal(err)
	}
	me := status(string(own))
	for k, want := range map[string]string{"CapAmb": noCaps, "CapInh": noCaps, "CapEff": capKill, "CapPrm": capKill, "NSpid": strconv.Itoa(in.pid) + "\t1"} {
		if me[k] != want {
			t.Errorf("daemon's %s is %s, want %s", k, me[k], want)
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", in.pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		if s := status(string(b)); s["CapAmb"] != noCaps || s["CapInh"] != noCaps {
			t.Errorf("a thread of %d has CapAmb %s CapInh %s", len(tasks), s["CapAmb"], s["CapInh"])
		}
	}
	child := status(in.run("cat /proc/self/status").Result)
	for k, want := range map[string]string{"CapAmb": noCaps, "CapInh": noCaps, "CapEff": noCaps, "CapPrm": noCaps, "SigIgn": noCaps, "SigBlk": noCaps, "Uid": "1000\t1000\t1000\t1000"} {
		if child[k] != want {
			t.Errorf("child's %s is %s, want %s", k, child[k], want)
		}
	}
	for command, want := range map[string]string{
		"ls /proc/self/fd":                                "0\n1\n2\n3\n", // 3 is ls reading the directory
		"sleep 0.05; cat /proc/self/oom_score_adj":        "500\n",
		"cat /proc/1/oom_score_adj":                       "0\n",
		"env | grep -c DUGOUT":                            "0\n",
		"echo $FROM_IMAGE $HOME $LANG":                    "yes " + home1000() + " C.UTF-8\n",
		"cat /proc/1/environ >/dev/null 2>&1 || echo no":  "no\n",
		"ls /proc/1/fd >/dev/null 2>&1 || echo no":        "no\n",
		"cat /proc/1/maps >/dev/null 2>&1 || echo no":     "no\n",
		"kill -9 1 2>/dev/null; kill -STOP 1; echo still": "still\n",
		"echo a > " + in.Dir + "/mine; stat -c %u mine":   "1000\n",
	} {
		if got := in.run(command); got.Result != want {
			t.Errorf("%s: %q, want %q", command, got.Result, want)
		}
	}
	if r := in.Do("GET", "/version", nil); r.Status != 200 {
		t.Error("the daemon is gone")
	}
}

func home1000() string {
	b, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && f[2] == "1000" {
			return f[5]
		}
	}
	return "/"
}

// A timeout ends also what sudo started: the daemon keeps CAP_KILL for that.
func TestTimeoutKillsRootsProcesses(t *testing.T) {
	in := launch(t, asInit(t, true), nil)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	// A set-user-id program that becomes root for good: what sudo is, without its files.
	b, err := os.ReadFile(setpriv)
	if err != nil {
		t.Fatal(err)
	}
	suid := filepath.Join(in.Dir, "become-root")
	if err := os.WriteFile(suid, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	r := in.Do("POST", "/process/execute", map[string]any{"command": "setsid ./become-root --reuid=0 --regid=0 --clear-groups sleep 3610 & sleep 0.3; ps -eo ruid,args | grep '[s]leep 3610'; wait", "timeout": 2})
	var e toolbox.TimedOut
	r.JSON(t, &e)
	if r.Status != 408 || !strings.Contains("\n"+e.Result, "\n    0 sleep 3610\n") {
		t.Fatalf("%d %s, want a process of root", r.Status, r.Body)
	}
	if got := in.run("ps -eo ruid,args | grep '[s]leep 3610'"); got.Result != "" {
		t.Errorf("alive: %q", got.Result)
	}
}

func TestReapsOrphans(t *testing.T) {
	in := launch(t, asInit(t, false), nil)
	for range 20 {
		if got := in.run("for i in 1 2 3 4 5; do (setsid sh -c 'exit 3' >/dev/null 2>&1 &); done; exit 9"); got.ExitCode != 9 {
			t.Fatalf("%+v", got)
		}
	}
	daemontest.Until(t, "all orphans to be reaped", func() bool {
		kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", in.pid, in.pid))
		all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", in.pid))
		for _, f := range all {
			b, _ := os.ReadFile(f)
			kids = append(kids, b...)
		}
		return len(strings.Fields(string(kids))) == 0
	})
}

func TestTerminates(t *testing.T) {
	for name, wrap := range map[string][]string{"alone": nil, "first": {"first"}} {
		t.Run(name, func(t *testing.T) {
			if wrap != nil {
				wrap = asInit(t, false)
			}
			in := launch(t, wrap, nil, "--grace", "300ms")
			number := fmt.Sprintf("362%d.%d", len(wrap), os.Getpid())
			gentle := filepath.Join(in.Dir, "gentle")
			in.run("(trap 'echo bye > " + gentle + "; exit' TERM; while :; do sleep 0.05; done) >/dev/null 2>&1 & (trap '' TERM HUP; sleep " + number + ") >/dev/null 2>&1 & sleep 0.2")
			start := time.Now()
			if err := syscall.Kill(in.pid, syscall.SIGHUP); err != nil { // must not end it
				t.Fatal(err)
			}
			if r := in.Do("GET", "/version", nil); r.Status != 200 {
				t.Fatal("SIGHUP ended the daemon")
			}
			if err := syscall.Kill(in.pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			err := in.cmd.Wait()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if err != nil {
				t.Errorf("exit: %v", err)
			}
			if wrap == nil {
				_ = exec.Command("pkill", "-KILL", "-f", "sleep "+number).Run() // what was put into the background before outlives this daemon
				return
			}
			if _, err := os.Stat(gentle); err != nil {
				t.Error("a process that handles SIGTERM was not given the time")
			}
			if out, _ := exec.Command("pgrep", "-f", "sleep "+number).Output(); len(out) > 0 {
				t.Errorf("left: %s", out)
			}
		})
	}
}

func TestOutsideOnly(t *testing.T) {
	in := launch(t, asInit(t, false), nil, "--outside-only")
	if r := in.Do("GET", "/version", nil); r.Status != 200 {
		t.Fatalf("from outside: %d", r.Status)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	got := in.run("curl -s -m 5 --unix-socket " + in.Dir + "/d.sock http://d/version")
	if got.ExitCode == 0 || strings.Contains(got.Result, "version") {
		t.Errorf("from inside: %+v", got)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	in := launch(t, nil, nil)
	st, err := os.Stat(in.Dir + "/d.sock")
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}

// Slow and silent clients do not keep the daemon from others.
func TestSlowClients(t *testing.T) {
	in := launch(t, nil, nil)
	for range 500 {
		c := in.Conn()
		if _, err := c.Write([]byte("POST /files/upload-v2?path=x HTTP/1.1\r\nHost: ")); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for range 50 {
		if r := in.Do("GET", "/version", nil); r.Status != 200 {
			t.Fatal(r.Status)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("50 requests took %v among 500 slow clients", took)
	}
	c := in.Conn()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 200<<10))); err == nil {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 100)
		if n, _ := c.Read(b); !strings.Contains(string(b[:n]), "431") {
			t.Errorf("a huge header: %q", b[:n])
		}
	}
}

func TestRefusesArguments(t *testing.T) {
	for _, args := range [][]string{{"--nope"}, {"extra"}, {"--socket", "/no/such/dir/s"}} {
		err := exec.CommandContext(context.Background(), binary, args...).Run()
		if err == nil {
			t.Errorf("%v: started", args)
		}
	}
}

// Idle means idle: no thread of the daemon is scheduled while nobody asks for anything.
func TestIdle(t *testing.T) {
	in := launch(t, nil, nil)
	in.run("head -c 20000000 /dev/zero | tr '\\0' x") // what this needed must be given back
	for range 100 {
		in.run("true")
	}
	switches := func() (n int64) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", in.pid))
		for _, f := range tasks {
			b, _ := os.ReadFile(f)
			if w := strings.Fields(string(b)); len(w) == 3 {
				v, _ := strconv.ParseInt(w[2], 10, 64)
				n += v
			}
		}
		return n
	}
	daemontest.Until(t, "two seconds without a wake-up", func() bool {
		before := switches()
		select {
		case <-time.After(2 * time.Second):
		case <-t.Context().Done():
		}
		return switches() == before
	})
	var kb int
	var m map[string]string
	daemontest.Until(t, "an idle daemon to hold at most 4 MB of its own", func() bool {
		smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", in.pid))
		if err != nil {
			t.Skip(err)
		}
		m = status(string(smaps))
		kb, _ = strconv.Atoi(strings.Fields(m["Pss_Anon"])[0])
		return kb <= 4<<10
	})
	t.Logf("idle after 101 commands: anonymous %d kB, PSS %s", kb, m["Pss"])
}

func BenchmarkStartToReady(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		socket := filepath.Join(dir, "s")
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(binary, "--socket", socket, "--ready-fd", "3")
		cmd.ExtraFiles = []*os.File{w}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		_ = w.Close()
		if n, err := r.Read(make([]byte, 1)); n != 1 {
			b.Fatal(err)
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = c.Write([]byte("GET /version HTTP/1.1\r\nHost: d\r\n\r\n"))
		if n, err := c.Read(make([]byte, 500)); n == 0 {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = c.Close()
		_ = r.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.StartTimer()
	}
}
