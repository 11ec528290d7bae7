package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// feed hands out a description's partitions.
type feed struct {
	snap     *Snapshot
	desc     *source.Description
	workers  int
	progress *change.Progress

	mu    sync.Mutex
	queue []part
}

func (f *feed) Workers() int { return f.workers }

func (f *feed) pop() (part, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return part{}, false
	}
	p := f.queue[0]
	f.queue = f.queue[1:]
	return p, true
}

func (f *feed) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) == 0
}

// Next begins the next partition on a session of its own.
func (f *feed) Next(ctx context.Context) (change.Reader, error) {
	n := f.snap
	for {
		if f.empty() {
			return nil, io.EOF
		}
		c, err := n.take(ctx, false)
		if err != nil {
			return nil, n.src.failed(ctx, err, "reading %s", what(f.desc))
		}
		p, ok := f.pop()
		if !ok {
			n.put(c)
			return nil, io.EOF
		}
		for {
			r, err := f.begin(ctx, c, p)
			if err == nil {
				return r, nil
			}
			if c != n.coord && sqlstate(err) == "55P03" {
				// A schema change waits for our coordinator's lock, and this worker behind it: the coordinator reads this.
				n.lose(ctx, c, err)
				if c, err = n.take(ctx, true); err == nil {
					continue
				}
				return nil, n.src.failed(ctx, err, "reading %s", what(f.desc))
			}
			n.restore(ctx, c, err)
			return nil, n.src.failed(ctx, err, "reading %s", what(f.desc))
		}
	}
}

// begin starts a partition's statement, as COPY or through a cursor. Where it is not known whether the server lets us COPY,
// the first attempt is one that can be taken back.
func (f *feed) begin(ctx context.Context, c *session, p part) (*reader, error) {
	n := f.snap
	ctx, cancel := context.WithCancelCause(ctx)
	r := &reader{feed: f, session: c, cancel: cancel}
	r.unwatch = context.AfterFunc(n.ctx, func() { cancel(errClosed) }) //nolint:contextcheck // a reader ends with its snapshot too
	d := types.NewDecoder(f.desc.Types())
	d.CheckUTF8 = n.before.ascii
	var err error
	how := n.src.copies.Load()
	if how != copyRefused {
		r.stream, err = c.start(ctx, n.savepoint(c, how == 0), copySQL(p.query), "", d)
		if err == nil && how == 0 {
			n.src.copies.Store(copyWorks)
		}
		if err != nil && how == 0 && refusesCopy(err) {
			if e := c.rollback(ctx); e != nil {
				err = errors.Join(err, e)
			} else {
				refusal := err
				if r.stream, err = f.cursor(ctx, c, p, d); err == nil && n.src.copies.CompareAndSwap(0, copyRefused) {
					n.log.Warn("this source does not let us COPY: it is read through cursors, which is slower", "reason", refusal.Error())
				}
			}
		}
	} else {
		r.stream, err = f.cursor(ctx, c, p, d)
	}
	if err != nil {
		r.unwatch()
		cancel(nil)
		return nil, err
	}
	return r, nil
}

func (f *feed) cursor(ctx context.Context, c *session, p part, d *types.Decoder) (*stream, error) {
	fetch := fmt.Sprintf("FETCH FORWARD %d FROM %s", f.snap.src.cfg.FetchRows, cursorName)
	return c.start(ctx, f.snap.savepoint(c, false), declareSQL(p.query), fetch, d)
}

// savepoint is what goes before a statement that is read from: with the coordinator's transaction the snapshot would end,
// so a statement of it that fails, or is left before its end, is taken back. Of a worker's that is worth it only where the
// statement may be refused for its form.
func (n *Snapshot) savepoint(c *session, doubtful bool) []string {
	if c != n.coord && !doubtful {
		return nil
	}
	if c.savepoint {
		return []string{"RELEASE SAVEPOINT pintail_copy", "SAVEPOINT pintail_copy"}
	}
	c.savepoint = true
	return []string{"SAVEPOINT pintail_copy"}
}

