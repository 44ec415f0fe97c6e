//go:build linux

// Package fusefile serves one small read-only file over the kernel's FUSE protocol (linux/fuse.h, version 7): a file whose
// content is made at the moment it is read. The engine mounts it; this side only answers. A reader that waits costs
// nothing here, and an unread file does nothing at all.
package fusefile

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"
)

// Operations of the protocol that a file has to answer. Every other gets ENOSYS.
const (
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opStatfs      = 17
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opBatchForget = 42
)

const (
	version     = 7
	minor       = 31
	inHeader    = 40
	outHeader   = 16
	directIO    = 1 << 0 // of an open: every read comes here, whatever size the file says it has
	bufferSize  = 16 << 10
	maxContent  = 8 << 10
	mode        = syscall.S_IFREG | 0o444
	attrSeconds = 3600
)

var order = binary.NativeEndian

// Serve answers on dev, an open /dev/fuse, with what content returns, until dev is closed, its read
// deadline passes or the file is unmounted. dev must
// have become an [os.File] after it was mounted: before, the kernel gives nothing to wait for. content must return at most 8 KiB; it is called once for each open.
func Serve(dev *os.File, content func() []byte) error {
	s := server{content: content, open: map[uint64][]byte{}, began: time.Now()}
	buf := make([]byte, bufferSize)
	for {
		n, err := dev.Read(buf)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN): // a request that was taken back
			continue
		case errors.Is(err, syscall.ENODEV), errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded): // unmounted; closed; told to stop
			return nil
		case err != nil:
			return err
		}
		reply := s.answer(buf[:n])
		if reply == nil {
			continue
		}
		if _, err := dev.Write(reply); err != nil && !errors.Is(err, syscall.ENOENT) { // the reader is gone
			return err
		}
	}
}

type server struct {
	content func() []byte
	open    map[uint64][]byte // by file handle: one reader sees one moment
	last    uint64
	began   time.Time
}

// maxOpen bounds the handles that are remembered. A reader over it gets what is true at each of its reads.
const maxOpen = 256

// answer returns the reply to one request; nil: there is none. The requests come from this kernel, but are checked anyway.
func (s *server) answer(req []byte) []byte {
	if len(req) < inHeader {
		return nil
	}
	op, unique, body := order.Uint32(req[4:]), order.Uint64(req[8:]), req[inHeader:]
	switch op {
	case opForget, opBatchForget, opInterrupt:
		return nil
	case opInit:
		return reply(unique, initOut())
	case opGetattr:
		return reply(unique, s.attrOut())
	case opOpen:
		out := make([]byte, 16) // fuse_open_out
		if len(s.open) < maxOpen {
			s.last++
			s.open[s.last] = clip(s.content())
			order.PutUint64(out, s.last)
		}
		order.PutUint32(out[8:], directIO)
		return reply(unique, out)
	case opRead:
		if len(body) < 24 { // fuse_read_in
			return fail(unique, syscall.EINVAL)
		}
		data, ok := s.open[order.Uint64(body)]
		if !ok {
			data = clip(s.content())
		}
		from, size := order.Uint64(body[8:]), uint64(order.Uint32(body[16:]))
		from = min(from, uint64(len(data)))
		return reply(unique, data[from:from+min(size, uint64(len(data))-from)])
	case opRelease:
		if len(body) >= 8 {
			delete(s.open, order.Uint64(body))
		}
		return reply(unique, nil)
	case opFlush:
		return reply(unique, nil)
	case opStatfs:
		return reply(unique, make([]byte, 80)) // fuse_statfs_out: a file system without blocks
	}
	return fail(unique, syscall.ENOSYS)
}

func initOut() []byte {
	out := make([]byte, 64) // fuse_init_out
	order.PutUint32(out, version)
	order.PutUint32(out[4:], minor)
	order.PutUint16(out[16:], 4) // max_background
	order.PutUint16(out[18:], 3) // congestion_threshold
	order.PutUint32(out[20:], 4096)
	order.PutUint32(out[24:], 1) // granularity of times, in ns
	return out
}

func (s *server) attrOut() []byte {
	out := make([]byte, 16+88) // fuse_attr_out with fuse_attr
	order.PutUint64(out, attrSeconds)
	attr := out[16:]
	order.PutUint64(attr, 1) // inode
	for _, at := range []int{24, 32, 40} {
		order.PutUint64(attr[at:], uint64(s.began.Unix()))
	}
	order.PutUint32(attr[60:], mode)
	order.PutUint32(attr[64:], 1) // links
	order.PutUint32(attr[80:], 4096)
	return out
}

func reply(unique uint64, body []byte) []byte {
	out := make([]byte, outHeader+len(body))
	order.PutUint32(out, uint32(len(out)))
	order.PutUint64(out[8:], unique)
	copy(out[outHeader:], body)
	return out
}

func fail(unique uint64, errno syscall.Errno) []byte {
	out := reply(unique, nil)
	order.PutUint32(out[4:], uint32(-int32(errno)))
	return out
}

func clip(b []byte) []byte { return b[:min(len(b), maxContent)] }
