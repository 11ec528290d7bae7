package store

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

func testRun(id, dataset, state string) Run {
	at := time.Date(2025, 3, 4, 5, 6, 7, 123456000, time.UTC)
	r := Run{ID: id, Dataset: dataset, Kind: "full", State: state, Reason: "it's the first", StartedAt: at, RowsRead: 1 << 40, RowsWritten: 2, Bytes: 3, Progress: 0.25,
		Detail: json.RawMessage(`{"tables": {"a": 1}}`)}
	if state != "running" {
		r.EndedAt = at.Add(time.Second)
	}
	return r
}

func TestRunsAreKeptAndFound(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s := openTest(t, Options{Path: path})
	want := testRun("01", "d", "running")
	if err := s.SaveRun(ctx, want); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 6; i++ {
		if err := s.SaveRun(ctx, testRun(fmt.Sprintf("0%d", i), []string{"d", "e"}[i%2], "ready")); err != nil {
			t.Fatal(err)
		}
	}
	want.Progress, want.Error, want.Code, want.Hint = 0.5, "it broke", "internal", "mend it"
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.SaveRun(want) }); err != nil {
		t.Fatal(err)
	}
	got, ok, err := s.RunByID(ctx, "01")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	equal(t, "run", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	if _, ok, err := s.RunByID(ctx, "none"); ok || err != nil {
		t.Error("a run that is not there", ok, err)
	}
	for _, c := range []struct {
		f    RunFilter
		want string
	}{
		{RunFilter{}, "[05 04 03 02 01]"}, {RunFilter{Dataset: "d"}, "[04 02 01]"}, {RunFilter{State: "running"}, "[01]"},
		{RunFilter{Limit: 2}, "[05 04]"}, {RunFilter{Before: "03", Dataset: "d", Limit: 1}, "[02]"},
	} {
		runs, err := s.Runs(ctx, c.f)
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{}
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		equal(t, fmt.Sprintf("%+v", c.f), ids, c.want)
	}

	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: path})
	left, err := s.FailInterrupted(ctx)
	if err != nil || len(left) != 1 || left[0].ID != "01" {
		t.Fatalf("%+v %v", left, err)
	}
	got, _, _ = s.RunByID(ctx, "01")
	equal(t, "state", []any{got.State, got.Error, got.Code, got.EndedAt.IsZero()}, []any{"error", "interrupted by a stop of the process", "cancelled", false})
	if left, err := s.FailInterrupted(ctx); err != nil || len(left) != 0 {
		t.Errorf("a second time: %+v %v", left, err)
	}
}

func TestOldRunsAreForgotten(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	err := s.Commit(ctx, func(tx *Tx) error {
		_, err := tx.Exec(fmt.Sprintf("INSERT INTO %s (id, dataset, state) SELECT 'a' || lpad(range::VARCHAR, 5, '0'), 'd', 'ready' FROM range(1100)", s.state("runs")))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pruneEvery {
		if err := s.SaveRun(ctx, testRun(fmt.Sprintf("b%05d", i), "e", "ready")); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "kept", lines(t, s, "SELECT dataset, count(*), min(id) FROM "+s.state("runs")+" GROUP BY dataset ORDER BY 1"), "[d|1000|a00100 e|100|b00000]")
}

func TestTableStateCommitsWithTheRows(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	at := time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	want := TableState{Dataset: "d", Part: "p", Target: `we"ird`, Columns: json.RawMessage(`["a"]`), Watermark: json.RawMessage(`{"high":"5"}`), Rows: 5, SyncType: "full",
		LastSync: at, LastFull: at.Add(1e9), IncrementalRows: 3, Truncated: true, OutOfRangeText: true, SourceAsOf: at.Add(2e9), Definition: "SELECT 'x'"}
	other := TableState{Dataset: "d", Target: "b"}
	if err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.SaveTable(want); err != nil {
			return err
		}
		return tx.SaveTable(other)
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Tables(ctx)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tables", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", []TableState{other, want}))

	// Replaced and rolled back: nothing has changed.
	err = s.Commit(ctx, func(tx *Tx) error {
		if err := tx.SetWatermark("b", json.RawMessage(`{"x":1}`)); err != nil {
			return err
		}
		if err := tx.DeleteTable(want.Target); err != nil {
			return err
		}
		return fault.New(fault.Cancelled, "", "stop")
	})
	equal(t, "error", fault.CodeOf(err), fault.Cancelled)
	got, _ = s.Tables(ctx)
	equal(t, "tables", len(got), 2)
	equal(t, "watermark", string(got[0].Watermark), "")

	if err := s.Commit(ctx, func(tx *Tx) error { return tx.SetWatermark(want.Target, nil) }); err != nil {
		t.Fatal(err)
	}
	got, _ = s.Tables(ctx)
	equal(t, "watermark", got[1].Watermark == nil, true)
	err = s.Commit(ctx, func(tx *Tx) error { return tx.SetWatermark("none", nil) })
	equal(t, "code", fault.CodeOf(err), fault.NotFound)
}

