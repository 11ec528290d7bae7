package httpapi

import (
	"bufio"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/util"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
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
	out    batchWriter
	sent   int64
	failed error
}

type batchWriter interface {
	write(b arrow.RecordBatch) error
	close(truncated bool) error
}

func newBatches(res *query.Result, format string, batchRows int) *batches {
	b := &batches{res: res, format: format, reader: res.Arrow(query.ArrowOptions{Rows: batchRows, Parquet: format == "parquet"})}
	b.schema = b.reader.Schema()
	if format == "parquet" {
		b.schema = distinctNames(b.schema)
	}
	return b
}

// distinctNames gives each column a name of its own, as NDJSON does: two of one name are no Parquet file.
func distinctNames(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	for i, name := range uniqueNames(names) {
		fields[i].Name = name
	}
	return arrow.NewSchema(fields, nil)
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

func (b *batches) begin() (batchWriter, error) {
	if b.format == "arrow" {
		return &arrowWriter{to: b.to, w: ipc.NewWriter(b.to, ipc.WithSchema(b.schema))}, nil
	}
	w, err := pqarrow.NewFileWriter(b.schema, b.to, parquetProperties, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fault.New(fault.InvalidSQL, "ask for arrow, or cast what Parquet does not have to VARCHAR", "the columns cannot be written as Parquet: %w", err)
	}
	return &parquetWriter{to: b.to, w: w}, nil
}

func (b *batches) write(rows int64) error {
	part := b.batch.NewSlice(b.at, b.at+rows)
	defer part.Release()
	if part.Schema() == b.schema {
		return b.out.write(part)
	}
	named := array.NewRecordBatch(b.schema, part.Columns(), part.NumRows())
	defer named.Release()
	return b.out.write(named)
}

func (b *batches) rows() int64 { return b.sent }

func (b *batches) end(_ sink, s summary) error {
	if err := b.out.close(s.truncated); err != nil && b.to.err == nil {
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

// arrowWriter writes the IPC stream format.
type arrowWriter struct {
	to *buffered
	w  *ipc.Writer
}

func (a *arrowWriter) write(b arrow.RecordBatch) error {
	if err := a.w.Write(b); err != nil {
		return err
	}
	return a.to.Flush()
}

func (a *arrowWriter) close(bool) error {
	if err := a.w.Close(); err != nil {
		return err
	}
	return a.to.Flush()
}

// A row group is in memory until it is whole.
const (
	rowGroupRows  = 120 << 10
	rowGroupBytes = 32 << 20
)

var parquetProperties = parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1), parquet.WithVersion(parquet.V2_LATEST),
	parquet.WithCreatedBy("pintail"), parquet.WithMaxRowGroupLength(rowGroupRows))

// parquetWriter writes a file as it goes: what says where everything is comes last.
type parquetWriter struct {
	to    *buffered
	w     *pqarrow.FileWriter
	bytes int64 // of the row group
}

func (p *parquetWriter) write(b arrow.RecordBatch) error {
	if p.bytes > rowGroupBytes {
		p.bytes = 0
		if err := p.w.NewBufferedRowGroupChecked(); err != nil {
			return err
		}
	}
	p.bytes += util.TotalRecordSize(b)
	if err := p.w.WriteBuffered(b); err != nil {
		return err
	}
	return p.to.Flush()
}

// truncatedKey is the file's own note that a limit has cut rows off.
const truncatedKey = "pintail.truncated"

func (p *parquetWriter) close(truncated bool) error {
	if truncated {
		if err := p.w.AppendKeyValueMetadata(truncatedKey, "true"); err != nil {
			return err
		}
	}
	if err := p.w.Close(); err != nil {
		return err
	}
	return p.to.Flush()
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
