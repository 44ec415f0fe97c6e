package oci_test

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/enginetest"
	"github.com/dugout-dev/dugout/internal/engine/oci"
)

func TestConformance(t *testing.T) {
	needHost(t)
	for _, driver := range []string{"btrfs", "dir"} {
		t.Run(driver, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T) *enginetest.Host {
				h := newHost(t, driver)
				return &enginetest.Host{
					Open: func() (engine.Engine, error) { return oci.Open(context.Background(), h.cfg, testLog(t)) },
					Spec: h.spec,
					End:  func(status engine.Status) error { return unix.Kill(status.Pid, unix.SIGKILL) },
					Left: h.traces,
				}
			})
		})
	}
}
