//go:build linux

package daemon

import (
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/fusefile"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

// memFile serves the sandbox's own /proc/meminfo over the descriptor that the engine mounted there. It begins with the
// first request to the daemon: before, no program runs that could read the file, and the engine may not have mounted it.
type memFile struct {
	log     *slog.Logger
	content func() []byte

	mu   sync.Mutex // guards all below
	fd   int        // before it became dev; 0: there is none
	dev  *os.File
	done chan struct{}
}

func (m *memFile) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd == 0 {
		return
	}
	if err := syscall.SetNonblock(m.fd, true); err != nil {
		m.log.Warn("meminfo is not served", "error", err)
		return
	}
	m.dev, m.fd = os.NewFile(uintptr(m.fd), "meminfo"), 0
	m.serve()
}

// serve runs the server. The caller holds mu.
func (m *memFile) serve() {
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		if err := fusefile.Serve(m.dev, m.content); err != nil {
			m.log.Warn("meminfo is not served any more", "error", err)
		}
	}()
}

func (m *memFile) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dev != nil {
		_ = m.dev.Close()
		<-m.done
		m.dev = nil
	}
}

var _ handover.Keeper = (*memFile)(nil)

// Freeze implements [handover.Keeper]. Readers wait meanwhile.
func (m *memFile) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dev != nil {
		_ = m.dev.SetReadDeadline(time.Unix(1, 0))
		<-m.done
	}
}

// Save implements [handover.Keeper].
func (m *memFile) Save(out *handover.Out) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dev == nil {
		return nil
	}
	n, err := out.Pass(m.dev)
	if err != nil {
		return err
	}
	return out.Put("meminfo", n)
}

// Thaw implements [handover.Keeper].
func (m *memFile) Thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dev != nil {
		_ = m.dev.SetReadDeadline(time.Time{})
		m.serve()
	}
}

// Restore implements [handover.Keeper].
func (m *memFile) Restore(in *handover.In) error {
	var n int
	if ok, err := in.Get("meminfo", &n); !ok || err != nil {
		return err
	}
	f, err := in.Take(n, "meminfo")
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dev = f
	m.serve()
	return nil
}
