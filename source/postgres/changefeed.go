package postgres

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// feedEntries is how many entries one reader stages: enough for a few chunks, few enough that threads share a large batch.
const feedEntries = 16 * change.ChunkRows

// describe is what the batch does to the table.
func (t *tableChanges) describe(f *followed) change.TableChanges {
	c := change.TableChanges{Table: f.OID, Truncate: t.truncate, Inserts: t.inserts, Updates: t.updates, Removals: t.removals}
	var seen []bool
	for i := range t.entries {
		e := &t.entries[i]
		switch e.op() {
		case 0:
			continue
		case change.OpUpsert:
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
	feed := &changeFeed{changes: t, table: f, types: f.Desc.Types(), marks: make([]int, t.columns)}
	for i := range seen {
		feed.marks[i] = -1
		if seen[i] {
			feed.marks[i] = 1 + len(f.Desc.Columns) + len(c.Unchanged)
			c.Unchanged = append(c.Unchanged, f.columns[i])
		}
	}
	feed.marked = len(c.Unchanged)
	c.Feed = feed
	return c
}

// changeFeed stages a table's entries: the op, the table's columns, then a mark for each column of which a value was not sent.
type changeFeed struct {
	changes *tableChanges
	table   *followed
	types   []types.Type
	marks   []int // of the stream's columns: the vector that marks it
	marked  int
	next    atomic.Int64
}

func (f *changeFeed) Workers() int { return 1 + len(f.changes.entries)/feedEntries }

func (f *changeFeed) Next(context.Context) (change.Reader, error) {
	begin := int(f.next.Add(1)-1) * feedEntries
	entries := f.changes.entries
	if begin >= len(entries) {
		return nil, io.EOF
	}
	return &changeReader{feed: f, entries: entries[begin:min(begin+feedEntries, len(entries))], decoder: types.NewDecoder(f.types)}, nil
}

type changeReader struct {
	feed    *changeFeed
	entries []entry
	decoder *types.Decoder
}

func (r *changeReader) Close() error { return nil }

// Read is change.Reader's: long strings lie in the batch's memory or the decoder's.
func (r *changeReader) Read(c *change.Chunk) (int, error) {
	r.decoder.Reset()
	n := 0
	for n < change.ChunkRows && len(r.entries) > 0 {
		e := &r.entries[0]
		r.entries = r.entries[1:]
		op := e.op()
		if op == 0 {
			continue
		}
		*change.At[change.Op](&c.Vectors[0], n) = op
		var err error
		if op == change.OpDelete {
			err = r.key(c, n, e)
		} else {
			err = r.row(c, n, e.row)
		}
		if err != nil {
			return 0, err
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
		if err := r.value(c, n, r.feed.table.columns[i], f); err != nil {
			return err
		}
		if r.feed.marked > 0 && r.feed.marks[i] > 0 {
			var mark byte
			if f.kind == 'u' {
				mark = 1
			}
			*change.At[byte](&c.Vectors[r.feed.marks[i]], n) = mark
		}
	}
	return nil
}

// key stages a row of which only the key counts.
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
		v := &c.Vectors[1+r.feed.table.columns[k]]
		v.SetValid(n)
		if err := r.value(c, n, r.feed.table.columns[k], f); err != nil {
			return err
		}
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
