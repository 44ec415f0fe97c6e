//go:build linux

package pty_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/daemontest"
)

// screen is a client with a real terminal's behaviour: it shows the output and answers the questions in it.
type screen struct {
	*client
	vt *vt.SafeEmulator // guarded by mu: it is not safe in all
}

func look(t *testing.T, d *daemontest.Daemon, path string, cols, rows int) *screen {
	t.Helper()
	s := &screen{vt: vt.NewSafeEmulator(cols, rows)}
	s.client = connectTo(t, d, path, func(data []byte) { _, _ = s.vt.Write(data) })
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		buf := make([]byte, 1024)
		for {
			n, err := s.vt.Read(buf)
			if err != nil {
				return
			}
			_ = s.c.Write(t.Context(), websocket.MessageBinary, buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = s.c.CloseNow()
		<-s.done
		if w, ok := s.vt.InputPipe().(io.Closer); ok { // its own Close races with Read
			_ = w.Close()
		}
		<-answers
	})
	return s
}

// shows waits until the screen's lines are as want has it: nil anything, else a line's beginning.
func (s *screen) shows(what string, cond func(lines []string) bool) {
	s.t.Helper()
	var lines []string
	deadline := time.Now().Add(20 * time.Second)
	for {
		s.mu.Lock()
		lines = strings.Split(s.vt.String(), "\n")
		s.mu.Unlock()
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		if cond(lines) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: the screen is\n%s", what, strings.Join(lines, "\n"))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func line(n int, want string) func([]string) bool {
	return func(lines []string) bool { return n < len(lines) && lines[n] == want }
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

func TestVim(t *testing.T) {
	need(t, "vim")
	d := start(t)
	file := filepath.Join(d.Dir, "text")
	create(t, d, toolbox.PtyCreate{ID: "a", Cols: num(60), Rows: num(10)})
	s := look(t, d, "/process/pty/a/connect", 60, 10)
	s.expect("$ ")
	s.send("vim -u NONE -i NONE -N text\n")
	s.shows("an empty buffer", func(l []string) bool { return len(l) == 10 && l[1] == "~" && strings.HasPrefix(l[9], `"text"`) })
	s.send("ihello wörld\rsecond line\x1b")
	s.shows("what was typed", func(l []string) bool { return l[0] == "hello wörld" && l[1] == "second line" && l[2] == "~" })
	s.send("ggddp") // swap the lines
	s.shows("swapped lines", func(l []string) bool { return l[0] == "second line" && l[1] == "hello wörld" })

	s.mu.Lock()
	s.vt.Resize(70, 14)
	s.mu.Unlock()
	if r := d.Do("POST", "/process/pty/a/resize", toolbox.PtyResize{Cols: 70, Rows: 14}); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	s.shows("the new size", func(l []string) bool { return len(l) == 14 && l[11] == "~" && l[0] == "second line" })

	// Somebody who comes later sees the same.
	late := look(t, d, "/process/pty/a/connect", 70, 14)
	late.shows("the replay", func(l []string) bool { return l[0] == "second line" && l[1] == "hello wörld" && l[11] == "~" })
	late.send(":wq\r")
	s.shows("the shell", func(l []string) bool {
		all := strings.Join(l, "\n")
		return strings.Contains(all, "$ ") || strings.HasSuffix(strings.TrimRight(all, "\n"), "$")
	})
	daemontest.Until(t, "the file", func() bool {
		b, _ := os.ReadFile(file)
		return string(b) == "second line\nhello wörld\n"
	})
}

func TestLess(t *testing.T) {
	need(t, "less")
	d := start(t)
	var text strings.Builder
	for i := 1; i <= 500; i++ {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "text"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	create(t, d, toolbox.PtyCreate{ID: "a", Cols: num(40), Rows: num(8)})
	s := look(t, d, "/process/pty/a/connect", 40, 8)
	s.expect("$ ")
	s.send("LESSHISTFILE=- less text\n")
	s.shows("the first page", func(l []string) bool { return l[0] == "line 1" && l[6] == "line 7" && strings.HasPrefix(l[7], "text") })
	s.send(" ")
	s.shows("the second page", func(l []string) bool { return l[0] == "line 8" && l[6] == "line 14" })
	s.send("G")
	s.shows("the last page", func(l []string) bool { return l[6] == "line 500" && strings.Contains(l[7], "END") })
	s.send("/line 33\n") // from the end on there is none
	s.send("?line 250\n")
	s.shows("what was looked for", line(0, "line 250"))
	s.send("q")
	s.send("stty size\n")
	s.expect("8 40\r\n")
}

func TestTop(t *testing.T) {
	need(t, "top")
	d := start(t)
	create(t, d, toolbox.PtyCreate{ID: "a", Cols: num(100), Rows: num(20)})
	s := look(t, d, "/process/pty/a/connect", 100, 20)
	s.expect("$ ")
	s.send("top -d 0.2\n")
	s.shows("its heads", func(l []string) bool {
		return strings.HasPrefix(l[0], "top - ") && strings.Contains(strings.Join(l, "\n"), "PID USER")
	})
	s.send("q")
	s.expect("\x1b[K$ ") // what is typed while it ends is lost
	s.send("echo le''ft\n")
	s.expect("left\r\n")
}
