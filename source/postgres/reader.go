package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// stream is the rows of one statement on one connection: COPY … TO STDOUT (FORMAT binary), or FETCH of a binary cursor
// until it is empty. From start to finish the connection is the stream's.
type stream struct {
	session *session
	hijack  *pgconn.HijackedConn
	stop    func() bool   // ends the watch over the context
	woken   chan struct{} // closed when that watch has struck
	decoder *types.Decoder
	fetch   string // the cursor form: sent again until it returns no row
	fetched int
	first   bool // the COPY header is still to come
	failed  bool // the server has said why
	done    bool // the server is ready for the next statement
	rows    int64
}

const cursorName = "pintail_cursor"

// copySQL is a variable for tests of servers without COPY.
var copySQL = func(query string) string { return "COPY (" + query + "\n) TO STDOUT (FORMAT binary)" }

func declareSQL(query string) string {
	return "DECLARE " + cursorName + " BINARY NO SCROLL CURSOR FOR " + query
}

// start sends sql and waits for the first sign of rows; before it come the statements of before, whose results do not
// matter. With fetch, sql declares the cursor that fetch reads from. When the server refuses the statement the session stays
// usable, in a transaction that has failed; after any other error it is closed.
func (c *session) start(ctx context.Context, before []string, sql, fetch string, d *types.Decoder) (*stream, error) {
	// After a slow write a goroutine of pgconn may still be reading, and would take the first bytes of our rows.
	if err := c.conn.SyncConn(ctx); err != nil {
		return nil, err
	}
	h, err := c.conn.Hijack()
	if err != nil {
		return nil, err
	}
	c.wire.attach(ctx, h.Conn)
	s := &stream{session: c, hijack: h, decoder: d, fetch: fetch, first: true, woken: make(chan struct{})}
	// Reads through Go are woken by a deadline in the past; the others look at the context by themselves.
	s.stop = context.AfterFunc(ctx, func() {
		_ = h.Conn.SetDeadline(time.Unix(1, 0))
		close(s.woken)
	})
	if fetch != "" {
		sql += "; " + fetch
	}
	c.src.begun(c)
	err = s.send(append(before, sql)...)
	if err == nil {
		err = s.begin(len(before))
	}
	if err != nil {
		s.abandon(ctx)
		return nil, err
	}
	return s, nil
}

// send writes a message for each statement.
func (s *stream) send(sqls ...string) error {
	var msg []byte
	var err error
	for _, sql := range sqls {
		if msg, err = (&pgproto3.Query{String: sql}).Encode(msg); err != nil {
			return err
		}
	}
	_, err = s.hijack.Conn.Write(msg)
	return err
}

// begin reads up to the message that announces rows, beyond the ends of that many statements before. A refusal is read to
// its end, so that the session can go on.
func (s *stream) begin(before int) error {
	var refused error
	for {
		kind, body, err := s.session.wire.wait()
		if err != nil {
			return err
		}
		switch kind {
		case 'H', 'T':
			return nil
		case 'E':
			refused = serverSays(body)
		case 'Z':
			if before > 0 {
				before--
				continue
			}
			if refused == nil || len(body) != 1 {
				return errProtocol
			}
			s.ready(body[0])
			if err := s.finish(); err != nil {
				return err
			}
			return refused
		case 'C', 'N', 'S', 'A':
		default:
			return errProtocol
		}
	}
}

