package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// bufferBytes is how much of the socket one reader holds: enough for several chunks, small enough for the L2 cache.
const bufferBytes = 1 << 20

// rowBytesMax bounds the buffer's growth: PostgreSQL's own limit of a message is 1 GiB.
const rowBytesMax = 1<<30 + 1<<20

// wire reads one connection's messages in place: a row's bytes are decoded where the socket left them, and long strings
// are pointed at, not copied. It takes the connection over from pgx between two statements and gives it back afterwards.
type wire struct {
	net  net.Conn
	fd   int
	buf  []byte
	r, w int // unread bytes are buf[r:w]
	pin  runtime.Pinner
}

func newWire() *wire {
	w := &wire{}
	w.resize(bufferBytes)
	return w
}

func (w *wire) resize(n int) {
	buf := make([]byte, n+types.Slack)
	m := copy(buf, w.buf[w.r:w.w])
	w.pin.Unpin()
	w.pin.Pin(&buf[0])
	w.buf, w.r, w.w = buf, 0, m
}

func (w *wire) release() { w.pin.Unpin() }

// room is how many bytes the next read may take.
func (w *wire) room() int { return len(w.buf) - types.Slack - w.w }

// fill reads once from the socket behind the unread bytes.
func (w *wire) fill() error {
	n, err := w.read(w.buf[w.w : len(w.buf)-types.Slack])
	w.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (w *wire) read(b []byte) (int, error) {
	if w.fd < 0 {
		return w.net.Read(b)
	}
	for {
		n, err := syscall.Read(w.fd, b)
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if n == 0 && err == nil {
			return 0, io.ErrUnexpectedEOF
		}
		return n, err
	}
}

// attach makes the connection's reads block in the kernel
func (w *wire) attach(c net.Conn) {
	w.net, w.fd, w.r, w.w = c, -1, 0, 0
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	rc.Control(func(fd uintptr) {
		if syscall.SetNonblock(int(fd), false) == nil {
			w.fd = int(fd)
			if os.Getenv("LOWAT") != "" {
				n, _ := strconv.Atoi(os.Getenv("LOWAT"))
				fmt.Println(syscall.SetsockoptInt(w.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<20), syscall.SetsockoptInt(w.fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n),
					syscall.SetsockoptTimeval(w.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 4000}))
			}
		}
	})
}

// makeRoom moves the unread bytes to the front, or grows the buffer for the message that fills it.
func (w *wire) makeRoom() error {
	if w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
		return nil
	}
	if len(w.buf) >= rowBytesMax {
		return fmt.Errorf("a row of more than %d bytes", rowBytesMax)
	}
	w.resize(min(2*len(w.buf), rowBytesMax))
	return nil
}

// next returns the next message's type and body when it is whole in the buffer.
func (w *wire) next() (kind byte, body []byte, ok bool) {
	if w.w-w.r < 5 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint32(w.buf[w.r+1:]))
	if n < 4 || w.w-w.r-1 < n {
		return 0, nil, false
	}
	kind, body = w.buf[w.r], w.buf[w.r+5:w.r+1+n]
	w.r += 1 + n
	return kind, body, true
}

var errProtocol = errors.New("the server's answer is not PostgreSQL's protocol")

// reader reads the rows of one statement: COPY … TO STDOUT (FORMAT binary), or FETCH of a binary cursor until it is empty.
type reader struct {
	ctx     context.Context
	wire    *wire
	conn    *pgx.Conn
	hijack  *pgconn.HijackedConn
	decoder *types.Decoder
	fetch   string // the cursor form: sent again until it returns no row
	fetched int
	first   bool // the COPY header is still to come
	done    bool
	stop    func() bool
	onRows  func(rows, bytes int64)
	close   func(error) error
}

// open sends sql on conn and returns the reader of its rows; conn is the reader's until Close.
func open(ctx context.Context, conn *pgx.Conn, w *wire, sql, fetch string, d *types.Decoder) (*reader, error) {
	h, err := conn.PgConn().Hijack()
	if err != nil {
		return nil, err
	}
	w.attach(h.Conn)
	r := &reader{ctx: ctx, wire: w, conn: conn, hijack: h, decoder: d, fetch: fetch, first: true}
	// A deadline in the past wakes the read of a cancelled context.
	r.stop = context.AfterFunc(ctx, func() { _ = h.Conn.SetDeadline(time.Unix(1, 0)) })
	if fetch != "" {
		sql = fetch
	}
	return r, r.send(sql)
}

func (r *reader) send(sql string) error {
	msg, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err == nil {
		_, err = r.wire.net.Write(msg)
	}
	return err
}

// Read decodes rows in place until the chunk is full, the buffer has to move, or the statement ends.
func (r *reader) Read(c *change.Chunk) (int, error) {
	n, bytes := 0, 0
	for !r.done && n < change.ChunkRows {
		kind, body, ok := r.wire.next()
		if !ok {
			if r.wire.room() < 1<<10 {
				if n > 0 {
					break // strings of this chunk point into the buffer
				}
				if err := r.wire.makeRoom(); err != nil {
					return 0, err
				}
			}
			if err := r.wire.fill(); err != nil {
				if r.ctx.Err() != nil {
					return 0, context.Cause(r.ctx)
				}
				return 0, fmt.Errorf("reading from the server: %w", err)
			}
			continue
		}
		switch kind {
		case 'd':
			if r.first {
				if len(body) < 19 || string(body[:11]) != "PGCOPY\n\xff\r\n\x00" {
					return 0, errProtocol
				}
				ext := int(binary.BigEndian.Uint32(body[15:]))
				if body = body[19:]; ext > len(body) {
					return 0, errProtocol
				}
				body, r.first = body[ext:], false
				if len(body) == 0 {
					continue
				}
			}
			if len(body) == 2 && body[0] == 0xff {
				continue // the trailer
			}
			fallthrough
		case 'D':
			if err := r.decoder.DecodeRow(c, n, body); err != nil {
				return 0, err
			}
			n++
			r.fetched++
			bytes += len(body)
		case 'E':
			return 0, errorResponse(body)
		case 'Z':
			if r.fetch != "" && r.fetched > 0 {
				r.fetched = 0
				if err := r.send(r.fetch); err != nil {
					return 0, err
				}
				continue
			}
			r.done = true
			r.hijack.TxStatus = body[0]
		case 'H', 'T', 'c', 'C', 'N', 'S', 'A':
		default:
			return 0, errProtocol
		}
	}
	if r.onRows != nil {
		r.onRows(int64(n), int64(bytes))
	}
	return n, nil
}

func errorResponse(body []byte) error {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return errProtocol
	}
	return pgconn.ErrorResponseToPgError(&e)
}
