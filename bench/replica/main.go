// Command replica takes what a replica costs: while nothing happens, with one huge transaction, and with one huge value.
//
//	make bench NAME=replica
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds: a share of one core in percent, GiB, and how often the largest value may be in memory beside the budget.
const (
	idleMax = 1
	peakMax = 1
	copies  = 3
)

// budget is cdc.memory's default.
const budget = 512 << 20

const about = "Inside a running `pintail serve` that follows a database. \"Idle\": nothing is written there, while a write to another database of the server every two seconds moves the " +
	"log on, and a checkpoint; CPU is of pintail's process, in hundredths of one core. \"One transaction\": so many rows as the table has are inserted by one statement, and then all " +
	"are updated by another; the peak of memory is the largest resident set since just before, and the time is from the commit until all can be read. \"One value\": a row with a value of " +
	"`-value` MiB comes, is updated, with and without another value, and goes; as text, and as bytes in another server. DuckDB's memory_limit is 1 GiB."

var (
	idle   = flag.Int("idle", 90, "seconds of nothing")
	value  = flag.Int("value", 256, "size of the one value in MiB")
	cdc    = flag.String("cdc", "", "a setting of the replica, such as 'batch: {rows: 500000}'")
	duckdb = flag.String("duckdb", "memory_limit: 1GiB", "a setting of DuckDB")
)

func main() {
	rig.Main(rig.Spec{Name: "replica", Title: "what a replica costs", About: about, Rows: 5_000_000, Rounds: 1, Run: run,
		Settings: map[string]string{"shared_buffers": "1GB", "max_wal_size": "32GB"}})
}

func run(ctx context.Context, b *rig.Bench) (err error) {
	seeded, err := b.Make(ctx, "values_v1", "CREATE TABLE transacted (id int PRIMARY KEY, a int, b timestamptz, c text)",
		"CREATE TABLE large (id int PRIMARY KEY, t text, b bytea)", "CREATE TABLE still (id int PRIMARY KEY)", "INSERT INTO still SELECT generate_series(1, 1000)")
	if err != nil {
		return err
	}
	db, drop, err := b.Source.Duplicate(ctx, seeded)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Source.DropSlots(context.WithoutCancel(ctx), db), drop()) }()
	listen, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db), Listen: listen, Replica: "public.*", CDC: *cdc, DuckDB: *duckdb})
	if err != nil {
		return err
	}
	r := &replica{b: b, db: db}
	text := func(ctx context.Context) error {
		return r.value(ctx, "text", "t", "repeat('0123456789abcdef', %d)", "b = '\\x01'")
	}
	bytes := func(ctx context.Context) error {
		return r.value(ctx, "bytes", "b", "decode(repeat('00112233445566778899aabbccddeeff', %d), 'hex')", "t = 'x'")
	}
	for _, part := range []func(context.Context) error{r.idle, r.transaction, text, bytes} {
		if err := r.served(ctx, c, part); err != nil {
			return err
		}
	}
	b.Report.Note("The bound for one value is the budget of %d MiB and %d times the value.", budget>>20, copies)
	return nil
}

// served runs one part beside a server of its own, so that it does not begin with what the one before has left in memory.
func (r *replica) served(ctx context.Context, c *rig.Copy, part func(context.Context) error) (err error) {
	if r.s, err = c.Serve(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.s.Stop()) }()
	if _, err := r.s.Sync(ctx, false); err != nil {
		return err
	}
	return part(ctx)
}

type replica struct {
	b  *rig.Bench
	s  *rig.Server
	db string
}

