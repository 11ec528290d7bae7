// Command catchup compares a replica that catches up with draining the same slot to nowhere.
//
//	make bench NAME=catchup
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// ratioMax is the bound for the wall time, in units of the drain's, and peakMax that of memory in GiB.
const (
	ratioMax = 1.5
	peakMax  = 1
)

const about = "A replica of a table of ten columns lies behind by changes that set-based SQL made once: three of four are updates of rows by random key, " +
	"the others insert rows. `pintail sync` brings it to the end, process start to exit, against `pg_recvlogical`, which drains the same changes with " +
	"pgoutput and writes them to /dev/null: once as it does by itself, values as text, and once with values in their binary form, as pintail asks for them, which spares the server work. " +
	"All begin on a slot that was copied for the round, pintail also on a copy of the DuckDB file as it was before the changes. " +
	"The three take turns; a ratio is of one round, and what a round wrote is on disk before the next begins. \"Applying\" is the run inside " +
	"that command, from connecting until the copy stands at the source's position: without start, opening the file, and closing it, which writes a checkpoint. " +
	"With nothing to apply is the same command once more."

var (
	changes     = flag.Int("changes", 0, "row changes (default two for five rows of the table)")
	transaction = flag.Int("transaction", 1000, "row changes in one transaction")
	settings    = flag.String("cdc", "", "a setting of the replica, such as 'batch: {rows: 500000}'")
	duckdb      = flag.String("duckdb", "", "a setting of DuckDB, such as 'threads: 1'")
)

// drainEnd is set where this program is its own child that drains a slot.
const (
	drainEnd     = "PINTAIL_BENCH_DRAIN_END"
	drainURL     = "PINTAIL_BENCH_DRAIN_URL"
	drainOptions = "PINTAIL_BENCH_DRAIN_OPTIONS" // of pgoutput, divided by blanks
)

