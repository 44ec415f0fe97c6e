package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of what a request may carry. They are part of the documented contract.
const (
	MaxNameBytes       = 256
	MaxLabels          = 64
	MaxLabelKeyBytes   = 256
	MaxLabelValueBytes = 4096
	MaxEnv             = 256
	MaxEnvNameBytes    = 256
	MaxEnvBytes        = 128 << 10 // names and values together
	MaxNetworkRules    = 10
	MaxIntervalMinutes = 5_256_000 // ten years
	MaxKeyBytes        = 255
)

var (
	htmlTag   = regexp.MustCompile(`<[^<>]*>`)
	urlScheme = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://|\bwww\.`)
	userName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$`)
)

// check refuses a request that no state of the platform could make right. It reads nothing but the request.
func (r *Request) check() error {
	for _, err := range []error{checkName(r.Name), checkLabels(r.Labels), checkEnv(r.Env), checkUser(r.User), checkNetwork(r.Network), checkKey(r.IdempotencyKey)} {
		if err != nil {
			return err
		}
	}
	for _, n := range []struct {
		field string
		value int64
	}{{"cpu", r.CPU}, {"gpu", r.GPU}, {"memory", r.MemoryGiB}, {"disk", r.DiskGiB}} {
		if n.value != 0 {
			return errs.New(errs.Invalid, "%s cannot be set when creating from a snapshot, got %d: resources come from the snapshot", n.field, n.value)
		}
	}
	if r.AutoStopMinutes != nil {
		if err := checkInterval("autoStopInterval", *r.AutoStopMinutes); err != nil {
			return err
		}
	}
	if r.AutoArchiveMinutes != nil {
		if err := checkInterval("autoArchiveInterval", *r.AutoArchiveMinutes); err != nil {
			return err
		}
	}
	if r.AutoDeleteMinutes != nil {
		return checkAutoDelete(*r.AutoDeleteMinutes)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case len(name) > MaxNameBytes:
		return errs.New(errs.Invalid, "name must be at most %d bytes, got %d", MaxNameBytes, len(name))
	case !plain(name, false):
		return errs.New(errs.Invalid, "name must not contain control characters or invalid UTF-8")
	case htmlTag.MatchString(name):
		return errs.New(errs.Invalid, "name must not contain HTML tags, got %q", clip(name))
	case urlScheme.MatchString(name):
		return errs.New(errs.Invalid, "name must not contain URLs, got %q", clip(name))
	case name != "" && strings.TrimSpace(name) == "":
		return errs.New(errs.Invalid, "name must not be blank")
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return errs.New(errs.Invalid, "labels must be at most %d, got %d", MaxLabels, len(labels))
	}
	for k, v := range labels {
		switch {
		case k == "" || len(k) > MaxLabelKeyBytes:
			return errs.New(errs.Invalid, "labels: a name must have 1 to %d bytes, got %d", MaxLabelKeyBytes, len(k))
		case len(v) > MaxLabelValueBytes:
			return errs.New(errs.Invalid, "labels: the value of %q must be at most %d bytes, got %d", clip(k), MaxLabelValueBytes, len(v))
		case !plain(k, false) || !plain(v, true):
			return errs.New(errs.Invalid, "labels: %q must not contain control characters or invalid UTF-8", clip(k))
		}
	}
	return nil
}

func checkEnv(env map[string]string) error {
	if len(env) > MaxEnv {
		return errs.New(errs.Invalid, "env must have at most %d variables, got %d", MaxEnv, len(env))
	}
	total := 0
	for k, v := range env { // the value is never shown: it may be a secret
		total += len(k) + len(v)
		switch {
		case k == "" || len(k) > MaxEnvNameBytes || strings.ContainsRune(k, '=') || !plain(k, false):
			return errs.New(errs.Invalid, "env: a name must have 1 to %d bytes without '=' and control characters, got %q", MaxEnvNameBytes, clip(k))
		case strings.ContainsRune(v, 0) || !utf8.ValidString(v):
			return errs.New(errs.Invalid, "env: the value of %q must not contain NUL or invalid UTF-8", clip(k))
		}
	}
	if total > MaxEnvBytes {
		return errs.New(errs.Invalid, "env must be at most %d bytes in sum, got %d", MaxEnvBytes, total)
	}
	return nil
}

func checkUser(user string) error {
	if user != "" && !userName.MatchString(user) {
		return errs.New(errs.Invalid, "user must be a user name of up to 32 letters, digits, '_', '.' and '-', got %q", clip(user))
	}
	return nil
}

func checkNetwork(n Network) error {
	if len(n.Allow) > MaxNetworkRules {
		return errs.New(errs.Invalid, "networkAllowList must have at most %d entries, got %d", MaxNetworkRules, len(n.Allow))
	}
	for _, s := range n.Allow {
		if p, err := netip.ParsePrefix(s); err != nil || !p.Addr().Is4() {
			return errs.New(errs.Invalid, "networkAllowList must hold IPv4 networks like 203.0.113.0/24, got %q", clip(s))
		}
	}
	if len(n.Domains) > 0 {
		return errs.New(errs.Unimplemented, "domainAllowList is not supported by this version; use networkAllowList or networkBlockAll")
	}
	return nil
}

func checkKey(key string) error {
	if len(key) > MaxKeyBytes {
		return errs.New(errs.Invalid, "Idempotency-Key must be at most %d bytes, got %d", MaxKeyBytes, len(key))
	}
	for _, b := range []byte(key) {
		if b < 0x21 || b > 0x7e {
			return errs.New(errs.Invalid, "Idempotency-Key must be printable ASCII without spaces")
		}
	}
	return nil
}

func checkInterval(field string, minutes int64) error {
	if minutes < 0 || minutes > MaxIntervalMinutes {
		return errs.New(errs.Invalid, "%s must be 0 to %d minutes, got %d", field, MaxIntervalMinutes, minutes)
	}
	return nil
}

func checkAutoDelete(minutes int64) error {
	if minutes > MaxIntervalMinutes || minutes < -MaxIntervalMinutes {
		return errs.New(errs.Invalid, "autoDeleteInterval must be at most %d minutes, 0 for as soon as it stops, or negative for never, got %d", MaxIntervalMinutes, minutes)
	}
	return nil
}

// plain reports text without control characters; with text, line breaks and tabs are fine.
func plain(s string, text bool) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) && (!text || r != '\n' && r != '\r' && r != '\t') {
			return false
		}
	}
	return true
}

// fingerprint is equal for requests that ask for the same, whatever order their maps came in.
func (r Request) fingerprint() string {
	r.IdempotencyKey = ""
	b, err := json.Marshal(r) // maps are written in the order of their keys
	if err != nil {
		panic(err) // strings, integers and booleans only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
