//go:build linux

// Package desktop serves the graphical desktop: its processes, screen, mouse, keyboard, windows, accessibility tree and recordings.
//
// Nothing is done until the first request: no connection is open, no program was looked for. What programs a desktop needs is looked
// up when it is asked for, because a sandbox may install them later.
package desktop

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/a11y"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/parts"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/record"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // what relative paths start from

	once     sync.Once
	screen   *x11.Screen
	bus      *a11y.Bus
	set      *parts.Set
	recorder *record.Recorder

	pictures slots
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	const base = "/computeruse"
	var all []rest.Route
	add := func(routes ...rest.Route) { all = append(all, routes...) }
	sum, desc := rest.Summary, rest.Description

	add(
		route(h, "GET", base+"/status", "GetComputerUseSystemStatus", h.status, sum("Get the status of the desktop")),
		route(h, "GET", base+"/process-status", "GetComputerUseStatus", h.status, sum("Get the status of the desktop's processes")),
		route(h, "POST", base+"/start", "StartComputerUse", h.start, sum("Start the desktop"),
			desc("Starts what does not run yet and answers when all of it is ready. Where programs are missing the answer is 503 and names them.")),
		route(h, "POST", base+"/stop", "StopComputerUse", h.stop, sum("Stop the desktop"),
			desc("Recordings are ended first. Programs that were started from the desktop's menus end with it.")),
		route(h, "GET", base+"/process/{processName}/status", "GetProcessStatus", h.processStatus, sum("Ask whether a process of the desktop runs")),
		route(h, "POST", base+"/process/{processName}/restart", "RestartProcess", h.restart, sum("Restart a process of the desktop")),
		route(h, "GET", base+"/process/{processName}/logs", "GetProcessLogs", h.logs, sum("Get what a process of the desktop wrote")),
		route(h, "GET", base+"/process/{processName}/errors", "GetProcessErrors", h.errors, sum("Get what a process of the desktop wrote as errors")),
	)
	add(
		route(h, "GET", base+"/screenshot", "TakeScreenshot", h.screenshot, sum("Take a picture of the screen"), desc("PNG.")),
		route(h, "GET", base+"/screenshot/region", "TakeRegionScreenshot", h.region, sum("Take a picture of a part of the screen"), desc("PNG. The part must be wholly on the screen.")),
		route(h, "GET", base+"/screenshot/compressed", "TakeCompressedScreenshot", h.compressed, sum("Take a small picture of the screen")),
		route(h, "GET", base+"/screenshot/region/compressed", "TakeCompressedRegionScreenshot", h.compressedRegion, sum("Take a small picture of a part of the screen")),
		route(h, "GET", base+"/display/info", "GetDisplayInfo", h.displays, sum("Get the monitors")),
		route(h, "GET", base+"/display/windows", "GetWindows", h.windows, sum("Get the windows")),
	)
	add(
		route(h, "GET", base+"/mouse/position", "GetMousePosition", h.position, sum("Get where the mouse pointer is")),
		route(h, "POST", base+"/mouse/move", "MoveMouse", h.move, sum("Move the mouse pointer"), desc("A place that is not on the screen is refused.")),
		route(h, "POST", base+"/mouse/click", "Click", h.click, sum("Click")),
		route(h, "POST", base+"/mouse/down", "MouseDown", h.mouseDown, sum("Press a mouse button and hold it")),
		route(h, "POST", base+"/mouse/up", "MouseUp", h.mouseUp, sum("Release a mouse button")),
		route(h, "POST", base+"/mouse/drag", "Drag", h.drag, sum("Drag from one place to another")),
		route(h, "POST", base+"/mouse/scroll", "Scroll", h.scroll, sum("Turn the mouse wheel")),
		route(h, "POST", base+"/keyboard/type", "TypeText", h.typeText, sum("Type a text")),
		route(h, "POST", base+"/keyboard/key", "PressKey", h.pressKey, sum("Press a key")),
		route(h, "POST", base+"/keyboard/hotkey", "PressHotkey", h.hotkey, sum("Press a chord")),
		route(h, "POST", base+"/keyboard/down", "KeyDown", h.keyDown, sum("Press a key and hold it")),
		route(h, "POST", base+"/keyboard/up", "KeyUp", h.keyUp, sum("Release a key")),
	)
	add(
		route(h, "GET", base+"/a11y/tree", "GetAccessibilityTree", h.tree, sum("Get an accessibility tree"),
			desc("At most 20,000 nodes, 250 levels and 8 MiB of text; what is left out shows in truncated. A program that does not answer within 2 seconds is left out too.")),
		route(h, "POST", base+"/a11y/find", "FindAccessibilityNodes", h.find, sum("Find accessibility nodes")),
		route(h, "POST", base+"/a11y/node/focus", "FocusAccessibilityNode", h.focusNode, sum("Give an accessibility node the focus")),
		route(h, "POST", base+"/a11y/node/invoke", "InvokeAccessibilityNode", h.invokeNode, sum("Do an action of an accessibility node")),
		route(h, "POST", base+"/a11y/node/value", "SetAccessibilityNodeValue", h.setNodeValue, sum("Set the value of an accessibility node")),
	)
	add(
		route(h, "GET", base+"/recordings", "ListRecordings", h.recordings, sum("List the recordings")),
		route(h, "POST", base+"/recordings/start", "StartRecording", h.startRecording, rest.Status(http.StatusCreated), sum("Start a recording of the screen"), desc("30 frames a second, H.264 in MP4. At most 4 run at the same time.")),
		route(h, "POST", base+"/recordings/stop", "StopRecording", h.stopRecording, sum("Stop a recording"), desc("Answers when the film is whole, within 10 seconds.")),
		route(h, "GET", base+"/recordings/{id}", "GetRecording", h.recording, sum("Get a recording")),
		route(h, "DELETE", base+"/recordings/{id}", "DeleteRecording", h.deleteRecording, rest.Status(http.StatusNoContent), sum("Delete a recording")),
		rest.Stream("GET", base+"/recordings/{id}/download", "DownloadRecording", h.download, rest.Tag(tag), rest.Returns("video/mp4"), sum("Download a recording"),
			desc("Ranges and conditional requests work. One that still runs can be downloaded as far as it is.")),
		rest.Stream("GET", base+"/recordings/page", "GetRecordingPage", h.page, rest.Tag(tag), rest.Returns("text/html"), sum("A page that lists and plays the recordings"),
			desc("HTML without external parts. The query of its address is passed on to what it asks for.")),
	)
	return all
}

