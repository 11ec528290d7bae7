package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// shared is the table that all write to and read from.
const shared = "shared"

// together has writers and readers go on side by side, each with a connection of its own.
func together(ctx context.Context, b *rig.Bench, address string) error {
	n := *clients
	ends := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	written := make([]sums, n)
	putTimes, readTimes := make([][]float64, n), make([][]float64, n)
	b.Progress("%d writers and %d readers, %.0f s", n, n, *seconds)
	begun := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() (err error) {
			written[i], putTimes[i], err = write(ctx, address, i, ends)
			return err
		})
		g.Go(func() (err error) {
			readTimes[i], err = readOn(ctx, address, ends)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	took := time.Since(begun).Seconds()
	c, err := connect(address)
	if err != nil {
		return err
	}
	defer c.Close()
	got, err := readSums(context.WithoutCancel(ctx), c, shared)
	if err != nil {
		return err
	}
	if !slices.Equal(got, written) {
		return fmt.Errorf("rows were lost or doubled: the table has %+v, the writers wrote %+v", got, written)
	}
	puts, reads := slices.Concat(putTimes...), slices.Concat(readTimes...)
	r := b.Report
	r.Add(fmt.Sprintf("%d writers beside %d readers", n, n), "puts/s", []float64{float64(len(puts)) / took})
	r.Add("… rows", "M rows/s", []float64{float64(len(puts)*smallRows) / 1e6 / took})
	r.Add("… a put: p50", "ms", []float64{measure.Quantile(puts, 0.5)})
	r.Add("… a put: p99", "ms", []float64{measure.Quantile(puts, 0.99)})
	r.Add("… reads", "1/s", []float64{float64(len(reads)) / took})
	r.Add("… a read: p50", "ms", []float64{measure.Quantile(reads, 0.5)})
	r.Add("… a read: p99", "ms", []float64{measure.Quantile(reads, 0.99)})
	r.Note("%d writers put %d times 1,000 rows in %.0f s and %d readers read %d times, without an error; every read saw whole puts, and at the end no row was lost or doubled: each writer's rows and their sums were those that it had put.",
		n, len(puts), took, n, len(reads))
	return nil
}

// write puts until the end; what it says to have written is what the server has confirmed.
func write(ctx context.Context, address string, writer int, ends time.Time) (all sums, times []float64, err error) {
	c, err := connect(address)
	if err != nil {
		return all, nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for from := 0; len(times) == 0 || time.Now().Before(ends); from += smallRows {
		r := newRows(writer, from, smallRows)
		begun := time.Now()
		err := put(ctx, c, shared, "create_append", []rows{r}, 1)
		r.batch.Release()
		if err != nil {
			return all, nil, fmt.Errorf("writer %d, row %d: %w", writer, from, err)
		}
		times = append(times, float64(time.Since(begun).Microseconds())/1000)
		all = all.plus(r.sums, 1)
	}
	return all, times, nil
}

// readOn reads until the end: of each writer there are whole puts without a gap, and never less than before.
func readOn(ctx context.Context, address string, ends time.Time) (times []float64, err error) {
	c, err := connect(address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := awaitTable(ctx, c, ends); err != nil {
		return nil, err
	}
	seen := map[int64]int64{}
	for len(times) == 0 || time.Now().Before(ends) {
		begun := time.Now()
		all, err := readSums(ctx, c, shared)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		times = append(times, float64(time.Since(begun).Microseconds())/1000)
		for _, s := range all {
			if s.rows%smallRows != 0 || s.numbers != s.rows*(s.rows-1)/2 || s.rows < seen[s.writer] {
				return nil, fmt.Errorf("a reader saw %+v, after %d rows of that writer", s, seen[s.writer])
			}
			seen[s.writer] = s.rows
		}
	}
	return times, nil
}

// awaitTable waits until the first writer has made the table.
func awaitTable(ctx context.Context, c flight.Client, ends time.Time) error {
	for {
		_, err := readSums(ctx, c, shared)
		if err == nil || time.Now().After(ends) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