// restore gives a session back whose statement failed: the coordinator's is taken back, a worker is let go.
func (n *Snapshot) restore(ctx context.Context, c *session, err error) {
	if c == n.coord && !c.conn.IsClosed() && n.ctx.Err() == nil {
		back, cancel := lastly(ctx)
		defer cancel()
		if c.rollback(back) == nil && c.conn.TxStatus() == 'T' {
			n.put(c)
			return
		}
	}
	n.lose(ctx, c, err)
}

// rollback takes a statement back.
func (c *session) rollback(ctx context.Context) error {
	back := []statement{stmt("ROLLBACK TO SAVEPOINT pintail_copy")}
	_, err := c.run(ctx, back)
	if sqlstate(err) == "57014" {
		_, err = c.run(ctx, back) // the cancellation came late
	}
	return err
}

// refusesCopy says whether an error may be about COPY itself rather than about what it reads.
func refusesCopy(err error) bool {
	switch sqlstate(err) {
	case "0A000", "42601", "42501", "08P01":
		return true
	}
	return false
}

var errClosed = errors.New("the snapshot was closed")

// reader is the change.Reader of one partition.
type reader struct {
	feed    *feed
	session *session
	stream  *stream
	cancel  context.CancelCauseFunc
	unwatch func() bool
	ended   error
}

func (r *reader) Read(c *change.Chunk) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	n, size, err := r.stream.read(c)
	if err != nil {
		r.ended = r.feed.explain(r.session.wire.ctx, err, r.stream.rows)
		return 0, r.ended
	}
	r.feed.progress.Rows.Add(int64(n))
	r.feed.progress.Bytes.Add(int64(size))
	return n, nil
}

// Close gives the session back for the next partition. A read that has not come to its end loses its connection, but for
// the coordinator's: that one is brought back to where it was, since the snapshot lives in it.
func (r *reader) Close() error {
	if r.session == nil {
		return nil
	}
	c, n, ctx := r.session, r.feed.snap, r.session.wire.ctx
	r.session = nil
	r.unwatch()
	defer r.cancel(nil)
	err := r.ended
	if err == nil {
		if err = r.stream.finish(); err == nil && r.stream.fetch != "" {
			ctx, cancel := lastly(ctx)
			_, err = c.run(ctx, []statement{stmt("CLOSE " + cursorName)})
			cancel()
		}
	}
	if err == nil && c.conn.TxStatus() == 'T' {
		n.put(c)
		return nil
	}
	if c == n.coord && n.ctx.Err() == nil && r.stream.hijack != nil {
		if e := r.stream.recall(ctx); e != nil {
			err = errors.Join(err, e)
		}
	}
	r.stream.abandon(ctx)
	n.restore(ctx, c, err)
	return nil
}

// explain names table and column of a value that cannot be decoded.
func (f *feed) explain(ctx context.Context, err error, before int64) error {
	var bad *types.DecodeError
	if !errors.As(err, &bad) {
		return f.snap.src.failed(ctx, err, "reading %s", what(f.desc))
	}
	col := &f.desc.Columns[bad.Column]
	if !errors.Is(err, change.ErrOutOfRange) {
		return fault.New(fault.Internal, "Report this, with the column's type.", "source %s: reading %s: column %q (%s): %w",
			f.snap.src.cfg.Name, what(f.desc), col.Name, col.PGType, bad.Err)
	}
	p := f.desc.Impl.(*plan)
	ref := p.ref(bad.Column)
	hint := "Set out_of_range: text to keep such values as text in column " + change.TextColumn + ", or types: to read the column as VARCHAR."
	if cond := col.Type.OutOfRangeSQL(ref); cond != "" {
		hint += fmt.Sprintf(" Find them: SELECT %s::text FROM %s WHERE %s", ref, p.from, cond)
	}
	return fault.New(fault.OutOfRange, hint, "source %s: reading %s: column %q (%s), after %d rows of its partition: %w",
		f.snap.src.cfg.Name, what(f.desc), col.Name, col.PGType, before, bad.Err)
}
