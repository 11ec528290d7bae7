// Command incremental takes the time from the trigger of an incremental sync until its rows can be read.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds for the medians, in milliseconds, and how many rows change in a round.
const (
	changedMax = 300
	nothingMax = 50
	changes    = 10_000
)

// elsewhere is a transaction that writes nothing to the table.
const elsewhere = "SELECT pg_current_xact_id()"

const about = "Inside a running `pintail serve`: rows chosen at random get `updated_at = now()` and another `score`, then " +
	"`POST /api/store/sync/{dataset}` is called, `GET /api/store/runs/{id}` is asked every millisecond until the run is ready, and " +
	"`POST /v0/sql` counts the rows with the new values, which have to be all. Times are from just before the trigger. " +
	"The dataset has `key: [id]` and `incremental_column: updated_at`, which is indexed in the source. A round follows the other at once. " +
	"Within a second of a change its rows are looked at again in the source, for others that were late. " +
	"`shared_buffers` is 1 GB: with the default of 128 MB a server that has just changed 10,000 pages all over a table of 1 GB must write " +
	"them out while it reads them again, and most of the time measured is that."

func main() {
	rig.Main(rig.Spec{Name: "incremental", Title: "from trigger to readable", About: about, Rows: 5_000_000, Rounds: 20, Run: run,
		Settings: map[string]string{"shared_buffers": "1GB"}})
}

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
		if dropErr := drop(); err == nil {
			err = dropErr
		}
	}()
	listen, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db), Keyed: true, Listen: listen})
	if err != nil {
		return err
	}
	s, err := c.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := s.Stop(); err == nil {
			err = stopErr
		}
	}()
	b.Progress("first sync")
	if _, err := s.Sync(ctx, true); err != nil {
		return err
	}
	m := &meter{b: b, s: s, db: db, rng: rand.New(rand.NewPCG(1, 2))}
	for round := range b.Rounds {
		if err := m.changed(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		if err := m.nothing(ctx, &m.still, ""); err != nil {
			return err
		}
		if err := m.nothing(ctx, &m.after, elsewhere); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second) // beyond the margin of the clock
	for range b.Rounds {
		if err := m.nothing(ctx, &m.quiet, elsewhere); err != nil {
			return err
		}
	}
	if err := b.Compare(ctx, db, "", func(ctx context.Context, sql string) (map[string]string, error) { return s.Query(ctx, sql) }); err != nil {
		return err
	}
	r := b.Report
	r.Add(fmt.Sprintf("%d rows changed: trigger to readable", m.count()), "ms", m.readable)
	r.Add("… trigger to ready", "ms", m.ready)
	r.Add("… the query that reads them", "ms", m.query)
	r.Add("nothing changed in the server: trigger to ready", "ms", m.still.ms)
	r.Add("… rows read", "rows", m.still.rows)
	r.Add("nothing changed in the table, writes elsewhere: trigger to ready", "ms", m.quiet.ms)
	r.Add("… rows read", "rows", m.quiet.rows)
	r.Add("… within a second of a change", "ms", m.after.ms)
	r.AtMost(fmt.Sprintf("%d rows changed, trigger to readable, median", m.count()), "ms", changedMax, measure.Median(m.readable))
	r.AtMost("nothing changed in the server, trigger to ready, median", "ms", nothingMax, measure.Median(m.still.ms))
	r.AtMost("nothing changed in the table, writes elsewhere, trigger to ready, median", "ms", nothingMax, measure.Median(m.quiet.ms))
	r.Note("After the last round the copy was equal to the source: the number of rows, values and lengths of each column, and the sum of every row's checksum.")
	return nil
}

// meter takes the rounds' times, in milliseconds.
type meter struct {
	b   *rig.Bench
	s   *rig.Server
	db  string
	rng *rand.Rand

	readable, ready, query []float64
	still, after, quiet    times
}

// times are those of syncs that find nothing, and the rows they read to be sure.
type times struct{ ms, rows []float64 }

// count is how many rows change in a round: fewer where the table is small.
func (m *meter) count() int { return min(changes, m.b.Rows/10) }

// ids are that many different ids.
func (m *meter) ids() []int64 {
	seen := map[int64]bool{}
	var ids []int64
	for len(ids) < m.count() {
		id := 1 + m.rng.Int64N(int64(m.b.Rows))
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *meter) changed(ctx context.Context, round int) error {
	// A score of its own tells the round's rows from all others.
	score := -float64(round + 1)
	err := m.b.Source.Exec(ctx, m.db, "UPDATE "+rig.Table+" SET updated_at = now(), score = $1 WHERE id = ANY($2)", score, m.ids())
	if err != nil {
		return err
	}
	id, start, err := m.s.Trigger(ctx, false)
	if err != nil {
		return err
	}
	run, err := m.s.Await(ctx, id)
	if err != nil {
		return err
	}
	ready := time.Now()
	row, err := m.s.Query(ctx, "SELECT count(*)::varchar AS rows FROM "+rig.Table+" WHERE score = $1", score)
	if err != nil {
		return err
	}
	end := time.Now()
	if want := fmt.Sprint(m.count()); row["rows"] != want {
		return fmt.Errorf("%s rows have the new value, want %s", row["rows"], want)
	}
	if run.Kind != "incremental" {
		return fmt.Errorf("the run was %s: %s", run.Kind, run.Reason)
	}
	m.ready, m.query, m.readable = append(m.ready, ms(ready.Sub(start))), append(m.query, ms(end.Sub(ready))), append(m.readable, ms(end.Sub(start)))
	m.b.Progress("round %d: %d changed rows readable after %.1f ms (ready %.1f ms, %d read, %d written)",
		round+1, m.count(), ms(end.Sub(start)), ms(ready.Sub(start)), run.RowsRead, run.RowsWritten)
	return nil
}

// nothing is a sync of no change, after a statement that changes something else.
func (m *meter) nothing(ctx context.Context, t *times, first string) error {
	if first != "" {
		if err := m.b.Source.Exec(ctx, m.db, first); err != nil {
			return err
		}
	}
	id, start, err := m.s.Trigger(ctx, false)
	if err != nil {
		return err
	}
	run, err := m.s.Await(ctx, id)
	if err != nil {
		return err
	}
	took := ms(time.Since(start))
	if run.Kind != "incremental" || run.RowsWritten != 0 {
		return fmt.Errorf("the run was %s and wrote %d rows", run.Kind, run.RowsWritten)
	}
	t.ms, t.rows = append(t.ms, took), append(t.rows, float64(run.RowsRead))
	m.b.Progress("         nothing changed: ready after %.1f ms (%d read)", took, run.RowsRead)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
