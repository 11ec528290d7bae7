package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"runtime/debug"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/source"
)

// gathered is a batch in the making.
type gathered struct {
	batch    change.Batch
	memory   arena
	tables   map[uint32]*tableChanges
	order    []uint32
	rows     int
	stamps   []stamp // of the transactions that have changed something
	lost     map[uint32]string
	reshaped change.TableChanges // of the table whose columns change after this batch
}

func newGathered() *gathered {
	return &gathered{tables: map[uint32]*tableChanges{}, lost: map[uint32]string{}}
}

// limits close a part of a transaction: the first one reached.
type limits struct{ bytes, rows int }

// entryBytes is what a row takes beside its values: an entry, its places in the hash table, and the room to grow.
const entryBytes = 160

// partLimits let the batch that is applied and the one that is gathered take half of the memory. The other half is for what
// is being received, and for running transactions.
func partLimits(o *source.StreamOptions) limits {
	l := limits{bytes: int(min(o.Memory/4, math.MaxInt/2)), rows: math.MaxInt}
	if o.Batch.Rows > 0 {
		l.rows = 10 * o.Batch.Rows
	}
	return l
}

// full says whether the batch must not grow any more.
func (g *gathered) full(l limits) bool {
	return g.memory.size+g.rows*entryBytes >= l.bytes || g.rows >= l.rows
}

// logical is one message of pgoutput.
func (s *changeStream) logical(b []byte) error {
	if len(b) == 0 {
		return errProtocol
	}
	if s.block != nil {
		return s.streamed(b[0], b[1:])
	}
	switch b[0] {
	case 'S', 'c', 'A':
		return s.streaming(b[0], b[1:])
	}
	return s.message(b[0], b[1:])
}

// message is one of a transaction that has committed.
func (s *changeStream) message(kind byte, b []byte) error {
	switch kind {
	case 'I', 'U', 'D':
		r, err := parseRow(kind, b)
		if err != nil {
			return err
		}
		return s.row(&r)
	case 'B':
		tx, err := parseBegin(b)
		if err != nil {
			return err
		}
		return s.begin(tx)
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
			return s.relation(f, r)
		}
		return nil
	case 'T':
		t, err := parseTruncate(b)
		if err != nil {
			return err
		}
		for _, oid := range t.relations {
			f, err := s.follows(oid)
			if err != nil {
				return err
			}
			if f == nil {
				continue
			}
			if err := s.truncate(f); err != nil {
				return err
			}
		}
		return nil
	case 'M':
		return s.altered(b)
	case 'Y', 'O':
		return nil
	}
	return fmt.Errorf("%w: message %q of the replication stream", errProtocol, kind)
}

// follows is the table if this transaction's changes of it count.
func (s *changeStream) follows(oid uint32) (*followed, error) {
	f := s.tables[oid]
	if f == nil || s.tx.commit < f.After {
		return nil, nil
	}
	if f.early != nil {
		if err := s.relation(f, f.early); err != nil {
			return nil, err
		}
	}
	if f.lost != "" {
		s.lose(f)
		return nil, nil
	}
	return f, nil
}

// relation takes the form in which a table's changes come from here on. Another one than before ends the batch, so that
// the consumer can bring its rows into that form first.
func (s *changeStream) relation(f *followed, r *relationMessage) error {
	if s.tx.commit < f.After {
		f.early = r // of a time that the copy is ahead of
		return nil
	}
	f.early = nil
	if err := s.alter(f); err != nil {
		return err
	}
	known := f.lost
	f.match(r)
	if f.lost == "" || known != "" || !s.opt.Reshapes || !s.begun {
		return nil
	}
	columns := make([]change.SourceColumn, len(r.columns))
	for i, c := range r.columns {
		columns[i] = change.SourceColumn{Name: c.name, Type: c.oid, Typmod: c.typmod}
	}
	followed, err := s.reshape(f, columns)
	if followed {
		f.match(r)
	}
	return err
}

