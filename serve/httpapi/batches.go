package httpapi

import (
	"bufio"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/columnar"
)

// batches sends a result as Arrow's record batches, or as a Parquet file of them.
type batches struct {
	res    *query.Result
	reader *query.ArrowReader
	format string
	schema *arrow.Schema
	batch  arrow.RecordBatch // of which rows from at are not sent yet; nil at the end
	at     int64
	to     *buffered // of the answer under way
	out    columnar.Writer
	sent   int64
	failed error
}

func newBatches(res *query.Result, format string, batchRows int) *batches {
	b := &batches{res: res, format: format, reader: columnar.NewReader(res, format, batchRows)}
	b.schema = b.reader.Schema()
	return b
}

func (b *batches) contentType() string {
	if b.format == "parquet" {
		return "application/vnd.apache.parquet"
	}
	return "application/vnd.apache.arrow.stream"
}

func (b *batches) first() error { return b.next() }

func (b *batches) next() error {
	b.drop()
	if b.failed == nil {
		b.batch, b.failed = b.reader.Next()
	}
	return b.failed
}

func (b *batches) more() (bool, error) {
	if b.batch != nil && b.at == b.batch.NumRows() {
		if err := b.next(); err != nil {
			return false, err
		}
	}
	return b.batch != nil, b.failed
}

// send writes the schema even when there are no rows. The reader has counted the bytes against the role's limit.
func (b *batches) send(to sink, most int64, bytesMax int) error {
	b.sent, b.to = 0, newBuffered(to)
	if b.out, b.failed = b.begin(); b.failed != nil {
		return b.failed
	}
	for {
		if more, err := b.more(); err != nil || !more {
			return err
		}
		rows := b.batch.NumRows() - b.at
		if most > 0 {
			rows = min(rows, most-b.sent)
		}
		if err := b.write(rows); err != nil {
			if b.to.err != nil {
				return nil //nolint:nilerr // The client is gone: the body keeps that.
			}
			b.failed = fmt.Errorf("write %s: %w", b.format, err)
			return b.failed
		}
		b.at, b.sent = b.at+rows, b.sent+rows
		if most > 0 && b.sent >= most || bytesMax > 0 && b.to.size() >= bytesMax {
			return nil
		}
	}
}

func (b *batches) begin() (columnar.Writer, error) {
	if b.format == "arrow" {
		return columnar.NewArrow(b.schema, b.to), nil
	}
	return columnar.NewParquet(b.schema, "", b.to)
}

func (b *batches) write(rows int64) error {
	part := b.batch.NewSlice(b.at, b.at+rows)
	defer part.Release()
	return b.out.Write(part)
}

func (b *batches) rows() int64 { return b.sent }

func (b *batches) end(_ sink, s summary) error {
	if err := b.out.Close(s.truncated); err != nil && b.to.err == nil {
		return fmt.Errorf("write %s: %w", b.format, err)
	}
	return nil
}

func (b *batches) fail(sink, summary, ErrorDetail) bool { return true }

func (b *batches) close() {
	b.drop()
	b.reader.Release()
}

func (b *batches) drop() {
	if b.batch != nil {
		b.batch.Release()
	}
	b.batch, b.at = nil, 0
}

// buffered gathers small writes, counts, and keeps the sink's error.
type buffered struct {
	*bufio.Writer
	to    sink
	bytes int // given to the sink
	err   error
}

func newBuffered(to sink) *buffered {
	b := &buffered{to: to}
	b.Writer = bufio.NewWriterSize(sinkOf{b}, chunkBytes)
	return b
}

func (b *buffered) size() int { return b.bytes + b.Buffered() }

// Flush sends on what was written.
func (b *buffered) Flush() error {
	if err := b.Writer.Flush(); err != nil {
		return err
	}
	b.err = b.to.Flush()
	return b.err
}

type sinkOf struct{ b *buffered }

func (s sinkOf) Write(p []byte) (int, error) {
	n, err := s.b.to.Write(p)
	s.b.bytes += n
	if err != nil {
		s.b.err = err
	}
	return n, err
}
