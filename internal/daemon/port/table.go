//go:build linux

package port

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// table has the addresses that something listens on, by port.
type table map[uint16][]netip.Addr

func (t table) ports() []int {
	out := make([]int, 0, len(t))
	for _, p := range slices.Sorted(maps.Keys(t)) {
		out = append(out, int(p))
	}
	return out
}

// listening reads the kernel's table of TCP sockets: that of the daemon's network, which is the sandbox's.
func listening() (table, error) {
	t := table{}
	for _, path := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) { // no IPv6 in this kernel
			continue
		}
		if err != nil {
			return nil, err
		}
		err = t.read(f)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// stateListen is TCP_LISTEN as the table writes it.
const stateListen = "0A"

// read adds what listens from one table: a heading, then a line for each socket: number, local and remote address as
// hexadecimal "address:port", state, more. A line that is not like that is left out.
func (t table) read(r io.Reader) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 4 || f[3] != stateListen {
			continue
		}
		addr, port, ok := address(f[1])
		if ok && !slices.Contains(t[port], addr) {
			t[port] = append(t[port], addr)
		}
	}
	return s.Err()
}

// address reads "0100007F:0BB8": the address in words of the machine's byte order, the port as a number.
func address(s string) (netip.Addr, uint16, bool) {
	ip, num, ok := strings.Cut(s, ":")
	port, err := strconv.ParseUint(num, 16, 16)
	b, err2 := hex.DecodeString(ip)
	if !ok || err != nil || err2 != nil || len(b) != 4 && len(b) != 16 || port == 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr.Unmap(), uint16(port), true
}
