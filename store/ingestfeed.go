package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

const (
	// partRows is how many rows of a batch a thread takes at once.
	partRows = rowGroupRows
	// batchRowsMax bounds what a batch says it has: a column of NULLs takes no bytes.
	batchRowsMax = 1 << 26
)

// batchFeed gives DuckDB's threads the rows of record batches that are in memory.
type batchFeed struct {
	cols  []putColumn
	parts []part
	next  atomic.Int64
}

// part is some rows of a batch.
type part struct {
	batch    arrow.RecordBatch
	from, to int
}

// newBatchFeed says whether the batches have the columns cols.
func newBatchFeed(cols []putColumn, batches []arrow.RecordBatch) (*batchFeed, error) {
	f := &batchFeed{cols: cols}
	for _, b := range batches {
		switch {
		case int(b.NumCols()) != len(cols):
			return nil, fault.New(fault.Usage, "send batches of one schema", "a batch has %d columns, the first schema has %d", b.NumCols(), len(cols))
		case b.NumRows() > batchRowsMax:
			return nil, fault.New(fault.Usage, "send smaller batches", "a batch has %d rows, the most is %d", b.NumRows(), batchRowsMax)
		}
		for i := range cols {
			if t := b.Column(i).DataType(); !arrow.TypeEqual(t, cols[i].arrow) {
				return nil, fault.New(fault.Usage, "send batches of one schema", "column %q of a batch has type %s, and %s in the schema", cols[i].name, t, cols[i].arrow)
			}
		}
		for at, n := 0, int(b.NumRows()); at < n; at += partRows {
			f.parts = append(f.parts, part{b, at, min(n, at+partRows)})
		}
	}
	return f, nil
}

func (f *batchFeed) columns() ([]string, []resultType) {
	names, types := make([]string, len(f.cols)), make([]resultType, len(f.cols))
	for i := range f.cols {
		names[i], types[i] = f.cols[i].name, f.cols[i].typ.raw()
	}
	return names, types
}

func (f *batchFeed) threads() int { return len(f.parts) }

func (f *batchFeed) reader(ctx context.Context) func(duck.DataChunk) (int, error) {
	var p part
	return func(out duck.DataChunk) (n int, err error) {
		for p.from == p.to {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			i := int(f.next.Add(1)) - 1
			if i >= len(f.parts) {
				return 0, nil
			}
			p = f.parts[i]
		}
		n = min(p.to-p.from, change.ChunkRows)
		column := 0
		defer func() {
			if r := recover(); r != nil {
				n, err = 0, errMalformed
			}
			if err != nil {
				err = fault.New(fault.Usage, "correct the values, or cast the column before it is sent", "column %q, of type %s: %w", f.cols[column].name, f.cols[column].arrow, err)
			}
		}()
		for column = range f.cols {
			n = f.cols[column].typ.fit(p.batch.Column(column), p.from, n)
		}
		for column = range f.cols {
			if err := f.cols[column].typ.fill(duck.DataChunkGetVector(out, duck.IdxT(column)), p.batch.Column(column), span{from: p.from, n: n}); err != nil {
				return 0, err
			}
		}
		p.from += n
		return n, nil
	}
}

// feedBatches has fn run a statement that reads the batches from the feed of that number, and returns how many rows it has read.
func feedBatches(ctx context.Context, cols []putColumn, batches []arrow.RecordBatch, fn func(id int64) error) (int64, error) {
	src, err := newBatchFeed(cols, batches)
	if err != nil {
		return 0, err
	}
	var pinned runtime.Pinner
	defer pinned.Unpin()
	for _, b := range batches {
		for _, c := range b.Columns() {
			pin(&pinned, c.Data())
		}
	}
	return runFeed(ctx, &feed{direct: src}, fn)
}

// runFeed has fn run a statement that reads f by its number, and returns how many rows it has read.
func runFeed(ctx context.Context, f *feed, fn func(id int64) error) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.ctx, f.cancel = ctx, cancel
	// As it cannot be guessed, no reader's statement can take rows out of a put.
	var b [8]byte
	_, _ = rand.Read(b[:])
	id := int64(binary.LittleEndian.Uint64(b[:]) >> 1)
	feeds.Store(id, f)
	defer feeds.Delete(id)
	err := fn(id)
	f.end()
	if own := f.failure(); own != nil && !errors.Is(own, context.Canceled) {
		err = own
	}
	return f.rows.Load(), err
}
