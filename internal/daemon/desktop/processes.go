//go:build linux

package desktop

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/a11y"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/parts"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Names of processes on the 0.x wire; dbus is an addition. xfce4 is the session, whatever its window manager.
const (
	partX       = "xvfb"
	partBus     = "dbus"
	partA11y    = "atspi"
	partSession = "xfce4"
	partVNC     = "x11vnc"
	partWeb     = "novnc"
)

// What the environment sets, and what holds where it does not.
const (
	defaultDisplay = ":0"
	defaultSize    = "1024x768"
	defaultVNC     = 5901
	defaultWeb     = 6080
)

// sessions are the programs that make a desktop, the most complete first.
var sessions = [][]string{{"startxfce4"}, {"openbox-session"}, {"xfwm4"}, {"openbox"}, {"fluxbox"}, {"icewm-session"}, {"mutter", "--x11"}, {"jwm"}}

// novncDirs are where the pages of noVNC are, after $NOVNC_DIR.
var novncDirs = []string{"/usr/share/novnc", "/opt/novnc", "/opt/noVNC", "/usr/local/share/novnc", "/usr/local/novnc"}

// launchers are where the launcher of the accessibility bus is.
var launchers = []string{"/usr/libexec/at-spi-bus-launcher", "/usr/lib/at-spi2-core/at-spi-bus-launcher", "/usr/lib/at-spi-bus-launcher"}

func (h *Handler) program(name string) string { return shell.LookPath(name, h.Env.Get("PATH")) }

func (h *Handler) display() string {
	if d := h.Env.Get("DISPLAY"); d != "" {
		return d
	}
	return defaultDisplay
}

func (h *Handler) home() string {
	if dir := h.Env.Get("HOME"); filepath.IsAbs(dir) {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir
		}
	}
	return h.Workdir
}

func (h *Handler) recordingsDir() string {
	if dir := h.Env.Get("DAYTONA_RECORDINGS_DIR"); filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(h.home(), ".daytona", "recordings")
}

// sessionBus is the address of the session bus: that of the environment, or the one that is started with the desktop.
func (h *Handler) sessionBus() string {
	if a := h.Env.Get("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a
	}
	return "unix:path=" + filepath.Join(h.home(), ".daytona", "run", "bus")
}

// number reads a port from the environment.
func (h *Handler) number(name string, def int) int {
	if n, err := strconv.Atoi(h.Env.Get(name)); err == nil && n > 0 && n < 65536 {
		return n
	}
	return def
}

// size reads VNC_RESOLUTION, WIDTHxHEIGHT with a depth that is ignored: it is 24.
func (h *Handler) size() (width, height int, err error) {
	text := h.Env.Get("VNC_RESOLUTION")
	if text == "" {
		text = defaultSize
	}
	return parseSize(text)
}

func parseSize(text string) (width, height int, err error) {
	f := strings.Split(strings.ToLower(text), "x")
	if len(f) == 2 || len(f) == 3 {
		w, err1 := strconv.Atoi(f[0])
		h, err2 := strconv.Atoi(f[1])
		if err1 == nil && err2 == nil && w >= 64 && h >= 64 && w <= 16384 && h <= 16384 && w*h <= x11.MaxPixels {
			return w, h, nil
		}
	}
	return 0, 0, errs.New(errs.Invalid, "VNC_RESOLUTION must be WIDTHxHEIGHT, each at least 64 and together at most %d pixels, got %q", x11.MaxPixels, clip(text))
}

// missing names the programs that a desktop cannot do without and that are not there.
func (h *Handler) missing() []string {
	var out []string
	if h.program("Xvfb") == "" && x11.Absent(h.display()) {
		out = append(out, "Xvfb")
	}
	if h.session() == nil {
		out = append(out, "a window manager (openbox, startxfce4, …)")
	}
	if h.program("x11vnc") == "" {
		out = append(out, "x11vnc")
	}
	if _, err := h.websockify(); err != nil {
		out = append(out, "noVNC and websockify")
	}
	return out
}

