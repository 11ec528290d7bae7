package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// While one dataset loads for long, others load, merge and commit, and readers read.
func TestLoadsSideBySide(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := plainFeed(1, 1, 1, 1).cols
	load(t, s, "merged", plainFeed(2, 10000, 2, 0))

	// A load that waits in its middle for all of the others.
	held, hold := make(chan struct{}), make(chan struct{})
	long := plainFeed(2, 60000, 2, 7)
	var n atomic.Int64
	row := long.row
	long.row = func(p, i int) [][]byte {
		if n.Add(1) == 50000 {
			close(held)
			<-hold
		}
		return row(p, i)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		st, err := s.Stage(ctx, "long", long.cols, long, true)
		if err != nil {
			t.Error(err)
			return
		}
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("long", st) }); err != nil {
			t.Error(err)
		}
	})
	<-held
	begin := time.Now()
	var others sync.WaitGroup
	for k := range 3 {
		name := fmt.Sprintf("t%d", k)
		others.Go(func() {
			for gen := range int64(5) {
				st, err := s.Stage(ctx, name, cols, plainFeed(2, 5000, 2, gen), true)
				if err == nil {
					err = s.Commit(ctx, func(tx *Tx) error {
						if err := tx.Swap(name, st); err != nil {
							return err
						}
						if err := tx.SaveTable(TableState{Target: name, Dataset: name, Rows: st.Rows}); err != nil {
							return err
						}
						return tx.SaveRun(testRun(fmt.Sprintf("%s-%d", name, gen), name, "ready"))
					})
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	others.Go(func() {
		for gen := range int64(5) {
			st, err := s.Stage(ctx, "merged", cols, plainFeed(1, 1000, 1, gen+1), false)
			if err == nil {
				err = s.Commit(ctx, func(tx *Tx) error {
					_, upd, err := tx.Merge("merged", st, []string{"id"}, cols)
					if upd != 1000 {
						t.Errorf("%d updated", upd)
					}
					return err
				})
				s.Discard(ctx, st)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		for i := range 30 {
			r := testRun("progress", "long", "running")
			r.Progress = float64(i) / 30
			if err := s.SaveRun(ctx, r); err != nil {
				t.Error(err)
			}
			if _, err := s.Runs(ctx, RunFilter{}); err != nil {
				t.Error(err)
			}
		}
	})
	others.Wait()
	t.Log("beside a load that waits:", time.Since(begin))
	close(hold)
	wg.Wait()
	for k := range 3 {
		equal(t, "rows", lines(t, s, fmt.Sprintf("SELECT count(*), min(gen), max(gen) FROM t%d", k)), "[10000|4|4]")
	}
	equal(t, "rows", lines(t, s, "SELECT count(*) FROM long"), "[120000]")
	equal(t, "rows", lines(t, s, "SELECT count(*), count(DISTINCT id) FILTER (gen = 5) FROM merged"), "[20000|1000]")
	ts, err := s.Tables(ctx)
	equal(t, "states", []any{len(ts), err}, "[3 <nil>]")
	runs, err := s.Runs(ctx, RunFilter{})
	equal(t, "runs", []any{len(runs), err}, "[16 <nil>]")
}

func TestAConflictIsTriedAgain(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	if err := s.SaveRun(ctx, testRun("1", "d", "running")); err != nil {
		t.Fatal(err)
	}
	other := session(t, s)
	if err := other.script(ctx, "BEGIN; DELETE FROM "+s.state("runs")+" WHERE id = '1'"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	if err := s.Commit(ctx, func(tx *Tx) error {
		tries++
		err := tx.SaveRun(testRun("1", "d", "ready"))
		if tries == 2 {
			// The other one ends while this one is tried again.
			if _, err := other.exec(ctx, "ROLLBACK"); err != nil {
				t.Error(err)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if tries < 2 {
		t.Error("there was no conflict")
	}
	r, _, err := s.RunByID(ctx, "1")
	equal(t, "state", []any{r.State, err}, "[ready <nil>]")

	// One that does not end is an error that may be tried again.
	if err := other.script(ctx, "BEGIN; DELETE FROM "+s.state("runs")+" WHERE id = '1'"); err != nil {
		t.Fatal(err)
	}
	tries = 0
	err = s.Commit(ctx, func(tx *Tx) error { tries++; return tx.SaveRun(testRun("1", "d", "error")) })
	equal(t, "conflict", []any{fault.CodeOf(err), fault.Transient(err), tries}, []any{fault.Unavailable, true, commitTries})
}

func TestCommitsWaitForEachOtherAndForNobodyForLong(t *testing.T) {
	s := openTest(t, Options{})
	in, out := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Commit(context.Background(), func(*Tx) error { close(in); <-out; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-in
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// Cancelled before its COMMIT, nothing of it stays.
	close(out)
	wg.Wait()
	ctx, cancel = context.WithCancel(context.Background())
	err := s.Commit(ctx, func(tx *Tx) error {
		defer cancel()
		return tx.SaveRun(testRun("1", "d", "ready"))
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, ok, err := s.RunByID(context.Background(), "1"); ok || err != nil {
		t.Error("it was committed", err)
	}
}
