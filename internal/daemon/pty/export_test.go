//go:build linux

package pty

// Back is a scrollback for tests.
type Back struct{ scrollback }

// Write appends p.
func (b *Back) Write(p []byte) { b.write(p) }

// Held returns all that is held.
func (b *Back) Held() []byte { return b.bytes() }

// Replay returns what a client would be sent.
func (b *Back) Replay() []byte { return b.replay() }

// Room returns the memory that is taken.
func (b *Back) Room() int { return len(b.buf) }

// OfferedEnvs reads the environment among subprotocols.
var OfferedEnvs = offeredEnvs

// CheckID verifies a name.
var CheckID = checkID
