//go:build linux

package desktop

import (
	"context"
	"encoding/base64"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/picture"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/x11"
	"github.com/dugout-dev/dugout/internal/errs"
)

type screenshotIn struct {
	Show   bool `query:"showCursor" doc:"Draw the mouse pointer."`
	Legacy bool `query:"show_cursor" doc:"The same, as older clients spell it."`
}

type regionIn struct {
	X      int  `query:"x" required:"true" doc:"Left edge, pixels."`
	Y      int  `query:"y" required:"true" doc:"Top edge, pixels."`
	Width  int  `query:"width" required:"true" minimum:"1" doc:"Pixels."`
	Height int  `query:"height" required:"true" minimum:"1" doc:"Pixels."`
	Show   bool `query:"showCursor" doc:"Draw the mouse pointer."`
	Legacy bool `query:"show_cursor" doc:"The same, as older clients spell it."`
}

type compressedIn struct {
	Show    bool    `query:"showCursor" doc:"Draw the mouse pointer, and tell where it is."`
	Legacy  bool    `query:"show_cursor" doc:"The same, as older clients spell it."`
	Format  string  `query:"format" doc:"png (default) or jpeg."`
	Quality int     `query:"quality" doc:"Of a JPEG, 1 to 100; default 85."`
	Scale   float64 `query:"scale" doc:"0.1 to 1.0; default 1.0."`
}

type compressedRegionIn struct {
	X       int     `query:"x" required:"true" doc:"Left edge, pixels."`
	Y       int     `query:"y" required:"true" doc:"Top edge, pixels."`
	Width   int     `query:"width" required:"true" minimum:"1" doc:"Pixels."`
	Height  int     `query:"height" required:"true" minimum:"1" doc:"Pixels."`
	Show    bool    `query:"showCursor" doc:"Draw the mouse pointer, and tell where it is."`
	Legacy  bool    `query:"show_cursor" doc:"The same, as older clients spell it."`
	Format  string  `query:"format" doc:"png (default) or jpeg."`
	Quality int     `query:"quality" doc:"Of a JPEG, 1 to 100; default 85."`
	Scale   float64 `query:"scale" doc:"0.1 to 1.0; default 1.0."`
}

// shot is one picture to take.
type shot struct {
	part    x11.Rect
	cursor  bool
	where   bool // tell where the pointer is
	jpeg    bool
	quality int
	scale   float64
}

func (h *Handler) screenshot(ctx context.Context, in *screenshotIn) (toolbox.Screenshot, error) {
	return h.take(ctx, shot{cursor: in.Show || in.Legacy, where: true, scale: 1})
}

func (h *Handler) region(ctx context.Context, in *regionIn) (toolbox.Screenshot, error) {
	part, err := regionOf(in.X, in.Y, in.Width, in.Height)
	if err != nil {
		return toolbox.Screenshot{}, err
	}
	return h.take(ctx, shot{part: part, cursor: in.Show || in.Legacy, where: true, scale: 1})
}

func (h *Handler) compressed(ctx context.Context, in *compressedIn) (toolbox.Screenshot, error) {
	s, err := compression(in.Format, in.Quality, in.Scale)
	if err != nil {
		return toolbox.Screenshot{}, err
	}
	s.cursor = in.Show || in.Legacy
	s.where = s.cursor
	return h.take(ctx, s)
}

func (h *Handler) compressedRegion(ctx context.Context, in *compressedRegionIn) (toolbox.Screenshot, error) {
	s, err := compression(in.Format, in.Quality, in.Scale)
	if err != nil {
		return toolbox.Screenshot{}, err
	}
	if s.part, err = regionOf(in.X, in.Y, in.Width, in.Height); err != nil {
		return toolbox.Screenshot{}, err
	}
	s.cursor = in.Show || in.Legacy
	s.where = s.cursor
	return h.take(ctx, s)
}

// maxCoordinate is what the X protocol can say.
const maxCoordinate = 32767

func regionOf(x, y, w, ht int) (x11.Rect, error) {
	if x < 0 || y < 0 || x > maxCoordinate || y > maxCoordinate || w > maxCoordinate || ht > maxCoordinate {
		return x11.Rect{}, errs.New(errs.Invalid, "the region must be on the screen, got %d,%d of %d×%d", x, y, w, ht)
	}
	return x11.Rect{X: x, Y: y, Width: w, Height: ht}, nil
}

func compression(format string, quality int, scale float64) (shot, error) {
	s := shot{quality: quality, scale: scale}
	switch format {
	case "", "png":
	case "jpeg", "jpg":
		s.jpeg = true
	default:
		return s, errs.New(errs.Invalid, "format must be png or jpeg, got %q", clip(format))
	}
	if s.quality == 0 {
		s.quality = 85
	}
	if s.scale == 0 {
		s.scale = 1
	}
	if s.quality < 1 || s.quality > 100 {
		return s, errs.New(errs.Invalid, "quality must be 1 to 100, got %d", quality)
	}
	if s.scale < 0.1 || s.scale > 1 {
		return s, errs.New(errs.Invalid, "scale must be 0.1 to 1.0, got %g", scale)
	}
	return s, nil
}

func (h *Handler) take(ctx context.Context, s shot) (toolbox.Screenshot, error) {
	h.open()
	if err := h.pictures.take(ctx); err != nil {
		return toolbox.Screenshot{}, h.see(err)
	}
	defer h.pictures.give()
	pic, err := h.screen.Grab(ctx, s.part, s.cursor)
	if err != nil {
		return toolbox.Screenshot{}, h.see(err)
	}
	raw := picture.Raw(pic)
	if s.scale < 1 {
		raw = picture.Scale(raw, s.scale)
	}
	var b []byte
	if s.jpeg {
		b, err = picture.JPEG(raw, s.quality)
	} else {
		b, err = picture.PNG(raw)
	}
	if err != nil {
		return toolbox.Screenshot{}, errs.Wrap(err, errs.Internal, "the picture cannot be encoded")
	}
	out := toolbox.Screenshot{Screenshot: base64.StdEncoding.EncodeToString(b), SizeBytes: len(b)}
	if s.where {
		p, err := h.screen.Pointer(ctx)
		if err != nil {
			return toolbox.Screenshot{}, h.see(err)
		}
		out.CursorPosition = &toolbox.Position{X: p.X, Y: p.Y}
	}
	return out, nil
}

func (h *Handler) displays(ctx context.Context, _ *none) (toolbox.DisplayInfo, error) {
	h.open()
	list, err := h.screen.Displays(ctx)
	if err != nil {
		return toolbox.DisplayInfo{}, h.see(err)
	}
	out := toolbox.DisplayInfo{Displays: []toolbox.Display{}}
	for i, d := range list {
		out.Displays = append(out.Displays, toolbox.Display{ID: i, X: d.X, Y: d.Y, Width: d.Width, Height: d.Height, IsActive: true})
	}
	return out, nil
}

func (h *Handler) windows(ctx context.Context, _ *none) (toolbox.Windows, error) {
	h.open()
	list, err := h.screen.Windows(ctx)
	if err != nil {
		return toolbox.Windows{}, h.see(err)
	}
	out := toolbox.Windows{Windows: []toolbox.Window{}}
	for _, w := range list {
		out.Windows = append(out.Windows, toolbox.Window{ID: int(w.ID), Title: w.Title, X: w.X, Y: w.Y, Width: w.Width, Height: w.Height, IsActive: w.Active})
	}
	return out, nil
}
