package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Run is one run of a dataset: what it was to do, and how far it came.
type Run struct {
	ID        string // sorts by time: a UUID of version 7
	Dataset   string
	Kind      string // full | incremental | reconcile | verify
	State     string // running | ready | error | cancelled
	Reason    string // why it ran, and why as this kind
	StartedAt time.Time
	EndedAt   time.Time // zero while it runs
	RowsRead, RowsWritten,
	Bytes int64
	Progress          float64 // 0 to 1
	Error, Code, Hint string  // empty unless it failed
	Detail            json.RawMessage
}

// TableState is what Pintail knows of one table of the copy. It commits together with the table's rows.
type TableState struct {
	Dataset, Part   string // Part is the query's name within its dataset
	Target          string // the table
	Columns         json.RawMessage
	Watermark       json.RawMessage
	Rows            int64
	SyncType        string
	LastSync        time.Time
	LastFull        time.Time
	LastIncremental time.Time
	IncrementalRows int64
	Truncated       bool
	OutOfRangeText  bool
	SourceAsOf      time.Time // the source's clock at the snapshot that the rows are from
	Definition      string
}

// runsKept is how many runs of a dataset are remembered, pruneEvery how many are saved between two prunings.
const (
	runsKept   = 1000
	pruneEvery = 100
)

// format are the statements that make schema _pintail, by the format version that they lead to.
var format = map[int][]string{
	1: {
		`CREATE SCHEMA %[1]s`,
		`CREATE TABLE %[1]s.meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)`,
		`CREATE TABLE %[1]s.runs (id VARCHAR NOT NULL, dataset VARCHAR NOT NULL, kind VARCHAR, state VARCHAR, reason VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ,
			rows_read BIGINT, rows_written BIGINT, bytes BIGINT, progress DOUBLE, error VARCHAR, code VARCHAR, hint VARCHAR, detail JSON)`,
		`CREATE TABLE %[1]s.tables (target VARCHAR NOT NULL, dataset VARCHAR NOT NULL, part VARCHAR, columns JSON, watermark JSON, rows BIGINT, sync_type VARCHAR, last_sync TIMESTAMPTZ,
			last_full TIMESTAMPTZ, last_incremental TIMESTAMPTZ, incremental_rows BIGINT, truncated BOOLEAN, out_of_range_text BOOLEAN, source_as_of TIMESTAMPTZ, definition VARCHAR)`,
		`CREATE VIEW %[1]s.watermarks AS SELECT dataset, part, target, watermark FROM %[1]s.tables WHERE watermark IS NOT NULL`,
		`INSERT INTO %[1]s.meta VALUES ('format', '1')`,
	},
	2: {
		`CREATE TABLE %[1]s.positions (dataset VARCHAR NOT NULL, lsn VARCHAR NOT NULL, lsn_number UBIGINT NOT NULL, ordinal BIGINT, committed_at TIMESTAMPTZ,
			system_identifier VARCHAR, timeline INTEGER, applied_at TIMESTAMPTZ)`,
		`CREATE TABLE %[1]s.quarantine (dataset VARCHAR NOT NULL, target VARCHAR NOT NULL, lsn VARCHAR, reason VARCHAR, code VARCHAR, "row" JSON, "at" TIMESTAMPTZ)`,
		// The table without the catalog's name, which changes with the file's.
		`CREATE MACRO %[1]s.position() AS TABLE SELECT dataset, lsn, committed_at FROM _pintail.positions`,
		`UPDATE %[1]s.meta SET value = '2' WHERE name = 'format'`,
	},
	3: {
		`CREATE TABLE %[1]s.client_tables (schema VARCHAR NOT NULL, name VARCHAR NOT NULL, created_by VARCHAR, created_at TIMESTAMPTZ)`,
		`UPDATE %[1]s.meta SET value = '3' WHERE name = 'format'`,
	},
	4: {
		// A JSON pointer takes any name, of which ~ and / are escaped (RFC 6901). Without claims it is NULL.
		`CREATE MACRO %[1]s.claim(name) AS json_extract_string(nullif(getvariable('pintail_claims'), '')::JSON, '/' || replace(replace(name, '~', '~0'), '/', '~1'))`,
		`UPDATE %[1]s.meta SET value = '4' WHERE name = 'format'`,
	},
}

func (s *Store) state(table string) string {
	return quote(s.catalog) + "." + stateSchema + "." + table
}

