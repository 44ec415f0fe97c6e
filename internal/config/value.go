package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Secret is a value that no log, no error and no print-out shows.
type Secret string

const redacted = "******"

// Reveal returns the value itself. Call it only where the value is used.
func (s Secret) Reveal() string { return string(s) }

// String hides the value; an empty one stays empty, so that "not set" can be seen.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the value from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// DatabaseURL is where the database is. Shown, it is only that: without user, password and parameters.
type DatabaseURL string

// Reveal returns the value itself.
func (d DatabaseURL) Reveal() string { return string(d) }

func (d DatabaseURL) String() string {
	s := string(d)
	if s == "" || strings.HasPrefix(s, "sqlite:") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return redacted
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// GoString hides the password from %#v.
func (d DatabaseURL) GoString() string { return strconv.Quote(d.String()) }

// MarshalText hides the password from JSON and YAML.
func (d DatabaseURL) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue hides the password from slog.
func (d DatabaseURL) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Bytes is a size. As text it is a number with an optional unit: B, KB, MB, GB, TB (thousands) or KiB, MiB, GiB, TiB (1,024).
type Bytes int64

var units = []struct {
	name string
	size int64
}{ // longest first, so that a suffix is found whole
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range units {
		if len(s) < len(u.name) || !strings.EqualFold(s[len(s)-len(u.name):], u.name) {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(s[:len(s)-len(u.name)]), 10, 63)
		if err != nil || int64(n) > math.MaxInt64/u.size {
			break
		}
		*b = Bytes(int64(n) * u.size)
		return nil
	}
	return errs.New(errs.Invalid, "must be a size such as 40GiB or 500MB, got %q", s)
}

// MarshalText writes the size in the largest binary unit that needs no fraction.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	for i := 3; i >= 0 && b != 0; i-- {
		if int64(b)%units[i].size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/units[i].size, units[i].name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Resolver is the address of a name server; without a port, 53.
type Resolver netip.AddrPort

// UnmarshalText reads 9.9.9.9, 9.9.9.9:53, 2620:fe::fe or [2620:fe::fe]:53.
func (r *Resolver) UnmarshalText(text []byte) error {
	s := string(text)
	if a, err := netip.ParseAddr(s); err == nil {
		*r = Resolver(netip.AddrPortFrom(a, 53))
		return nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return errs.New(errs.Invalid, "must be an IP address, with a port where it is not 53, got %q", s)
	}
	*r = Resolver(ap)
	return nil
}

// MarshalText writes the address with its port.
func (r Resolver) MarshalText() ([]byte, error) { return netip.AddrPort(r).MarshalText() }

// AddrPort returns the address.
func (r Resolver) AddrPort() netip.AddrPort { return netip.AddrPort(r) }

func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n > 65535 {
		return errs.New(errs.Invalid, "server.listen must be an address and a port such as 127.0.0.1:3986 or :3986, got %q", s)
	}
	return nil
}