// idle leaves the followed database alone.
func (r *replica) idle(ctx context.Context) error {
	slot, err := r.b.Source.SlotOf(ctx, r.db)
	if err != nil {
		return err
	}
	first, err := r.b.Source.SlotLSN(ctx, r.db, slot)
	if err != nil {
		return err
	}
	before, err := measure.CPU(r.s.Pid())
	if err != nil {
		return err
	}
	r.b.Progress("idle for %d s", *idle)
	begin := time.Now()
	for time.Since(begin) < time.Duration(*idle)*time.Second {
		// The server notes the running transactions with a checkpoint, from where the slot can be kept later.
		for _, sql := range []string{"CREATE TEMP TABLE elsewhere AS SELECT generate_series(1, 1000)", "CHECKPOINT"} {
			if err := r.b.Source.Exec(ctx, "postgres", sql); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
	after, err := measure.CPU(r.s.Pid())
	if err != nil {
		return err
	}
	took := time.Since(begin)
	last, err := r.b.Source.SlotLSN(ctx, r.db, slot)
	if err != nil {
		return err
	}
	end, err := r.b.Source.LSN(ctx)
	if err != nil {
		return err
	}
	percent := 100 * float64(after-before) / float64(took)
	r.b.Report.AtMost("idle: CPU, of one core", "%", idleMax, percent)
	r.b.Report.AtLeast("idle: the slot's restart LSN moved on by", "bytes", 1, float64(last)-float64(first))
	r.b.Report.Add("idle: CPU, of one core", "%", []float64{percent})
	r.b.Report.Add("idle: time", "s", []float64{took.Seconds()})
	r.b.Report.Note("While nothing was to be followed, the slot's restart LSN moved from %s to %s; the log ended at %s.", first, last, end)
	return nil
}

// step runs a statement and returns how long it takes until the copy stands behind it, and the peak of memory meanwhile.
func (r *replica) step(ctx context.Context, what, sql string) (took time.Duration, peak int64, err error) {
	if err := measure.ResetPeak(r.s.Pid()); err != nil {
		return 0, 0, err
	}
	if err := r.b.Source.Exec(ctx, r.db, sql); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", what, err)
	}
	begin := time.Now()
	if _, err := r.s.Sync(ctx, false); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", what, err)
	}
	took, peak = time.Since(begin), measure.Peak(r.s.Pid())
	r.b.Progress("%s: there %.1f s after the commit, peak %d MiB", what, took.Seconds(), peak>>20)
	r.b.Report.Add(what+": from commit to readable", "s", []float64{took.Seconds()})
	r.b.Report.Add(what+": peak memory", "GiB", []float64{gib(peak)})
	return took, peak, nil
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

func (r *replica) transaction(ctx context.Context) error {
	for _, t := range []struct{ what, sql string }{
		{fmt.Sprintf("one transaction, %d rows inserted", r.b.Rows), fmt.Sprintf("INSERT INTO transacted SELECT i, i %% 977, now(), md5(i::text) FROM generate_series(1, %d) i", r.b.Rows)},
		{fmt.Sprintf("one transaction, %d rows updated", r.b.Rows), "UPDATE transacted SET a = a + 1"},
	} {
		_, peak, err := r.step(ctx, t.what, t.sql)
		if err != nil {
			return err
		}
		r.b.Report.AtMost(t.what+": peak memory", "GiB", peakMax, gib(peak))
		if err := r.b.Same(ctx, r.db, r.s, "SELECT count(*)::varchar AS n, sum(a)::varchar AS a, sum(id::bigint * (a % 1009))::varchar AS mixed, sum(length(c))::varchar AS c, "+
			"min(c)::varchar AS least, max(c)::varchar AS most FROM transacted"); err != nil {
			return err
		}
	}
	return nil
}

// value brings one large value, made by an SQL expression of its length in units of 16 bytes, into a column, and writes another one.
func (r *replica) value(ctx context.Context, name, column, expression, other string) error {
	bytes := *value << 20
	large := fmt.Sprintf(expression, bytes/16)
	limit := gib(budget + copies*int64(bytes))
	for _, s := range []struct{ did, sql string }{
		{"inserted", "INSERT INTO large (id, " + column + ") VALUES (1, " + large + ")"},
		{"updated", "UPDATE large SET " + column + " = " + large + " WHERE id = 1"},
		{"the row updated, not the value", "UPDATE large SET " + other},
	} {
		what := fmt.Sprintf("one value of %d MiB, %s, %s", *value, name, s.did)
		_, peak, err := r.step(ctx, what, s.sql)
		if err != nil {
			return err
		}
		r.b.Report.AtMost(what+": peak memory", "GiB", limit, gib(peak))
	}
	if err := r.b.Same(ctx, r.db, r.s, "SELECT count(*)::varchar AS n, coalesce(sum(length(t)), 0)::varchar AS t, coalesce(sum(octet_length(b)), 0)::varchar AS b, max(md5("+
		column+")) AS sum FROM large"); err != nil {
		return err
	}
	_, _, err := r.step(ctx, fmt.Sprintf("one value of %d MiB, %s, deleted", *value, name), "DELETE FROM large")
	return err
}