func (h *Handler) session() []string {
	for _, s := range sessions {
		if p := h.program(s[0]); p != "" {
			return append([]string{p}, s[1:]...)
		}
	}
	return nil
}

func (h *Handler) websockify() (parts.Command, error) {
	for _, dir := range append([]string{h.Env.Get("NOVNC_DIR")}, novncDirs...) {
		if dir == "" || !shellFile(filepath.Join(dir, "vnc.html")) {
			continue
		}
		for _, p := range []string{h.program("websockify"), filepath.Join(dir, "utils", "websockify", "run")} {
			if p != "" && shell.Executable(p) {
				return parts.Command{Path: p, Argv: []string{"websockify", "--web", dir,
					"127.0.0.1:" + strconv.Itoa(h.number("NO_VNC_PORT", defaultWeb)), "127.0.0.1:" + strconv.Itoa(h.number("VNC_PORT", defaultVNC))}}, nil
			}
		}
	}
	return parts.Command{}, errs.New(errs.Unavailable, "noVNC or websockify is missing")
}

func shellFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// newSet says what a desktop is made of. x11vnc and noVNC listen on the loopback address: the way in is the platform's proxy.
func (h *Handler) newSet() *parts.Set {
	given := func(path string, args ...string) (parts.Command, error) {
		return parts.Command{Path: path, Argv: append([]string{filepath.Base(path)}, args...)}, nil
	}
	vnc := func() string { return strconv.Itoa(h.number("VNC_PORT", defaultVNC)) }
	lookup := func(name string, args func() []string) func() (parts.Command, error) {
		return func() (parts.Command, error) {
			p := h.program(name)
			if p == "" {
				return parts.Command{}, errs.New(errs.Unavailable, "%s is missing", name)
			}
			return given(p, args()...)
		}
	}
	return &parts.Set{Runner: h.Runner, Log: h.Log, Env: h.childEnv, Work: h.home,
		Dir: func() string { return filepath.Join(h.home(), ".daytona", "computeruse") },
		Parts: []*parts.Part{
			{Name: partX, Priority: 100, Ready: h.screen.Ready,
				Given: func(context.Context) bool { return !x11.Absent(h.display()) },
				Command: func() (parts.Command, error) {
					w, ht, err := h.size()
					if err != nil {
						return parts.Command{}, err
					}
					if err := clearDisplay(h.display()); err != nil {
						return parts.Command{}, err
					}
					return lookup("Xvfb", func() []string {
						return []string{h.display(), "-screen", "0", strconv.Itoa(w) + "x" + strconv.Itoa(ht) + "x24", "-nolisten", "tcp", "-noreset", "-dpi", "96"}
					})()
				}},
			{Name: partBus, Priority: 200, Ready: h.busAnswers, Given: h.busAnswers,
				Command: func() (parts.Command, error) {
					path, err := dbus.Address(h.sessionBus())
					if err != nil || path[0] == '@' {
						return parts.Command{}, errs.New(errs.Unavailable, "DBUS_SESSION_BUS_ADDRESS must be unix:path=…, got %q", clip(h.sessionBus()))
					}
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						return parts.Command{}, errs.Wrap(err, errs.Unavailable, "the directory of the session bus cannot be made")
					}
					_ = os.Remove(path) // nobody is behind it
					return lookup("dbus-daemon", func() []string {
						return []string{"--session", "--nofork", "--nopidfile", "--nosyslog", "--address=unix:path=" + path}
					})()
				}},
			{Name: partA11y, Priority: 300, Ready: h.bus.Ready, Given: func(ctx context.Context) bool { return a11y.Owned(ctx, h.sessionBus()) },
				Command: func() (parts.Command, error) {
					for _, p := range launchers {
						if shell.Executable(p) {
							return given(p, "--launch-immediately")
						}
					}
					return parts.Command{}, errs.New(errs.Unavailable, "at-spi-bus-launcher is missing")
				}},
			{Name: partSession, Priority: 400, Ready: h.screen.Managed,
				Command: func() (parts.Command, error) {
					s := h.session()
					if s == nil {
						return parts.Command{}, errs.New(errs.Unavailable, "a window manager is missing")
					}
					return given(s[0], s[1:]...)
				}},
			{Name: partVNC, Priority: 400, Ready: func(ctx context.Context) bool { return listens(ctx, h.number("VNC_PORT", defaultVNC)) },
				Command: lookup("x11vnc", func() []string {
					return []string{"-display", h.display(), "-rfbport", vnc(), "-localhost", "-no6", "-forever", "-shared", "-nopw", "-quiet", "-nobell"}
				})},
			{Name: partWeb, Priority: 400, Ready: func(ctx context.Context) bool { return listens(ctx, h.number("NO_VNC_PORT", defaultWeb)) },
				Command: h.websockify},
		}}
}

