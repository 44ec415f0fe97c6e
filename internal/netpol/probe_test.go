package netpol_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/netpol"
)

// Probes are what must run in a process of its own: this test binary, started again with their name in the environment.
const probeEnv = "NETPOL_TEST_PROBE"

func probeMain(what string) int {
	name, rest, _ := strings.Cut(what, " ")
	switch name {
	case "churn":
		return churn(strings.Fields(rest))
	case "unprivileged":
		return unprivileged()
	}
	return 2
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// startProbe returns what kills the probe and waits for its end.
func startProbe(tb testing.TB, args ...string) func() {
	tb.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), probeEnv+"="+strings.Join(args, " "))
	cmd.Stderr = os.Stderr // no death signal: it is sent when a thread ends, and the rig ends threads
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	done := false
	kill := func() {
		if !done {
			done = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	tb.Cleanup(kill)
	return kill
}

// churn claims and releases networks that may reach nothing until it is killed.
func churn(args []string) int {
	n, err := netpol.Open(context.Background(), netpol.Config{Instance: args[0], Dir: args[1], Ready: 3}, discard())
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return 1
	}
	if _, err := n.Sweep(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return 1
	}
	var kept []int
	for i := 0; ; i++ {
		p := netpol.Policy{BlockAll: true}
		if i%2 == 0 {
			p = netpol.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("203.0.114.0/24")}}
		}
		sb, err := n.Claim(context.Background(), p)
		if kept = append(kept, sb.Slot); err == nil && i%4 > 0 {
			err = n.Release(context.Background(), sb.Slot)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			return 1
		}
		if i%64 == 63 { // what was kept must not use up all slots
			for _, k := range kept {
				_ = n.Release(context.Background(), k)
			}
			kept = nil
		}
	}
}

// unprivileged is a program in a sandbox: another user namespace, no right over its network.
func unprivileged() int {
	bad := 0
	check := func(what string, err error) {
		if err != nil {
			fmt.Printf("%s: %v\n", what, err)
			bad++
		}
	}
	l, err := net.Listen("tcp4", "0.0.0.0:80")
	check("listen on port 80", err)
	if err == nil {
		_ = l.Close()
	}
	if err := unix.Setgid(1000); err != nil {
		check("setgid", err)
	}
	if err := unix.Setuid(1000); err != nil {
		check("setuid", err)
	}
	l, err = net.Listen("tcp4", "0.0.0.0:81")
	check("listen on port 81 as a user", err)
	if err == nil {
		_ = l.Close()
	}
	l, err = net.Listen("tcp6", "[::1]:82")
	check("listen on ::1", err)
	if err == nil {
		_ = l.Close()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	check("ping socket", err)
	if err == nil {
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
		check("send ping", unix.Sendto(fd, []byte{8, 0, 0, 0, 0, 1, 0, 1}, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(public).As4()}))
		_, _, err = unix.Recvfrom(fd, make([]byte, 64), 0)
		check("answer to ping", err)
	}
	return bad
}

// changeNetwork is what root of a sandbox must not be able to do.
func TestUnprivilegedProgram(t *testing.T) {
	needWorld(t)
	n := open(t, config(t))
	sb := claim(t, n, netpol.Policy{})
	var out []byte
	var failed error
	insidePath(t, sb.Netns, func() error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), probeEnv+"=unprivileged")
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000000, Size: 65536}}
		cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
			Credential: &syscall.Credential{}, Pdeathsig: unix.SIGKILL}
		out, failed = cmd.CombinedOutput()
		return nil
	})
	if failed != nil || len(out) > 0 {
		t.Errorf("%v: %s", failed, out)
	}
}

func acceptLinks(c *nftables.Conn, ch *nftables.Chain) {
	for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
		c.InsertRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: []expr.Any{
			&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("dg")}, &expr.Verdict{Kind: expr.VerdictAccept}}})
	}
}