// read decodes rows in place until the chunk is full, the buffer has to move, or the statement ends, and returns their
// number and bytes.
func (s *stream) read(c *change.Chunk) (n, size int, err error) {
	w := s.session.wire
	if w.ctx.Err() != nil {
		return 0, 0, context.Cause(w.ctx)
	}
	for !s.done && n < change.ChunkRows {
		kind, body, ok, bad := w.next()
		if !ok {
			if bad {
				return 0, 0, errProtocol
			}
			if w.room() < roomMin {
				if n > 0 {
					break // strings of this chunk point into the buffer
				}
				if err := w.makeRoom(); err != nil {
					return 0, 0, err
				}
			}
			if err := w.fill(); err != nil {
				return 0, 0, err
			}
			continue
		}
		switch kind {
		case 'd':
			if s.first {
				if body, err = copyHeader(body); err != nil {
					return 0, 0, err
				}
				s.first = false
				if len(body) == 0 {
					continue
				}
			}
			if len(body) == 2 && body[0] == 0xff {
				continue // the trailer
			}
			fallthrough
		case 'D':
			if err := s.decoder.DecodeRow(c, n, body); err != nil {
				return 0, 0, err
			}
			n++
			s.fetched++
			size += len(body)
		case 'E':
			s.failed = true
			return 0, 0, serverSays(body)
		case 'Z':
			if len(body) != 1 {
				return 0, 0, errProtocol
			}
			if s.fetch != "" && s.fetched > 0 {
				s.fetched = 0
				if err := s.send(s.fetch); err != nil {
					return 0, 0, err
				}
				continue
			}
			s.ready(body[0])
		case 'H', 'T', 'c', 'C', 'N', 'S', 'A':
		default:
			return 0, 0, errProtocol
		}
	}
	c.Rows = n
	s.rows += int64(n)
	return n, size, nil
}

// ready notes that the statement has ended, and how its transaction stands.
func (s *stream) ready(status byte) {
	s.done, s.hijack.TxStatus = true, status
	s.session.src.ready(s.session, status == 'I')
}

var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

// copyHeader cuts COPY BINARY's header: signature, flags, and an extension with its length.
func copyHeader(b []byte) ([]byte, error) {
	if len(b) < 19 || !bytes.HasPrefix(b, copySignature) {
		return nil, errProtocol
	}
	ext := binary.BigEndian.Uint32(b[15:])
	if b = b[19:]; uint64(ext) > uint64(len(b)) {
		return nil, errProtocol
	}
	return b[ext:], nil
}

// unwatch ends the watch over the context, for good, and takes back what it did.
func (s *stream) unwatch() {
	if s.stop != nil && !s.stop() {
		<-s.woken
		_ = s.hijack.Conn.SetDeadline(time.Time{})
	}
	s.stop = nil
}

// finish gives the connection of a statement that has ended back to pgconn.
func (s *stream) finish() error {
	if !s.done {
		return errors.New("the statement has not ended")
	}
	s.unwatch()
	if err := s.session.wire.detach(); err != nil {
		return err
	}
	conn, err := pgconn.Construct(s.hijack)
	if err != nil {
		return err
	}
	s.session.conn = conn
	s.hijack = nil
	return nil
}

// recall ends a statement before its end: it is cancelled and read up to where the server is ready for the next one.
func (s *stream) recall(ctx context.Context) error {
	ctx, cancel := lastly(ctx)
	defer cancel()
	s.unwatch()
	w := s.session.wire
	w.ctx = ctx
	stop := context.AfterFunc(ctx, func() { _ = s.hijack.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if !s.done && !s.failed {
		conn, err := pgconn.Construct(s.hijack)
		if err != nil {
			return err
		}
		// It returns when the server has passed the request on, so that it cannot hit a later statement.
		if err := conn.CancelRequest(ctx); err != nil {
			return err
		}
	}
	for !s.done {
		kind, body, err := w.wait()
		if err != nil {
			return err
		}
		if kind == 'Z' && len(body) == 1 {
			s.ready(body[0])
		}
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return s.finish()
}

// abandon ends the connection of a statement that has not ended well, and tells the server to stop working on it.
func (s *stream) abandon(ctx context.Context) {
	if s.hijack == nil {
		return // finish was first
	}
	defer s.session.src.ready(s.session, true)
	s.unwatch()
	_ = s.session.wire.raw.detach()
	conn, err := pgconn.Construct(s.hijack)
	if err != nil {
		_ = s.hijack.Conn.Close()
		return
	}
	s.hijack, s.session.conn = nil, conn
	ctx, cancel := lastly(ctx)
	defer cancel()
	if !s.done {
		_ = conn.CancelRequest(ctx)
	}
	_ = conn.Close(ctx)
}

func serverSays(body []byte) error {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return fmt.Errorf("%w: an error that cannot be read", errProtocol)
	}
	return pgconn.ErrorResponseToPgError(&e)
}
