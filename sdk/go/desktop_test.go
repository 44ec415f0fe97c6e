package dugout_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestDesktopRequests(t *testing.T) {
	var asked []string
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), b)))
		switch {
		case strings.Contains(r.URL.Path, "/screenshot"):
			reply(w, 200, toolbox.Screenshot{Screenshot: base64.StdEncoding.EncodeToString([]byte("picture"))})
		case strings.HasSuffix(r.URL.Path, "/download"):
			_, _ = io.WriteString(w, "film")
		case strings.HasSuffix(r.URL.Path, "/recordings") && r.Method == "GET":
			reply(w, 200, toolbox.Recordings{Recordings: []toolbox.Recording{{ID: "r1"}}})
		case strings.HasSuffix(r.URL.Path, "/status"):
			reply(w, 200, toolbox.DesktopStatus{Status: "active"})
		case strings.HasSuffix(r.URL.Path, "/windows"):
			reply(w, 200, toolbox.Windows{Windows: []toolbox.Window{{ID: 7, Title: "Editor"}}})
		case strings.HasSuffix(r.URL.Path, "/info"):
			reply(w, 200, toolbox.DisplayInfo{Displays: []toolbox.Display{{Width: 5}}})
		case strings.HasSuffix(r.URL.Path, "/position"):
			reply(w, 200, toolbox.Position{X: 3, Y: 4})
		case strings.HasSuffix(r.URL.Path, "/tree"):
			reply(w, 200, toolbox.AccessibilityTree{Root: &toolbox.AccessibilityNode{ID: "n"}, Truncated: true})
		case strings.HasSuffix(r.URL.Path, "/find"):
			reply(w, 200, toolbox.AccessibilityNodes{Matches: []*toolbox.AccessibilityNode{{ID: "n"}}})
		default:
			reply(w, 200, toolbox.Recording{ID: "r1"})
		}
	}))
	ctx, d := t.Context(), s.Desktop()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(d.Start(ctx))
	if st, err := d.Status(ctx); err != nil || st != "active" {
		t.Error(st, err)
	}
	if b, err := d.Screenshot(ctx, dugout.ScreenshotOptions{}); err != nil || string(b) != "picture" {
		t.Error(b, err)
	}
	_, err := d.Screenshot(ctx, dugout.ScreenshotOptions{X: 1, Y: 2, Width: 3, Height: 4, JPEG: true, Quality: 50, Scale: 0.5, Cursor: true})
	ok(err)
	if l, err := d.Displays(ctx); err != nil || len(l) != 1 || l[0].Width != 5 {
		t.Error(l, err)
	}
	if l, err := d.Windows(ctx); err != nil || len(l) != 1 || l[0].Title != "Editor" {
		t.Error(l, err)
	}
	if x, y, err := d.Pointer(ctx); err != nil || x != 3 || y != 4 {
		t.Error(x, y, err)
	}
	ok(d.Move(ctx, 0, 0))
	ok(d.Click(ctx, 1, 2, dugout.ClickOptions{Clicks: 3, Button: "right", Modifiers: []string{"ctrl"}}))
	ok(d.Drag(ctx, 1, 2, 3, 4))
	ok(d.Scroll(ctx, 1, 2, "down", 5))
	ok(d.Type(ctx, "a\n", 20*time.Millisecond))
	ok(d.Press(ctx, "ctrl+c"))
	if n, cut, err := d.Tree(ctx, "pid", 9, -1); err != nil || n.ID != "n" || !cut {
		t.Error(n, cut, err)
	}
	if l, err := d.Find(ctx, dugout.AccessibilityFind{Role: "button"}); err != nil || len(l) != 1 {
		t.Error(l, err)
	}
	ok(d.Focus(ctx, "n"))
	ok(d.Invoke(ctx, "n", ""))
	ok(d.SetValue(ctx, "n", "v"))
	if r, err := d.StartRecording(ctx, "demo"); err != nil || r.ID != "r1" {
		t.Error(r, err)
	}
	if r, err := d.StopRecording(ctx, "r1"); err != nil || r.ID != "r1" {
		t.Error(r, err)
	}
	if l, err := d.Recordings(ctx); err != nil || len(l) != 1 {
		t.Error(l, err)
	}
	film, err := d.DownloadRecording(ctx, "r/1")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(film); err != nil || string(b) != "film" {
		t.Error(b, err)
	}
	_ = film.Close()
	ok(d.DeleteRecording(ctx, "r1"))
	ok(d.Stop(ctx))
	want := []string{
		"POST /computeruse/start", "GET /computeruse/status", "GET /computeruse/screenshot/compressed",
		"GET /computeruse/screenshot/region/compressed?format=jpeg&height=4&quality=50&scale=0.5&showCursor=true&width=3&x=1&y=2",
		"GET /computeruse/display/info", "GET /computeruse/display/windows", "GET /computeruse/mouse/position",
		`POST /computeruse/mouse/move {"x":0,"y":0}`, `POST /computeruse/mouse/click {"x":1,"y":2,"button":"right","clicks":3,"modifiers":["ctrl"]}`,
		`POST /computeruse/mouse/drag {"startX":1,"startY":2,"endX":3,"endY":4}`, `POST /computeruse/mouse/scroll {"x":1,"y":2,"direction":"down","amount":5}`,
		`POST /computeruse/keyboard/type {"text":"a\n","delay":20}`, `POST /computeruse/keyboard/hotkey {"keys":"ctrl+c"}`,
		"GET /computeruse/a11y/tree?maxDepth=-1&pid=9&scope=pid", `POST /computeruse/a11y/find {"role":"button"}`,
		`POST /computeruse/a11y/node/focus {"id":"n"}`, `POST /computeruse/a11y/node/invoke {"id":"n"}`, `POST /computeruse/a11y/node/value {"id":"n","value":"v"}`,
		`POST /computeruse/recordings/start {"label":"demo"}`, `POST /computeruse/recordings/stop {"id":"r1"}`, "GET /computeruse/recordings",
		"GET /computeruse/recordings/r%2F1/download", "DELETE /computeruse/recordings/r1", "POST /computeruse/stop",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

func TestDesktopIsMissing(t *testing.T) {
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 503, toolbox.Unavailable{Error: api.Error{StatusCode: 503, Message: "computer use is not available"}, Solution: "install it"})
	}))
	if _, err := s.Desktop().Screenshot(t.Context(), dugout.ScreenshotOptions{}); !errors.Is(err, dugout.ErrUnavailable) || !strings.Contains(err.Error(), "computer use is not available") {
		t.Error(err)
	}
}
