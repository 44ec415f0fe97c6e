package picture_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/picture"
)

// screen looks like one: large areas of one colour, a few rows of noise, dots as of text.
func screen(w, h int) picture.Raw {
	r := rand.New(rand.NewPCG(1, 2))
	p := picture.Raw{Width: w, Height: h, Pix: make([]byte, 4*w*h)}
	for y := range h {
		for x := range w {
			px := p.Pix[4*(y*w+x):]
			switch {
			case y%7 == 3:
				px[0], px[1], px[2] = byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())
			case y > h/2 && (x*y)%11 == 0:
				px[0], px[1], px[2] = 10, 20, 30
			default:
				px[0], px[1], px[2] = 200, 210, 220
			}
			px[3] = byte(x) // without meaning
		}
	}
	return p
}

func TestPNGIsThePicture(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 9}, {9, 1}, {64, 50}, {301, 97}} {
		p := screen(size[0], size[1])
		b, err := picture.PNG(p)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(size, err)
		}
		if img.Bounds() != image.Rect(0, 0, p.Width, p.Height) {
			t.Fatal(size, img.Bounds())
		}
		for y := range p.Height {
			for x := range p.Width {
				px := p.Pix[4*(y*p.Width+x):]
				if got, want := color.RGBAModel.Convert(img.At(x, y)), (color.RGBA{px[2], px[1], px[0], 255}); got != want {
					t.Fatalf("%v: pixel %d,%d is %v, want %v", size, x, y, got, want)
				}
			}
		}
	}
}

func TestScaleAndJPEG(t *testing.T) {
	p := screen(200, 100)
	for i := 0; i < len(p.Pix); i += 4 {
		p.Pix[i], p.Pix[i+1], p.Pix[i+2] = 50, 100, 150
	}
	for factor, want := range map[float64][2]int{1: {200, 100}, 0.5: {100, 50}, 0.1: {20, 10}, 0.33: {66, 33}} {
		s := picture.Scale(p, factor)
		if s.Width != want[0] || s.Height != want[1] || len(s.Pix) != 4*s.Width*s.Height {
			t.Errorf("%v: %d×%d, want %v", factor, s.Width, s.Height, want)
		}
		if s.Pix[0] != 50 || s.Pix[1] != 100 || s.Pix[2] != 150 {
			t.Errorf("%v: the mean of one colour is %v", factor, s.Pix[:3])
		}
		b, err := picture.JPEG(s, 90)
		if err != nil {
			t.Fatal(err)
		}
		img, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil || img.Bounds().Dx() != want[0] {
			t.Fatal(err)
		}
		if c, _ := color.RGBAModel.Convert(img.At(3, 3)).(color.RGBA); c.R < 140 || c.R > 160 || c.B < 40 || c.B > 60 {
			t.Errorf("red and blue are mixed up: %v", c)
		}
	}
	if s := picture.Scale(picture.Raw{Width: 1, Height: 1, Pix: make([]byte, 4)}, 0.1); s.Width != 1 || s.Height != 1 {
		t.Error("a pixel became nothing")
	}
}

func BenchmarkPNG(b *testing.B) {
	p := screen(1280, 800)
	for b.Loop() {
		if _, err := picture.PNG(p); err != nil {
			b.Fatal(err)
		}
	}
}
