package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/cli"
	"github.com/dugout-dev/dugout/internal/errs"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestExitCode(t *testing.T) {
	status := func(n int) error { return fmt.Errorf("wrapped: %w", &dugout.Error{Status: n}) }
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"anything", errors.New("x"), 1},
		{"usage", cli.Usage("x"), 2},
		{"configuration", errs.New(errs.Invalid, "x"), 2},
		{"400", status(400), 1},
		{"401", status(401), 4},
		{"403", status(403), 4},
		{"404", status(404), 3},
		{"408", status(408), 124},
		{"409", status(409), 5},
		{"410", status(410), 5},
		{"422", status(422), 1},
		{"500", status(500), 1},
		{"502", status(502), 6},
		{"503", status(503), 6},
		{"504", status(504), 124},
		{"no local file", fmt.Errorf("x: %w", fs.ErrNotExist), 3},
		{"no key", fmt.Errorf("%w: %w", dugout.ErrNoKey, fs.ErrNotExist), 4},
		{"deadline", context.DeadlineExceeded, 124},
		{"class not found", errs.New(errs.NotFound, "x"), 3},
		{"class denied", errs.New(errs.Denied, "x"), 4},
		{"class wrong state", errs.New(errs.WrongState, "x"), 5},
		{"class unavailable", errs.New(errs.Unavailable, "x"), 6},
		{"class internal", errs.New(errs.Internal, "x"), 1},
	} {
		if got := cli.ExitCode(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestRemoteCode(t *testing.T) {
	for in, want := range map[int]int{1: 1, 42: 42, 255: 255, -1: 255, 256: 1, 257: 1, -256: 1} {
		if got := cli.RemoteCode(in); got != want {
			t.Errorf("%d: %d, want %d", in, got, want)
		}
	}
}

func TestParseTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "0": 0, "30": 30 * time.Second, "90s": 90 * time.Second, "5m": 5 * time.Minute, "100ms": 100 * time.Millisecond} {
		if got, err := cli.ParseTimeout(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"-1", "-1s", "soon", "1e9", "99999999999", "1000000h"} {
		if got, err := cli.ParseTimeout(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}
