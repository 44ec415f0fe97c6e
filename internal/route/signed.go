package route

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Signature is what a signed file URL carries: for which request it was made, until when, and the proof.
type Signature struct {
	Method  string // of the request
	Path    string // of the file, byte for byte as it was signed
	Expires string // unix seconds in decimal; "0": never
	Proof   string // v1_ and base64 of the HMAC
}

type signingKey struct {
	secret string
	at     time.Time
}

// Signed returns the sandbox if the signature opens it. Everything that is wrong with a signature is Unauthenticated, also
// that there is no such sandbox; a sandbox that is not running is WrongState, told only to who holds a valid one.
func (t *Table) Signed(ctx context.Context, sandboxID string, sig Signature) (Sandbox, error) {
	expires, ok := parseExpires(sig.Expires)
	if !ok || sig.Path == "" || len(sig.Proof) != proofLen || !id.IsUUID(sandboxID) {
		return Sandbox{}, badSignature()
	}
	if err := t.verify(ctx, sandboxID, sig); err != nil {
		return Sandbox{}, err
	}
	if expires != 0 && t.now().Unix() > expires { // told only for a URL that was valid once
		return Sandbox{}, errs.New(errs.Unauthenticated, "the signed URL has expired").WithCode("SIGNED_URL_EXPIRED")
	}
	s, err := t.sandbox(ctx, sandboxID)
	if errs.Is(err, errs.NotFound) {
		return Sandbox{}, badSignature()
	}
	if err != nil {
		return Sandbox{}, err
	}
	return s, running(s)
}

func badSignature() error {
	return errs.New(errs.Unauthenticated, "the signature of the URL is not valid for this request").WithCode("SIGNED_URL_INVALID")
}

// parseExpires reads unix seconds in the one way to write them: what is signed is the text.
func parseExpires(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// verify holds the proof against the sandbox's key. A cached key that does not match is read again: it may have been rotated
// a moment ago.
func (t *Table) verify(ctx context.Context, sandboxID string, sig Signature) error {
	t.mu.RLock()
	known, ok := t.keys[sandboxID]
	changes := t.changes
	t.mu.RUnlock()
	if ok && t.now().Sub(known.at) < sandboxFor && matches(known.secret, sig) {
		return nil
	}
	secret, err := t.source.SigningKey(ctx, sandboxID)
	switch {
	case err != nil && away(err):
		if ok && t.now().Sub(known.at) < staleFor && matches(known.secret, sig) {
			return nil
		}
		return err
	case errs.Is(err, errs.NotFound), err == nil && secret == "":
		return badSignature()
	case err != nil:
		return err
	}
	t.mu.Lock()
	if len(t.keys) >= maxCached {
		clear(t.keys)
	}
	if t.changes == changes {
		t.keys[sandboxID] = signingKey{secret, t.now()}
	}
	t.mu.Unlock()
	if !matches(secret, sig) {
		return badSignature()
	}
	return nil
}

// proofLen is the length of every proof: its prefix and 32 bytes in base64 without padding.
const proofLen = len("v1_") + 43

// matches compares in constant time.
func matches(secret string, sig Signature) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v1:files:" + sig.Method + ":" + sig.Path + ":" + sig.Expires))
	return hmac.Equal([]byte("v1_"+base64.RawURLEncoding.EncodeToString(mac.Sum(nil))), []byte(sig.Proof))
}
