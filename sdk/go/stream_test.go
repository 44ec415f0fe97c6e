//go:build linux

package dugout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestStream(t *testing.T) {
	s := withDaemon(t, t.TempDir())
	var out, errOut bytes.Buffer
	r, err := s.Stream(t.Context(), "cat; echo bad >&2; exit 3", dugout.ExecOptions{Stdin: []byte("a\xffb\n")}, &out, &errOut)
	if err != nil || *r != (dugout.StreamResult{ExitCode: 3, Bytes: 8}) {
		t.Fatalf("%+v %v", r, err)
	}
	if out.String() != "a\xffb\n" || errOut.String() != "bad\n" {
		t.Errorf("%q %q", out.String(), errOut.String())
	}
	r, err = s.Stream(t.Context(), "sleep 20", dugout.ExecOptions{Timeout: time.Second}, nil, nil)
	if err != nil || !r.TimedOut || r.Signal != "KILL" {
		t.Errorf("%+v %v", r, err)
	}
	full := errors.New("full")
	if _, err := s.Stream(t.Context(), "echo x", dugout.ExecOptions{}, fullWriter{full}, nil); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("%v", err)
	}
	if _, err := s.Stream(t.Context(), "", dugout.ExecOptions{}, nil, nil); !errors.Is(err, dugout.ErrInvalid) {
		t.Errorf("%v", err)
	}
	e, err := s.Exec(t.Context(), "echo 1; echo 2 >&2", dugout.ExecOptions{Split: true})
	if err != nil || e.Stdout != "1\n" || e.Stderr != "2\n" {
		t.Errorf("%+v %v", e, err)
	}
}

type fullWriter struct{ err error }

func (f fullWriter) Write([]byte) (int, error) { return 0, f.err }

// A connection that breaks again and again costs no byte, and the command runs once.
func TestStreamComesBack(t *testing.T) {
	dir := t.TempDir()
	s := withDaemonBehind(t, dir, func(next http.Handler) http.Handler {
		var n atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/stream") && n.Add(1) < 8 {
				w = &cutting{ResponseWriter: w, left: 3000}
			}
			next.ServeHTTP(w, r)
		})
	})
	var out bytes.Buffer
	r, err := s.Stream(t.Context(), "echo run >> runs; seq 3000", dugout.ExecOptions{}, &out, nil)
	if err != nil || r.ExitCode != 0 || r.Lost != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	var want strings.Builder
	for i := range 3000 {
		fmt.Fprintln(&want, i+1)
	}
	if out.String() != want.String() {
		t.Errorf("%d bytes, want %d", out.Len(), want.Len())
	}
	if b, _ := os.ReadFile(dir + "/runs"); string(b) != "run\n" {
		t.Errorf("it ran %q", b)
	}
}

// cutting breaks a connection after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

func TestAttach(t *testing.T) {
	s := withDaemon(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		r, err := s.Exec(ctx, "while read x; do echo got $x; done; sleep 0.2; echo end >&2; exit 4", dugout.ExecOptions{ID: "live", OpenStdin: true, Split: true})
		if err == nil && r.ExitCode != 4 {
			err = fmt.Errorf("%+v", r)
		}
		done <- err
	}()
	var a *dugout.Attached
	for {
		var err error
		if a, err = s.Attach(ctx, "live", 0); err == nil {
			break
		}
		if !errors.Is(err, dugout.ErrNotFound) {
			t.Fatal(err)
		}
	}
	defer func() { _ = a.Close() }()
	if err := a.Write(ctx, []byte("one\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseStdin(ctx); err != nil {
		t.Fatal(err)
	}
	var out, errOut []byte
	for {
		o, e, end, err := a.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out, errOut = append(out, o...), append(errOut, e...)
		if end != nil {
			if end.ExitCode != 4 || end.Bytes != 20 {
				t.Errorf("%+v", end)
			}
			break
		}
	}
	if string(out) != "got one\ngot two\n" || string(errOut) != "end\n" {
		t.Errorf("%q %q", out, errOut)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	var all bytes.Buffer
	if from, err := s.Output(ctx, "live", 4, true, &all); err != nil || from != 4 || all.String() != "one\ngot two\nend\n" {
		t.Errorf("%d %q %v", from, all.String(), err)
	}
	if err := s.Kill(ctx, "live", "KILL"); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
	if err := s.Kill(ctx, "nobody", "KILL"); err != nil {
		t.Errorf("killing what is not known: %v", err)
	}
	go func() { _, err := s.Exec(ctx, "sleep 25", dugout.ExecOptions{ID: "long"}); done <- err }()
	for {
		if _, err := s.Output(ctx, "long", 0, false, io.Discard); err == nil {
			break
		}
	}
	if err := s.Kill(ctx, "long", "TERM"); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func ExampleSandbox_Stream() {
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	box, err := client.Get(context.Background(), "my-box")
	if err != nil {
		log.Fatal(err)
	}
	r, err := box.Stream(context.Background(), "make test", dugout.ExecOptions{Timeout: time.Hour}, os.Stdout, os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	log.Println("exit code", r.ExitCode)
}