const tag = "computer-use"

// route declares an operation whose errors may say more than the common body has.
func route[In, Out any](h *Handler, method, path, id string, fn func(context.Context, *In) (Out, error), opts ...rest.Option) rest.Route {
	status := http.StatusOK
	rt := rest.Route{Status: http.StatusOK}
	for _, o := range opts {
		o(&rt)
	}
	if rt.Status != 0 {
		status = rt.Status
	}
	opts = append(opts, rest.Tag(tag))
	if status != http.StatusNoContent {
		opts = append(opts, rest.Answers[Out]())
	}
	return rest.Stream(method, path, id, func(w http.ResponseWriter, r *http.Request, in *In) error {
		out, err := fn(r.Context(), in)
		if err != nil {
			return h.fail(w, r, err)
		}
		if status == http.StatusNoContent {
			w.WriteHeader(status)
			return nil
		}
		h.Edge.Write(w, status, out)
		return nil
	}, opts...)
}

// none is the input of operations without any.
type none struct{}

// open makes the parts when they are first needed.
func (h *Handler) open() {
	h.once.Do(func() {
		h.screen = &x11.Screen{Display: h.display}
		h.bus = &a11y.Bus{Session: h.sessionBus, ActivePID: h.screen.ActivePID}
		h.set = h.newSet()
		h.recorder = &record.Recorder{Runner: h.Runner, Log: h.Log, FFmpeg: func() string { return h.program("ffmpeg") },
			Env: func() []string { return h.Env.List(nil) }, Dir: h.recordingsDir, Work: h.home}
	})
}

// Close ends what was started.
func (h *Handler) Close() {
	h.open()
	h.recorder.Close()
	h.set.Close()
	h.bus.Close()
	h.screen.Close()
}

// slots bounds how many pictures are in memory at the same time.
type slots struct {
	once sync.Once
	ch   chan struct{}
}

// maxPictures is how many screenshots are made at once; others wait.
const maxPictures = 2

func (s *slots) take(ctx context.Context) error {
	s.once.Do(func() { s.ch = make(chan struct{}, maxPictures) })
	select {
	case s.ch <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slots) give() { <-s.ch }
