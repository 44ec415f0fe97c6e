//go:build linux

package testkit_test

import (
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/testkit"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// The life of a sandbox through every real part, a restart of the server in between.
func TestWholeServer(t *testing.T) {
	ctx := t.Context()
	s := testkit.Start(t)
	box, err := s.Client.Create(ctx, dugout.CreateOptions{Env: map[string]string{"GREETING": "hello"}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := box.Exec(ctx, "printf \"$GREETING\"; exit 3", dugout.ExecOptions{})
	if err != nil || res.Output != "hello" || res.ExitCode != 3 {
		t.Fatalf("exec: %+v, %v", res, err)
	}
	if err := box.Files().Upload(ctx, "a.txt", strings.NewReader("kept")); err != nil {
		t.Fatal(err)
	}

	s.Stop()
	s = testkit.StartWith(t, testkit.Options{Dir: s.Dir})
	box, err = s.Client.Get(ctx, box.ID)
	if err != nil {
		t.Fatal(err)
	}
	if res, err = box.Exec(ctx, "cat a.txt", dugout.ExecOptions{}); err != nil || res.Output != "kept" {
		t.Fatalf("exec after a restart: %+v, %v", res, err)
	}
	if err := box.Stop(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Exec(ctx, "true", dugout.ExecOptions{}); err == nil {
		t.Error("a stopped sandbox ran a command")
	}
	if err := box.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if res, err = box.Exec(ctx, "cat a.txt", dugout.ExecOptions{}); err != nil || res.Output != "kept" {
		t.Fatalf("exec after a start: %+v, %v", res, err)
	}
	if err := box.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "the engine to have no sandbox", func() bool {
		list, err := s.Engine.List(ctx)
		return err == nil && len(list) == 0
	})
}
