package route_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/route"
)

// sign is what a client does.
func sign(key, method, path, expires string) route.Signature {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join([]string{"v1", "files", method, path, expires}, ":")))
	return route.Signature{Method: method, Path: path, Expires: expires, Proof: "v1_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}
}

func TestSigned(t *testing.T) {
	const key = "dgs_secret"
	src, box := newSource()
	stopped, keyless := box, box
	stopped.ID, stopped.Running = id.New(), false
	keyless.ID = id.New()
	gone := id.New() // its key is not cleared away yet
	src.sandboxes[stopped.ID], src.sandboxes[keyless.ID] = stopped, keyless
	src.signing = map[string]string{box.ID: key, stopped.ID: key, gone: key}
	later, earlier := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10), strconv.FormatInt(time.Now().Add(-2*time.Second).Unix(), 10)
	good := sign(key, "GET", "/a b", later)
	altered := func(f func(*route.Signature)) route.Signature {
		s := good
		f(&s)
		return s
	}
	for _, tc := range []struct {
		name string
		id   string
		sig  route.Signature
		want errs.Class
		code string
		ok   bool
	}{
		{name: "good", id: box.ID, sig: good, ok: true},
		{name: "for ever", id: box.ID, sig: sign(key, "GET", "/a b", "0"), ok: true},
		// made by the signing code of the official client
		{name: "known answer", id: box.ID, ok: true, sig: route.Signature{Method: "GET", Path: "/home/daytona/a b+ü.txt", Expires: "0", Proof: "v1_apmzWoBW1QrPM8mMTsv87rx6d7sAab0CmXYluqHgU7E"}},
		{name: "another known answer", id: box.ID, ok: true, sig: route.Signature{Method: "POST", Path: "notes.txt", Expires: "1900000000", Proof: "v1_xNgvOn0spz-87f1AdWaItZuevUdz3JxZbYveQ8Tab-g"}},
		{name: "expired", id: box.ID, sig: sign(key, "GET", "/a b", earlier), want: errs.Unauthenticated, code: "SIGNED_URL_EXPIRED"},
		{name: "another method", id: box.ID, sig: altered(func(s *route.Signature) { s.Method = "POST" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "another path", id: box.ID, sig: altered(func(s *route.Signature) { s.Path = "/a  b" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "the same path in other bytes", id: box.ID, sig: altered(func(s *route.Signature) { s.Path = "//a b" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "later than signed", id: box.ID, sig: altered(func(s *route.Signature) { s.Expires += "0" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "never instead", id: box.ID, sig: altered(func(s *route.Signature) { s.Expires = "0" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "expiry with a sign", id: box.ID, sig: sign(key, "GET", "/a b", "+"+later), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "expiry with zeros", id: box.ID, sig: sign(key, "GET", "/a b", "00"), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "negative expiry", id: box.ID, sig: sign(key, "GET", "/a b", "-1"), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "no path", id: box.ID, sig: sign(key, "GET", "", later), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "no proof", id: box.ID, sig: altered(func(s *route.Signature) { s.Proof = "" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "proof of another version", id: box.ID, sig: altered(func(s *route.Signature) { s.Proof = "v2_" + s.Proof[3:] }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "padded proof", id: box.ID, sig: altered(func(s *route.Signature) { s.Proof += "=" }), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "another key", id: box.ID, sig: sign("dgs_other", "GET", "/a b", later), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "the empty key of a sandbox that has none", id: keyless.ID, sig: sign("", "GET", "/a b", later), want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "unknown sandbox", id: id.New(), sig: good, want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "destroyed sandbox", id: gone, sig: good, want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "no id", id: "../x", sig: good, want: errs.Unauthenticated, code: "SIGNED_URL_INVALID"},
		{name: "stopped", id: stopped.ID, sig: good, want: errs.WrongState, code: "SANDBOX_NOT_RUNNING"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := route.New(src)
			for range 2 { // from the source and from the cache
				got, err := table.Signed(t.Context(), tc.id, tc.sig)
				if tc.ok {
					if err != nil || got != box {
						t.Fatalf("got %+v, %v", got, err)
					}
					continue
				}
				if e, ok := errs.As(err); !ok || e.Class != tc.want || e.Code != tc.code {
					t.Fatalf("got %v", err)
				}
			}
		})
	}
}

func TestSignedCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, box := newSource()
		src.signing = map[string]string{box.ID: "one"}
		table := route.New(src)
		old, fresh := sign("one", "GET", "/f", "0"), sign("two", "GET", "/f", "0")
		try := func(sig route.Signature) bool {
			_, err := table.Signed(t.Context(), box.ID, sig)
			return err == nil
		}
		for range 10 {
			if !try(old) {
				t.Fatal("refused")
			}
		}
		if n := src.count("signing"); n != 1 {
			t.Errorf("the key was asked for %d times", n)
		}
		// Rotated, and the news has not come yet: the new one counts at once, and the old one no more after it.
		src.change(func() { src.signing[box.ID] = "two" })
		if !try(fresh) || try(old) {
			t.Error("the cached key is trusted over the new one")
		}
		// With the news, the old one ends without a new one being used.
		src.change(func() { src.signing[box.ID] = "three" })
		table.Forget(box.ID)
		if try(fresh) {
			t.Error("a rotated key still opens")
		}
		if !try(sign("three", "GET", "/f", "0")) {
			t.Error("the newest key does not open")
		}
		// Without any news, in time.
		src.change(func() { src.signing[box.ID] = "four" })
		time.Sleep(31 * time.Second)
		if try(sign("three", "GET", "/f", "0")) {
			t.Error("a rotated key is trusted for ever")
		}
		// While the control plane is away, running sandboxes stay usable, for some time.
		if !try(sign("four", "GET", "/f", "0")) {
			t.Error("refused")
		}
		src.change(func() { src.away = errs.New(errs.Unavailable, "down") })
		time.Sleep(5 * time.Minute)
		if !try(sign("four", "GET", "/f", "0")) || try(old) {
			t.Error("the cache does not bridge an outage, or opens for anything")
		}
		time.Sleep(6 * time.Minute)
		if try(sign("four", "GET", "/f", "0")) {
			t.Error("an outage makes a key last for ever")
		}
	})
}
