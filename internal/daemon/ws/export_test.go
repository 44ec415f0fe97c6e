//go:build linux

package ws

// QueuedAll returns the bytes that wait for all clients.
func QueuedAll() int64 { return queuedAll.Load() }

// Choose selects the subprotocol.
var Choose = choose
