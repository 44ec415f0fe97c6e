// Package picture encodes pictures of a screen: PNG, quickly rather than small, and JPEG, both also scaled down.
package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/jpeg"
	"io"
	"math"
)

// Raw is a picture as an X server sends it: 4 bytes a pixel, blue, green, red and one without meaning, row by row.
type Raw struct {
	Width, Height int
	Pix           []byte
}

// PNG encodes p. Every row is stored as its difference to the row above: on a screen most rows repeat, so that is nearly as small
// as choosing among PNG's filters for each row, in a fraction of the time.
func PNG(p Raw) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(64<<10 + len(p.Pix)/32)
	out.WriteString("\x89PNG\r\n\x1a\n")
	head := make([]byte, 13)
	binary.BigEndian.PutUint32(head, uint32(p.Width))
	binary.BigEndian.PutUint32(head[4:], uint32(p.Height))
	head[8], head[9] = 8, 2 // 8 bits each of red, green and blue
	chunk(&out, "IHDR", head)
	start := out.Len()
	out.Write(make([]byte, 8))
	if err := deflate(&out, p); err != nil {
		return nil, err
	}
	b := out.Bytes()
	copy(b[start+4:], "IDAT")
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-8))
	out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[start+4:])))
	chunk(&out, "IEND", nil)
	return out.Bytes(), nil
}

func chunk(out *bytes.Buffer, name string, data []byte) {
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	at := out.Len()
	out.WriteString(name)
	out.Write(data)
	out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(out.Bytes()[at:])))
}

// Filters of PNG that are used.
const (
	filterNone = 0
	filterUp   = 2
)

func deflate(out io.Writer, p Raw) error {
	z, err := zlib.NewWriterLevel(out, zlib.BestSpeed)
	if err != nil {
		return err
	}
	row := make([]byte, 1+3*p.Width)
	zeros := make([]byte, 1+3*p.Width)
	zeros[0] = filterUp
	for y := range p.Height {
		cur := p.Pix[4*p.Width*y : 4*p.Width*(y+1)]
		line := row
		switch {
		case y == 0:
			row[0] = filterNone
			for x, i := 0, 1; x < len(cur); x, i = x+4, i+3 {
				row[i], row[i+1], row[i+2] = cur[x+2], cur[x+1], cur[x]
			}
		default:
			above := p.Pix[4*p.Width*(y-1) : 4*p.Width*y]
			if bytes.Equal(cur, above) {
				line = zeros
				break
			}
			row[0] = filterUp
			for x, i := 0, 1; x < len(cur); x, i = x+4, i+3 {
				row[i], row[i+1], row[i+2] = cur[x+2]-above[x+2], cur[x+1]-above[x+1], cur[x]-above[x]
			}
		}
		if _, err := z.Write(line); err != nil {
			return err
		}
	}
	return z.Close()
}

// JPEG encodes p with a quality from 1 to 100.
func JPEG(p Raw, quality int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := 0; i+3 < len(p.Pix) && i+3 < len(img.Pix); i += 4 {
		img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = p.Pix[i+2], p.Pix[i+1], p.Pix[i], 255
	}
	var out bytes.Buffer
	err := jpeg.Encode(&out, img, &jpeg.Options{Quality: quality})
	return out.Bytes(), err
}

// Scale makes p smaller by factor, which is over 0 and at most 1; each pixel becomes the mean of those that it stands for. No side gets
// shorter than one pixel.
func Scale(p Raw, factor float64) Raw {
	w, h := side(p.Width, factor), side(p.Height, factor)
	if w == p.Width && h == p.Height {
		return p
	}
	out := Raw{Width: w, Height: h, Pix: make([]byte, 4*w*h)}
	sums := make([]uint32, 3*w)
	for y := range h {
		clear(sums)
		top, bottom := y*p.Height/h, max((y+1)*p.Height/h, y*p.Height/h+1)
		for sy := top; sy < bottom; sy++ {
			row := p.Pix[4*p.Width*sy:]
			for x := range w {
				for sx := x * p.Width / w; sx < max((x+1)*p.Width/w, x*p.Width/w+1); sx++ {
					sums[3*x] += uint32(row[4*sx])
					sums[3*x+1] += uint32(row[4*sx+1])
					sums[3*x+2] += uint32(row[4*sx+2])
				}
			}
		}
		for x := range w {
			n := uint32(bottom-top) * uint32(max((x+1)*p.Width/w, x*p.Width/w+1)-x*p.Width/w)
			for c := range 3 {
				out.Pix[4*(y*w+x)+c] = byte(sums[3*x+c] / n)
			}
		}
	}
	return out
}

func side(n int, factor float64) int {
	return min(n, max(1, int(math.Round(float64(n)*factor))))
}
