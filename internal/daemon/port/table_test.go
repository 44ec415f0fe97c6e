//go:build linux

package port_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
	"github.com/dugout-dev/dugout/internal/daemon/port"
)

const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 3 1 0000000000000000 20 4 30 10 -1
   3: 0200A8C0:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4 1 0000000000000000 100 0 0 10 0
`

const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 6 1 0000000000000000 100 0 0 10 0
`

func TestReadTable(t *testing.T) {
	a := netip.MustParseAddr
	for name, tt := range map[string]struct {
		text string
		want map[uint16][]netip.Addr
	}{
		"IPv4":      {tcp, map[uint16][]netip.Addr{3000: {a("127.0.0.1"), a("192.168.0.2")}, 80: {a("0.0.0.0")}}},
		"IPv6":      {tcp6, map[uint16][]netip.Addr{8081: {a("::1")}, 8082: {a("127.0.0.1")}}},
		"empty":     {"", map[uint16][]netip.Addr{}},
		"malformed": {"x\n 0: 0100007F 0 0A\n 0: 01:0BB8 0 0A\n 0: zz00007F:0BB8 0 0A\n 0: 0100007F:10BB8 0 0A\n 0: 0100007F:0000 0 0A\n", map[uint16][]netip.Addr{}},
	} {
		got, err := port.ReadTable(tt.text)
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func listen(t testing.TB, network, address string) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

func ports(d *daemontest.Daemon) []int {
	d.T.Helper()
	r := d.Do("GET", "/port", nil)
	var out toolbox.PortList
	r.JSON(d.T, &out)
	if r.Status != 200 || out.Ports == nil || !slices.IsSorted(out.Ports) {
		d.T.Fatalf("%d %s", r.Status, r.Body)
	}
	return out.Ports
}

func TestList(t *testing.T) {
	d := daemontest.Start(t)
	l4, p4 := listen(t, "tcp4", "127.0.0.1:0")
	_, p6 := listen(t, "tcp6", "[::1]:0")
	got := ports(d)
	if !slices.Contains(got, p4) || !slices.Contains(got, p6) {
		t.Errorf("%v lacks %d or %d", got, p4, p6)
	}
	_ = l4.Close()
	if got := ports(d); slices.Contains(got, p4) {
		t.Errorf("%v still has %d", got, p4)
	}
}

func TestInUse(t *testing.T) {
	d := daemontest.Start(t)
	var p int
	for _, network := range []string{"tcp4", "tcp6"} {
		host := map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"}[network]
		for p = 9999; p >= 9000; p-- {
			l, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(p)))
			if err != nil {
				continue
			}
			if r := d.Do("GET", fmt.Sprintf("/port/%d/in-use", p), nil); r.Status != 200 || string(r.Body) != `{"isInUse":true}` {
				t.Errorf("%s: %d %s", network, r.Status, r.Body)
			}
			_ = l.Close()
			if r := d.Do("GET", fmt.Sprintf("/port/%d/in-use", p), nil); r.Status != 200 || string(r.Body) != `{"isInUse":false}` {
				t.Errorf("%s, closed: %d %s", network, r.Status, r.Body)
			}
			break
		}
	}
	for _, bad := range []string{"2999", "10000", "0", "-1", "65536", "99999999999999999999", "a", "+3000", "3000.5", "0x1000", "%20"} {
		if r := d.Do("GET", "/port/"+bad+"/in-use", nil); r.Status != 400 {
			t.Errorf("%s: %d %s", bad, r.Status, r.Body)
		}
	}
	for _, edge := range []string{"3000", "9999"} {
		if r := d.Do("GET", "/port/"+edge+"/in-use", nil); r.Status != 200 {
			t.Errorf("%s: %d %s", edge, r.Status, r.Body)
		}
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add(tcp)
	f.Add(tcp6)
	f.Add(" 0: :0BB8 0 0A")
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := port.ReadTable(text)
		for p, addrs := range got {
			if p == 0 || len(addrs) == 0 {
				t.Errorf("port %d at %v", p, addrs)
			}
		}
	})
}
