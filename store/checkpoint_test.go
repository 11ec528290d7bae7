package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"
	"github.com/google/uuid"
)

// Checkpoints that give row ids anew run beside readers: what a reader finds and what it gets are the same rows.
func TestReadersBesideCheckpoints(t *testing.T) {
	s := openTest(t, Options{Threads: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	states := []string{"ready", "error"}
	for d := range 5 {
		all.Go(func() {
			for ctx.Err() == nil {
				id, err := uuid.NewV7()
				if err != nil {
					t.Error(err)
					return
				}
				r := Run{ID: id.String(), Dataset: fmt.Sprint("d", d), Kind: "full", State: "running", StartedAt: time.Now()}
				if err := s.SaveRun(t.Context(), r); err != nil {
					t.Error(err)
				}
				r.State, r.EndedAt = states[d%2], time.Now()
				if d%2 == 1 {
					if err := s.SaveRun(t.Context(), r); err != nil {
						t.Error(err)
					}
					continue
				}
				// A swap is followed by a checkpoint.
				feed := &fakeFeed{cols: benchColumns()[:1], parts: 1, workers: 1, rows: func(int) int { return 100 }, row: func(_, i int) [][]byte { return [][]byte{i64(int64(i))} }}
				target := fmt.Sprint("t", d)
				st, err := s.Stage(t.Context(), target, feed.cols, feed, true)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Commit(t.Context(), func(tx *Tx) error {
					if err := tx.Swap(target, st); err != nil {
						return err
					}
					return tx.SaveRun(r)
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		all.Go(func() {
			for ctx.Err() == nil {
				for d := range 5 {
					name := fmt.Sprint("d", d)
					runs, err := s.Runs(t.Context(), RunFilter{Dataset: name, Limit: 20})
					if err != nil {
						t.Error(err)
					}
					for i, r := range runs {
						if r.Dataset != name || r.State != states[d%2] && (r.State != "running" || i > 0) || i > 0 && runs[i-1].ID <= r.ID {
							t.Errorf("run %d of %d of %s: %+v", i, len(runs), name, r)
						}
					}
				}
			}
		})
	}
	all.Wait()
}

// DuckDB by itself plans these statements as two scans, joined by row id. A reader's session scans once, so no checkpoint comes in between.
func TestReadersScanOnce(t *testing.T) {
	ctx := t.Context()
	s := openTest(t, Options{})
	reader, err := s.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var db duck.Database
	if duck.Open(":memory:", &db) == duck.StateError {
		t.Fatal("DuckDB does not open")
	}
	defer duck.Close(&db)
	plain := &Session{s: s}
	if duck.Connect(db, &plain.c) == duck.StateError {
		t.Fatal("DuckDB refused a connection")
	}
	defer duck.Disconnect(&plain.c)
	for _, se := range []*Session{reader, plain} {
		if _, err := se.exec(ctx, "CREATE TABLE wide AS SELECT range AS x, range % 9 AS g, 'a' || range AS a, 'b' || range AS b, 'c' || range AS c FROM range(10000)"); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		"SELECT * FROM wide ORDER BY x LIMIT 5",
		"SELECT * FROM wide LIMIT 5 OFFSET 5000",
		"SELECT * FROM wide QUALIFY row_number() OVER (PARTITION BY g ORDER BY x) <= 3",
	} {
		joins := func(se *Session) (plan string, yes bool) {
			if err := se.query(ctx, "EXPLAIN "+sql, nil, func(r ownRow) error { plan = r.text(1); return nil }); err != nil {
				t.Fatal(err)
			}
			return plan, strings.Contains(plan, "rowid = rowid")
		}
		if plan, yes := joins(reader); yes {
			t.Errorf("%s: a reader fetches rows by id:\n%s", sql, plan)
		}
		if plan, yes := joins(plain); !yes {
			t.Errorf("%s: DuckDB by itself joins otherwise than this test looks for:\n%s", sql, plan)
		}
	}
}

// Merges find rows by their ids: from the first statement of a commit on no checkpoint gives them anew.
func TestNoCheckpointWithinACommit(t *testing.T) {
	s := openTest(t, Options{})
	checkpoint := func() error {
		return s.with(func(se *Session) error {
			_, err := se.exec(t.Context(), "CHECKPOINT "+quote(s.catalog))
			return err
		})
	}
	if err := s.Commit(t.Context(), func(*Tx) error {
		if err := checkpoint(); err == nil || !strings.Contains(err.Error(), "write transactions") {
			t.Errorf("a checkpoint within a commit: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint(); err != nil {
		t.Error(err)
	}
}
