package flightsql

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

// send runs the statement once for each row of parameters, and writes all results as one stream. Batches are read as fast as the
// client takes them.
func (s *Server) send(ctx context.Context, st *statement, rows [][]any, out flight.DataStreamWriter) (err error) {
	if rows == nil {
		rows = [][]any{nil}
	}
	var w *flight.Writer
	schema := st.schema
	defer func() {
		if w == nil {
			return
		}
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	for _, row := range rows {
		err := s.sendOne(ctx, st, row, func(have *arrow.Schema, b arrow.RecordBatch) error {
			if w == nil {
				if schema == nil {
					schema = have
				}
				w = flight.NewRecordWriter(out, ipc.WithSchema(schema), ipc.WithAllocator(s.opts.Allocator))
			}
			if b == nil {
				return nil
			}
			fit, err := conform(s.opts.Allocator, schema, b)
			if err != nil {
				return err
			}
			defer fit.Release()
			return w.Write(fit)
		})
		if err != nil {
			return err
		}
	}
	if w == nil { // no row of parameters
		w = flight.NewRecordWriter(out, ipc.WithSchema(orEmpty(schema)), ipc.WithAllocator(s.opts.Allocator))
	}
	return nil
}

// sendOne hands each batch of one run to write, and nil before the first.
func (s *Server) sendOne(ctx context.Context, st *statement, row []any, write func(schema *arrow.Schema, b arrow.RecordBatch) error) error {
	res, err := st.run(ctx, row)
	if err != nil {
		return err
	}
	defer res.Close()
	r := res.Arrow(query.ArrowOptions{Memory: s.opts.Allocator})
	defer r.Release()
	if err := write(r.Schema(), nil); err != nil {
		return err
	}
	for {
		b, err := r.Next()
		if err != nil || b == nil {
			return err
		}
		err = write(r.Schema(), b)
		b.Release()
		if err != nil {
			return err
		}
	}
}

func orEmpty(schema *arrow.Schema) *arrow.Schema {
	if schema == nil {
		return arrow.NewSchema(nil, nil)
	}
	return schema
}

// conform gives b the schema that was announced. They can differ where a parameter alone gives a column its type: NULL has none.
func conform(mem memory.Allocator, schema *arrow.Schema, b arrow.RecordBatch) (arrow.RecordBatch, error) {
	if b.Schema().Equal(schema) {
		b.Retain()
		return b, nil
	}
	if int(b.NumCols()) != schema.NumFields() {
		return nil, fault.New(fault.ResultChanged, "prepare it again", "the result has %d columns, and not %d", b.NumCols(), schema.NumFields())
	}
	cols := make([]arrow.Array, b.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, f := range schema.Fields() {
		c := b.Column(i)
		switch {
		case arrow.TypeEqual(c.DataType(), f.Type):
			c.Retain()
			cols[i] = c
		case c.NullN() == c.Len() || c.DataType().ID() == arrow.NULL:
			cols[i] = array.MakeArrayOfNull(mem, f.Type, c.Len())
		default:
			return nil, fault.New(fault.ResultChanged, "cast the parameters in the statement, as in CAST($1 AS BIGINT), or bind one row at a time",
				"column %s has type %s, and had %s before", f.Name, c.DataType(), f.Type)
		}
	}
	return array.NewRecordBatch(schema, cols, b.NumRows()), nil
}
