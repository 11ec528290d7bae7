// Command ingest takes how fast clients write rows into a running `pintail serve`: by Flight's DoPut and by COPY.
//
//	make bench NAME=ingest
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// putMin is the bound for one put, in M rows/s.
const putMin = 1.0

const about = "Inside a running `pintail serve`: a Go client puts rows of four columns (batch_id, timestamp as text, value, category) by Flight's DoPut over loopback, in one " +
	"put of batches of 32,768 rows, from the first call until the server has said that all is committed; then in puts of 1,000 rows, one after the other, each a commit. The same " +
	"rows go in by COPY FROM STDIN through the PostgreSQL protocol, in text and in binary, in turn with the same COPY into PostgreSQL. Then writers put 1,000 rows at a time " +
	"into one table, as fast as they can, while readers add up what is in it: each reader sees whole puts only, and never less than before. At the end the rows of each " +
	"writer are counted and compared with its own sums. Clients and servers share the cores."

var (
	seconds = flag.Float64("time", 60, "seconds that writers and readers go on")
	clients = flag.Int("clients", 8, "writers, and as many readers")
	smalls  = flag.Int("puts", 200, "puts of 1,000 rows in a round")
)

func main() {
	rig.Main(rig.Spec{Name: "ingest", Title: "rows written by clients", About: about, Rows: 10_000_000, Rounds: 5, Run: run})
}

const (
	batchRows = 32_768
	smallRows = 1_000
	different = 16 // batches of one put, which come again and again
)

func run(ctx context.Context, b *rig.Bench) (err error) {
	o := rig.CopyOptions{URL: b.Source.URL("postgres")}
	for _, at := range []*string{&o.Listen, &o.PGWire, &o.Flight} {
		if *at, err = rig.FreeAddress(); err != nil {
			return err
		}
	}
	c, err := b.NewCopy("copy", o)
	if err != nil {
		return err
	}
	s, err := c.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	client, err := connect(o.Flight)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := puts(ctx, b, s, client); err != nil {
		return err
	}
	if err := copies(ctx, b, c, client); err != nil {
		return err
	}
	return together(ctx, b, o.Flight)
}

func connect(address string) (flight.Client, error) {
	return flight.NewClientWithMiddleware(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// puts times one large put and many small ones a round.
func puts(ctx context.Context, b *rig.Bench, s *rig.Server, c flight.Client) error {
	var big []rows
	for i := range different {
		big = append(big, newRows(0, i*batchRows, batchRows))
	}
	defer release(big)
	little := newRows(0, 0, smallRows)
	defer little.batch.Release()
	times := max(1, b.Rows/batchRows)
	var large, small, cpu, memory []float64
	for round := range b.Rounds + 1 {
		if err := measure.ResetPeak(s.Pid()); err != nil {
			return err
		}
		before, err := measure.CPU(s.Pid())
		if err != nil {
			return err
		}
		idle := measure.Peak(s.Pid())
		begun := time.Now()
		if err := put(ctx, c, "put_here", "replace", big, times); err != nil {
			return err
		}
		one := time.Since(begun)
		after, err := measure.CPU(s.Pid())
		if err != nil {
			return err
		}
		above := float64(max(0, measure.Peak(s.Pid())-idle)) / (1 << 20)
		begun = time.Now()
		for range *smalls {
			if err := put(ctx, c, "put_here", "append", []rows{little}, 1); err != nil {
				return err
			}
		}
		many := time.Since(begun)
		want := sums{}
		for i := range times {
			want = want.plus(big[i%len(big)].sums, 1)
		}
		want = want.plus(little.sums, *smalls)
		if err := check(ctx, c, "put_here", want); err != nil {
			return err
		}
		b.Progress("round %d: one put of %d rows %.2f s, CPU of the server %.2f s, %.0f MiB above idle; %d puts %.2f s", round, times*batchRows, one.Seconds(), (after - before).Seconds(), above, *smalls, many.Seconds())
		if round == 0 {
			continue
		}
		large, small = append(large, float64(times*batchRows)/1e6/one.Seconds()), append(small, float64(*smalls)/many.Seconds())
		cpu, memory = append(cpu, (after-before).Seconds()), append(memory, above)
	}
	r := b.Report
	r.Add("one put in batches of 32,768 rows", "M rows/s", large)
	r.Add("… CPU of the server", "s", cpu)
	r.Add("… server's memory above idle (VmHWM)", "MiB", memory)
	r.Add("puts of 1,000 rows, one client", "puts/s", small)
	r.AtLeast("rows/s of one put, median", "M rows/s", putMin, measure.Median(large))
	r.Note("One put had %d rows. After each round the table had the rows that were put, and their sums.", times*batchRows)
	return nil
}

func check(ctx context.Context, c flight.Client, table string, want sums) error {
	got, err := readSums(ctx, c, table)
	if err != nil {
		return err
	}
	if len(got) != 1 || got[0] != want {
		return fmt.Errorf("table %s has %+v, want %+v", table, got, want)
	}
	return nil
}
