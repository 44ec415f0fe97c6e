package fake_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/engine/enginetest"
	"github.com/dugout-dev/dugout/internal/engine/fake"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

func spec(rootfs string) engine.Spec {
	return engine.Spec{ID: id.New(), Class: engine.ClassContainer, Image: engine.Image{Ref: "tiny", Rootfs: rootfs}}
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) *enginetest.Host {
		dir, rootfs := t.TempDir(), t.TempDir()
		var open *fake.Engine
		return &enginetest.Host{
			Open: func() (engine.Engine, error) {
				e, err := fake.Open(fake.Config{Dir: dir, Before: func(ctx context.Context, verb, _ string) error {
					if verb != "create" && verb != "start" {
						return nil
					}
					select { // as slow as a real one, so that contexts end midway
					case <-time.After(5 * time.Millisecond):
						return nil
					case <-ctx.Done():
						return nil
					}
				}})
				open = e
				return e, err
			},
			Spec: func() engine.Spec { return spec(rootfs) },
			End: func(status engine.Status) error {
				err := open.End(status.Spec.ID, engine.ReasonExited, 0)
				if errs.Is(err, errs.Unavailable) {
					err = fake.EndRecord(dir, status.Spec.ID, engine.ReasonExited, 0)
				}
				return err
			},
			Left: func() []string {
				found, _ := filepath.Glob(filepath.Join(dir, "*"))
				return found
			},
		}
	})
}

func TestDaemonAnswersForItsSandbox(t *testing.T) {
	e, err := fake.Open(fake.Config{Dir: t.TempDir(), Daemon: func(s engine.Spec) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.Labels["who"]) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx := context.Background()
	for _, who := range []string{"one", "two"} {
		s := spec(t.TempDir())
		s.Labels = map[string]string{"who": who}
		if err := e.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Start(ctx, s.ID, engine.Net{}); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx, s.ID) }}}
		resp, err := client.Get("http://daemon/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != who {
			t.Errorf("the daemon of %q answers %q", who, b)
		}
	}
}

func TestBeforeFailsAVerb(t *testing.T) {
	broken := errors.New("broken")
	fail := "create"
	e, err := fake.Open(fake.Config{Dir: t.TempDir(), Before: func(_ context.Context, verb, _ string) error {
		if verb == fail {
			return broken
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, s := context.Background(), spec(t.TempDir())
	if err := e.Create(ctx, s); !errors.Is(err, broken) {
		t.Errorf("Create: %v", err)
	}
	if _, err := e.Inspect(ctx, s.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("a failed Create left something: %v", err)
	}
	fail = "start"
	if err := e.Create(ctx, s); err != nil {
		t.Errorf("Create: %v", err)
	}
	if _, err := e.Start(ctx, s.ID, engine.Net{}); !errors.Is(err, broken) {
		t.Errorf("Start: %v", err)
	}
	if status, _ := e.Inspect(ctx, s.ID); status.State != engine.Stopped {
		t.Errorf("a failed Start left %+v", status)
	}
}
