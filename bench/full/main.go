// Command full compares a full sync with reading the same table and throwing it away.
//
//	make bench NAME=full
//	go run ./bench/full -vs 'other-tool --from "$BENCH_URL" --table "$BENCH_TABLE" --to "$BENCH_OUT/x.duckdb"'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// ratioMax is the bound for a full sync's wall time, in units of the copy to nowhere.
const ratioMax = 1.5

const about = "`pintail sync --full` of a table of ten columns into a new DuckDB file, process start to exit, against " +
	"`COPY t TO STDOUT (FORMAT binary)` read from one connection and thrown away by a process that looks at nothing. " +
	"The two take turns; a ratio is of one round. The table is in the kernel's page cache, its hint bits are set, " +
	"and what a round wrote is on disk before the next begins. Both sides use plain TCP on loopback. \"With key\" is a dataset with " +
	"`key` and `incremental_column`: keys are proved unique and a watermark is taken."

var vs = flag.String("vs", "", "a shell `command` to time in the same rounds; it finds BENCH_URL, BENCH_TABLE and BENCH_OUT, a new folder, in its environment")

// drainURL is set where this program is its own child that reads and throws away.
const drainURL = "PINTAIL_BENCH_DRAIN"

func main() {
	if url := os.Getenv(drainURL); url != "" {
		os.Exit(drain(url))
	}
	rig.Main(rig.Spec{Name: "full", Title: "a full sync against COPY to nowhere", About: about, Rows: 5_000_000, Rounds: 6, Run: run})
}

func drain(url string) int {
	rows, err := rig.DrainCopy(context.Background(), url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(rows)
	return 0
}

// contestant is one of the commands that take turns.
type contestant struct {
	name    string
	prepare func() (*exec.Cmd, error)
	after   func() error
	used    []measure.Usage
}

func run(ctx context.Context, b *rig.Bench) error {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	url := b.Source.URL(db)
	bytes, err := b.Source.TableBytes(ctx, db)
	if err != nil {
		return err
	}
	b.Report.Note("The table has %d rows and %d MB in PostgreSQL without its indexes.", b.Rows, bytes/1_000_000)
	copies := map[string]*rig.Copy{}
	for name, keyed := range map[string]bool{"plain": false, "keyed": true} {
		if copies[name], err = b.NewCopy(name, rig.CopyOptions{URL: url, Keyed: keyed}); err != nil {
			return err
		}
	}
	all := []*contestant{drained(b, url), synced("pintail sync", copies["plain"]), synced("pintail sync, with key", copies["keyed"])}
	if *vs != "" {
		all = append(all, other(b, url))
	}
	// The first round of each reads programs and the table into memory, and is not counted.
	for round := range b.Rounds + 1 {
		for _, c := range all {
			u, err := once(ctx, b, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			b.Progress("round %d: %-22s %6.2f s, CPU %.2f s + server %.2f s, %d MiB", round, c.name, u.Wall.Seconds(), u.CPU.Seconds(), u.ServerCPU.Seconds(), u.PeakBytes>>20)
			if round > 0 {
				c.used = append(c.used, u)
			}
		}
	}
	for _, c := range copies {
		if err := b.Compare(ctx, db, "", c.Query); err != nil {
			return err
		}
	}
	b.Report.Note("After the last round, both copies were equal to the source: the number of rows, values and lengths of each column, and the sum of every row's checksum.")
	return summarise(b, all)
}

func once(ctx context.Context, b *rig.Bench, c *contestant) (measure.Usage, error) {
	cmd, err := c.prepare()
	if err != nil {
		return measure.Usage{}, err
	}
	u, err := b.Run(ctx, cmd)
	if err != nil {
		return u, err
	}
	return u, c.after()
}

func drained(b *rig.Bench, url string) *contestant {
	out := filepath.Join(b.Dir, "drained")
	return &contestant{
		name: "COPY to nowhere",
		prepare: func() (*exec.Cmd, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			f, err := os.Create(out)
			if err != nil {
				return nil, err
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), drainURL+"="+url)
			cmd.Stdout = f
			return cmd, nil
		},
		after: func() error {
			text, err := os.ReadFile(out)
			if err != nil {
				return err
			}
			if want := fmt.Sprintln(b.Rows); string(text) != want {
				return fmt.Errorf("it read %q rows, want %q", text, want)
			}
			return nil
		},
	}
}

func synced(name string, c *rig.Copy) *contestant {
	return &contestant{
		name:    name,
		prepare: func() (*exec.Cmd, error) { return c.FullSync(), c.Clear() },
		after:   func() error { return nil },
	}
}

func other(b *rig.Bench, url string) *contestant {
	dir := filepath.Join(b.Dir, "other")
	return &contestant{
		name: "other command",
		prepare: func() (*exec.Cmd, error) {
			cmd := exec.Command("sh", "-c", *vs)
			cmd.Dir = b.Root
			cmd.Env = append(os.Environ(), "BENCH_URL="+url, "BENCH_TABLE=public."+rig.Table, "BENCH_OUT="+dir)
			return cmd, errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
		},
		after: func() error { return os.RemoveAll(dir) },
	}
}

func summarise(b *rig.Bench, all []*contestant) error {
	r := b.Report
	pick := func(c *contestant, of func(measure.Usage) float64) []float64 {
		var values []float64
		for _, u := range c.used {
			values = append(values, of(u))
		}
		return values
	}
	wall := func(u measure.Usage) float64 { return u.Wall.Seconds() }
	cpu := func(u measure.Usage) float64 { return (u.CPU + u.ServerCPU).Seconds() }
	base := pick(all[0], wall)
	for _, c := range all {
		r.Add(c.name+": wall time", "s", pick(c, wall))
		r.Add(c.name+": CPU of the command", "s", pick(c, func(u measure.Usage) float64 { return u.CPU.Seconds() }))
		r.Add(c.name+": CPU of PostgreSQL", "s", pick(c, func(u measure.Usage) float64 { return u.ServerCPU.Seconds() }))
		r.Add(c.name+": peak memory", "MiB", pick(c, func(u measure.Usage) float64 { return float64(u.PeakBytes) / (1 << 20) }))
	}
	for _, c := range all[1:] {
		r.Add(c.name+" / COPY to nowhere: wall time", "×", measure.Ratios(pick(c, wall), base))
		r.Add(c.name+" / COPY to nowhere: all CPU", "×", measure.Ratios(pick(c, cpu), pick(all[0], cpu)))
	}
	r.AtMost("wall time of pintail sync, median of the rounds' ratios to COPY to nowhere", "×", ratioMax,
		measure.Median(measure.Ratios(pick(all[1], wall), base)))
	if *vs != "" {
		r.Add("pintail sync / other command: wall time", "×", measure.Ratios(pick(all[1], wall), pick(all[3], wall)))
		r.Note("The other command: `%s`", *vs)
	}
	return nil
}