// prepareState makes schema _pintail in a new file, and refuses the file of a newer Pintail.
func (s *Store) prepareState(ctx context.Context, se *Session) error {
	have, err := se.queryInt(ctx, "SELECT count(*) FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?", s.catalog, stateSchema)
	if err != nil {
		return doing(err, "look for schema %s", stateSchema)
	}
	version := 0
	if have > 0 {
		var text string
		if err := se.query(ctx, "SELECT value FROM "+s.state("meta")+" WHERE name = 'format'", nil, func(r ownRow) error { text = r.text(0); return nil }); err != nil {
			return doing(err, "read the format version")
		}
		if version, err = strconv.Atoi(text); err != nil || version < 1 {
			return fault.New(fault.Config, "use another file for duckdb.path", "schema %s of the file is not Pintail's: format version %q", stateSchema, text)
		}
	}
	switch {
	case version > formatVersion:
		return fault.New(fault.Config, "use the Pintail that wrote it, or another file", "the file has format version %d, and this Pintail knows up to %d", version, formatVersion)
	case version == formatVersion:
		return nil
	}
	sql := "BEGIN TRANSACTION;"
	for v := version + 1; v <= formatVersion; v++ {
		for _, stmt := range format[v] {
			if strings.Contains(stmt, "%") {
				stmt = fmt.Sprintf(stmt, quote(s.catalog)+"."+stateSchema)
			}
			sql += stmt + ";"
		}
	}
	err = se.script(ctx, sql+"COMMIT")
	return doing(err, "make schema %s", stateSchema)
}

// SaveRun inserts or replaces a run by its ID, in a transaction of its own. It does not wait for a Commit under way.
func (s *Store) SaveRun(ctx context.Context, r Run) error {
	for try := 1; ; try++ {
		_, err := s.commitOnce(ctx, func(tx *Tx) error { return tx.SaveRun(r) })
		if err == nil || try == commitTries || !isConflict(err) {
			return err
		}
	}
}

// SaveRun inserts or replaces a run by its ID.
func (tx *Tx) SaveRun(r Run) error {
	if _, err := tx.Exec("DELETE FROM "+tx.s.state("runs")+" WHERE id = ?", r.ID); err != nil {
		return doing(err, "save run %s", r.ID)
	}
	_, err := tx.Exec("INSERT INTO "+tx.s.state("runs")+" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r.ID, r.Dataset, r.Kind, r.State, r.Reason, r.StartedAt, r.EndedAt,
		r.RowsRead, r.RowsWritten, r.Bytes, r.Progress, r.Error, r.Code, r.Hint, r.Detail)
	if err == nil && r.State != "running" {
		tx.runs++
	}
	return doing(err, "save run %s", r.ID)
}

// pruneRuns forgets the oldest runs of each dataset, once in a while. It has a transaction of its own, so that a conflict costs nothing.
func (s *Store) pruneRuns(ctx context.Context, se *Session, saved int64) {
	if n := s.saved.Add(saved); n/pruneEvery == (n-saved)/pruneEvery {
		return
	}
	runs := s.state("runs")
	_, err := se.exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY dataset ORDER BY id DESC) AS n FROM %s) WHERE n > %d)", runs, runs, runsKept))
	if err != nil {
		s.log.Debug("old runs are not forgotten yet", "error", err)
	}
}

// RunFilter chooses runs; empty fields choose all.
type RunFilter struct {
	Dataset, State string
	Before         string // only runs older than this ID
	Limit          int    // 0 is 100
}

const runColumns = `id, dataset, kind, state, reason, epoch_us(started_at), epoch_us(ended_at), rows_read, rows_written, bytes, progress, error, code, hint, detail::VARCHAR`

// Runs are the runs that f chooses, newest first.
func (s *Store) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	runs, err := s.runs(ctx, "($1 = '' OR dataset = $1) AND ($2 = '' OR state = $2) AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4", f.Dataset, f.State, f.Before, f.Limit)
	return runs, doing(err, "list runs")
}

// RunByID finds one run.
func (s *Store) RunByID(ctx context.Context, id string) (Run, bool, error) {
	runs, err := s.runs(ctx, "id = ?", id)
	if err != nil || len(runs) == 0 {
		return Run{}, false, doing(err, "find run %s", id)
	}
	return runs[0], true, nil
}

