package toolbox

import "github.com/dugout-dev/dugout/api"

// Unavailable is the error body of desktop operations where the desktop is missing or not running: status 503.
type Unavailable struct {
	api.Error
	Details  string `json:"details" doc:"What exactly is missing or does not answer."`
	Solution string `json:"solution" doc:"What to do about it."`
}

// DesktopProcess is one process of the desktop.
type DesktopProcess struct {
	Running     bool `json:"running" doc:"It runs."`
	Priority    int  `json:"priority" doc:"Order of starting, lowest first."`
	AutoRestart bool `json:"autoRestart" doc:"It is started again 5 seconds after it ended by itself."`
	Pid         *int `json:"pid,omitempty" doc:"Process id, while it runs."`
}

// DesktopChanged answers the start and the stop of the desktop.
type DesktopChanged struct {
	Message string                    `json:"message" doc:"What was done."`
	Status  map[string]DesktopProcess `json:"status" doc:"The processes by name: xvfb, dbus, atspi, xfce4 (the session, whatever its window manager), x11vnc, novnc."`
}

// DesktopStatus answers GET /computeruse/status and /computeruse/process-status.
type DesktopStatus struct {
	Status string `json:"status" enum:"active,partial,inactive" doc:"active: xvfb, xfce4, x11vnc and novnc all run; partial: some of them; inactive: none."`
}

// DesktopProcessStatus answers GET /computeruse/process/{processName}/status.
type DesktopProcessStatus struct {
	ProcessName string `json:"processName" doc:"Name of the process."`
	Running     bool   `json:"running" doc:"It runs."`
}

// DesktopProcessRestarted answers POST /computeruse/process/{processName}/restart.
type DesktopProcessRestarted struct {
	Message     string `json:"message" doc:"What was done."`
	ProcessName string `json:"processName" doc:"Name of the process."`
}

// DesktopProcessLogs answers GET /computeruse/process/{processName}/logs.
type DesktopProcessLogs struct {
	ProcessName string `json:"processName" doc:"Name of the process."`
	Logs        string `json:"logs" doc:"Its standard output; the last MiB."`
}

// DesktopProcessErrors answers GET /computeruse/process/{processName}/errors.
type DesktopProcessErrors struct {
	ProcessName string `json:"processName" doc:"Name of the process."`
	Errors      string `json:"errors" doc:"Its standard error; the last MiB."`
}

// Position is a place on the screen.
type Position struct {
	X int `json:"x" doc:"Pixels from the left."`
	Y int `json:"y" doc:"Pixels from the top."`
}

// Screenshot answers the screenshot operations.
type Screenshot struct {
	Screenshot     string    `json:"screenshot" doc:"The picture in base64."`
	CursorPosition *Position `json:"cursorPosition,omitempty" doc:"Where the mouse pointer is."`
	SizeBytes      int       `json:"sizeBytes" doc:"Size of the picture before base64."`
}

// MouseMove is the body of POST /computeruse/mouse/move.
type MouseMove struct {
	X *int `json:"x" doc:"Pixels from the left, on the screen."`
	Y *int `json:"y" doc:"Pixels from the top, on the screen."`
}

// MouseClick is the body of POST /computeruse/mouse/click.
type MouseClick struct {
	X         *int     `json:"x" doc:"Pixels from the left, on the screen."`
	Y         *int     `json:"y" doc:"Pixels from the top, on the screen."`
	Button    string   `json:"button,omitempty" doc:"left (default), right or middle."`
	Double    bool     `json:"double,omitempty" doc:"Click twice."`
	Clicks    *int     `json:"clicks,omitempty" doc:"Click so many times, 1 to 10; wins over double. Newer clients."`
	Modifiers []string `json:"modifiers,omitempty" doc:"Keys held meanwhile: ctrl, alt, shift, cmd. Newer clients."`
}

// MouseButton is the body of POST /computeruse/mouse/down and /computeruse/mouse/up.
type MouseButton struct {
	X      *int   `json:"x,omitempty" doc:"Pixels from the left; with y: move there first."`
	Y      *int   `json:"y,omitempty" doc:"Pixels from the top; with x: move there first."`
	Button string `json:"button,omitempty" doc:"left (default), right or middle."`
}

// MouseDrag is the body of POST /computeruse/mouse/drag.
type MouseDrag struct {
	StartX    *int     `json:"startX" doc:"Where the button is pressed, pixels from the left."`
	StartY    *int     `json:"startY" doc:"Where the button is pressed, pixels from the top."`
	EndX      *int     `json:"endX" doc:"Where it is released, pixels from the left."`
	EndY      *int     `json:"endY" doc:"Where it is released, pixels from the top."`
	Button    string   `json:"button,omitempty" doc:"left (default), right or middle."`
	Modifiers []string `json:"modifiers,omitempty" doc:"Keys held meanwhile. Newer clients."`
}

// MouseScroll is the body of POST /computeruse/mouse/scroll.
type MouseScroll struct {
	X         *int     `json:"x" doc:"Pixels from the left, on the screen."`
	Y         *int     `json:"y" doc:"Pixels from the top, on the screen."`
	Direction string   `json:"direction" doc:"up or down; newer clients also left or right."`
	Amount    int      `json:"amount,omitempty" minimum:"0" default:"1" doc:"Notches of the wheel, at most 1000; 0 counts as 1."`
	Modifiers []string `json:"modifiers,omitempty" doc:"Keys held meanwhile. Newer clients."`
}

// Scrolled answers POST /computeruse/mouse/scroll.
type Scrolled struct {
	Success bool `json:"success" doc:"Always true; failures are errors."`
}

