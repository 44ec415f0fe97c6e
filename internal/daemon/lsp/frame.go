//go:build linux

package lsp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of one message of a language server.
const (
	maxMessage = 16 << 20 // bytes of its content
	maxHeader  = 4 << 10  // bytes of its header
)

var errFrame = errors.New("malformed message")

// readFrame returns the content of the next message. io.EOF: there is none. After another error the stream is of no use.
// Memory grows with what arrives, not with what the header promises.
func readFrame(r *bufio.Reader) ([]byte, error) {
	size, seen := int64(-1), 0
	for {
		line, err := r.ReadSlice('\n')
		seen += len(line)
		if errors.Is(err, io.EOF) && seen == 0 {
			return nil, io.EOF
		}
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		if errors.Is(err, bufio.ErrBufferFull) || seen > maxHeader {
			return nil, fmt.Errorf("%w: its header is over %d bytes", errFrame, maxHeader)
		}
		if err != nil {
			return nil, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%w: header line %q", errFrame, clip(text))
		}
		if !strings.EqualFold(strings.TrimSpace(name), "Content-Length") {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		if err != nil || size >= 0 && size != int64(n) {
			return nil, fmt.Errorf("%w: header line %q", errFrame, clip(text))
		}
		size = int64(n)
	}
	if size < 0 {
		return nil, fmt.Errorf("%w: it has no Content-Length", errFrame)
	}
	if size > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", errFrame, size, maxMessage)
	}
	var body bytes.Buffer
	if n, err := io.CopyN(&body, r, size); err != nil {
		if n < size && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body.Bytes(), nil
}

// frame puts the header before content.
func frame(content []byte) []byte {
	out := make([]byte, 0, len(content)+32)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(content)), 10)
	out = append(out, "\r\n\r\n"...)
	return append(out, content...)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
