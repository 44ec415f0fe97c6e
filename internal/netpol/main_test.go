package netpol_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests change routes, links and firewall rules, so the test binary runs itself again in a network and a mount
// namespace of its own: that network is "the host" of all tests, and nothing is left behind whatever happens.
const nested = "NETPOL_TEST_NESTED"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(probeEnv) != "":
		os.Exit(probeMain(os.Getenv(probeEnv)))
	case os.Getenv(nested) != "" || os.Geteuid() != 0:
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the death signal below is sent when this thread ends
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), nested+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "running without a network of its own, tests that need one are skipped:", err)
		os.Exit(m.Run())
	}
}

func needRig(tb testing.TB) {
	tb.Helper()
	if os.Getenv(nested) == "" {
		tb.Skip("needs root and the right to make network namespaces")
	}
}
