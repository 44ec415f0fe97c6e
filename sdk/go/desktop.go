package dugout

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Types of the desktop API, so that callers need no second import.
type (
	// Window is a window of an application.
	Window = toolbox.Window
	// Display is a monitor.
	Display = toolbox.Display
	// AccessibilityNode is a node of an accessibility tree.
	AccessibilityNode = toolbox.AccessibilityNode
	// AccessibilityFind says which nodes to find.
	AccessibilityFind = toolbox.AccessibilityFind
	// Recording is a film of the screen.
	Recording = toolbox.Recording
)

// Desktop is the graphical desktop of a sandbox that was made from the snapshot desktop, or has the same programs. Where they are
// missing, or the desktop was not started, its methods return an [ErrUnavailable]. Places are pixels from the top left corner of
// the screen; one that is not on the screen is an [ErrInvalid].
type Desktop struct{ sandbox *Sandbox }

// Desktop returns the desktop of the sandbox, which must be started.
func (s *Sandbox) Desktop() Desktop { return Desktop{s} }

func (d Desktop) post(ctx context.Context, path string, body, out any) error {
	return d.sandbox.inside(ctx, request{method: "POST", url: "/computeruse" + path, body: body}, out)
}

func (d Desktop) get(ctx context.Context, path string, query url.Values, out any) error {
	return d.sandbox.inside(ctx, request{method: "GET", url: "/computeruse" + path, query: query}, out)
}

// Start starts the desktop and returns when all of it is ready. One that runs already is left as it is.
func (d Desktop) Start(ctx context.Context) error { return d.post(ctx, "/start", nil, nil) }

// Stop ends the desktop with everything that was started from it; recordings are finished first.
func (d Desktop) Stop(ctx context.Context) error { return d.post(ctx, "/stop", nil, nil) }

// Status is "active", "partial" or "inactive".
func (d Desktop) Status(ctx context.Context) (string, error) {
	var out toolbox.DesktopStatus
	err := d.get(ctx, "/status", nil, &out)
	return out.Status, err
}

// ScreenshotOptions say what a picture shows and how it is encoded. The zero value is a PNG of the whole screen.
type ScreenshotOptions struct {
	X, Y, Width, Height int     // the part of the screen; Width 0: all of it
	Cursor              bool    // draw the mouse pointer
	JPEG                bool    // instead of PNG
	Quality             int     // of a JPEG, 1 to 100; 0: 85
	Scale               float64 // 0.1 to 1; 0: 1
}

// Screenshot returns a picture of the screen, as the bytes of a PNG or JPEG file.
func (d Desktop) Screenshot(ctx context.Context, o ScreenshotOptions) ([]byte, error) {
	q := url.Values{}
	path := "/screenshot"
	if o.Width != 0 || o.Height != 0 {
		path += "/region"
		for name, v := range map[string]int{"x": o.X, "y": o.Y, "width": o.Width, "height": o.Height} {
			q.Set(name, strconv.Itoa(v))
		}
	}
	path += "/compressed"
	if o.Cursor {
		q.Set("showCursor", "true")
	}
	if o.JPEG {
		q.Set("format", "jpeg")
	}
	if o.Quality != 0 {
		q.Set("quality", strconv.Itoa(o.Quality))
	}
	if o.Scale != 0 {
		q.Set("scale", strconv.FormatFloat(o.Scale, 'g', -1, 64))
	}
	var out toolbox.Screenshot
	if err := d.get(ctx, path, q, &out); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(out.Screenshot)
	if err != nil {
		return nil, fmt.Errorf("the picture is not base64: %w", err)
	}
	return b, nil
}

// Displays returns the monitors.
func (d Desktop) Displays(ctx context.Context) ([]Display, error) {
	var out toolbox.DisplayInfo
	err := d.get(ctx, "/display/info", nil, &out)
	return out.Displays, err
}

// Windows returns the windows of applications, in the order in which they were opened.
func (d Desktop) Windows(ctx context.Context) ([]Window, error) {
	var out toolbox.Windows
	err := d.get(ctx, "/display/windows", nil, &out)
	return out.Windows, err
}

// Pointer returns where the mouse pointer is.
func (d Desktop) Pointer(ctx context.Context) (x, y int, err error) {
	var out toolbox.Position
	err = d.get(ctx, "/mouse/position", nil, &out)
	return out.X, out.Y, err
}

// Move moves the mouse pointer.
func (d Desktop) Move(ctx context.Context, x, y int) error {
	return d.post(ctx, "/mouse/move", toolbox.MouseMove{X: &x, Y: &y}, nil)
}

// ClickOptions say how to click. The zero value is one click of the left button.
type ClickOptions struct {
	Button    string   // left, right or middle
	Clicks    int      // 1 to 10; 0: 1
	Modifiers []string // ctrl, alt, shift, cmd: held meanwhile
}

