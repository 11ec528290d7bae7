// Package columnar writes results as Arrow's IPC stream and as Parquet files, for every door alike.
package columnar

import (
	"io"
	"strconv"

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

// Writer writes record batches. One goroutine uses it.
type Writer interface {
	// Write takes a batch of the reader's schema; it need not stay.
	Write(b arrow.RecordBatch) error
	// Close writes what comes last; truncated is noted in a Parquet file.
	Close(truncated bool) error
}

// Flusher is what a Writer may write to: Flush is called behind each batch, and at the end.
type Flusher interface {
	io.Writer
	Flush() error
}

// Compressions are the names of what Parquet files may be compressed with; "" is zstd.
var Compressions = map[string]compress.Compression{
	"": compress.Codecs.Zstd, "zstd": compress.Codecs.Zstd, "snappy": compress.Codecs.Snappy, "gzip": compress.Codecs.Gzip, "brotli": compress.Codecs.Brotli,
	"lz4_raw": compress.Codecs.Lz4Raw, "uncompressed": compress.Codecs.Uncompressed, "none": compress.Codecs.Uncompressed,
}

// NewArrow begins an IPC stream. The schema goes out with the first batch, or at the end.
func NewArrow(schema *arrow.Schema, to Flusher) Writer {
	return &arrowWriter{to: to, w: ipc.NewWriter(to, ipc.WithSchema(schema))}
}

type arrowWriter struct {
	to Flusher
	w  *ipc.Writer
}

func (a *arrowWriter) Write(b arrow.RecordBatch) error {
	if err := a.w.Write(b); err != nil {
		return err
	}
	return a.to.Flush()
}

func (a *arrowWriter) Close(bool) error {
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

// parquetWriter writes a file as it goes: what says where everything is comes last.
type parquetWriter struct {
	to     Flusher
	schema *arrow.Schema
	w      *pqarrow.FileWriter
	bytes  int64 // of the row group
}

// NewParquet begins a file of a reader's batches (query.ArrowOptions.Parquet), compressed as one of Compressions says. Columns of one name get
// distinct ones. fault.InvalidSQL for columns that Parquet does not have.
func NewParquet(schema *arrow.Schema, compression string, to Flusher) (Writer, error) {
	codec, ok := Compressions[compression]
	if !ok {
		return nil, fault.New(fault.Usage, "zstd, snappy, gzip, brotli, lz4_raw or uncompressed", "there is no compression %q", compression)
	}
	options := []parquet.WriterProperty{parquet.WithCompression(codec), parquet.WithVersion(parquet.V2_LATEST), parquet.WithCreatedBy("pintail"), parquet.WithMaxRowGroupLength(rowGroupRows)}
	if codec == compress.Codecs.Zstd {
		options = append(options, parquet.WithCompressionLevel(1))
	}
	named := distinctNames(schema)
	w, err := pqarrow.NewFileWriter(named, to, parquet.NewWriterProperties(options...), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fault.New(fault.InvalidSQL, "ask for arrow, or cast what Parquet does not have to VARCHAR", "the columns cannot be written as Parquet: %w", err)
	}
	return &parquetWriter{to: to, schema: named, w: w}, nil
}

func (p *parquetWriter) Write(b arrow.RecordBatch) error {
	if p.bytes > rowGroupBytes {
		p.bytes = 0
		if err := p.w.NewBufferedRowGroupChecked(); err != nil {
			return err
		}
	}
	p.bytes += util.TotalRecordSize(b)
	named := array.NewRecordBatch(p.schema, b.Columns(), b.NumRows())
	defer named.Release()
	if err := p.w.WriteBuffered(named); err != nil {
		return err
	}
	return p.to.Flush()
}

// TruncatedKey is a Parquet file's own note that a limit has cut rows off.
const TruncatedKey = "pintail.truncated"

func (p *parquetWriter) Close(truncated bool) error {
	if truncated {
		if err := p.w.AppendKeyValueMetadata(TruncatedKey, "true"); err != nil {
			return err
		}
	}
	if err := p.w.Close(); err != nil {
		return err
	}
	return p.to.Flush()
}

// distinctNames gives each column a name of its own: two of one name are no Parquet file.
func distinctNames(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	for i, name := range UniqueNames(names) {
		fields[i].Name = name
	}
	return arrow.NewSchema(fields, nil)
}

// UniqueNames gives each column a name of its own: one that came before gets _1, _2, … as DuckDB does in a table.
func UniqueNames(columns []string) []string {
	taken, seen := map[string]bool{}, map[string]bool{}
	for _, c := range columns {
		taken[c] = true
	}
	out := make([]string, len(columns))
	for i, c := range columns {
		name := c
		for n := 1; seen[name] || n > 1 && taken[name]; n++ {
			name = c + "_" + strconv.Itoa(n)
		}
		seen[name] = true
		out[i] = name
	}
	return out
}

// NewReader reads a result for a Writer of the format, "arrow" or "parquet"; rows of a batch at most, 0 is the usual.
func NewReader(res *query.Result, format string, rows int) *query.ArrowReader {
	return res.Arrow(query.ArrowOptions{Rows: rows, Parquet: format == "parquet"})
}
