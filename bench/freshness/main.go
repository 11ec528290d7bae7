// Command freshness takes the time from a commit until it can be read in a replica, under load.
//
//	make bench NAME=freshness
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds, in milliseconds and GiB.
const (
	medianMax = 200
	p99Max    = 1000
	peakMax   = 1
)

const about = "Inside a running `pintail serve` that follows a database: a probe commits one row, and asks `POST /v0/sql` every two milliseconds until the row is there; the " +
	"time is from the commit's answer. Probes follow each other after 20 to 120 ms. Meanwhile the source is written and a reader runs an aggregate over the largest table, again " +
	"100 ms after the one before. \"pgbench\": four clients run its TPC-B-like transactions at half the rate that the machine does with nothing beside. \"narrow\": " +
	"rows of a table of two integers are updated by random key, ten in a transaction. DuckDB's memory_limit is 850 MiB. After the load `pintail verify` compares every row."

var (
	seconds = flag.Int("seconds", 60, "how long each load lasts")
	scale   = flag.Int("scale", 0, "pgbench's scale (default 20, or 1 for a narrow table of less than a million rows)")
	rate    = flag.Float64("rate", 0, "transactions of pgbench in a second (default: half of what it reaches)")
	changes = flag.Int("changes", 1000, "changes of the narrow table in a second")
	only    = flag.String("only", "", "`pgbench` or narrow: only this load")
	cdc     = flag.String("cdc", "", "a setting of the replica, such as 'batch: {time: 100ms}'")
	duckdb  = flag.String("duckdb", "memory_limit: 850MiB", "a setting of DuckDB")
)

func main() {
	rig.Main(rig.Spec{Name: "freshness", Title: "from commit to readable, under load", About: about, Rows: 100_000_000, Rounds: 1, Run: run,
		Settings: map[string]string{"shared_buffers": "2GB"}})
}

// probeTable takes the rows that are waited for.
const probeTable = "CREATE TABLE probes (id int PRIMARY KEY)"

func run(ctx context.Context, b *rig.Bench) error {
	if *scale == 0 {
		*scale = 20
		if b.Rows < 1_000_000 {
			*scale = 1
		}
	}
	if *only != "narrow" {
		if err := pgbench(ctx, b); err != nil {
			return fmt.Errorf("pgbench: %w", err)
		}
	}
	if *only != "pgbench" {
		if err := narrow(ctx, b); err != nil {
			return fmt.Errorf("narrow: %w", err)
		}
	}
	return nil
}

func narrow(ctx context.Context, b *rig.Bench) error {
	seeded, err := b.Make(ctx, fmt.Sprintf("narrow_%d_v1", b.Rows), "CREATE TABLE narrow (id int NOT NULL, v int NOT NULL) WITH (fillfactor = 95)",
		fmt.Sprintf("INSERT INTO narrow SELECT i, i %% 1000 FROM generate_series(1, %d) i", b.Rows), "ALTER TABLE narrow ADD PRIMARY KEY (id)",
		probeTable, "VACUUM (FREEZE, ANALYZE) narrow", "CHECKPOINT")
	if err != nil {
		return err
	}
	l := loaded{name: "narrow", aggregate: "SELECT count(*)::varchar AS n, sum(v)::varchar AS s FROM narrow WHERE v % 7 = 3", unit: "changes",
		same: []string{"SELECT count(*)::varchar AS n, sum(v)::varchar AS v, sum(id::bigint * (v % 1009))::varchar AS mixed FROM narrow"}}
	l.load = func(ctx context.Context, db string) (float64, error) { return update(ctx, b, db) }
	return l.run(ctx, b, seeded)
}

