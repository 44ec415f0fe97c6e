// Package id makes the identifiers and secrets of the platform. All randomness is crypto/rand.
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// New returns a random UUID (version 4) in its canonical lower-case form.
func New() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// IsUUID reports whether s has the canonical form of a UUID, any version, lower case.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// Hex returns n random bytes in hexadecimal.
func Hex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

const alnum = "0123456789abcdefghijklmnopqrstuvwxyz"

// Token returns n random lower-case letters and digits.
func Token(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, 2*n)
	for len(out) < n {
		_, _ = rand.Read(buf)
		for _, b := range buf {
			if b < 252 && len(out) < n { // 252 = 7*36: no modulo bias
				out = append(out, alnum[b%36])
			}
		}
	}
	return string(out)
}

// APIKeyPrefix starts every generated API key.
const APIKeyPrefix = "dtn_"

// APIKey returns a new API key value: the prefix and 32 random bytes in hexadecimal.
func APIKey() string { return APIKeyPrefix + Hex(32) }

// HashKey returns the SHA-256 of a key or token in hexadecimal: the only form in which one is stored.
func HashKey(value string) string {
	s := sha256.Sum256([]byte(value))
	return hex.EncodeToString(s[:])
}
