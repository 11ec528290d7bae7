package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// changeStream is a change.Stream of pgoutput. A goroutine of its own receives and gathers the next batch while the last
// one is applied, another one tells the server how far it came.
type changeStream struct {
	src    *Source
	opt    source.StreamOptions
	server source.Server
	ctx    context.Context
	cancel context.CancelCauseFunc
	hijack *pgconn.HijackedConn
	wire   *wire
	ended  sync.WaitGroup

	received  atomic.Uint64 // LSN
	durable   atomic.Uint64
	batchTime atomic.Int64  // time.Duration
	answer    chan struct{} // a status is to be sent now
	asked     atomic.Bool   // a status that wants a keepalive is on its way

	want     chan struct{}  // a batch is asked for
	out      chan *gathered // what was asked for
	free     chan *gathered
	last     *gathered                // in the hands of the consumer
	reshaped chan *source.StreamTable // the answer to a batch that says so
	over     chan struct{}            // closed when no batch comes any more
	failure  error                    // why

	control // what other goroutines ask of the receiving one

	// Of the receiving goroutine.
	tables   map[uint32]*followed
	alters   []*followed // by the transaction that is being received
	now      *gathered
	begun    bool
	tx       beginMessage
	parts    limits     // of a transaction that is handed over in parts
	acked    change.LSN // the position that was handed out last
	passed   change.LSN // all transactions whose commit record lies before were received
	told     change.LSN // likewise, by this stream
	toldAsOf time.Time
	commitAt time.Time // of the last transaction; it does not go back, as commit times in the log may
	clock    clock
	spool    *spool
	block    *spooled // the transaction whose running changes are being sent
}

var (
	_ source.Stream     = (*changeStream)(nil)
	_ source.Replicator = (*Source)(nil)
)

const (
	// memoryDefault is StreamOptions.Memory's.
	memoryDefault = 512 << 20
	// eagerEvery is how often a keepalive is asked for where one is waited for.
	eagerEvery = 5 * time.Millisecond
)

// Stream is source.Replicator's.
func (s *Source) Stream(ctx context.Context, o source.StreamOptions) (source.Stream, error) {
	st, err := s.stream(ctx, o)
	if err != nil {
		return nil, s.failed(ctx, err, "following replication slot %s", o.Slot)
	}
	return st, nil
}

func (s *Source) stream(ctx context.Context, o source.StreamOptions) (*changeStream, error) {
	c, err := s.dialReplication(ctx)
	if err != nil {
		return nil, err
	}
	server, err := identify(ctx, c)
	if err != nil {
		hangUp(ctx, c)
		return nil, err
	}
	return s.follow(ctx, c, server, o)
}

// Stream is source.Slot's.
func (l *slot) Stream(ctx context.Context, o source.StreamOptions) (source.Stream, error) {
	c := l.conn
	l.conn = nil
	if c == nil {
		return nil, fault.New(fault.Internal, "", "following replication slot %s: its session is in use or closed", o.Slot)
	}
	st, err := l.src.follow(ctx, c, l.server, o)
	if err != nil {
		return nil, l.src.failed(ctx, err, "following replication slot %s", o.Slot)
	}
	return st, nil
}

// follow begins the stream on a walsender's connection, which ends with it.
func (s *Source) follow(ctx context.Context, c *pgconn.PgConn, server source.Server, o source.StreamOptions) (*changeStream, error) {
	if o.Memory <= 0 {
		o.Memory = memoryDefault
	}
	st := &changeStream{src: s, opt: o, server: server, tables: map[uint32]*followed{}, acked: o.From, passed: o.From, parts: partLimits(&o),
		answer: make(chan struct{}, 1), want: make(chan struct{}, 1), out: make(chan *gathered, 1), free: make(chan *gathered, 2), reshaped: make(chan *source.StreamTable), over: make(chan struct{})}
	st.control.init(o.Until)
	st.SetBatchTime(o.Batch.Time)
	st.commitAt = o.FromAt
	for _, t := range o.Tables {
		st.tables[t.OID] = &followed{StreamTable: t}
	}
	if o.Spool != "" && major(c.ParameterStatus("server_version")) >= 14 {
		var err error
		if st.spool, err = openSpool(o.Spool, o.Memory); err != nil {
			hangUp(ctx, c)
			return nil, err
		}
	}
	var err error
	if st.hijack, st.wire, err = startReplication(ctx, c, o, st.spool != nil); err != nil {
		return nil, err
	}
	st.ctx, st.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	st.wire.ctx = st.ctx
	st.wire.limit = s.limit
	st.received.Store(uint64(o.From))
	st.durable.Store(uint64(o.From))
	for range cap(st.free) {
		st.free <- newGathered()
	}
	st.now = <-st.free
	st.ask()
	st.ended.Add(2)
	go st.receive() //nolint:contextcheck // likewise
	go st.feedback()
	return st, nil
}

