package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/time/rate"

	"github.com/pintaildb/pintail/change/types"
)

const (
	// bufferBytes is how much of the socket one reader holds: enough for several chunks, small enough for the L2 cache.
	bufferBytes = 1 << 20
	// roomMin is the free space below which the buffer counts as full: reads of less are not worth their system call.
	roomMin = 32 << 10
	// messageMax bounds the buffer's growth. PostgreSQL's own limit of a message is 1 GiB.
	messageMax = 1<<30 + 1<<20
)

var errProtocol = errors.New("the server's answer is not PostgreSQL's protocol")

// wire reads one connection's messages in place: a row's bytes are decoded where the socket left them, and long strings
// are pointed at, not copied. It takes the connection over from pgconn between two statements and gives it back afterwards.
type wire struct {
	limit *rate.Limiter // of the source, shared by its connections; nil is none
	ctx   context.Context
	net   net.Conn
	raw   rawSocket
	buf   []byte // unread bytes are buf[r:w]; types.Slack bytes at its end are never filled
	r, w  int
	pin   runtime.Pinner // DuckDB's vectors point into buf
}

func newWire() *wire {
	w := &wire{}
	w.resize(bufferBytes)
	return w
}

// resize gives the wire another buffer with the unread bytes at its front.
func (w *wire) resize(n int) {
	huge := len(w.buf) >= hugeBytes
	w.renew(n)
	if huge {
		debug.FreeOSMemory()
	}
}

// renew is resize where others keep what lies in the buffer of before.
func (w *wire) renew(n int) {
	buf := make([]byte, n+types.Slack)
	m := copy(buf, w.buf[w.r:w.w])
	w.pin.Unpin()
	w.pin.Pin(&buf[0])
	w.buf, w.r, w.w = buf, 0, m
}

// holds says whether b lies in the buffer.
func (w *wire) holds(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))-uintptr(unsafe.Pointer(unsafe.SliceData(w.buf))) < uintptr(len(w.buf))
}

// shrink gives back the memory that a large value took.
func (w *wire) shrink() {
	if len(w.buf) > bufferBytes+types.Slack {
		w.r, w.w = 0, 0
		w.resize(bufferBytes)
	}
}

func (w *wire) release() {
	w.pin.Unpin()
	w.buf = nil
}

// attach takes the connection over; ctx ends its reads.
func (w *wire) attach(ctx context.Context, c net.Conn) {
	w.ctx, w.net, w.r, w.w = ctx, c, 0, 0
	w.raw.attach(c)
}

// detach makes the connection fit for pgconn again.
func (w *wire) detach() error {
	if w.r != w.w {
		return errProtocol // bytes that pgconn would never see
	}
	return w.raw.detach()
}

// room is how many bytes the next fill may take.
func (w *wire) room() int { return len(w.buf) - types.Slack - w.w }

// fill reads once from the socket behind the unread bytes.
func (w *wire) fill() error {
	b := w.buf[w.w : len(w.buf)-types.Slack]
	var n int
	var err error
	if w.raw.on() {
		n, err = w.raw.read(w.ctx, b)
	} else {
		n, err = w.net.Read(b)
	}
	w.w += n
	if n > 0 {
		return w.pay(n)
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

// pay waits until the source's bandwidth allows for what was read. What was read before it does not come faster through the
// network's buffers than those are large.
func (w *wire) pay(n int) error {
	for n > 0 && w.limit != nil {
		some := min(n, w.limit.Burst())
		if err := w.limit.WaitN(w.ctx, some); err != nil {
			return context.Cause(w.ctx)
		}
		n -= some
	}
	return nil
}

// makeRoom moves the unread bytes to the front, or grows the buffer for the message that fills it.
func (w *wire) makeRoom() error {
	if w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
		return nil
	}
	if len(w.buf) >= messageMax {
		return fmt.Errorf("a message of more than %d bytes", messageMax)
	}
	w.resize(min(2*len(w.buf), messageMax))
	return nil
}

// next returns the next message's type and body when it is whole in the buffer. A negative length, or one below its own
// four bytes, never becomes whole: bad says so.
func (w *wire) next() (kind byte, body []byte, ok, bad bool) {
	if w.w-w.r < 5 {
		return 0, nil, false, false
	}
	n := int(int32(binary.BigEndian.Uint32(w.buf[w.r+1:])))
	if n < 4 {
		return 0, nil, false, true
	}
	if w.w-w.r-1 < n {
		return 0, nil, false, false
	}
	kind, body = w.buf[w.r], w.buf[w.r+5:w.r+1+n]
	w.r += 1 + n
	return kind, body, true, false
}

// wait returns the next message, reading as often as it takes. It is for the few messages around the rows.
func (w *wire) wait() (kind byte, body []byte, err error) {
	for {
		kind, body, ok, bad := w.next()
		if ok {
			return kind, body, nil
		}
		if bad {
			return 0, nil, errProtocol
		}
		if w.room() < roomMin {
			if err := w.makeRoom(); err != nil {
				return 0, nil, err
			}
		}
		if err := w.fill(); err != nil {
			return 0, nil, err
		}
	}
}