func (s *Store) runs(ctx context.Context, where string, args ...any) (runs []Run, err error) {
	err = s.with(func(se *Session) error {
		return se.query(ctx, "SELECT "+runColumns+" FROM "+s.state("runs")+" WHERE "+where, args, func(r ownRow) error {
			runs = append(runs, Run{ID: r.text(0), Dataset: r.text(1), Kind: r.text(2), State: r.text(3), Reason: r.text(4), StartedAt: r.time(5), EndedAt: r.time(6),
				RowsRead: r.int(7), RowsWritten: r.int(8), Bytes: r.int(9), Progress: r.float(10), Error: r.text(11), Code: r.text(12), Hint: r.text(13), Detail: r.json(14)})
			return nil
		})
	})
	return runs, err
}

// FailInterrupted is for the start: runs that a process before left running become errors, and are returned, so that the caller can take
// them up again.
func (s *Store) FailInterrupted(ctx context.Context) ([]Run, error) {
	runs, err := s.runs(ctx, "state = 'running' ORDER BY id")
	if err != nil {
		return nil, doing(err, "find interrupted runs")
	}
	for i := range runs {
		r := &runs[i]
		r.State, r.EndedAt = "error", time.Now().UTC().Truncate(time.Microsecond)
		r.Error, r.Code, r.Hint = "interrupted by a stop of the process", string(fault.Cancelled), "nothing is to be done: the next run goes on from the last good data"
		if err := s.SaveRun(ctx, *r); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// Tables are the states of all tables, by target.
func (s *Store) Tables(ctx context.Context) (ts []TableState, err error) {
	err = s.with(func(se *Session) error {
		return se.query(ctx, `SELECT target, dataset, part, columns::VARCHAR, watermark::VARCHAR, rows, sync_type, epoch_us(last_sync), epoch_us(last_full), epoch_us(last_incremental),
			incremental_rows, truncated, out_of_range_text, epoch_us(source_as_of), definition FROM `+s.state("tables")+" ORDER BY target", nil, func(r ownRow) error {
			ts = append(ts, TableState{Target: r.text(0), Dataset: r.text(1), Part: r.text(2), Columns: r.json(3), Watermark: r.json(4), Rows: r.int(5), SyncType: r.text(6), LastSync: r.time(7),
				LastFull: r.time(8), LastIncremental: r.time(9), IncrementalRows: r.int(10), Truncated: r.bool(11), OutOfRangeText: r.bool(12), SourceAsOf: r.time(13), Definition: r.text(14)})
			return nil
		})
	})
	return ts, doing(err, "read the state of the tables")
}

// SaveTable inserts or replaces a table's state by its target.
func (tx *Tx) SaveTable(t TableState) error {
	if err := tx.DeleteTable(t.Target); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT INTO "+tx.s.state("tables")+" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", t.Target, t.Dataset, t.Part, t.Columns, t.Watermark, t.Rows, t.SyncType, t.LastSync,
		t.LastFull, t.LastIncremental, t.IncrementalRows, t.Truncated, t.OutOfRangeText, t.SourceAsOf, t.Definition)
	return doing(err, "save the state of %s", t.Target)
}

// DeleteTable forgets a table's state; the table itself stays.
func (tx *Tx) DeleteTable(target string) error {
	_, err := tx.Exec("DELETE FROM "+tx.s.state("tables")+" WHERE target = ?", target)
	return doing(err, "forget the state of %s", target)
}

// SetWatermark replaces the watermark in a table's state; nil clears it. It is an error when the table has no state.
func (tx *Tx) SetWatermark(target string, watermark json.RawMessage) error {
	n, err := tx.Exec("UPDATE "+tx.s.state("tables")+" SET watermark = ? WHERE target = ?", watermark, target)
	if err == nil && n == 0 {
		err = fault.New(fault.NotFound, "", "nothing is known of it")
	}
	return doing(err, "set the watermark of %s", target)
}

// Progress notes in a table's state that changes of a stream or an increment have come: it has rows rows now, changed of them are new or
// other ones, and asOf is the source's clock. watermark nil leaves the one that is there. It is an error when the table has no state. The
// row is updated in place, as a position is: this happens with each batch, for each table of it.
func (tx *Tx) Progress(target string, rows, changed int64, watermark json.RawMessage, asOf time.Time) error {
	now := time.Now()
	args := []any{target, rows, changed, now, asOf}
	set := "rows = $2, incremental_rows = $3, last_sync = $4, last_incremental = $4, sync_type = 'incremental', source_as_of = $5"
	if watermark != nil {
		set += ", watermark = $6"
		args = append(args, watermark)
	}
	n, err := tx.Exec("UPDATE "+tx.s.state("tables")+" SET "+set+" WHERE target = $1", args...)
	if err == nil && n == 0 {
		err = fault.New(fault.NotFound, "", "nothing is known of it")
	}
	return doing(err, "save how far %s is", target)
}
