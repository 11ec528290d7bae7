package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
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
