//go:build linux

package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// Sessions across a replacement: the state of their shells, a command that writes, one that waits for input, one that a client
// waits for, one that is queued, a background child, and the log of one that has ended.
func TestReplaceKeepsSessions(t *testing.T) {
	next, err := newVersion()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // where the logs were, if nothing else is there
		_ = os.Remove(filepath.Join(home1000(), ".daytona", "sessions"))
		_ = os.Remove(filepath.Join(home1000(), ".daytona"))
	})
	in := launch(t, asInit(t, true), nil, "--outside-only")
	newest := []string{"X-Daytona-SDK-Version", "0.205.0"}
	stop, more := in.Dir+"/stop", in.Dir+"/more"
	exec := func(session, command string, async bool) toolbox.SessionExecuted {
		r := in.Do("POST", "/process/session/"+session+"/exec", toolbox.SessionExecute{Command: command, RunAsync: async}, newest...)
		var out toolbox.SessionExecuted
		if r.Status/100 != 2 {
			t.Errorf("%s: %d %s", command, r.Status, r.Body)
			empty := ""
			return toolbox.SessionExecuted{Stdout: &empty}
		}
		r.JSON(t, &out)
		return out
	}
	logs := func(session, id string) (l toolbox.SessionLogs) {
		in.Do("GET", "/process/session/"+session+"/command/"+id+"/logs", nil, newest...).JSON(t, &l)
		return l
	}
	for _, s := range []string{"writes", "asks", "waits", "ended"} {
		if r := in.Do("POST", "/process/session", toolbox.CreateSession{SessionID: s}); r.Status != 201 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		exec(s, "cd /usr; A="+s, false)
	}
	old := exec("ended", "echo old; (until [ -e "+more+" ]; do sleep 0.05; done; echo more) & true", false)
	exec("ended", "(exit 6)", false)
	writer := exec("writes", "i=0; while [ ! -e "+stop+" ]; do echo line $i; echo bad $i >&2; i=$((i+1)); done; echo end $i", true)
	queued := exec("writes", "echo queued $A", true)
	asks := exec("asks", "printf 'name? '; read n; echo hello $n", true)
	waiting := make(chan string, 1)
	go func() {
		waiting <- *exec("waits", "echo begun; until [ -e "+stop+" ]; do sleep 0.02; done; echo $A $PWD", false).Stdout
	}()
	daemontest.Until(t, "the command that is waited for runs", func() bool {
		var s toolbox.Session
		in.Do("GET", "/process/session/waits", nil).JSON(t, &s)
		return len(s.Commands) == 2 && logs("waits", s.Commands[1].ID).Stdout == "begun\n"
	})

	var followed strings.Builder
	cuts := 0
	through := make(chan error, 1)
	go func() { // comes back by offset
		for {
			req, err := http.NewRequestWithContext(context.Background(), "GET", fmt.Sprintf("http://d/process/session/writes/command/%s/logs?follow=true&offset=%d", writer.CmdID, followed.Len()), nil)
			if err != nil {
				through <- err
				return
			}
			res, err := in.Client.Do(req)
			if err != nil || res.StatusCode != 200 {
				through <- fmt.Errorf("%v %v", res, err)
				return
			}
			_, err = io.Copy(&followed, res.Body)
			_ = res.Body.Close()
			if err == nil {
				through <- nil
				return
			}
			cuts++
		}
	}()
	for _, program := range []string{next, binary} { // there and back
		var got toolbox.DaemonReplaced
		daemontest.Until(t, "nothing else under way", func() bool {
			got, err = in.replace(program, "")
			return err != nil || !got.Busy
		})
		if err != nil || !got.OK {
			t.Fatalf("%+v %v", got, err)
		}
		t.Logf("blackout %.1f ms", got.BlackoutMS)
	}
	if r := in.Do("POST", "/process/session/asks/command/"+asks.CmdID+"/input", toolbox.SessionInput{Data: "bob"}); r.Status != 204 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	in.run("touch " + stop + " " + more)
	if err := <-through; err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; got != "begun\nwaits /usr\n" {
		t.Errorf("%q", got)
	}
	if cuts == 0 {
		t.Error("the follower was never sent away: this tests nothing")
	}
	l := logs("writes", writer.CmdID)
	lines := strings.Count(l.Stdout, "\n") - 1
	var stdout, stderr strings.Builder
	for i := range lines {
		fmt.Fprintln(&stdout, "line", i)
		fmt.Fprintln(&stderr, "bad", i)
	}
	fmt.Fprintln(&stdout, "end", lines)
	if l.Stdout != stdout.String() || l.Stderr != stderr.String() || lines < 100 {
		t.Errorf("%d lines, %d and %d bytes, want %d and %d", lines, len(l.Stdout), len(l.Stderr), stdout.Len(), stderr.Len())
	}
	if plain := strings.NewReplacer(toolbox.StdoutMark, "", toolbox.StderrMark, "").Replace(l.Output); plain != followed.String() {
		t.Errorf("the follower has %d bytes, the log %d", followed.Len(), len(plain))
	}
	daemontest.Until(t, "what was queued", func() bool { return logs("writes", queued.CmdID).Stdout == "queued writes\n" })
	daemontest.Until(t, "the answer", func() bool { return logs("asks", asks.CmdID).Stdout == "name? bob\nhello bob\n" })
	daemontest.Until(t, "the background child", func() bool { return logs("ended", old.CmdID).Stdout == "old\nmore\n" })
	if got := *exec("ended", "echo $? $A $PWD", false).Stdout; got != "6 ended /usr\n" {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"writes", "asks", "waits", "ended"} {
		if r := in.Do("DELETE", "/process/session/"+s, nil); r.Status != 204 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
}
