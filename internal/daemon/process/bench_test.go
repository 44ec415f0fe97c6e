//go:build linux

package process_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// BenchmarkExecute is what a command costs at the daemon's socket; BenchmarkShell is what the same shell costs by itself.
func BenchmarkExecute(b *testing.B) {
	d := daemontest.Start(b)
	for b.Loop() {
		post(b, d)
	}
}

// BenchmarkExecute8 keeps eight commands under way.
func BenchmarkExecute8(b *testing.B) {
	d := daemontest.Start(b)
	b.SetParallelism(4) // times two cores
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			post(b, d)
		}
	})
}

func post(b *testing.B, d *daemontest.Daemon) {
	req, err := http.NewRequestWithContext(context.Background(), "POST", "http://daemon/process/execute", bytes.NewReader([]byte(`{"command":"true"}`)))
	if err != nil {
		b.Fatal(err)
	}
	res, err := d.Client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 {
		b.Fatal(res.StatusCode)
	}
}

func BenchmarkShell(b *testing.B) {
	env := []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=/root"}
	for b.Loop() {
		pid, err := syscall.ForkExec("/usr/bin/bash", []string{"/usr/bin/bash", "-c", "true"}, &syscall.ProcAttr{Dir: "/", Env: env, Sys: &syscall.SysProcAttr{Setsid: true}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}