func TestProgress(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	at := time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	was := TableState{Dataset: "d", Part: "p", Target: `s.we"ird`, Columns: json.RawMessage(`["a"]`), Watermark: json.RawMessage(`{"high":"5"}`), Rows: 5, SyncType: "full",
		LastSync: at, LastFull: at.Add(1e9), IncrementalRows: 3, Truncated: true, OutOfRangeText: true, SourceAsOf: at.Add(2e9), Definition: "SELECT 'x'"}
	other := TableState{Dataset: "d", Target: "b", LastFull: at}
	if err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.SaveTable(was); err != nil {
			return err
		}
		return tx.SaveTable(other)
	}); err != nil {
		t.Fatal(err)
	}
	for i, mark := range []json.RawMessage{nil, json.RawMessage(`{"high":"7"}`), nil} {
		begin := time.Now().Truncate(time.Microsecond)
		want := was
		want.Rows, want.IncrementalRows, want.SyncType, want.SourceAsOf = int64(9+i), int64(4+i), "incremental", at.Add(time.Duration(3+i)*time.Second)
		if mark != nil {
			want.Watermark = mark
		}
		if err := s.Commit(ctx, func(tx *Tx) error {
			return tx.Progress(was.Target, want.Rows, want.IncrementalRows, mark, want.SourceAsOf)
		}); err != nil {
			t.Fatal(err)
		}
		ts, err := s.Tables(ctx)
		if err != nil || len(ts) != 2 {
			t.Fatal(len(ts), err)
		}
		got := ts[1]
		if got.LastSync.Before(begin) || got.LastSync.After(time.Now()) || !got.LastIncremental.Equal(got.LastSync) {
			t.Errorf("last sync %s, last incremental %s, called after %s", got.LastSync, got.LastIncremental, begin)
		}
		want.LastSync, want.LastIncremental = got.LastSync, got.LastSync
		equal(t, "tables", fmt.Sprintf("%+v", ts), fmt.Sprintf("%+v", []TableState{other, want}))
		was = want
	}
	err := s.Commit(ctx, func(tx *Tx) error { return tx.Progress("none", 1, 1, nil, at) })
	equal(t, "code", fault.CodeOf(err), fault.NotFound)
}

// Saved for each table of each batch for months, progress must not fill the disk.
func TestProgressLeavesNothingBehind(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	const tables = 50
	columns := json.RawMessage(`["` + strings.Repeat("a column, ", 300) + `"]`)
	if err := s.Commit(ctx, func(tx *Tx) error {
		for k := range tables {
			if err := tx.SaveTable(TableState{Target: fmt.Sprint("schema.table", k), Dataset: "d", Columns: columns, Watermark: json.RawMessage(`{"high":"0"}`)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []bool{false, true} {
		save := func(i int) {
			if err := s.Commit(ctx, func(tx *Tx) error {
				for k := range 3 {
					var w json.RawMessage
					if mark {
						w = json.RawMessage(fmt.Sprintf(`{"high":"2026-01-02 03:04:05.%06d+00"}`, i))
					}
					if err := tx.Progress(fmt.Sprint("schema.table", (i+k*17)%tables), int64(1000+i), 7, w, time.Now()); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		leavesNothing(t, s, save, 6000)
		equal(t, "rows", lines(t, s, "SELECT count(*), max(rowid) FROM _pintail.tables"), fmt.Sprintf("[%d|%d]", tables, tables-1))
	}
}
