package postgres

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/source"
)

// feedEntries is how many entries one reader stages: enough for a few chunks, few enough that threads share a large batch.
const feedEntries = 16 * change.ChunkRows

// stamp is a transaction of a batch; at is its commit time, in microseconds since 1970.
type stamp struct {
	lsn change.LSN
	at  int64
}

// describe is what the batch, of which these are the transactions, does to the table.
func (t *tableChanges) describe(f *followed, stamps []stamp) change.TableChanges {
	c := change.TableChanges{Table: f.OID, Truncate: t.truncate, Inserts: t.inserts, Updates: t.updates, Removals: t.removals}
	if t.truncate {
		by := stamps[t.cleared]
		c.Truncated = change.Stamp{LSN: by.lsn, At: time.UnixMicro(by.at).UTC()}
	}
	var seen []bool
	for i := range t.entries {
		e := &t.entries[i]
		switch t.opOf(e) {
		case 0:
			continue
		case change.OpUpsert, change.OpBury:
			c.Deletes++
			if e.partial {
				if seen == nil {
					seen = make([]bool, t.columns)
				}
				e.unchanged(seen)
			}
		case change.OpDelete:
			c.Deletes++
		}
		c.Rows++
	}
	if c.Rows == 0 {
		return c
	}
	feed := &changeFeed{changes: t, columns: f.columns, desc: f.Desc, types: f.Desc.Types(), marks: make([]int, t.columns), stamps: stamps}
	for i := range seen {
		feed.marks[i] = -1
		if seen[i] && f.columns[i] >= 0 {
			feed.marks[i] = 1 + len(f.Desc.Columns) + len(c.Unchanged)
			c.Unchanged = append(c.Unchanged, f.columns[i])
		}
	}
	feed.marked = len(c.Unchanged)
	c.Feed = feed
	return c
}

// changeFeed stages a table's entries: the op, the table's columns, a mark for each column of which a value was not sent, then
// what change.Keep and a table without a key ask for.
type changeFeed struct {
	changes *tableChanges
	columns []int // of the stream's columns: the number in the description
	desc    *source.Description
	types   []types.Type
	marks   []int // of the stream's columns: the vector that marks it
	marked  int
	stamps  []stamp
	next    atomic.Int64
}

func (f *changeFeed) Workers() int { return 1 + len(f.changes.entries)/feedEntries }

func (f *changeFeed) Next(context.Context) (change.Reader, error) {
	begin := int(f.next.Add(1)-1) * feedEntries
	entries := f.changes.entries
	if begin >= len(entries) {
		return nil, io.EOF
	}
	return &changeReader{feed: f, entries: entries[begin:min(begin+feedEntries, len(entries))], decoder: types.NewDecoder(f.types), outliers: newOutliers(f.desc)}, nil
}

type changeReader struct {
	feed     *changeFeed
	entries  []entry
	decoder  *types.Decoder
	outliers *outliers // of a table that keeps values out of range as text
}

func (r *changeReader) Close() error { return nil }

// Read is change.Reader's: long strings lie in the batch's memory or the decoder's.
func (r *changeReader) Read(c *change.Chunk) (int, error) {
	r.decoder.Reset()
	if r.outliers != nil {
		r.outliers.kept = r.outliers.kept[:0]
	}
	n := 0
	for n < change.ChunkRows && len(r.entries) > 0 {
		e := &r.entries[0]
		r.entries = r.entries[1:]
		t := r.feed.changes
		op := t.opOf(e)
		if op == 0 {
			continue
		}
		*change.At[change.Op](&c.Vectors[0], n) = op
		var err error
		if op == change.OpDelete || t.keyless {
			err = r.key(c, n, e)
		} else {
			err = r.row(c, n, e.row)
		}
		if err != nil {
			return 0, err
		}
		at := 1 + len(r.feed.types) + r.feed.marked
		if t.keep.Stamped() {
			s := &r.feed.stamps[e.tx]
			*change.At[change.LSN](&c.Vectors[at], n) = s.lsn
			*change.At[int64](&c.Vectors[at+1], n) = s.at
			at += 2
		}
		if t.keyless {
			*change.At[int32](&c.Vectors[at], n) = max(e.count, -e.count)
		}
		n++
	}
	c.Rows = n
	return n, nil
}

func (r *changeReader) row(c *change.Chunk, n int, t tupleData) error {
	at := 2
	var f field
	for i := range r.feed.changes.columns {
		f, at = t.next(at)
		if r.feed.columns[i] < 0 {
			continue
		}
		if err := r.value(c, n, r.feed.columns[i], f); err != nil {
			if err = r.outliers.take(err, r.feed.columns[i], f); err != nil {
				return err
			}
			c.Vectors[1+r.feed.columns[i]].SetNull(n)
		}
		if r.feed.marked > 0 && r.feed.marks[i] > 0 {
			var mark byte
			if f.kind == 'u' {
				mark = 1
			}
			*change.At[byte](&c.Vectors[r.feed.marks[i]], n) = mark
		}
	}
	return r.text(c, n)
}

// text stages change.TextColumn, of a table that has one.
func (r *changeReader) text(c *change.Chunk, n int) error {
	if r.outliers == nil {
		return nil
	}
	b := r.outliers.object()
	if b == nil {
		c.Vectors[1+r.outliers.column].SetNull(n)
		return nil
	}
	c.Vectors[1+r.outliers.column].SetValid(n)
	return r.value(c, n, r.outliers.column, field{kind: 't', b: b})
}

// key stages a row of which only the key counts, which may be all of it.
func (r *changeReader) key(c *change.Chunk, n int, e *entry) error {
	for i := range r.feed.types {
		c.Vectors[1+i].SetNull(n)
	}
	for i := range r.feed.marked {
		*change.At[byte](&c.Vectors[1+len(r.feed.types)+i], n) = 0
	}
	key := e.key
	var f field
	for _, k := range r.feed.changes.keys {
		f, key = nextKey(key)
		if f.kind == 'n' {
			continue
		}
		v := &c.Vectors[1+r.feed.columns[k]]
		v.SetValid(n)
		if err := r.value(c, n, r.feed.columns[k], f); err != nil {
			if !r.feed.changes.keyless {
				return err
			}
			if err = r.outliers.take(err, r.feed.columns[k], f); err != nil {
				return err
			}
			v.SetNull(n)
		}
	}
	if r.feed.changes.keyless {
		return r.text(c, n)
	}
	return nil
}

func (r *changeReader) value(c *change.Chunk, n, column int, f field) error {
	v := &c.Vectors[1+column]
	switch f.kind {
	case 'b':
		return r.decoder.Binary(v, column, n, f.b)
	case 't':
		return r.decoder.Text(v, column, n, f.b)
	}
	v.SetNull(n)
	return nil
}
