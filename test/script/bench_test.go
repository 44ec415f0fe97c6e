//go:build linux

package script_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// benchBox returns a sandbox of the double: the SDK, one proxy hop and a real daemon, without isolation.
func benchBox(b *testing.B) *dugout.Sandbox {
	b.Helper()
	root, err := os.MkdirTemp("", "bench")
	if err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(root, "dugoutd")); err != nil { // it is the daemon under that name
		b.Fatal(err)
	}
	d := newDouble(root, root)
	b.Cleanup(func() { d.close(); _ = os.RemoveAll(root) })
	client, err := dugout.New(dugout.Options{APIURL: d.URL + "/api", APIKey: d.key})
	if err != nil {
		b.Fatal(err)
	}
	s, err := client.Create(b.Context(), dugout.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkExecTrue(b *testing.B) {
	s := benchBox(b)
	for b.Loop() {
		if r, err := s.Exec(b.Context(), "true", dugout.ExecOptions{}); err != nil || r.ExitCode != 0 {
			b.Fatal(r, err)
		}
	}
}

const benchSize = 100 << 20

func BenchmarkUpload(b *testing.B) {
	s, data := benchBox(b), make([]byte, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		if err := s.Files().Upload(b.Context(), "big", bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	s := benchBox(b)
	if err := s.Files().Upload(b.Context(), "big", bytes.NewReader(make([]byte, benchSize))); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := s.Files().Download(b.Context(), "big")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
		_ = r.Close()
		if err != nil || n != benchSize {
			b.Fatal(n, err)
		}
	}
}