// Server is source.Stream's.
func (s *changeStream) Server() source.Server { return s.server }

// Received is source.Stream's.
func (s *changeStream) Received() change.LSN { return change.LSN(s.received.Load()) }

// Ack is change.Stream's.
func (s *changeStream) Ack(lsn change.LSN) {
	for {
		old := s.durable.Load()
		if uint64(lsn) <= old || s.durable.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// SetBatchTime is source.Stream's.
func (s *changeStream) SetBatchTime(d time.Duration) {
	s.batchTime.Store(int64(d))
	s.poke()
}

// SpoolBytes is how much of unfinished transactions is kept, in memory and on disk.
func (s *changeStream) SpoolBytes() int64 {
	if s.spool == nil {
		return 0
	}
	return s.spool.bytes.Load()
}

// Next is change.Stream's. What the last batch held is overwritten.
func (s *changeStream) Next(ctx context.Context) (*change.Batch, error) {
	if s.last != nil {
		s.last.reset()
		s.free <- s.last
		s.last = nil
	}
	select {
	case s.want <- struct{}{}:
	default: // by a call that was cancelled
	}
	s.poke()
	select {
	case s.last = <-s.out:
		return &s.last.batch, nil
	case <-s.over:
		return nil, s.failure
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var errStreamClosed = errors.New("the stream was closed")

// Close ends the connection. What was acknowledged last is told to the server before.
func (s *changeStream) Close() error {
	s.cancel(errStreamClosed)
	s.ended.Wait()
	// The slot is free when the walsender has ended, and with it the connection.
	_ = s.hijack.Conn.SetReadDeadline(time.Now().Add(goodbye))
	_, _ = io.Copy(io.Discard, s.hijack.Conn)
	_ = s.hijack.Conn.Close()
	s.wire.release()
	if s.spool != nil {
		return s.spool.close()
	}
	return nil
}

// ask has the server told now how far the stream came, and asked for a keepalive.
func (s *changeStream) ask() {
	select {
	case s.answer <- struct{}{}:
	default:
	}
}

// poke wakes the receiving goroutine.
func (s *changeStream) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
	if s.hijack != nil {
		_ = s.hijack.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// feedback tells the server once a second how far the stream is durable, and when it asks.
func (s *changeStream) feedback() {
	defer s.ended.Done()
	tick := time.NewTicker(feedbackEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.answer:
		case <-s.ctx.Done():
			_ = s.hijack.Conn.SetWriteDeadline(time.Now().Add(goodbye))
			_, _ = s.hijack.Conn.Write(status(s.Received(), change.LSN(s.durable.Load()), false))
			_, _ = s.hijack.Conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}) // CopyDone, Terminate
			return
		}
		_ = s.hijack.Conn.SetWriteDeadline(time.Now().Add(time.Minute))
		// One keepalive is asked for at a time: see clock.
		if _, err := s.hijack.Conn.Write(status(s.Received(), change.LSN(s.durable.Load()), s.asked.CompareAndSwap(false, true))); err != nil {
			s.cancel(fmt.Errorf("telling the server how far the stream came: %w", err))
			return
		}
	}
}

// receive gathers batches until the stream ends.
func (s *changeStream) receive() {
	defer s.ended.Done()
	stop := context.AfterFunc(s.ctx, func() { _ = s.hijack.Conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := s.loop()
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	s.cancel(err)
	if sqlstate(err) == "42704" {
		// The log that is still to be read is of a time when the publication was not there (before PostgreSQL 18).
		err = fault.New(fault.SlotLost, "", "publication %s was dropped and made again: changes in between are not sent: %w", s.opt.Publication, err)
	}
	s.failure = s.src.failed(context.WithoutCancel(s.ctx), err, "following replication slot %s", s.opt.Slot)
	close(s.over)
}

func (s *changeStream) loop() error {
	for {
		kind, body, ok, bad := s.wire.next()
		if bad {
			return errProtocol
		}
		if !ok {
			if err := s.more(); err != nil {
				return err
			}
			continue
		}
		switch kind {
		case 'd':
			if err := s.copyData(body); err != nil {
				return err
			}
		case 'E':
			return serverSays(body)
		case 'N', 'S', 'A':
		case 'c', 'C', 'Z':
			return fault.New(fault.SourceUnavailable, "", "the server has ended the stream")
		default:
			return errProtocol
		}
	}
}

// more reads from the socket. Before, and whenever another goroutine asks, it does what is due between two transactions.
func (s *changeStream) more() error {
	if err := s.fit(); err != nil {
		return err
	}
	for {
		if err := s.between(); err != nil {
			return err
		}
		wait := feedbackEvery
		if due, ok := s.due(); ok && due > 0 {
			wait = min(wait, due)
		}
		if s.eager {
			wait = min(wait, eagerEvery)
		}
		if err := s.hijack.Conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		select {
		case <-s.poked: // its deadline may have come before ours
			continue
		default:
		}
		if s.ctx.Err() != nil { // likewise
			return context.Cause(s.ctx)
		}
		err := s.wire.fill()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if s.eager {
			s.ask()
		}
	}
}

// fit makes room for what the socket has next: for a message larger than the buffer just as much as it takes, and a usual
// buffer again once it has passed.
func (s *changeStream) fit() error {
	w := s.wire
	unread := w.w - w.r
	if unread >= 5 {
		if n := 1 + int(binary.BigEndian.Uint32(w.buf[w.r+1:])); n > bufferBytes && n <= messageMax {
			if w.r+n > len(w.buf)-types.Slack {
				w.resize(n + roomMin)
			}
			return nil
		}
	}
	if len(w.buf) > bufferBytes+types.Slack && unread <= bufferBytes-roomMin {
		w.resize(bufferBytes)
	}
	if w.room() < roomMin {
		return w.makeRoom()
	}
	return nil
}

// copyData is one message of the streaming replication protocol.
func (s *changeStream) copyData(b []byte) error {
	switch {
	case len(b) >= 25 && b[0] == 'w':
		s.received.Store(max(s.received.Load(), binary.BigEndian.Uint64(b[1:])))
		s.clock.data()
		return s.logical(b[25:])
	case len(b) == 18 && b[0] == 'k':
		m := cutter{b: b[1:]}
		s.keepalive(m.lsn(), m.time())
		if b[17] == 1 {
			s.ask()
		}
		return s.between()
	}
	return errProtocol
}

// keepalive says that all transactions whose commit record lies before end were sent. That holds while a transaction of
// which parts were sent already still runs, so the slot may be confirmed up to end: its commit record comes later, and the
// server sends a transaction whole as long as its commit record lies behind what was confirmed. The log that this needs
// it keeps by itself: restart_lsn is never behind the begin of a running transaction.
func (s *changeStream) keepalive(end change.LSN, at time.Time) {
	s.asked.Store(false)
	s.received.Store(max(s.received.Load(), uint64(end)))
	if s.clock.keepalive(end, at) {
		s.ask()
	}
	if s.begun {
		return
	}
	s.passed = max(s.passed, end)
	s.move(end)
	if s.clock.asOf.Sub(s.toldAsOf) >= feedbackEvery {
		s.tell()
	}
}

// clock is until when the source's transactions are known.
type clock struct {
	asOf  time.Time
	quiet bool // nothing came since the last keepalive
	end   change.LSN
	at    time.Time
	again bool // the next keepalive is the second of a pair
}

// A keepalive alone does not say whether the log goes on behind it. A second one, asked for once the first had come, does:
// between the two the server has looked for more to send. With the same end, that was all at the time of the first.
func (c *clock) keepalive(end change.LSN, at time.Time) (ask bool) {
	if c.quiet && c.end == end {
		c.known(c.at)
	}
	c.quiet, c.end, c.at, c.again = true, end, at, !c.again
	return c.again
}

func (c *clock) data() { c.quiet = false }

// known says that all transactions that had committed at a moment were received.
func (c *clock) known(at time.Time) {
	if at.After(c.asOf) {
		c.asOf = at
	}
}
