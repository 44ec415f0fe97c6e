package oci

import (
	"errors"
	"runtime"
)

// spawner starts child processes from threads that live as long as the engine. A child that asks for a signal at its
// parent's death (runc does, so that it cannot go on making things after the engine was killed) gets it when the *thread*
// that forked it ends, and the Go runtime ends a thread whose goroutine exited while locked to it.
type spawner struct {
	jobs chan func()
}

func newSpawner(threads int) *spawner {
	s := &spawner{jobs: make(chan func())}
	for range threads {
		go func() {
			runtime.LockOSThread()
			for job := range s.jobs {
				job()
			}
		}()
	}
	return s
}

var errSpawnerClosed = errors.New("the engine is closed")

// do runs job on one of the threads and waits for it.
func (s *spawner) do(job func() error) (err error) {
	defer func() {
		if recover() != nil { // send on a closed channel
			err = errSpawnerClosed
		}
	}()
	done := make(chan error, 1)
	s.jobs <- func() { done <- job() }
	return <-done
}

func (s *spawner) close() { close(s.jobs) }