// update changes rows of the narrow table at an even rate until ctx ends, and returns how many in a second.
func update(ctx context.Context, b *rig.Bench, db string) (float64, error) {
	const each = 10
	c, err := pgx.Connect(ctx, b.Source.SocketURL(db))
	if err != nil {
		return 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	rng := rand.New(rand.NewPCG(3, 4))
	ids := make([]int32, each)
	begin, n := time.Now(), 0
	for ; ; n += each {
		due := begin.Add(time.Duration(float64(n) / float64(*changes) * float64(time.Second)))
		select {
		case <-ctx.Done():
			return float64(n) / time.Since(begin).Seconds(), nil
		case <-time.After(time.Until(due)):
		}
		for i := range ids {
			ids[i] = 1 + rng.Int32N(int32(b.Rows))
		}
		if _, err := c.Exec(context.WithoutCancel(ctx), "UPDATE narrow SET v = v + 1 WHERE id = ANY($1)", ids); err != nil {
			return 0, err
		}
	}
}

// loaded is a database that is written while a replica of it is probed.
type loaded struct {
	name, unit string
	aggregate  string   // what the reader runs
	same       []string // by which source and copy are compared
	load       func(ctx context.Context, db string) (rate float64, err error)

	probes, reads []float64 // ms
}

func (l *loaded) run(ctx context.Context, b *rig.Bench, seeded string) (err error) {
	db, drop, err := b.Source.Duplicate(ctx, seeded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Source.DropSlots(context.WithoutCancel(ctx), db), drop()) }()
	listen, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy(l.name, rig.CopyOptions{URL: b.Source.URL(db), Listen: listen, Replica: "public.*", CDC: *cdc, DuckDB: *duckdb})
	if err != nil {
		return err
	}
	s, err := c.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	b.Progress("%s: first copy", l.name)
	begin := time.Now()
	if _, err := s.Sync(ctx, false); err != nil {
		return err
	}
	first, firstPeak := time.Since(begin), measure.Peak(s.Pid())
	if err := measure.ResetPeak(s.Pid()); err != nil {
		return err
	}
	u, err := l.under(ctx, b, s, db)
	if err != nil {
		return err
	}
	begin = time.Now()
	if _, err := s.Sync(ctx, false); err != nil {
		return err
	}
	after := time.Since(begin)
	if err := b.Same(ctx, db, s, l.same...); err != nil {
		return err
	}
	source, err := measure.TreeCPU(b.Source.Pid())
	if err != nil {
		return err
	}
	begin = time.Now()
	if err := s.Verify(ctx); err != nil {
		return err
	}
	verified := time.Since(begin)
	sourceEnd, err := measure.TreeCPU(b.Source.Pid())
	if err != nil {
		return err
	}
	u.report(b, l)
	r := b.Report
	r.Add(l.name+": verify of all tables, without load", "s", []float64{verified.Seconds()})
	r.Add(l.name+": verify, CPU of the source", "s", []float64{(sourceEnd - source).Seconds()})
	r.Add(l.name+": caught up after the end of the load", "s", []float64{after.Seconds()})
	r.Add(l.name+": first copy", "s", []float64{first.Seconds()})
	r.Add(l.name+": first copy, peak memory", "GiB", []float64{gib(firstPeak)})
	return nil
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// usage is what the load, the server and pintail did meanwhile.
type usage struct {
	rate, sourceCores, pintailCores float64
	peak                            int64
}

// under probes and reads for as long as the load lasts.
func (l *loaded) under(ctx context.Context, b *rig.Bench, s *rig.Server, db string) (u usage, err error) {
	b.Progress("%s: %d s of load", l.name, *seconds)
	stop, cancel := context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
	defer cancel()
	source, err := measure.TreeCPU(b.Source.Pid())
	if err != nil {
		return u, err
	}
	own, err := measure.CPU(s.Pid())
	if err != nil {
		return u, err
	}
	begin := time.Now()
	var all sync.WaitGroup
	errs := make([]error, 3)
	do := func(i int, f func() error) {
		all.Go(func() {
			if errs[i] = f(); errs[i] != nil {
				cancel()
			}
		})
	}
	do(0, func() (err error) { u.rate, err = l.load(stop, db); return err })
	do(1, func() error { return l.probe(stop, b, s, db) })
	do(2, func() error { return l.read(stop, s) })
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return u, err
	}
	took := time.Since(begin)
	sourceEnd, err := measure.TreeCPU(b.Source.Pid())
	if err != nil {
		return u, err
	}
	ownEnd, err := measure.CPU(s.Pid())
	if err != nil {
		return u, err
	}
	u.sourceCores, u.pintailCores = float64(sourceEnd-source)/float64(took), float64(ownEnd-own)/float64(took)
	u.peak = measure.Peak(s.Pid())
	return u, nil
}

// probe commits rows and waits for each.
func (l *loaded) probe(ctx context.Context, b *rig.Bench, s *rig.Server, db string) error {
	c, err := pgx.Connect(ctx, b.Source.SocketURL(db))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	whole := context.WithoutCancel(ctx) // one that has begun is waited for
	rng := rand.New(rand.NewPCG(5, 6))
	for id := 1; ; id++ {
		select {
		case <-ctx.Done():
			if len(l.probes) == 0 {
				return errors.New("no probe has come through")
			}
			return nil
		case <-time.After(20*time.Millisecond + time.Duration(rng.IntN(100))*time.Millisecond):
		}
		if _, err := c.Exec(whole, "INSERT INTO probes VALUES ($1)", id); err != nil {
			return err
		}
		committed := time.Now()
		for {
			row, err := s.Query(whole, "SELECT count(*)::varchar AS n FROM probes WHERE id = "+strconv.Itoa(id))
			if err != nil {
				return err
			}
			if row["n"] == "1" {
				break
			}
			if time.Since(committed) > time.Minute {
				return fmt.Errorf("probe %d cannot be read a minute after it was committed", id)
			}
			time.Sleep(2 * time.Millisecond)
		}
		l.probes = append(l.probes, ms(time.Since(committed)))
	}
}

// read runs the aggregate.
func (l *loaded) read(ctx context.Context, s *rig.Server) error {
	for {
		begin := time.Now()
		if _, err := s.Query(context.WithoutCancel(ctx), l.aggregate); err != nil {
			return err
		}
		l.reads = append(l.reads, ms(time.Since(begin)))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (u *usage) report(b *rig.Bench, l *loaded) {
	r := b.Report
	r.AtMost(l.name+": commit to readable, p50", "ms", medianMax, measure.Quantile(l.probes, 0.5))
	r.AtMost(l.name+": commit to readable, p99", "ms", p99Max, measure.Quantile(l.probes, 0.99))
	r.AtMost(l.name+": peak memory", "GiB", peakMax, gib(u.peak))
	r.Add(l.name+": commit to readable", "ms", l.probes)
	r.Add(l.name+": the reader's aggregate", "ms", l.reads)
	r.Add(l.name+": "+l.unit, "1/s", []float64{u.rate})
	r.Add(l.name+": CPU of the source", "cores", []float64{u.sourceCores})
	r.Add(l.name+": CPU of pintail", "cores", []float64{u.pintailCores})
	r.Add(l.name+": peak memory", "GiB", []float64{gib(u.peak)})
	r.Note("%s: %d probes, p50 %.0f ms, p90 %.0f ms, p99 %.0f ms, largest %.0f ms; after the load the copy was equal to the source in count and checksums.", l.name, len(l.probes),
		measure.Quantile(l.probes, 0.5), measure.Quantile(l.probes, 0.9), measure.Quantile(l.probes, 0.99), measure.Max(l.probes))
}
