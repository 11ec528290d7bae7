package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// A copy that is loaded anew follows the stream before it takes the old one's place.
func TestApplyIntoAStagedTable(t *testing.T) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Log("seed", seed)
	s := openTest(t, Options{})
	makeSchema(t, s, "x")
	r := rand.New(rand.NewPCG(seed, 0))
	old, other := newHistory(r, 3000), newHistory(r, 3000)
	load(t, s, "x.t", old.feed())
	load(t, s, "x.other", other.feed())
	stop := fault.New(fault.Cancelled, "", "stop")
	for _, truncates := range []bool{false, true} {
		h := newHistory(r, 30_000)
		into := mustStage(t, s, "x.t", h.feed(), true)
		equal(t, "rows loaded", into.Rows, len(h.model))
		const rounds = 10
		for round := range rounds {
			before, touched := maps.Clone(h.model), len(h.touched)
			parts, grown := h.stageParts(t, s, "x.t", truncates)
			fail := r.IntN(3) == 0
			tries := 0
			rows := into.Rows
			err := s.Commit(ctx, func(tx *Tx) error {
				for i, c := range parts {
					c.Into = into
					ins, _, del, err := tx.Apply(c)
					if err != nil {
						return err
					}
					equal(t, "growth", ins-del, grown[i])
				}
				equal(t, "rows within the transaction", into.Rows, rows)
				if tries++; tries == 1 {
					return &duckError{Kind: "TransactionContext", Text: "TransactionContext Error: Conflict on tuple deletion!"} // once more
				}
				if fail {
					return stop
				}
				return nil
			})
			if fail != (err != nil) || tries != 2 {
				t.Fatalf("round %d: %v after %d tries", round, err, tries)
			}
			if fail {
				h.model, h.touched = before, h.touched[:touched]
			}
			equal(t, "rows counted", into.Rows, len(h.model))
			if r.IntN(3) == 0 {
				if err := s.Checkpoint(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		compare(t, s, "x.t", old.cols, old.keys, old.model)
		// Into its place, together with the changes of another table; the first time in vain.
		parts, _ := other.stageParts(t, s, "x.other", true)
		for _, fail := range []error{stop, nil} {
			err := s.Commit(ctx, func(tx *Tx) error {
				if err := tx.Swap("x.t", into); err != nil {
					return err
				}
				for _, c := range parts {
					if _, _, _, err := tx.Apply(c); err != nil {
						return err
					}
				}
				if err := tx.SaveTable(TableState{Target: "x.t", Dataset: "d", Rows: into.Rows}); err != nil {
					return err
				}
				if err := tx.SavePosition("d", change.Position{LSN: 20}); err != nil {
					return err
				}
				return fail
			})
			if err != fail { //nolint:errorlint // the very same
				t.Fatal(err)
			}
			if fail != nil {
				compare(t, s, "x.t", old.cols, old.keys, old.model)
			}
		}
		compare(t, s, "x.t", h.cols, h.keys, h.model)
		compare(t, s, "x.other", other.cols, other.keys, other.model)
		ts, err := s.Tables(ctx)
		if err != nil || len(ts) != 1 || ts[0].Rows != int64(len(h.model)) {
			t.Errorf("state: %+v %v", ts, err)
		}
		// It is followed like any other from then on.
		more, _ := h.stageParts(t, s, "x.t", truncates)
		if _, err := applyAll(s, more...); err != nil {
			t.Fatal(err)
		}
		compare(t, s, "x.t", h.cols, h.keys, h.model)
		old = h
	}
}

// What is committed with a swap is there again when a crash has left it in the write-ahead log.
func TestSwapAndChangesAfterACrash(t *testing.T) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s := openTest(t, Options{Path: path})
	load(t, s, "t", newHistory(r, 100).feed())
	other := newHistory(r, 3000)
	load(t, s, "other", other.feed())
	h := newHistory(r, 125_000) // more than one row group
	into := mustStage(t, s, "t", h.feed(), true)
	// With it open no checkpoint comes after the swap, and the write-ahead log stays.
	pin, err := s.Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	commit := func(st *Staged, changes []Changes) {
		t.Helper()
		if err := s.Commit(ctx, func(tx *Tx) error {
			if st != nil {
				if err := tx.Swap("t", st); err != nil {
					return err
				}
			}
			for _, c := range changes {
				if _, _, _, err := tx.Apply(c); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stage := func(h *history, target string, into *Staged) []Changes {
		parts, _ := h.stageParts(t, s, target, false)
		for i := range parts {
			parts[i].Into = into
		}
		return parts
	}
	same := func(s *Store) {
		t.Helper()
		compare(t, s, "t", h.cols, h.keys, h.model)
		compare(t, s, "other", other.cols, other.keys, other.model)
	}
	commit(nil, append(stage(h, "t", into), stage(other, "other", nil)...))
	commit(into, append(stage(h, "t", nil), stage(other, "other", nil)...))
	commit(nil, stage(h, "t", nil))
	// Changed and then replaced.
	h = newHistory(r, 1000)
	into = mustStage(t, s, "t", h.feed(), true)
	drop := stageOps(t, s, "t", nil, opsOf(h.cols, nil))
	drop.Truncate = true
	if err := s.Commit(ctx, func(tx *Tx) error {
		if _, _, _, err := tx.Apply(drop); err != nil {
			return err
		}
		return tx.Swap("t", into)
	}); err != nil {
		t.Fatal(err)
	}
	commit(nil, append(stage(h, "t", nil), stage(other, "other", nil)...))
	same(s)
	crashed := filepath.Join(t.TempDir(), "p.duckdb")
	for _, end := range []string{"", ".wal"} {
		b, err := os.ReadFile(path + end)
		if err == nil {
			err = os.WriteFile(crashed+end, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	same(openTest(t, Options{Path: crashed}))

	// Staged rows that are changed and swapped in at once would not be.
	into = mustStage(t, s, "t", h.feed(), true)
	last := stage(h, "t", into)
	err = s.Commit(ctx, func(tx *Tx) error {
		for _, c := range last {
			if _, _, _, err := tx.Apply(c); err != nil {
				return err
			}
		}
		return tx.Swap("t", into)
	})
	equal(t, "changes and swap at once", fault.CodeOf(err), fault.Internal)
}

func TestApplyIntoWhatCannotBe(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	load(t, s, "t", plainlyNumbered(cols, 3))
	c := stageOps(t, s, "t", []string{"id"}, opsOf(cols, nil, opRow{op: change.OpInsert, row: [][]byte{i64(7), nil}}))
	gone := mustStage(t, s, "t", plainlyNumbered(cols, 3), true)
	s.Discard(ctx, gone)
	for name, into := range map[string]*Staged{"in memory": mustStage(t, s, "t", plainlyNumbered(cols, 3), false), "discarded": gone} {
		c.Into = into
		_, err := applyAll(s, c)
		equal(t, name, []any{fault.CodeOf(err), into.Rows}, []any{fault.Internal, 3})
	}
	equal(t, "the target", lines(t, s, fmt.Sprintf("SELECT count(*) FROM %s", s.table("t"))), "[3]")
}
