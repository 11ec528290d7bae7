package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pintaildb/pintail/bench/internal/rig"
)

type reading struct{ first, all time.Duration }

// read reads the table through Flight SQL.
func read(ctx context.Context, c *flightsql.Client, rows int) (r reading, err error) {
	begun := time.Now()
	info, err := c.Execute(ctx, statement)
	if err != nil {
		return r, err
	}
	stream, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return r, err
	}
	defer stream.Release()
	n := 0
	for stream.Next() {
		if n == 0 {
			r.first = time.Since(begun)
		}
		n += int(stream.RecordBatch().NumRows())
	}
	r.all = time.Since(begun)
	if err := stream.Err(); err != nil {
		return r, err
	}
	if n != rows {
		return r, fmt.Errorf("the client read %d rows, want %d", n, rows)
	}
	return r, nil
}

var putSchema = arrow.NewSchema([]arrow.Field{{Name: "batch_id", Type: arrow.PrimitiveTypes.Int64}, {Name: "timestamp", Type: arrow.BinaryTypes.String},
	{Name: "value", Type: arrow.PrimitiveTypes.Float64}, {Name: "category", Type: arrow.BinaryTypes.String}}, nil)

func batch(rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, putSchema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append("2026-02-13T10:15:30.123456")
		b.Field(2).(*array.Float64Builder).Append(float64(i) / 7)
		b.Field(3).(*array.StringBuilder).Append("ABCD"[i%4 : i%4+1])
	}
	return b.NewRecordBatch()
}

// put puts a batch so many times in one put.
func put(ctx context.Context, c *flightsql.Client, mode string, b arrow.RecordBatch, times int) error {
	stream, err := c.Client.DoPut(ctx)
	if err != nil {
		return err
	}
	w := flight.NewRecordWriter(stream, ipc.WithSchema(putSchema))
	w.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: fmt.Appendf(nil, `{"table": "put_here", "mode": %q}`, mode)})
	for range times {
		if err := w.Write(b); err != nil {
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

const (
	batchRows  = 32_768
	smallRows  = 1_000
	smallPuts  = 200
	putRowsMax = 4_000_000
)

// puts times one large put and many small ones a round: million rows a second, and puts a second.
func puts(ctx context.Context, b *rig.Bench, c *flightsql.Client) (large, small []float64, err error) {
	big, little := batch(batchRows), batch(smallRows)
	defer big.Release()
	defer little.Release()
	times := max(1, min(b.Rows, putRowsMax)/batchRows)
	for round := range b.Rounds + 1 {
		begun := time.Now()
		if err := put(ctx, c, "replace", big, times); err != nil {
			return nil, nil, err
		}
		one := time.Since(begun)
		begun = time.Now()
		for range smallPuts {
			if err := put(ctx, c, "append", little, 1); err != nil {
				return nil, nil, err
			}
		}
		many := time.Since(begun)
		want := times*batchRows + smallPuts*smallRows
		n, err := count(ctx, c)
		if err != nil {
			return nil, nil, err
		}
		if n != want {
			return nil, nil, fmt.Errorf("%d rows were put, %d are there", want, n)
		}
		b.Progress("round %d: one put %.2f s, %d puts %.2f s", round, one.Seconds(), smallPuts, many.Seconds())
		if round > 0 {
			large = append(large, float64(times*batchRows)/1e6/one.Seconds())
			small = append(small, smallPuts/many.Seconds())
		}
	}
	return large, small, nil
}

func count(ctx context.Context, c *flightsql.Client) (int, error) {
	stream, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte("SELECT count(*) FROM put_here")})
	if err != nil {
		return 0, err
	}
	defer stream.Release()
	if !stream.Next() {
		return 0, fmt.Errorf("count what was put: %w", stream.Err())
	}
	return int(stream.RecordBatch().Column(0).(*array.Int64).Value(0)), nil
}
