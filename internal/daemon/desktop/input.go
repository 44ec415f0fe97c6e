//go:build linux

package desktop

import (
	"context"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/keys"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of one input.
const (
	maxClicks   = 10
	maxScroll   = 1000
	maxDelay    = 5000            // ms between two characters
	maxTypeTime = 5 * time.Minute // of the delays of one text
)

func position(p x11.Point) toolbox.Position { return toolbox.Position{X: p.X, Y: p.Y} }

func (h *Handler) position(ctx context.Context, _ *none) (toolbox.Position, error) {
	h.open()
	p, err := h.screen.Pointer(ctx)
	return position(p), h.see(err)
}

// at verifies a place that came with a request. Places that are not on the screen are refused: the pointer would stop at its edge, and
// a click would hit something else.
func (h *Handler) at(ctx context.Context, nameX string, x *int, nameY string, y *int) (*x11.Point, error) {
	if x == nil || y == nil {
		return nil, errs.New(errs.Invalid, "%s and %s are required", nameX, nameY)
	}
	w, ht, err := h.screen.Size(ctx)
	if err != nil {
		return nil, h.see(err)
	}
	if *x < 0 || *y < 0 || *x >= w || *y >= ht {
		return nil, errs.New(errs.Invalid, "%s,%s must be on the screen, from 0,0 to %d,%d, got %d,%d", nameX, nameY, w-1, ht-1, *x, *y)
	}
	return &x11.Point{X: *x, Y: *y}, nil
}

func button(name string) (byte, error) {
	switch name {
	case "", "left":
		return x11.Left, nil
	case "right":
		return x11.Right, nil
	case "middle", "center":
		return x11.Middle, nil
	}
	return 0, errs.New(errs.Invalid, "button must be left, right or middle, got %q", clip(name))
}

// use does an action of the mouse.
func (h *Handler) use(ctx context.Context, m x11.Mouse, name string, modifiers []string) (toolbox.Position, error) {
	var err error
	if m.Button == 0 && (m.Press || m.Release || m.To != nil) {
		if m.Button, err = button(name); err != nil {
			return toolbox.Position{}, err
		}
	}
	if m.Modifiers, err = keys.Modifiers(modifiers); err != nil {
		return toolbox.Position{}, err
	}
	p, err := h.screen.Use(ctx, m)
	return position(p), h.see(err)
}

type moveIn struct{ Body toolbox.MouseMove }

func (h *Handler) move(ctx context.Context, in *moveIn) (toolbox.Position, error) {
	h.open()
	at, err := h.at(ctx, "x", in.Body.X, "y", in.Body.Y)
	if err != nil {
		return toolbox.Position{}, err
	}
	return h.use(ctx, x11.Mouse{At: at}, "", nil)
}

type clickIn struct{ Body toolbox.MouseClick }

func (h *Handler) click(ctx context.Context, in *clickIn) (toolbox.Position, error) {
	h.open()
	at, err := h.at(ctx, "x", in.Body.X, "y", in.Body.Y)
	if err != nil {
		return toolbox.Position{}, err
	}
	times := 1
	if in.Body.Double {
		times = 2
	}
	if c := in.Body.Clicks; c != nil {
		if times = *c; times < 1 || times > maxClicks {
			return toolbox.Position{}, errs.New(errs.Invalid, "clicks must be 1 to %d, got %d", maxClicks, times)
		}
	}
	return h.use(ctx, x11.Mouse{At: at, Press: true, Release: true, Times: times}, in.Body.Button, in.Body.Modifiers)
}

type buttonIn struct{ Body toolbox.MouseButton }

func (h *Handler) mouseDown(ctx context.Context, in *buttonIn) (toolbox.Position, error) {
	return h.oneWay(ctx, in.Body, true)
}

func (h *Handler) mouseUp(ctx context.Context, in *buttonIn) (toolbox.Position, error) {
	return h.oneWay(ctx, in.Body, false)
}

func (h *Handler) oneWay(ctx context.Context, b toolbox.MouseButton, down bool) (toolbox.Position, error) {
	h.open()
	m := x11.Mouse{Press: down, Release: !down}
	if b.X != nil || b.Y != nil {
		at, err := h.at(ctx, "x", b.X, "y", b.Y)
		if err != nil {
			return toolbox.Position{}, err
		}
		m.At = at
	}
	return h.use(ctx, m, b.Button, nil)
}

type dragIn struct{ Body toolbox.MouseDrag }

func (h *Handler) drag(ctx context.Context, in *dragIn) (toolbox.Position, error) {
	h.open()
	from, err := h.at(ctx, "startX", in.Body.StartX, "startY", in.Body.StartY)
	if err != nil {
		return toolbox.Position{}, err
	}
	to, err := h.at(ctx, "endX", in.Body.EndX, "endY", in.Body.EndY)
	if err != nil {
		return toolbox.Position{}, err
	}
	return h.use(ctx, x11.Mouse{At: from, To: to}, in.Body.Button, in.Body.Modifiers)
}

type scrollIn struct{ Body toolbox.MouseScroll }

func (h *Handler) scroll(ctx context.Context, in *scrollIn) (toolbox.Scrolled, error) {
	h.open()
	wheel := map[string]byte{"up": x11.WheelUp, "down": x11.WheelDown, "left": x11.WheelLeft, "right": x11.WheelRight}[in.Body.Direction]
	if wheel == 0 {
		return toolbox.Scrolled{}, errs.New(errs.Invalid, "direction must be up, down, left or right, got %q", clip(in.Body.Direction))
	}
	if in.Body.Amount < 0 || in.Body.Amount > maxScroll {
		return toolbox.Scrolled{}, errs.New(errs.Invalid, "amount must be 0 to %d, got %d", maxScroll, in.Body.Amount)
	}
	at, err := h.at(ctx, "x", in.Body.X, "y", in.Body.Y)
	if err != nil {
		return toolbox.Scrolled{}, err
	}
	_, err = h.use(ctx, x11.Mouse{At: at, Button: wheel, Press: true, Release: true, Times: max(1, in.Body.Amount)}, "", in.Body.Modifiers)
	return toolbox.Scrolled{Success: err == nil}, err
}

type typeIn struct{ Body toolbox.KeyboardType }

func (h *Handler) typeText(ctx context.Context, in *typeIn) (toolbox.Nothing, error) {
	h.open()
	syms, err := keys.Text(in.Body.Text)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	if in.Body.Delay < 0 || in.Body.Delay > maxDelay {
		return toolbox.Nothing{}, errs.New(errs.Invalid, "delay must be 0 to %d ms, got %d", maxDelay, in.Body.Delay)
	}
	delay := time.Duration(in.Body.Delay) * time.Millisecond
	if total := delay * time.Duration(len(syms)); total > maxTypeTime {
		return toolbox.Nothing{}, errs.New(errs.Invalid, "the delays of the text are %v together, at most %v are allowed in one call", total, maxTypeTime)
	}
	return toolbox.Nothing{}, h.see(h.screen.Type(ctx, syms, delay))
}

type pressIn struct{ Body toolbox.KeyboardPress }

func (h *Handler) pressKey(ctx context.Context, in *pressIn) (toolbox.Nothing, error) {
	h.open()
	key, err := keys.Key(in.Body.Key)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	mods, err := keys.Modifiers(in.Body.Modifiers)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.see(h.screen.Press(ctx, mods, key))
}

type hotkeyIn struct{ Body toolbox.KeyboardHotkey }

func (h *Handler) hotkey(ctx context.Context, in *hotkeyIn) (toolbox.Nothing, error) {
	h.open()
	mods, key, err := keys.Chord(in.Body.Keys)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.see(h.screen.Press(ctx, mods, key))
}

type keyIn struct{ Body toolbox.KeyboardKey }

func (h *Handler) keyDown(ctx context.Context, in *keyIn) (toolbox.Nothing, error) {
	h.open()
	key, err := keys.Key(in.Body.Key)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.see(h.screen.Down(ctx, key))
}

func (h *Handler) keyUp(ctx context.Context, in *keyIn) (toolbox.Nothing, error) {
	h.open()
	key, err := keys.Key(in.Body.Key)
	if err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.see(h.screen.Up(ctx, key))
}