// childEnv is the environment of the desktop and of what is started from it.
func (h *Handler) childEnv(extra map[string]string) []string {
	vars := map[string]string{"DISPLAY": h.display(), "DBUS_SESSION_BUS_ADDRESS": h.sessionBus(),
		"QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1"}
	for k, v := range extra {
		vars[k] = v
	}
	return h.Env.List(vars)
}

func (h *Handler) busAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := dbus.Dial(ctx, h.sessionBus())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func listens(ctx context.Context, port int) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// clearDisplay removes what an X server left that was killed: its lock names a process, which may be another one by now. Nobody
// answers on the display. The directory of the sockets is made, as a server that is not root refuses to.
func clearDisplay(display string) error {
	n, socket, err := x11.SocketOf(display)
	if err != nil {
		return errs.Wrap(err, errs.Invalid, "%s", err.Error())
	}
	_ = os.Remove("/tmp/.X" + strconv.Itoa(n) + "-lock")
	_ = os.Remove(socket)
	if err := os.Mkdir(filepath.Dir(socket), 0o777); err == nil {
		_ = os.Chmod(filepath.Dir(socket), 0o777|os.ModeSticky)
	}
	return nil
}

func (h *Handler) status(ctx context.Context, _ *none) (toolbox.DesktopStatus, error) {
	if err := h.installed(); err != nil {
		return toolbox.DesktopStatus{}, err
	}
	running, needed := 0, 0
	for _, s := range h.set.States(ctx) {
		if s.Name == partBus || s.Name == partA11y {
			continue
		}
		needed++
		if s.Pid != 0 || s.Given {
			running++
		}
	}
	switch running {
	case needed:
		return toolbox.DesktopStatus{Status: "active"}, nil
	case 0:
		return toolbox.DesktopStatus{Status: "inactive"}, nil
	}
	return toolbox.DesktopStatus{Status: "partial"}, nil
}

func (h *Handler) processes(ctx context.Context) map[string]toolbox.DesktopProcess {
	out := map[string]toolbox.DesktopProcess{}
	for _, s := range h.set.States(ctx) {
		p := toolbox.DesktopProcess{Running: s.Pid != 0 || s.Given, Priority: s.Priority, AutoRestart: !s.Given}
		if s.Pid != 0 {
			p.Pid = &s.Pid
		}
		out[s.Name] = p
	}
	return out
}

func (h *Handler) start(ctx context.Context, _ *none) (toolbox.DesktopChanged, error) {
	h.open()
	if missing := h.missing(); len(missing) > 0 {
		return toolbox.DesktopChanged{}, h.lacking(missing)
	}
	// Whoever asked may leave: what is begun is finished.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := h.startParts(ctx); err != nil {
		var t *trouble
		if e, ok := errs.As(err); ok && e.Class == errs.Unavailable && !errors.As(err, &t) {
			return toolbox.DesktopChanged{}, unavailable(err, e.Message, e.Message, "look at GET /computeruse/process/{name}/errors")
		}
		return toolbox.DesktopChanged{}, err
	}
	return toolbox.DesktopChanged{Message: "the desktop runs", Status: h.processes(ctx)}, nil
}

