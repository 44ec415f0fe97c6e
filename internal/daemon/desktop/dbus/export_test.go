//go:build linux

package dbus

import "encoding/binary"

// ParseHeader parses the header fields of an answer.
func ParseHeader(kind byte, fields []byte) (uint32, *Reply) {
	return parseHeader(binary.LittleEndian, kind, fields)
}

// NewReply returns an answer with a body.
func NewReply(sig string, body []byte) *Reply {
	return &Reply{Signature: sig, body: body, order: binary.LittleEndian}
}

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.b }

// MaxMessage is the limit of an answer.
const MaxMessage = maxMessage
