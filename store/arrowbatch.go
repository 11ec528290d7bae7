package store

import (
	"reflect"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pintaildb/pintail/internal/fault"
)

// ArrowBatch gathers rows of a result until they are taken as a record batch. One goroutine uses it.
type ArrowBatch struct {
	schema *arrow.Schema
	types  []resultType
	cols   []arrowColumn
	shown  []*resultType // the types of the last chunk's columns
	rows   int
	bytes  int
}

// ArrowBatch makes an empty one of r's columns in memory of mem. It does not need r any more.
func (r *Rows) ArrowBatch(mem memory.Allocator, form ArrowForm) *ArrowBatch {
	b := &ArrowBatch{schema: arrowSchema(r.columns, r.types, form), types: r.types, shown: make([]*resultType, len(r.types))}
	for i := range b.types {
		b.cols = append(b.cols, newArrowColumn(&b.types[i], b.schema.Field(i).Type, mem, form))
	}
	return b
}

// Schema of the batches.
func (b *ArrowBatch) Schema() *arrow.Schema { return b.schema }

// Rows that are gathered.
func (b *ArrowBatch) Rows() int { return b.rows }

// Bytes that they take, within a few for each column.
func (b *ArrowBatch) Bytes() int { return b.bytes }

// Append copies rows from to to of c and says how many: fewer where the batch would have more than bytesMax. An empty batch takes
// at least one. After an error the batch can only be released.
func (b *ArrowBatch) Append(c *ResultChunk, from, to, bytesMax int) (int, error) {
	if err := b.check(c); err != nil {
		return 0, err
	}
	size := b.size(c, from, to)
	for b.bytes+size > bytesMax && to-from > 1 {
		to = from + (to-from)/2
		size = b.size(c, from, to)
	}
	if b.bytes+size > bytesMax && b.rows > 0 {
		return 0, nil
	}
	for i := range b.cols {
		if err := b.cols[i].append(&c.cols[i], from, to); err != nil {
			return 0, fault.Wrap(err, "column %s", b.schema.Field(i).Name)
		}
	}
	b.rows += to - from
	b.bytes += size
	return to - from, nil
}

// check refuses a chunk of other types, which a statement that was executed again could have.
func (b *ArrowBatch) check(c *ResultChunk) error {
	same := len(c.cols) == len(b.cols)
	for i := 0; same && i < len(b.cols); i++ {
		if t := c.cols[i].typ; t != b.shown[i] {
			same = reflect.DeepEqual(*t, b.types[i])
			b.shown[i] = t
		}
	}
	if !same {
		return fault.New(fault.ResultChanged, "run it again", "the statement's columns have changed while it ran")
	}
	return nil
}

func (b *ArrowBatch) size(c *ResultChunk, from, to int) (n int) {
	for i := range b.cols {
		n += b.cols[i].size(&c.cols[i], from, to)
	}
	return n
}

// Take makes a record batch of the rows, the caller's to release, and leaves an empty batch.
func (b *ArrowBatch) Take() arrow.RecordBatch {
	arrays := make([]arrow.Array, len(b.cols))
	for i := range b.cols {
		data := b.cols[i].take()
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	batch := array.NewRecordBatch(b.schema, arrays, int64(b.rows))
	for _, a := range arrays {
		a.Release()
	}
	b.rows, b.bytes = 0, 0
	return batch
}

// Release frees what was not taken. It may be called twice.
func (b *ArrowBatch) Release() {
	for i := range b.cols {
		b.cols[i].release()
	}
	b.rows, b.bytes = 0, 0
}