// reshape ends the batch, and waits until the consumer has brought a table's rows into another form; false is that it has given the
// table up.
func (s *changeStream) reshape(f *followed, columns []change.SourceColumn) (bool, error) {
	s.now.reshaped = change.TableChanges{Table: f.OID, Reshaped: columns}
	if err := s.part(); err != nil {
		return false, err
	}
	select {
	case to := <-s.reshaped:
		if to == nil {
			return false, nil
		}
		f.StreamTable, f.relation, f.columns, f.lost = *to, nil, nil, ""
		return true, nil
	case <-s.ctx.Done():
		return false, context.Cause(s.ctx)
	}
}

// Reshape is source.Stream's.
func (s *changeStream) Reshape(table uint32, to *source.StreamTable) {
	select {
	case s.reshaped <- to:
	case <-s.ctx.Done():
	}
}

// lose tells the consumer, once, that a table cannot be followed from this transaction on.
func (s *changeStream) lose(f *followed) {
	if !f.reported {
		f.reported = true
		s.now.lost[f.OID] = f.lost
	}
}

func (s *changeStream) row(r *rowMessage) error {
	f, err := s.follows(r.relation)
	if f == nil {
		return err
	}
	if f.relation == nil || !s.begun {
		return errProtocol
	}
	s.now.rows++
	if len(r.new) > arenaBytes {
		err = s.large(f, r)
	} else {
		err = s.changes(f).apply(r)
	}
	if why := giveUp(""); errors.As(err, &why) {
		f.lose("%s", why)
		s.lose(f)
		return nil
	}
	if err == nil && s.now.full(s.parts) {
		return s.part()
	}
	return err
}

// large takes a row in that may stay where it lies, if that is most of its message: in the wire's buffer, which the wire gives up then,
// or in memory of the spool's that nothing else is in.
func (s *changeStream) large(f *followed, r *rowMessage) error {
	from, held := len(r.old)+len(r.new), s.wire.holds(r.new)
	if held {
		from = len(s.wire.buf)
	}
	m := &s.now.memory
	if len(r.new) > from/2 {
		m.given = r.new
	}
	err := s.changes(f).apply(r)
	if held && m.given == nil && len(r.new) > from/2 {
		s.wire.renew(max(bufferBytes, s.wire.w-s.wire.r))
	}
	m.given = nil
	return err
}

// truncate empties a table. Where the copy keeps what is gone, the changes of before are a batch of their own.
func (s *changeStream) truncate(f *followed) error {
	t := s.changes(f)
	if f.Keep.Deletes != change.DeletesHard && len(t.entries) > 0 {
		if err := s.part(); err != nil {
			return err
		}
		t = s.changes(f)
	}
	t.clear()
	return nil
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
		t.keys, t.keyless, t.keep = f.keys(), len(f.Key) == 0, f.Keep
		if f.relation != nil {
			t.columns = len(f.relation.columns)
		}
	}
	t.tx = s.now.transaction(&s.tx)
	return t
}

// transaction is the place of tx in stamps.
func (g *gathered) transaction(tx *beginMessage) uint32 {
	if n := len(g.stamps); n == 0 || g.stamps[n-1].lsn != tx.commit {
		g.stamps = append(g.stamps, stamp{tx.commit, tx.at.UnixMicro()})
	}
	return uint32(len(g.stamps) - 1)
}

func (s *changeStream) begin(tx beginMessage) error {
	if s.begun {
		return errProtocol
	}
	if err := s.gate(&tx); err != nil {
		return err
	}
	if tx.at.Before(s.commitAt) {
		tx.at = s.commitAt
	}
	s.tx, s.begun = tx, true
	s.start()
	return nil
}

// start notes when the first transaction of a batch came.
func (s *changeStream) start() {
	if b := &s.now.batch; b.Received.IsZero() {
		b.Received, b.Oldest = time.Now(), s.tx.at
	}
}

