// Command memory takes the peak of memory of a full sync that is larger than what DuckDB may use.
package main

import (
	"context"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// peakMax is the bound in GiB.
const peakMax = 1.5

const memoryLimit = "1GiB"

const about = "The largest resident set of `pintail sync --full` with `duckdb.memory_limit: " + memoryLimit + "`, as the kernel's resource usage " +
	"of the process has it. \"With key\" is a dataset with `key` and `incremental_column`, whose keys are proved unique within the same limit."

func main() {
	rig.Main(rig.Spec{Name: "memory", Title: "peak memory of a large full sync", About: about, Rows: 20_000_000, Rounds: 1, Run: run})
}

func run(ctx context.Context, b *rig.Bench) error {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	const gib = 1 << 30
	for _, v := range []struct {
		name, folder string
		keyed        bool
	}{{"pintail sync", "plain", false}, {"pintail sync, with key", "keyed", true}} {
		c, err := b.NewCopy(v.folder, rig.CopyOptions{URL: b.Source.URL(db), Keyed: v.keyed, MemoryLimit: memoryLimit})
		if err != nil {
			return err
		}
		var peak, hwm, wall, file []float64
		for round := range b.Rounds {
			if err := c.Clear(); err != nil {
				return err
			}
			u, err := b.Run(ctx, c.FullSync())
			if err != nil {
				return err
			}
			b.Progress("round %d: %-22s peak %d MiB in %.1f s", round+1, v.name, u.PeakBytes>>20, u.Wall.Seconds())
			n, err := c.Bytes()
			if err != nil {
				return err
			}
			peak, hwm = append(peak, float64(u.PeakBytes)/gib), append(hwm, float64(u.HWMBytes)/gib)
			wall, file = append(wall, u.Wall.Seconds()), append(file, float64(n)/gib)
		}
		row, err := c.Query(ctx, "SELECT count(*)::varchar AS rows FROM "+rig.Table)
		if err != nil {
			return err
		}
		b.Report.Note("%s copied %s rows.", v.name, row["rows"])
		b.Report.Add(v.name+": peak memory", "GiB", peak)
		b.Report.Add(v.name+": peak memory, VmHWM as last seen", "GiB", hwm)
		b.Report.Add(v.name+": wall time", "s", wall)
		b.Report.Add(v.name+": DuckDB file", "GiB", file)
		b.Report.AtMost(v.name+": peak memory", "GiB", peakMax, measure.Max(peak))
		c.Remove()
	}
	return nil
}
