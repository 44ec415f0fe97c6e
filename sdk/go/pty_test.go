//go:build linux

package dugout_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestTerminal(t *testing.T) {
	s := withDaemon(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	term, err := s.Terminal(ctx, dugout.TerminalOptions{Env: map[string]string{"COLOUR": "dark blue"}, Cols: 100, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	if _, err := io.WriteString(term, "stty size; echo \"[$COLOUR]\"\n"); err != nil {
		t.Fatal(err)
	}
	until(t, term, "30 100", "[dark blue]")
	if err := term.Resize(ctx, 90, 20); err != nil {
		t.Error(err)
	}
	if err := term.Resize(ctx, 0, 20); !errors.Is(err, dugout.ErrInvalid) {
		t.Error(err)
	}
	list, err := s.Terminals(ctx)
	if err != nil || len(list) != 1 || list[0].ID != term.ID || list[0].Cols != 90 {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := s.Terminal(ctx, dugout.TerminalOptions{ID: term.ID}); !errors.Is(err, dugout.ErrConflict) {
		t.Error(err)
	}
	term.Close()
	if _, err := term.Read(make([]byte, 10)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after Close: %v", err)
	}

	again, err := s.ConnectTerminal(ctx, term.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	until(t, again, "[dark blue]")
	if _, ok := again.Exit(); ok {
		t.Error("ended")
	}
	if _, err := again.Write([]byte(strings.Repeat("#", 3000) + "\nexit 3\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, again); err != nil {
		t.Error(err)
	}
	if e, ok := again.Exit(); !ok || e != (toolbox.PtyExit{ExitCode: 3, ExitReason: "non-zero exit"}) {
		t.Errorf("%+v", e)
	}
	if _, err := s.ConnectTerminal(ctx, term.ID, true); !errors.Is(err, dugout.ErrNotFound) {
		t.Error(err)
	}

	other, err := s.Terminal(ctx, dugout.TerminalOptions{ID: "to be killed"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Kill(ctx); err != nil {
		t.Error(err)
	}
	_, err = io.Copy(io.Discard, other)
	if e, ok := other.Exit(); err != nil || !ok || e.ExitCode != 137 {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := s.Terminal(ctx, dugout.TerminalOptions{Cwd: "/no/such"}); !errors.Is(err, dugout.ErrInvalid) {
		t.Error(err)
	}
}

// until reads until all of want came.
func until(t *testing.T, r io.Reader, want ...string) {
	t.Helper()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for _, w := range want {
		for !strings.Contains(seen.String(), w) {
			n, err := r.Read(buf)
			if err != nil {
				t.Fatalf("%v after %q", err, seen.String())
			}
			seen.Write(buf[:n])
		}
	}
}

func ExampleSandbox_Terminal() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	terminal, err := sandbox.Terminal(ctx, dugout.TerminalOptions{Cols: 120, Rows: 40})
	if err != nil {
		log.Fatal(err)
	}
	defer terminal.Close()
	go func() { // what is typed here is typed there, line by line
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Fprintln(terminal, lines.Text())
		}
	}()
	if _, err := io.Copy(os.Stdout, terminal); err != nil {
		log.Fatal(err)
	}
	exit, _ := terminal.Exit()
	fmt.Println("the shell ended with code", exit.ExitCode)
}