// Click clicks at a place.
func (d Desktop) Click(ctx context.Context, x, y int, o ClickOptions) error {
	body := toolbox.MouseClick{X: &x, Y: &y, Button: o.Button, Modifiers: o.Modifiers}
	if o.Clicks != 0 {
		body.Clicks = &o.Clicks
	}
	return d.post(ctx, "/mouse/click", body, nil)
}

// Drag presses the left button at one place and releases it at another.
func (d Desktop) Drag(ctx context.Context, fromX, fromY, toX, toY int) error {
	return d.post(ctx, "/mouse/drag", toolbox.MouseDrag{StartX: &fromX, StartY: &fromY, EndX: &toX, EndY: &toY}, nil)
}

// Scroll turns the mouse wheel by so many notches at a place; direction is up, down, left or right.
func (d Desktop) Scroll(ctx context.Context, x, y int, direction string, amount int) error {
	return d.post(ctx, "/mouse/scroll", toolbox.MouseScroll{X: &x, Y: &y, Direction: direction, Amount: amount}, nil)
}

// Type types a text of any characters, with a delay between them. A line feed is Enter; other control characters are an [ErrInvalid].
func (d Desktop) Type(ctx context.Context, text string, delay time.Duration) error {
	return d.post(ctx, "/keyboard/type", toolbox.KeyboardType{Text: text, Delay: int(delay.Milliseconds())}, nil)
}

// Press presses a chord such as "enter", "f5" or "ctrl+shift+t".
func (d Desktop) Press(ctx context.Context, chord string) error {
	return d.post(ctx, "/keyboard/hotkey", toolbox.KeyboardHotkey{Keys: chord}, nil)
}

// Tree returns an accessibility tree: scope is focused (the active window), pid or all; depth is how many levels below its root, -1 all.
// truncated tells that something is left out.
func (d Desktop) Tree(ctx context.Context, scope string, pid, depth int) (root *AccessibilityNode, truncated bool, err error) {
	q := url.Values{"scope": {scope}, "maxDepth": {strconv.Itoa(depth)}}
	if pid != 0 {
		q.Set("pid", strconv.Itoa(pid))
	}
	var out toolbox.AccessibilityTree
	err = d.get(ctx, "/a11y/tree", q, &out)
	return out.Root, out.Truncated, err
}

// Find returns the accessibility nodes that match, without their children.
func (d Desktop) Find(ctx context.Context, f AccessibilityFind) ([]*AccessibilityNode, error) {
	var out toolbox.AccessibilityNodes
	err := d.post(ctx, "/a11y/find", f, &out)
	return out.Matches, err
}

// Focus gives an accessibility node the keyboard.
func (d Desktop) Focus(ctx context.Context, nodeID string) error {
	return d.post(ctx, "/a11y/node/focus", toolbox.AccessibilityNodeID{ID: nodeID}, nil)
}

// Invoke does an action of an accessibility node; its first when action is empty.
func (d Desktop) Invoke(ctx context.Context, nodeID, action string) error {
	return d.post(ctx, "/a11y/node/invoke", toolbox.AccessibilityInvoke{ID: nodeID, Action: action}, nil)
}

// SetValue replaces the text of an accessibility node, or sets its number.
func (d Desktop) SetValue(ctx context.Context, nodeID, value string) error {
	return d.post(ctx, "/a11y/node/value", toolbox.AccessibilitySetValue{ID: nodeID, Value: value}, nil)
}

// StartRecording begins a film of the screen. label becomes part of its file's name and may be empty.
func (d Desktop) StartRecording(ctx context.Context, label string) (*Recording, error) {
	var out Recording
	if err := d.post(ctx, "/recordings/start", toolbox.RecordingStart{Label: label}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// StopRecording ends a film and returns when its file is whole.
func (d Desktop) StopRecording(ctx context.Context, id string) (*Recording, error) {
	var out Recording
	if err := d.post(ctx, "/recordings/stop", toolbox.RecordingStop{ID: id}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Recordings returns all films, the newest first.
func (d Desktop) Recordings(ctx context.Context) ([]Recording, error) {
	var out toolbox.Recordings
	err := d.get(ctx, "/recordings", nil, &out)
	return out.Recordings, err
}

// DownloadRecording opens the MP4 file of a film. The caller closes it.
func (d Desktop) DownloadRecording(ctx context.Context, id string) (io.ReadCloser, error) {
	resp, err := d.sandbox.open(ctx, request{method: "GET", url: "/computeruse/recordings/" + url.PathEscape(id) + "/download"})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// DeleteRecording removes a film that has ended; one that runs is an [ErrConflict].
func (d Desktop) DeleteRecording(ctx context.Context, id string) error {
	return d.sandbox.inside(ctx, request{method: "DELETE", url: "/computeruse/recordings/" + url.PathEscape(id)}, nil)
}