func main() {
	if end := os.Getenv(drainEnd); end != "" {
		if err := rig.DrainSlot(context.Background(), os.Getenv(drainURL), drained, strings.Fields(os.Getenv(drainOptions)), end); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(rig.Spec{Name: "catchup", Title: "a replica that catches up against a drain to nowhere", About: about, Rows: 5_000_000, Rounds: 5, Run: run,
		Settings: map[string]string{"shared_buffers": "1GB", "max_wal_size": "32GB"}})
}

// The slot that is never used, and the drain's.
const (
	kept    = "bench_kept"
	drained = "bench_drained"
)

func run(ctx context.Context, b *rig.Bench) (err error) {
	seeded, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	db, drop, err := b.Source.Duplicate(ctx, seeded)
	if err != nil {
		return err
	}
	defer func() {
		clean := context.WithoutCancel(ctx)
		err = errors.Join(err, b.Source.DropSlots(clean, db), drop())
	}()
	c := &contest{b: b, db: db, url: b.Source.URL(db)}
	if c.copy, err = b.NewCopy("copy", rig.CopyOptions{URL: c.url, Replica: "public." + rig.Table, CDC: *settings, DuckDB: *duckdb}); err != nil {
		return err
	}
	b.Progress("first copy")
	if _, err := b.Run(ctx, c.copy.Sync()); err != nil {
		return err
	}
	if err := c.copy.Save(); err != nil {
		return err
	}
	if c.slot, err = b.Source.SlotOf(ctx, db); err != nil {
		return err
	}
	if err := b.Source.CopySlot(ctx, db, c.slot, kept); err != nil {
		return err
	}
	if err := c.change(ctx); err != nil {
		return err
	}
	// The first round reads programs and the log into memory, and is not counted.
	for round := range b.Rounds + 1 {
		if err := c.round(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	c.summarise()
	return nil
}

// contest is the rounds' state and what they took.
type contest struct {
	b         *rig.Bench
	db, url   string
	copy      *rig.Copy
	slot, end string
	changed   float64

	drain, binary, pintail, idle []measure.Usage
	applying                     []float64 // s
}

const changeSQL = `CREATE PROCEDURE bench_changes(rows int, changes int, each int, INOUT done int) LANGUAGE plpgsql AS $$
DECLARE new int := rows; n int;
BEGIN
	PERFORM setseed(0.25);
	WHILE done < changes LOOP
		UPDATE messages SET score = score + 1, status = 'changed', updated_at = clock_timestamp()
			WHERE id IN (SELECT 1 + floor(random() * rows)::bigint FROM generate_series(1, each - each / 4));
		GET DIAGNOSTICS n = ROW_COUNT;
		done := done + n;
		INSERT INTO messages SELECT new + i, i % 1000, 'sent', 'p' || (i % 977), i / 100.0, now(), now(), i % 3 = 0, i * 0.37, md5(i::text)
			FROM generate_series(1, each / 4) i;
		new := new + each / 4;
		done := done + each / 4;
		COMMIT;
	END LOOP;
END $$`

// change makes the changes, and one more behind them by which a drain sees that it is at the end.
func (c *contest) change(ctx context.Context) error {
	n := *changes
	if n == 0 {
		n = c.b.Rows * 2 / 5
	}
	each := max(4, min(*transaction, n))
	c.b.Progress("making %d changes", n)
	if err := c.b.Source.Exec(ctx, c.db, changeSQL); err != nil {
		return err
	}
	row, err := c.b.Source.Row(ctx, c.db, "CALL bench_changes($1, $2, $3, 0)", c.b.Rows, n, each)
	if err != nil {
		return fmt.Errorf("make the changes: %w", err)
	}
	if _, err := fmt.Sscan(row["done"], &c.changed); err != nil {
		return err
	}
	if c.end, err = c.b.Source.LSN(ctx); err != nil {
		return err
	}
	c.b.Report.Note("%.0f rows were changed in transactions of about %d.", c.changed, each)
	return c.b.Source.Exec(ctx, c.db, "UPDATE messages SET score = -1 WHERE id = 1")
}

func (c *contest) round(ctx context.Context, round int) error {
	b := c.b
	drain, err := c.drains(ctx, "proto_version=1")
	if err != nil {
		return err
	}
	c.tell(round, "drain", drain)
	binary, err := c.drains(ctx, "proto_version=2", "binary=true")
	if err != nil {
		return err
	}
	c.tell(round, "drain, binary", binary)
	if err := c.copy.Restore(); err != nil {
		return err
	}
	if err := b.Source.CopySlot(ctx, c.db, kept, c.slot); err != nil {
		return err
	}
	sync := c.copy.Sync()
	var told bytes.Buffer
	sync.Stdout = &told
	applied, err := b.Run(ctx, sync)
	if err != nil {
		return err
	}
	applying, err := rig.RunTime(told.Bytes())
	if err != nil {
		return err
	}
	c.tell(round, "pintail sync", applied)
	idle, err := b.Run(ctx, c.copy.Sync())
	if err != nil {
		return err
	}
	c.tell(round, "pintail sync, nothing", idle)
	if round == 0 || round == b.Rounds {
		if err := b.Compare(ctx, c.db, "", c.copy.Query); err != nil {
			return err
		}
	}
	if round > 0 {
		c.drain, c.binary, c.pintail, c.idle = append(c.drain, drain), append(c.binary, binary), append(c.pintail, applied), append(c.idle, idle)
		c.applying = append(c.applying, applying.Seconds())
	}
	return nil
}

func (c *contest) tell(round int, name string, u measure.Usage) {
	c.b.Progress("round %d: %-22s %6.2f s, CPU %.2f s + server %.2f s, %d MiB, %.0f changes/s", round, name, u.Wall.Seconds(), u.CPU.Seconds(), u.ServerCPU.Seconds(),
		u.PeakBytes>>20, c.changed/u.Wall.Seconds())
}

// drains measures pg_recvlogical on a slot of its own, or this program where that is not installed. The options are pgoutput's.
func (c *contest) drains(ctx context.Context, options ...string) (u measure.Usage, err error) {
	if err := c.b.Source.CopySlot(ctx, c.db, kept, drained); err != nil {
		return u, err
	}
	options = append(options, "publication_names="+c.slot)
	if path := rig.Client("pg_recvlogical"); path != "" {
		cmd := exec.Command(path, "-d", c.url, "--slot", drained, "--start", "--endpos", c.end, "--no-loop", "-f", "/dev/null")
		for _, o := range options {
			cmd.Args = append(cmd.Args, "-o", o)
		}
		return c.b.Run(ctx, cmd)
	}
	self, err := os.Executable()
	if err != nil {
		return u, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), drainEnd+"="+c.end, drainURL+"="+c.url, drainOptions+"="+strings.Join(options, " "))
	return c.b.Run(ctx, cmd)
}

func (c *contest) summarise() {
	r := c.b.Report
	name := "pg_recvlogical"
	if rig.Client(name) == "" {
		name = "own drain"
		r.Note("pg_recvlogical is not installed here: a program of the same purpose took its place.")
	}
	of := func(us []measure.Usage, get func(measure.Usage) float64) (values []float64) {
		for _, u := range us {
			values = append(values, get(u))
		}
		return values
	}
	wall := func(u measure.Usage) float64 { return u.Wall.Seconds() }
	cpu := func(u measure.Usage) float64 { return u.CPU.Seconds() }
	server := func(u measure.Usage) float64 { return u.ServerCPU.Seconds() }
	peak := func(u measure.Usage) float64 { return float64(u.PeakBytes) / (1 << 30) }
	drain, pintail := of(c.drain, wall), of(c.pintail, wall)
	var rate, drainRate []float64
	for i := range drain {
		rate, drainRate = append(rate, c.changed/c.applying[i]), append(drainRate, c.changed/drain[i])
	}
	ratios, strict := measure.Ratios(pintail, drain), measure.Ratios(pintail, of(c.binary, wall))
	r.Add(name+": wall time", "s", drain)
	r.Add(name+": changes", "1/s", drainRate)
	r.Add(name+": CPU of the server", "s", of(c.drain, server))
	r.Add(name+", binary: wall time", "s", of(c.binary, wall))
	r.Add(name+", binary: CPU of the server", "s", of(c.binary, server))
	r.Add("pintail: wall time", "s", pintail)
	r.Add("pintail: wall time / drain's", "", ratios)
	r.Add("pintail: wall time / binary drain's", "", strict)
	r.Add("pintail: applying", "s", c.applying)
	r.Add("pintail: applying / drain's wall time", "", measure.Ratios(c.applying, drain))
	r.Add("pintail: changes, applying", "1/s", rate)
	r.Add("pintail: wall time with nothing to apply", "s", of(c.idle, wall))
	r.Add("pintail: CPU", "s", of(c.pintail, cpu))
	r.Add("pintail: CPU of the server", "s", of(c.pintail, server))
	r.Add("pintail: peak memory", "GiB", of(c.pintail, peak))
	r.AtMost("pintail: wall time, process start to exit, / "+name+"'s, median", "", ratioMax, measure.Median(ratios))
	r.AtMost("… / "+name+"'s with binary values, median", "", ratioMax, measure.Median(strict))
	r.AtMost("pintail: peak memory", "GiB", peakMax, measure.Max(of(c.pintail, peak)))
	r.Note("After the first and the last round the copy was equal to the source: the number of rows, values and lengths of each column, and the sum of every row's checksum.")
}
