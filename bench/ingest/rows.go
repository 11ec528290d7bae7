package main

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var schema = arrow.NewSchema([]arrow.Field{{Name: "batch_id", Type: arrow.PrimitiveTypes.Int64}, {Name: "timestamp", Type: arrow.BinaryTypes.String},
	{Name: "value", Type: arrow.PrimitiveTypes.Float64}, {Name: "category", Type: arrow.BinaryTypes.String}}, nil)

// rows are some of one writer, from a number on: value is a row's number, and all else of a row follows from it.
type rows struct {
	batch arrow.RecordBatch
	sums
}

// sums are what rows of one writer add up to. All of them are whole numbers that a double holds.
type sums struct {
	writer  int64
	rows    int64
	numbers int64 // sum of value
	mixed   int64 // sum of value % 1009, for each multiplied by what its category stands for
}

func (s sums) plus(o sums, times int) sums {
	n := int64(times)
	return sums{o.writer, s.rows + n*o.rows, s.numbers + n*o.numbers, s.mixed + n*o.mixed}
}

const categories = "ABCD"

func newRows(writer, from, n int) rows {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	s := sums{writer: int64(writer), rows: int64(n)}
	id, at, value, category := b.Field(0).(*array.Int64Builder), b.Field(1).(*array.StringBuilder), b.Field(2).(*array.Float64Builder), b.Field(3).(*array.StringBuilder)
	for i := from; i < from+n; i++ {
		id.Append(int64(writer))
		at.Append(timestamp(i))
		value.Append(float64(i))
		category.Append(categories[i%4 : i%4+1])
		s.numbers += int64(i)
		s.mixed += int64(i % 1009 * (i%4 + 1))
	}
	return rows{b.NewRecordBatch(), s}
}

func timestamp(i int) string {
	return fmt.Sprintf("2026-02-13T10:%02d:%02d.%06d", i/60%60, i%60, i%1_000_000)
}

func release(all []rows) {
	for _, r := range all {
		r.batch.Release()
	}
}

// put puts so many batches in one put, those of all in turn.
func put(ctx context.Context, c flight.Client, table, mode string, all []rows, times int) error {
	stream, err := c.DoPut(ctx)
	if err != nil {
		return err
	}
	w := flight.NewRecordWriter(stream, ipc.WithSchema(schema))
	w.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: fmt.Appendf(nil, `{"table": %q, "mode": %q}`, table, mode)})
	for i := range times {
		if err := w.Write(all[i%len(all)].batch); err != nil {
			_, why := stream.Recv()
			return fmt.Errorf("put: %w: %w", err, why)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	return nil
}

// readSums asks the server what each writer's rows add up to, in the order of the writers.
func readSums(ctx context.Context, c flight.Client, table string) (all []sums, err error) {
	ticket := fmt.Sprintf("SELECT batch_id, count(*), sum(value)::BIGINT, sum(value::BIGINT %% 1009 * (ascii(category) - 64))::BIGINT FROM %s GROUP BY batch_id ORDER BY batch_id", table)
	stream, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte(ticket)})
	if err != nil {
		return nil, err
	}
	r, err := flight.NewRecordReader(stream)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			at := func(col int) int64 { return b.Column(col).(*array.Int64).Value(i) }
			all = append(all, sums{at(0), at(1), at(2), at(3)})
		}
	}
	return all, r.Err()
}
