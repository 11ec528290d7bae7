package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pintaildb/pintail/change"
)

// applyChild brings a batch into x.a and x.b and is ready for its end at the step.
func applyChild(s *Store, step string, ready func()) error {
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	var changes []Changes
	for _, target := range []string{"x.a", "x.b"} {
		f := &opFeed{cols: cols, unchanged: []int{1}, rows: 30000, row: func(i int) opRow {
			switch id := i64(int64(i)); {
			case i < 10000:
				return opRow{op: change.OpDelete, row: [][]byte{id, nil}}
			case i < 20000:
				return opRow{op: change.OpUpsert, row: [][]byte{id, txt("new")}}
			case i < 20100:
				return opRow{op: change.OpUpsert, row: [][]byte{id, nil}, without: []int{1}}
			default:
				return opRow{op: change.OpInsert, row: [][]byte{i64(int64(1_000_000 + i)), txt("new")}}
			}
		}}
		st, err := s.Stage(context.Background(), target, (&Changes{Key: []string{"id"}, Cols: cols, Unchanged: f.unchanged}).StagedColumns(), f, false)
		if err != nil {
			return err
		}
		changes = append(changes, Changes{Target: target, Staged: st, Key: []string{"id"}, Cols: cols, Deletes: 20100, Unchanged: f.unchanged})
	}
	if step == "batch staged" {
		ready()
	}
	err := s.Commit(context.Background(), func(tx *Tx) error {
		for _, c := range changes {
			if _, _, _, err := tx.Apply(c); err != nil {
				return err
			}
		}
		if err := tx.SavePosition("d", change.Position{LSN: 20}); err != nil {
			return err
		}
		if step == "batch committing" {
			ready()
		}
		return nil
	})
	if err == nil {
		ready()
	}
	return err
}

func TestKilledWithinABatch(t *testing.T) {
	ctx := context.Background()
	for step, want := range map[string]string{"batch staged": "[50000|0|49999] 0/A", "batch committing": "[50000|0|49999] 0/A", "batch committed": "[49900|19900|1029999] 0/14"} {
		path := filepath.Join(t.TempDir(), "p.duckdb")
		s, err := Open(ctx, Options{Path: path, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		makeSchema(t, s, "x")
		cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
		load(t, s, "x.a", plainlyNumbered(cols, 50000))
		load(t, s, "x.b", plainlyNumbered(cols, 50000))
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.SavePosition("d", change.Position{LSN: 10}) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		cmd := startChild(t, step, path)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s = openTest(t, Options{Path: path})
		ps, err := s.Positions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"x.a", "x.b"} {
			got := fmt.Sprint(lines(t, s, "SELECT count(*), count(*) FILTER (v = 'new'), max(id) FROM "+target), " ", ps["d"].LSN)
			equal(t, step, got, want)
			equal(t, step, lines(t, s, "SELECT count(*) FROM "+target+" WHERE id BETWEEN 20000 AND 20099 AND v = 'value 1 of ' || id"), "[100]")
			equal(t, step, lines(t, s, "SELECT count(*) - count(DISTINCT id) FROM "+target), "[0]")
		}
		equal(t, "tables", lines(t, s, "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name <> '_pintail' ORDER BY ALL"), "[x|a x|b]")
	}
}

// Staging tables that a killed load left are swept in every schema.
func TestStagingTablesAreSweptInSchemas(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	makeSchema(t, s, `a"b`, "c")
	for _, target := range []string{`a"b.t.u`, "c.t", "t"} {
		mustStage(t, s, target, plainFeed(1, 100, 1, 1), true)
		load(t, s, target, plainFeed(1, 10, 1, 1))
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: path})
	equal(t, "tables", lines(t, s, "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name <> '_pintail' ORDER BY ALL"), `[a"b|t.u c|t main|t]`)
}
