//go:build linux

package run_test

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// What is started while the runner closes either ends before Close returns or is refused.
func TestStartWhileClosing(t *testing.T) {
	reaper := reap.New(false)
	defer reaper.Close()
	r := run.New(reaper, slog.New(slog.NewTextHandler(io.Discard, nil)))
	var wg sync.WaitGroup
	began := make(chan struct{}, 80)
	for range 4 {
		wg.Go(func() {
			for range 20 {
				_, err := r.Start(shell("exec sleep 3605", run.NewOutput(r.Budget, 1000)))
				began <- struct{}{}
				if errors.Is(err, syscall.ECANCELED) {
					return
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	<-began
	r.Close()
	if _, err := r.Start(shell("exec sleep 3605", run.NewOutput(r.Budget, 1000))); !errors.Is(err, syscall.ECANCELED) {
		t.Errorf("started after the end: %v", err)
	}
	wg.Wait()
}
