package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
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

	received atomic.Uint64 // LSN
	durable  atomic.Uint64
	answer   chan struct{} // the server asks for a status

	want    chan struct{}  // a batch is asked for
	out     chan *gathered // what was asked for
	free    chan *gathered
	last    *gathered     // in the hands of the consumer
	over    chan struct{} // closed when no batch comes any more
	failure error         // why

	// Of the receiving goroutine.
	tables map[uint32]*followed
	now    *gathered
	begun  bool
	tx     beginMessage
	acked  change.LSN // the position that was handed out last
}

var (
	_ source.Stream     = (*changeStream)(nil)
	_ source.Replicator = (*Source)(nil)
)

// gathered is a batch in the making.
type gathered struct {
	batch  change.Batch
	memory arena
	tables map[uint32]*tableChanges
	order  []uint32
	rows   int
	lost   map[uint32]string
}

// pollEvery is how often a batch that is due is offered while the last one is being applied.
const pollEvery = 2 * time.Millisecond

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
	st := &changeStream{src: s, opt: o, tables: map[uint32]*followed{}, acked: o.From,
		answer: make(chan struct{}, 1), want: make(chan struct{}, 1), out: make(chan *gathered, 1), free: make(chan *gathered, 2), over: make(chan struct{})}
	if st.server, err = identify(ctx, c); err != nil {
		hangUp(ctx, c)
		return nil, err
	}
	for _, t := range o.Tables {
		st.tables[t.OID] = &followed{StreamTable: t}
	}
	if st.hijack, st.wire, err = startReplication(ctx, c, o); err != nil {
		return nil, err
	}
	st.ctx, st.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	st.wire.ctx = st.ctx
	st.received.Store(uint64(o.From))
	st.durable.Store(uint64(o.From))
	for range cap(st.free) {
		st.free <- &gathered{tables: map[uint32]*tableChanges{}, lost: map[uint32]string{}}
	}
	st.now = <-st.free
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
	return nil
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
			_, _ = s.hijack.Conn.Write(status(s.Received(), change.LSN(s.durable.Load())))
			_, _ = s.hijack.Conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}) // CopyDone, Terminate
			return
		}
		_ = s.hijack.Conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := s.hijack.Conn.Write(status(s.Received(), change.LSN(s.durable.Load()))); err != nil {
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

// more reads from the socket, and closes the batch when its time has come.
func (s *changeStream) more() error {
	if s.wire.room() < roomMin {
		if err := s.wire.makeRoom(); err != nil {
			return err
		}
	}
	for {
		wait := feedbackEvery
		if due, ok := s.due(); ok {
			wait = max(due, pollEvery)
		}
		if err := s.hijack.Conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if s.ctx.Err() != nil { // its deadline may have come before ours
			return context.Cause(s.ctx)
		}
		err := s.wire.fill()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := s.offer(false); err != nil {
			return err
		}
	}
}

// due is how long the batch may still wait.
func (s *changeStream) due() (time.Duration, bool) {
	if s.now.batch.Transactions == 0 || s.begun {
		return 0, false
	}
	return s.opt.Batch.Time - time.Since(s.now.batch.Received), true
}

// copyData is one message of the streaming replication protocol.
func (s *changeStream) copyData(b []byte) error {
	switch {
	case len(b) >= 25 && b[0] == 'w':
		s.received.Store(max(s.received.Load(), binary.BigEndian.Uint64(b[1:])))
		return s.logical(b[25:])
	case len(b) == 18 && b[0] == 'k':
		end := change.LSN(binary.BigEndian.Uint64(b[1:]))
		s.received.Store(max(s.received.Load(), uint64(end)))
		if b[17] == 1 {
			select {
			case s.answer <- struct{}{}:
			default:
			}
		}
		if !s.begun && s.now.batch.Transactions == 0 && end > s.acked {
			s.now.batch.Position.LSN = end
		}
		return s.offer(false)
	}
	return errProtocol
}

// logical is one message of pgoutput.
func (s *changeStream) logical(b []byte) (err error) {
	if len(b) == 0 {
		return errProtocol
	}
	switch kind, b := b[0], b[1:]; kind {
	case 'I', 'U', 'D':
		r, err := parseRow(kind, b)
		if err != nil {
			return err
		}
		return s.row(&r)
	case 'B':
		if s.begun {
			return errProtocol
		}
		s.tx, err = parseBegin(b)
		s.begun = true
		if s.now.batch.Received.IsZero() {
			s.now.batch.Received = time.Now()
		}
		return err
	case 'C':
		c, err := parseCommit(b)
		if err != nil {
			return err
		}
		return s.commit(&c)
	case 'R':
		r, err := parseRelation(b)
		if err != nil {
			return err
		}
		if f := s.tables[r.oid]; f != nil {
			f.match(r)
		}
		return nil
	case 'T':
		t, err := parseTruncate(b)
		if err != nil {
			return err
		}
		for _, oid := range t.relations {
			if f := s.follows(oid); f != nil {
				s.changes(f).clear()
			}
		}
		return nil
	case 'M':
		_, err := parseLogical(b)
		return err
	case 'Y', 'O':
		return nil
	}
	return fmt.Errorf("%w: message %q of the replication stream", errProtocol, b[0])
}

// follows is the table if this transaction's changes of it count.
func (s *changeStream) follows(oid uint32) *followed {
	f := s.tables[oid]
	if f == nil || s.tx.commit < f.After {
		return nil
	}
	if f.lost != "" {
		s.lose(f)
		return nil
	}
	return f
}

// lose tells the consumer, once, that a table cannot be followed from this transaction on.
func (s *changeStream) lose(f *followed) {
	if !f.reported {
		f.reported = true
		s.now.lost[f.OID] = f.lost
	}
}

func (s *changeStream) row(r *rowMessage) error {
	f := s.follows(r.relation)
	if f == nil {
		return nil
	}
	if f.relation == nil || !s.begun {
		return errProtocol
	}
	s.now.rows++
	err := s.changes(f).apply(r)
	if errors.Is(err, errMoved) {
		f.lose("%s", err)
		s.lose(f)
		return nil
	}
	return err
}

// changes is what the batch holds of a table.
func (s *changeStream) changes(f *followed) *tableChanges {
	t := s.now.tables[f.OID]
	if t == nil {
		t = &tableChanges{memory: &s.now.memory, seed: maphash.MakeSeed()}
		s.now.tables[f.OID] = t
	}
	if len(t.entries) == 0 && !t.truncate && t.inserts+t.updates+t.removals == 0 {
		s.now.order = append(s.now.order, f.OID)
		t.keys = f.keys()
		if f.relation != nil {
			t.columns = len(f.relation.columns)
		}
	}
	return t
}

func (s *changeStream) commit(c *commitMessage) error {
	if !s.begun || c.commit != s.tx.commit {
		return errProtocol
	}
	s.begun = false
	b := &s.now.batch
	b.Transactions++
	b.Position.LSN, b.Position.CommittedAt = c.end, c.at
	return s.offer(s.now.memory.size >= s.opt.Batch.Bytes || s.now.rows >= s.opt.Batch.Rows)
}

// offer hands the batch over if its time has come and it is asked for; with full it waits until it is.
func (s *changeStream) offer(full bool) error {
	b := &s.now.batch
	if s.begun || b.Position.LSN == 0 {
		return nil
	}
	if !full && b.Transactions > 0 && time.Since(b.Received) < s.opt.Batch.Time {
		return nil
	}
	if full {
		select {
		case <-s.want:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	} else {
		select {
		case <-s.want:
		default:
			return nil
		}
	}
	s.finish()
	s.out <- s.now
	s.acked = b.Position.LSN
	select {
	case s.now = <-s.free:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	return nil
}

// finish describes the batch for its consumer.
func (s *changeStream) finish() {
	g := s.now
	g.batch.Position.System, g.batch.Position.Timeline = s.server.System, s.server.Timeline
	g.batch.Bytes = int64(g.memory.size)
	g.batch.Tables = g.batch.Tables[:0]
	for _, oid := range g.order {
		if _, lost := g.lost[oid]; lost {
			continue
		}
		g.batch.Tables = append(g.batch.Tables, g.tables[oid].describe(s.tables[oid]))
	}
	for oid, why := range g.lost {
		g.batch.Tables = append(g.batch.Tables, change.TableChanges{Table: oid, Lost: why})
	}
}

func (g *gathered) reset() {
	for _, oid := range g.order {
		g.tables[oid].reset()
	}
	clear(g.lost)
	g.memory.reset()
	g.order, g.rows = g.order[:0], 0
	g.batch = change.Batch{Tables: g.batch.Tables[:0]}
}