// KeyboardType is the body of POST /computeruse/keyboard/type.
type KeyboardType struct {
	Text  string `json:"text" doc:"Any characters, at most 65,536. A line feed is Enter; tabs and other control characters are refused."`
	Delay int    `json:"delay,omitempty" doc:"Milliseconds between two characters, at most 5000; all of it may take 5 minutes."`
}

// KeyboardPress is the body of POST /computeruse/keyboard/key.
type KeyboardPress struct {
	Key       string   `json:"key" doc:"Name of a key (enter, page_up, f5, num_plus, …), a letter, a digit or unshifted punctuation."`
	Modifiers []string `json:"modifiers,omitempty" doc:"Keys held meanwhile: ctrl, alt, shift, cmd."`
}

// KeyboardHotkey is the body of POST /computeruse/keyboard/hotkey.
type KeyboardHotkey struct {
	Keys string `json:"keys" doc:"One chord: modifiers and a key, joined by +, for example ctrl+shift+t."`
}

// KeyboardKey is the body of POST /computeruse/keyboard/down and /computeruse/keyboard/up.
type KeyboardKey struct {
	Key string `json:"key" doc:"A key or modifier, named as for a key press."`
}

// DisplayInfo answers GET /computeruse/display/info.
type DisplayInfo struct {
	Displays []Display `json:"displays" doc:"The monitors of the screen."`
}

// Display is one monitor.
type Display struct {
	ID       int  `json:"id" doc:"Number, from 0."`
	X        int  `json:"x" doc:"Left edge on the screen, pixels."`
	Y        int  `json:"y" doc:"Top edge on the screen, pixels."`
	Width    int  `json:"width" doc:"Pixels."`
	Height   int  `json:"height" doc:"Pixels."`
	IsActive bool `json:"isActive" doc:"It is in use."`
}

// Windows answers GET /computeruse/display/windows.
type Windows struct {
	Windows []Window `json:"windows" doc:"Windows of applications in the order in which they were opened, at most 1000."`
}

// Window is one window.
type Window struct {
	ID       int    `json:"id" doc:"Id of the X window."`
	Title    string `json:"title" doc:"Title, at most 1 KiB."`
	X        int    `json:"x" doc:"Left edge of the content on the screen, pixels."`
	Y        int    `json:"y" doc:"Top edge of the content on the screen, pixels."`
	Width    int    `json:"width" doc:"Width of the content, pixels."`
	Height   int    `json:"height" doc:"Height of the content, pixels."`
	IsActive bool   `json:"isActive" doc:"It has the focus."`
}

// AccessibilityNode is one node of an accessibility tree (AT-SPI).
type AccessibilityNode struct {
	ID          string               `json:"id" doc:"Names the node while its program runs: <bus>:<path>."`
	Role        string               `json:"role" doc:"Role as AT-SPI names it, for example push button."`
	Name        string               `json:"name" doc:"Accessible name."`
	Description string               `json:"description,omitempty" doc:"Accessible description."`
	Bounds      AccessibilityBounds  `json:"bounds" doc:"Where it is on the screen."`
	States      []string             `json:"states" doc:"Its states, for example focused, showing, multi-line."`
	Actions     []string             `json:"actions,omitempty" doc:"What can be invoked."`
	Children    []*AccessibilityNode `json:"children,omitempty" doc:"Nodes below; absent in search results."`
}

// AccessibilityBounds is a place and a size on the screen in pixels.
type AccessibilityBounds struct {
	X      int `json:"x" doc:"Left edge."`
	Y      int `json:"y" doc:"Top edge."`
	Width  int `json:"width" doc:"Width."`
	Height int `json:"height" doc:"Height."`
}

// AccessibilityTree answers GET /computeruse/a11y/tree.
type AccessibilityTree struct {
	Root      *AccessibilityNode `json:"root" doc:"The tree of the scope."`
	Truncated bool               `json:"truncated" doc:"Something is missing: a limit was reached, or a program did not answer."`
}

// AccessibilityFind is the body of POST /computeruse/a11y/find.
type AccessibilityFind struct {
	Scope     string   `json:"scope,omitempty" doc:"focused (default), pid or all."`
	PID       int      `json:"pid,omitempty" doc:"Process, when scope is pid."`
	Role      string   `json:"role,omitempty" doc:"Role; case, spaces, - and _ do not matter."`
	Name      string   `json:"name,omitempty" doc:"Text to compare the name with."`
	NameMatch string   `json:"nameMatch,omitempty" doc:"exact, substring (default, in any case) or regex."`
	States    []string `json:"states,omitempty" doc:"States that a node must have, all of them."`
	Limit     int      `json:"limit,omitempty" doc:"At most so many; 0 is 500, the most is 5000."`
}

// AccessibilityNodes answers POST /computeruse/a11y/find.
type AccessibilityNodes struct {
	Matches   []*AccessibilityNode `json:"matches" doc:"The nodes found, upper levels first."`
	Truncated bool                 `json:"truncated" doc:"There may be more: a limit was reached, or a program did not answer."`
}

// AccessibilityNodeID is the body of POST /computeruse/a11y/node/focus.
type AccessibilityNodeID struct {
	ID string `json:"id" doc:"Id of the node."`
}

// AccessibilityInvoke is the body of POST /computeruse/a11y/node/invoke.
type AccessibilityInvoke struct {
	ID     string `json:"id" doc:"Id of the node."`
	Action string `json:"action,omitempty" doc:"One of its actions; absent: the first."`
}

// AccessibilitySetValue is the body of POST /computeruse/a11y/node/value.
type AccessibilitySetValue struct {
	ID    string `json:"id" doc:"Id of the node."`
	Value string `json:"value" doc:"Text, or a number for nodes that hold one; at most 512 KiB."`
}

// Nothing answers operations that have nothing to tell.
type Nothing struct{}