// startParts starts the desktop. Without the accessibility bus it is a desktop still; the operations on trees then say what is missing.
func (h *Handler) startParts(ctx context.Context) error {
	err := h.set.Start(ctx, func(name string) bool { return name == partBus || name == partA11y })
	if err != nil {
		return err
	}
	if err := a11y.Enable(ctx, h.sessionBus()); err != nil {
		h.Log.WarnContext(ctx, "programs are not told that their accessibility trees are read", "error", err)
	}
	// Programs that are started from outside find the screen, too.
	set := map[string]string{}
	for name, value := range map[string]string{"DISPLAY": h.display(), "DBUS_SESSION_BUS_ADDRESS": h.sessionBus()} {
		if h.Env.Get(name) == "" {
			set[name] = value
		}
	}
	if len(set) == 0 {
		return nil
	}
	return h.Env.Update(set, nil, "")
}

func (h *Handler) stop(ctx context.Context, _ *none) (toolbox.DesktopChanged, error) {
	if err := h.installed(); err != nil {
		return toolbox.DesktopChanged{}, err
	}
	h.recorder.StopAll()
	h.set.Stop()
	h.screen.Close()
	h.bus.Close()
	return toolbox.DesktopChanged{Message: "the desktop is stopped", Status: h.processes(ctx)}, nil
}

type processIn struct {
	Name string `path:"processName" doc:"xvfb, dbus, atspi, xfce4, x11vnc or novnc."`
}

// part finds a process by the name in a request; class is what an unknown one is, which differs on the 0.x wire.
func (h *Handler) part(name string, class errs.Class) (*parts.Part, error) {
	if err := h.installed(); err != nil {
		return nil, err
	}
	p, ok := h.set.Find(name)
	if !ok {
		e := errs.New(class, "there is no desktop process %q: it must be xvfb, dbus, atspi, xfce4, x11vnc or novnc", clip(name))
		if class == errs.Unavailable {
			return nil, e.WithCode("PROCESS_NOT_FOUND")
		}
		return nil, e
	}
	return p, nil
}

func (h *Handler) processStatus(ctx context.Context, in *processIn) (toolbox.DesktopProcessStatus, error) {
	p, err := h.part(in.Name, errs.Unavailable)
	if err != nil {
		return toolbox.DesktopProcessStatus{}, err
	}
	return toolbox.DesktopProcessStatus{ProcessName: p.Name, Running: h.processes(ctx)[p.Name].Running}, nil
}

func (h *Handler) restart(ctx context.Context, in *processIn) (toolbox.DesktopProcessRestarted, error) {
	p, err := h.part(in.Name, errs.Invalid)
	if err != nil {
		return toolbox.DesktopProcessRestarted{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := h.set.Restart(ctx, p); err != nil {
		return toolbox.DesktopProcessRestarted{}, err
	}
	return toolbox.DesktopProcessRestarted{Message: p.Name + " was restarted", ProcessName: p.Name}, nil
}

func (h *Handler) logs(_ context.Context, in *processIn) (toolbox.DesktopProcessLogs, error) {
	p, err := h.part(in.Name, errs.Invalid)
	if err != nil {
		return toolbox.DesktopProcessLogs{}, err
	}
	return toolbox.DesktopProcessLogs{ProcessName: p.Name, Logs: h.set.Logs(p.Name, false)}, nil
}

func (h *Handler) errors(_ context.Context, in *processIn) (toolbox.DesktopProcessErrors, error) {
	p, err := h.part(in.Name, errs.Invalid)
	if err != nil {
		return toolbox.DesktopProcessErrors{}, err
	}
	return toolbox.DesktopProcessErrors{ProcessName: p.Name, Errors: h.set.Logs(p.Name, true)}, nil
}