func (s *changeStream) commit(c *commitMessage) error {
	if !s.begun || c.commit != s.tx.commit {
		return errProtocol
	}
	if err := s.alterAll(); err != nil {
		return err
	}
	s.begun = false
	s.remember(s.tx.xid)
	s.now.batch.Transactions++
	s.commitAt = s.tx.at
	s.clock.known(c.at)
	s.passed = max(s.passed, c.end)
	s.move(c.end)
	s.tell()
	g := s.now
	if g.memory.size >= s.opt.Batch.Bytes || g.rows >= s.opt.Batch.Rows || g.full(s.parts) {
		return s.handOver()
	}
	return s.offer()
}

// move brings the batch's position up to where everything was received, but not beyond a hold.
func (s *changeStream) move(end change.LSN) {
	if u := s.until(); u != 0 && end >= u {
		end = u
		if s.told < u {
			s.now.batch.Position.LSN = max(u, s.acked)
		}
	}
	if end > s.acked {
		s.now.batch.Position.LSN = max(s.now.batch.Position.LSN, end)
	}
}

// tell has the batch handed over even though its position is the last one's.
func (s *changeStream) tell() {
	s.now.batch.Position.LSN = max(s.now.batch.Position.LSN, s.acked)
}

// urgent says whether someone waits for this very position.
func (s *changeStream) urgent() bool {
	u := s.until()
	return u != 0 && s.passed >= u && s.told < u && s.now.batch.Position.LSN >= u
}

// due is how long the batch may still wait; ok is false when there is nothing to hand over.
func (s *changeStream) due() (wait time.Duration, ok bool) {
	b := &s.now.batch
	if s.begun || b.Position.LSN == 0 {
		return 0, false
	}
	if b.Transactions == 0 || s.urgent() {
		return 0, true
	}
	return max(0, time.Duration(s.batchTime.Load())-time.Since(b.Received)), true
}

// offer hands the batch over if its time has come and it is asked for.
func (s *changeStream) offer() error {
	if wait, ok := s.due(); !ok || wait > 0 {
		return nil
	}
	select {
	case <-s.want:
		return s.hand()
	default:
		return nil
	}
}

// handOver hands the batch over between two transactions, as soon as it is asked for.
func (s *changeStream) handOver() error {
	for {
		select {
		case <-s.want:
			return s.hand()
		case <-s.poked:
			s.notice()
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// part hands over what has come of a transaction that is too large for one batch.
func (s *changeStream) part() error {
	s.now.batch.More = true
	select {
	case <-s.want:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	err := s.hand()
	s.start()
	return err
}

// hand gives the batch to who waits for it, and begins the next one.
func (s *changeStream) hand() error {
	s.finish()
	if b := &s.now.batch; !b.More {
		s.acked, s.told, s.toldAsOf = b.Position.LSN, b.Position.LSN, b.AsOf
	}
	select {
	case s.out <- s.now:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	select {
	case s.now = <-s.free:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// finish describes the batch for its consumer.
func (s *changeStream) finish() {
	g := s.now
	s.tell()
	p := &g.batch.Position
	p.System, p.Timeline, p.CommittedAt = s.server.System, s.server.Timeline, s.commitAt
	g.batch.AsOf = s.clock.asOf
	g.batch.Bytes = int64(g.memory.size)
	g.batch.Tables = g.batch.Tables[:0]
	for _, oid := range g.order {
		if _, lost := g.lost[oid]; lost {
			continue
		}
		g.batch.Tables = append(g.batch.Tables, g.tables[oid].describe(s.tables[oid], g.stamps))
	}
	for oid, why := range g.lost {
		g.batch.Tables = append(g.batch.Tables, change.TableChanges{Table: oid, Lost: why})
	}
	if g.reshaped.Reshaped != nil {
		g.batch.Tables = append(g.batch.Tables, g.reshaped)
	}
}

func (g *gathered) reset() {
	for _, oid := range g.order {
		g.tables[oid].reset()
	}
	clear(g.lost)
	g.reshaped = change.TableChanges{}
	huge := g.memory.reset()
	g.order, g.rows, g.stamps = g.order[:0], 0, g.stamps[:0]
	g.batch = change.Batch{Tables: g.batch.Tables[:0]}
	if huge {
		debug.FreeOSMemory()
	}
}
