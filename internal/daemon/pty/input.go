//go:build linux

package pty

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxPending = 256 << 10        // bytes of input that a program has not taken
	inputWait  = 10 * time.Second // how long a client waits for room among them
)

// errInput says that the program takes no input.
var errInput = errors.New("the program takes no input")

// inbox is input that the kernel has not taken yet. It is empty as long as the program reads.
type inbox struct {
	mu      sync.Mutex // guards all below
	pending []byte
	pumping bool          // a goroutine hands pending over
	room    chan struct{} // closed when pending got shorter; nil: nobody waits
}

// input hands data to the program. It does not wait as long as there is room; then it waits, at most [inputWait] until the
// program takes something.
func (t *terminal) input(ctx context.Context, data []byte) error {
	var timer *time.Timer
	for {
		room := t.offer(&data)
		if room == nil {
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(inputWait)
			defer timer.Stop()
		} else {
			timer.Reset(inputWait)
		}
		select {
		case <-room:
		case <-timer.C:
			return errInput
		case <-t.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// offer takes as much of data as there is room for and returns nil when that was all, else what to wait for.
func (t *terminal) offer(data *[]byte) <-chan struct{} {
	t.h.gate.RLock()
	defer t.h.gate.RUnlock()
	in := &t.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.pumping {
		_ = t.raw.Write(func(fd uintptr) bool {
			*data = (*data)[push(int(fd), *data):]
			return true
		})
	}
	if len(*data) == 0 || t.over() {
		return nil
	}
	n := min(len(*data), maxPending-len(in.pending))
	in.pending = append(in.pending, (*data)[:n]...)
	*data = (*data)[n:]
	if !in.pumping {
		in.pumping = true
		t.h.works.Go(t.pumpInput)
	}
	if len(*data) == 0 {
		return nil
	}
	if in.room == nil {
		in.room = make(chan struct{})
	}
	return in.room
}

// pumpInput hands over what waits until nothing does.
func (t *terminal) pumpInput() {
	in := &t.in
	for {
		empty := false
		err := t.raw.Write(func(fd uintptr) bool {
			t.h.gate.RLock()
			defer t.h.gate.RUnlock()
			in.mu.Lock()
			defer in.mu.Unlock()
			n := push(int(fd), in.pending)
			in.pending = in.pending[n:]
			if len(in.pending) == 0 {
				in.pending, in.pumping, empty = nil, false, true
			}
			if n > 0 && in.room != nil {
				close(in.room)
				in.room = nil
			}
			return n > 0 || empty
		})
		if empty {
			return
		}
		if err != nil { // closed
			in.mu.Lock()
			in.pending, in.pumping = nil, false
			in.mu.Unlock()
			return
		}
	}
}

// push writes without waiting and returns how much was taken. What nobody can ever read counts as taken.
func push(fd int, data []byte) (n int) {
	for n < len(data) {
		k, err := unix.Write(fd, data[n:])
		switch {
		case err == nil:
			n += k
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return n
		default: // EIO: the program closed its end
			return len(data)
		}
	}
	return n
}
